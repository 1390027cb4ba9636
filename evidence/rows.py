"""The tables that follow from the change feed: the rows of all objects, and what is computed from these.

A row has the bytes of its object's last change. Its other columns, the unique keys that the object holds, and the index entries
by which it is found follow from the object.
"""

from datetime import UTC, datetime
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from evidence.changes import Change
from herdbook import ids
from herdbook.companies import store as companies
from herdbook.companies.store import COMPANY_FIELDS, COMPANY_TAGS, COMPANY_WORDS, DOMAINS, FORMER_DOMAINS
from herdbook.contacts import store as contacts
from herdbook.contacts.store import (
    ADDRESSES,
    COMPANY_CONTACTS,
    CONTACT_FIELDS,
    CONTACT_TAGS,
    CONTACT_WORDS,
    FORMER_ADDRESSES,
    FORMER_EXTERNAL_IDS,
)
from herdbook.custom_fields.store import FIELD_KEYS
from herdbook.db.pool import Executor
from herdbook.engagements.model import TranscriptEntry
from herdbook.engagements.store import (
    ENGAGEMENT_COMPANIES,
    ENGAGEMENT_CONTACTS,
    ENGAGEMENT_TAGS,
    ENGAGEMENT_WORDS,
    EXTERNAL_IDS,
)
from herdbook.ledger.claims import UniqueKey
from herdbook.ledger.index_entries import reindex
from herdbook.ledger.unit_of_work import Table, UnitOfWork
from herdbook.notes.store import COMPANY_NOTES, CONTACT_NOTES
from herdbook.object_types import OBJECT_TYPES
from herdbook.tags.store import TAG_NAMES
from herdbook.users.store import HANDLES, USER_WORDS, UserRow

Place: TypeAlias = tuple[str, UUID]
"""The name of an object's type, and its id."""

INDEXES: Final[dict[Table[Any], LiteralString]] = {
    CONTACT_WORDS: "select word, contact_id from contact_word",
    COMPANY_CONTACTS: "select company_id, contact_id from company_contact",
    CONTACT_FIELDS: "select key, contact_id from contact_field",
    COMPANY_FIELDS: "select key, company_id from company_field",
    FORMER_ADDRESSES: "select address, contact_id from contact_former_email",
    FORMER_EXTERNAL_IDS: "select external_id, contact_id from contact_former_external_id",
    FORMER_DOMAINS: "select domain, company_id from company_former_domain",
    COMPANY_WORDS: "select word, company_id from company_word",
    USER_WORDS: "select word, user_id from user_word",
    ENGAGEMENT_WORDS: "select word, engagement_id from engagement_word",
    ENGAGEMENT_CONTACTS: "select contact_id, engagement_id from engagement_contact",
    ENGAGEMENT_COMPANIES: "select company_id, engagement_id from engagement_company",
    CONTACT_TAGS: "select tag_id, contact_id from contact_tag",
    COMPANY_TAGS: "select tag_id, company_id from company_tag",
    CONTACT_NOTES: "select contact_id, note_id from contact_note",
    COMPANY_NOTES: "select company_id, note_id from company_note",
    ENGAGEMENT_TAGS: "select tag_id, engagement_id from engagement_tag",
}
KEYS: Final[dict[UniqueKey[Any], LiteralString]] = {
    ADDRESSES: "select address, contact_id from contact_email",
    contacts.EXTERNAL_IDS: "select external_id, contact_id from contact_external_id",
    contacts.FIELD_VALUES: "select value, contact_id from contact_field_value",
    companies.FIELD_VALUES: "select value, company_id from company_field_value",
    FIELD_KEYS: "select key, field_id from field_key",
    DOMAINS: "select domain, company_id from company_domain",
    TAG_NAMES: "select name, tag_id from tag_name",
    EXTERNAL_IDS: "select external_id, engagement_id from engagement_external_id",
    HANDLES: "select handle, user_id from user_handle",
}
# The columns that no entry of the ledger has: secrets, the number of a user, the progress of a conversion. The others are
# compared with the feed.
_NOT_COMPUTED: Final = frozenset(
    (
        *("version", "updated_at", "deleted_at", "merged_into"),
        *(
            "secret",
            "former_secret",
            "former_secret_until",
            "own_headers",
            "phone_number_e164",
            "converted_to",
            "former",
            "converting",
        ),
    )
)


_DETAILS: Final[dict[str, LiteralString]] = {
    "engagement": "details",
    "transcript": "concat(timeline_id, ' ', text)",
}


class Row(NamedTuple):
    """A row's contents; parts in JSON are the bytes as received. The details of a transcript are its columns."""

    version: int
    updated_at: datetime
    deleted_at: datetime | None
    object: bytes
    details: bytes | None
    own: bytes | None
    merged_into: UUID | None


def place_of(change: Change) -> Place:
    """Return the place of the object of a change."""
    object_id = ids.decoded(OBJECT_TYPES.named(change.name).prefix, change.object_id)
    assert object_id is not None, "the feed shows ids of the object's type"
    return change.name, object_id


def row_of(change: Change) -> Row | None:
    """Return the row after a change, or None if the object was erased."""
    if change.is_emptied:
        return None
    object_type = OBJECT_TYPES.named(change.name)
    object_, details, own = bytes(change.data.object), None, None
    if change.name == "engagement" or object_type.has_own:
        members = msgspec.json.decode(object_, type=dict[str, msgspec.Raw])
        if change.name == "engagement":
            details = bytes(members.pop("details"))
        else:
            known = object_type.entry.own_type.__struct_fields__
            apart = {each: members.pop(each) for each in known if each in members}
            own = msgspec.json.encode(apart) if apart else None
        object_ = msgspec.json.encode(members)
    elif change.name == "transcript":
        entry = msgspec.json.decode(object_, type=TranscriptEntry)
        timeline_id = ids.decoded(ids.TRANSCRIPT_TIMELINE, entry.timeline_id or "")
        details = f"{timeline_id or ''} {entry.text}".encode()
        object_ = bytes(msgspec.json.decode(object_, type=dict[str, msgspec.Raw])["timeline"])
    is_deleted = change.action == "deleted"
    merged_into = ids.decoded(object_type.prefix, change.merged_into) if is_deleted and change.merged_into else None
    return Row(change.position, change.at, change.at if is_deleted else None, object_, details, own, merged_into)


async def stored(statements: Executor, workspace_id: UUID, object_ids: list[UUID] | None = None) -> dict[Place, Row]:
    """Return the stored rows of these objects, or of all."""
    found: dict[Place, Row] = {}
    for object_type in OBJECT_TYPES:
        details = _DETAILS.get(object_type.name, "null::json")
        own, merged_into = ("own", "merged_into") if object_type.has_own else ("null::json", "null::uuid")
        columns: LiteralString = f"id, version, updated_at, deleted_at, object, {details}, {own}, {merged_into}"
        query: LiteralString = f"select {columns} from {object_type.table.name} where workspace_id = $1"
        records = await statements.fetch(query + " and ($2::uuid[] is null or id = any($2))", workspace_id, object_ids)
        for record in records:
            object_, *others = [part if part is None else part.encode() for part in record[4:7]]
            found[object_type.name, record[0]] = Row._make((*record[1:4], object_ or b"null", *others, record[7]))
    return found


async def differing(statements: Executor, workspace_id: UUID) -> list[str]:
    """Return the columns, unique keys and index entries that do not follow from the objects in the rows."""
    found: list[str] = []
    moment = datetime.now(UTC)
    work = UnitOfWork(workspace_id, 0, moment, moment)
    held: dict[UniqueKey[Any], set[tuple[Any, ...]]] = {unique_key: set() for unique_key in KEYS}
    for object_type in OBJECT_TYPES:
        query: LiteralString = f"select to_json(c) from {object_type.table.name} c where workspace_id = $1"
        for record in await statements.fetch(query, workspace_id):
            try:
                row = msgspec.json.decode(record[0], type=object_type.table.row)
            except msgspec.DecodeError as error:
                found.append(f"a row of {object_type.table.name}: {error}")
                continue
            computed = object_type.table.row.of(work, row.id, row.version, None, row.entry)
            # Nothing searches deleted objects, so that an earlier release may have written what they were found by.
            others = _NOT_COMPUTED if row.deleted_at is None else _NOT_COMPUTED | {"search"}
            names = (name for name in row.__struct_fields__ if name not in others)
            found += [
                f"{name} of {object_type.name} {row.id}: {getattr(row, name)!r}, not {getattr(computed, name)!r}"
                for name in names
                if getattr(row, name) != getattr(computed, name)
            ]
            reindex(work, object_type.indexes, None, row)
            if row.deleted_at is None:
                for each in object_type.held(row.entry):
                    held[each.unique_key].add((each.key, row.id))
                if isinstance(row, UserRow):
                    handles = {*HANDLES.keys(row.object), row.phone_number_e164} - {None}
                    held[HANDLES].update((handle, row.id) for handle in handles)
    entries: dict[Table[Any], set[tuple[Any, ...]]] = {table: set() for table in INDEXES}
    for (table, _), entry in work.changed_rows.items():
        known: Any = entry
        entries[table].update((key, known.object_id) for key in known.learned)
    pairs: dict[LiteralString, set[tuple[Any, ...]]] = {query: held[unique_key] for unique_key, query in KEYS.items()}
    pairs |= {query: entries[table] for table, query in INDEXES.items()}
    for select, expected in pairs.items():
        there = {tuple(record) for record in await statements.fetch(select + " where workspace_id = $1", workspace_id)}
        name = select.rpartition(" ")[2]
        found += [f"{name}: {each} is missing" for each in expected - there]
        found += [f"{name}: {each} follows from no row" for each in there - expected]
    return found
