"""The type of contacts, with its tables, and every SQL statement about them."""

from collections.abc import Hashable
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, LiteralString, Self
from uuid import UUID

from msgspec import UNSET

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.companies.store import COMPANY
from herdbook.contacts.model import Contact, ContactObject, ContactRecord, OwnMembers, SearchEntry, patched, search_entry
from herdbook.custom_fields.store import find_record_in, record_of
from herdbook.custom_fields.values import claims_value, field_values, index_keys, unique_value_path
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery, SearchIndex
from herdbook.db.pool import PagePool
from herdbook.db.survivors import survivors
from herdbook.ledger.claims import UniqueKey, claim_table
from herdbook.ledger.crm_links import linked_table
from herdbook.ledger.former_holders import former_holders
from herdbook.ledger.index_entries import Index, index_table
from herdbook.ledger.object_types import Events, HistoryNotes, ObjectType, RecordRow, active, object_table
from herdbook.phone_numbers import e164, is_number, number_keys, search_terms
from herdbook.tags.store import TAG, tags_of
from herdbook.workspaces.store import region_of


class ContactRow(RecordRow, frozen=True, kw_only=True):
    """A contact's row: the contact as the vendor's operations show it, its own members, and the columns that queries use."""

    company_id: UUID | None
    crm_object_id: str | None
    phone_numbers_e164: tuple[str, ...] | None
    search: str
    first_name_word: str | None
    last_name_word: str | None
    merged_into: UUID | None
    own: OwnMembers | None
    object: ContactRecord

    @classmethod
    def columns(cls, before: Self | None, after: ContactRecord) -> dict[str, Any]:
        crm = after.crm_association
        entry = search_entry(after) if before is None else search_entry(after, before.object, before.search_entry)
        return {
            "company_id": _company_id(before, after),
            "crm_object_id": None if crm is UNSET else crm.crm_object_id,
            "phone_numbers_e164": _e164_numbers(before, after),
            "search": entry.text,
            "first_name_word": entry.first_name_word,
            "last_name_word": entry.last_name_word,
            "merged_into": None,
            **cls.own_columns(after),
        }

    @property
    def words(self) -> set[str]:
        """The numbers and the words by which the contact is found, except those that the row itself has."""
        return self.search_entry.other_words.union(self.phone_numbers_e164 or ())

    @property
    def source_of_words(self) -> Hashable:
        """The part of the row that `words` follows from: while it is the same, so are they."""
        return self.search_entry.source_of_other_words, self.phone_numbers_e164

    @property
    def search_entry(self) -> SearchEntry:
        """The data by which a search finds the contact."""
        return SearchEntry(self.search, self.first_name_word, self.last_name_word)

    @property
    def companies(self) -> set[UUID]:
        """The company of the contact, if any."""
        return set() if self.company_id is None else {self.company_id}

    @property
    def former_addresses(self) -> set[str]:
        """The addresses of a deleted contact. Those of a merged one passed to the contact that replaces it."""
        return set() if self.merged_into is not None else set(ADDRESSES.keys(self.object))

    @property
    def former_external_ids(self) -> set[str]:
        """The external ids of a deleted contact. Those of a merged one passed to the contact that replaces it."""
        return set() if self.own is None or self.merged_into is not None else set(self.own.external_ids or ())


# Ids and phone numbers cost more than most columns, and most updates change few of them.
def _company_id(before: ContactRow | None, after: Contact) -> UUID | None:
    if before is not None and before.object.company == after.company:
        return before.company_id
    return None if after.company is UNSET else _decoded_company(after.company.id)


# An import names the same company again and again.
@lru_cache(maxsize=1024)
def _decoded_company(company_id: str) -> UUID | None:
    return ids.decoded(ids.COMPANY, company_id)


def _e164_numbers(before: ContactRow | None, after: Contact) -> tuple[str, ...] | None:
    if before is not None and before.object.phone_numbers == after.phone_numbers:
        return before.phone_numbers_e164
    return tuple(number for item in after.phone_numbers if (number := e164(item.phone_number))) or None


CONTACTS: Final = object_table(
    ContactRow,
    "contact",
    {
        "company_id": "uuid",
        "crm_object_id": "text",
        "phone_numbers_e164": "text[]",
        "search": "text",
        "first_name_word": "text",
        "last_name_word": "text",
        "merged_into": "uuid",
        "own": "json",
    },
)
ADDRESSES: Final = UniqueKey[ContactRecord](
    claim_table("contact_email", "address", "contact_id"),
    keys=lambda contact: [comparable_address(item.email) for item in contact.emails],
    field_path=lambda index, _: f"emails[{index}].email",
)
EXTERNAL_IDS: Final = UniqueKey[ContactRecord](
    claim_table("contact_external_id", "external_id", "contact_id"),
    keys=lambda contact: [*(contact.external_ids or ())],
    field_path=lambda index, _: f"external_ids[{index}]",
)
FIELD_VALUES: Final = UniqueKey[ContactRecord](
    claim_table("contact_field_value", "value", "contact_id"),
    keys=lambda contact: [*(contact.unique_values or ())],
    field_path=unique_value_path,
    is_held=lambda work, contact_id, value: claims_value(active(work, CONTACTS, contact_id), value),
)
# Holds the values of the workspace's own fields.
CONTACT_FIELDS: Final = index_table("contact_field", "key", "text", "contact_id")
# This index has the tags' ids as the API shows them.
CONTACT_TAGS: Final = index_table("contact_tag", "tag_id", "text", "contact_id")
# Holds the words by which a search finds contacts, and the keys by which their numbers are looked up. The first word of each
# name is in the contact's row instead.
CONTACT_WORDS: Final = index_table("contact_word", "word", "text", "contact_id")
COMPANY_CONTACTS: Final = index_table("company_contact", "company_id", "uuid", "contact_id")
# Holds the addresses that deleted contacts had.
FORMER_ADDRESSES: Final = index_table("contact_former_email", "address", "text", "contact_id")
# Holds the external ids that deleted contacts had.
FORMER_EXTERNAL_IDS: Final = index_table("contact_former_external_id", "external_id", "text", "contact_id")


CONTACT: Final = ObjectType(
    kind="c",
    name="contact",
    plural="contacts",
    prefix=ids.CONTACT,
    table=CONTACTS,
    entry=ContactRecord,
    example=ContactRecord.example,
    indexes=(
        Index[ContactRow](
            CONTACT_WORDS,
            attrgetter("source_of_words"),
            attrgetter("words"),
        ),
        Index[ContactRow](COMPANY_CONTACTS, attrgetter("company_id"), attrgetter("companies")),
        Index[ContactRow](FORMER_ADDRESSES, attrgetter("object.emails"), attrgetter("former_addresses"), is_of_deleted=True),
        Index[ContactRow](CONTACT_FIELDS, attrgetter("own"), lambda row: index_keys(field_values(row))),
        Index[ContactRow](CONTACT_TAGS, attrgetter("own"), lambda row: set(tags_of(row))),
        Index[ContactRow](FORMER_EXTERNAL_IDS, attrgetter("own"), attrgetter("former_external_ids"), is_of_deleted=True),
    ),
    unique_keys=(ADDRESSES, EXTERNAL_IDS, FIELD_VALUES),
    refers_to=(COMPANY, TAG),
    read_scopes=Contact.read_scopes,
    write_scopes=("contacts:write",),
    events=Events.of_changes(
        "contact",
        is_erasable=True,
        example_previous={"last_name": "Byron"},
        own_members=("external_ids", "fields", "unique_values", "labels", "tag_ids", "card_ids"),
    ),
    blank=lambda contact_id, time: ContactRecord(object=ContactObject.CONTACT, id=contact_id, created_at=time, updated_at=time),
    patched=patched,
    history=HistoryNotes(
        restoring="If its company is gone, it comes back without one. A merged contact comes back, too, but the contact that "
        "it was merged into keeps its data: to reverse the whole merge, undo the request."
    ),
)


# Limits how many contacts a batch clears a deleted company from.
MAX_RELEASED_CONTACTS: Final = 500


# The contacts that had the keys of each unique key.
FORMER_HOLDERS: Final = {
    ADDRESSES: former_holders("contact_former_email", "address", "contact"),
    EXTERNAL_IDS: former_holders("contact_former_external_id", "external_id", "contact"),
}


LINKED_CONTACTS: Final = linked_table("contact")

_HOLDERS: Final[LiteralString] = "select e.contact_id from contact_email e where e.workspace_id = $1 and e.address = any($2)"
_EXTERNAL_ID_HOLDERS: Final[LiteralString] = """
    select e.contact_id from contact_external_id e where e.workspace_id = $1 and e.external_id = any($2)
"""
_SEARCH_INDEX: Final = SearchIndex(
    "contact",
    """
    select c.id from contact c
    where c.workspace_id = $1 and c.first_name_word >= $least and c.first_name_word < $most and c.deleted_at is null
    union all
    select c.id from contact c
    where c.workspace_id = $1 and c.last_name_word >= $least and c.last_name_word < $most and c.deleted_at is null
    union all
    select w.contact_id from contact_word w where w.workspace_id = $1 and w.word >= $least and w.word < $most
    """,
    _HOLDERS,
)


async def find(database: Database, workspace_id: UUID, contact_id: UUID) -> ObjectRead | None:
    """Return an active contact as the API shows it, with its version."""
    return await database.find(find_in("contact"), workspace_id, contact_id)


async def find_record(database: Database, workspace_id: UUID, contact_id: UUID) -> ObjectRead | None:
    """Return the whole of an active contact, with its version."""
    found = await database.find(find_record_in("contact"), workspace_id, contact_id)
    return None if found is None else record_of(found)


async def page(pool: PagePool, workspace_id: UUID, query: PageQuery, company_id: UUID | None = None) -> list[ListRow]:
    """Return the contacts of a page, of one company if it is given, and one more if there is a next page."""
    conditions = ListQuery(workspace_id, query)
    conditions.require_crm_records("contact")
    filters = query.filters
    if (addresses := filters.get("email")) is not None:
        held = conditions.parameter(list(addresses))
        conditions.require_few(_HOLDERS.replace("$2", held))
    if (external_ids := filters.get("external_id")) is not None:
        held = conditions.parameter(list(external_ids))
        conditions.require_few(_EXTERNAL_ID_HOLDERS.replace("$2", held))
    if (numbers := filters.get("phone_number")) is not None:
        region = await region_of(pool.planning_once, workspace_id)
        await conditions.require_links(
            pool,
            "select w.contact_id from contact_word w where w.workspace_id = $1 and w.word = any($ids)",
            """coalesce(exists (
                select from contact_word w where w.workspace_id = $1 and w.word = any($value::text[]) and w.contact_id = c.id
            ), false)""",
            [key for number in numbers for key in number_keys(number, region)],
        )
    if "tag_ids" in filters:
        await conditions.require_links(
            pool,
            "select l.contact_id from contact_tag l where l.workspace_id = $1 and l.tag_id = any($ids)",
            "coalesce((c.own::jsonb -> 'tag_ids') ?| $value, false)",
            filters["tag_ids"],
        )
    companies = [] if company_id is None else [[company_id]]
    if "company_id" in filters:
        named = ids.decoded_all(ids.COMPANY, filters["company_id"])
        replaced = await survivors(pool, "company", workspace_id, named)
        # While the contacts of a merged company move to the survivor, some are still linked to it.
        companies.append([*dict.fromkeys([*named, *replaced.values()])])
    for each in companies:
        await conditions.require_links(
            pool,
            "select l.contact_id from company_contact l where l.workspace_id = $1 and l.company_id = any($ids)",
            "coalesce(c.company_id = any($value::uuid[]), false)",
            each,
        )
    numbers_searched: list[str] = []
    if query.search is not None and is_number(query.search):
        numbers_searched = search_terms(query.search, await region_of(pool.planning_once, workspace_id))
    await conditions.search(pool, _SEARCH_INDEX, numbers_searched)
    return await conditions.fetch(pool, "contact")
