"""The tables that an erasure reads and writes beside those of objects, and every SQL statement about erasures."""

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.companies.store import COMPANY
from herdbook.contacts.model import Contact, ContactRecord
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.model import Field, FieldKind
from herdbook.custom_fields.naming import name_of
from herdbook.custom_fields.store import FIELD, all_definitions
from herdbook.db.pool import Executor
from herdbook.db.survivors import survivors
from herdbook.engagements.model import Details, TimelineSpeaker
from herdbook.erasure.model import (
    ErasedImport,
    ErasureState,
    Found,
    FoundLater,
    Subject,
    erased_address,
    keyed_hash,
    spellings,
    task_of_address,
)
from herdbook.erasure.places import MAPPING_TEXT, PLACES, VIEW_TEXT, Place, searched
from herdbook.erasure_list import ListedErasure
from herdbook.ledger.changes import PREVIOUS_ENTRY, Action, is_erased
from herdbook.ledger.idempotency import ERASED_ANSWER
from herdbook.ledger.insertion import insertion
from herdbook.ledger.object_types import ObjectType, removals_of
from herdbook.ledger.unfinished import Task
from herdbook.ledger.unit_of_work import Table, UnitOfWork
from herdbook.phone_numbers import number_keys
from herdbook.views.model import ViewContent
from herdbook.workspaces.store import region_of

KEY: Final = "erasure_key"
# Certificates count the files of recordings under this name, among the tables.
RECORDING: Final = "recording"
# Certificates count the rows of others that lose something under the names of tables with this before them.
OTHER: Final = "other_"
# The types whose objects have values of fields.
WITH_VALUES: Final = (CONTACT, COMPANY)


class Setting(msgspec.Struct, frozen=True):
    """A setting of the database."""

    workspace_id: UUID
    name: str
    value: str


SETTINGS: Final = Table(
    row=Setting,
    key=lambda setting: setting.name,
    load="""
        select asked.workspace_id, s.name, s.value
        from json_to_recordset($rows) as asked(workspace_id uuid, key text) join setting s on s.name = asked.key
    """,
    save=None,
)


class ErasureTask(msgspec.Struct, frozen=True):
    """An erasure under way, under the id of its object; `version` is an entry of the request that asked for it."""

    workspace_id: UUID
    id: UUID
    version: int
    state: ErasureState


_SAVE_TASKS: Final = insertion(
    "erasure_task_saved",
    "erasure_task",
    {"id": "uuid", "version": "bigint", "state": "json"},
    "on conflict (workspace_id, id) do update set version = excluded.version, state = excluded.state",
)
ERASURE_TASKS: Final = Table(
    row=ErasureTask,
    key=lambda task: task.id,
    load="""
        select t.workspace_id, t.id, t.version, t.state
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join erasure_task t on t.workspace_id = asked.workspace_id and t.id = asked.key
    """,
    save=_SAVE_TASKS,
    removals=removals_of("erasure_task"),
)


class UnderWay(msgspec.Struct, frozen=True):
    """Whether a person of a workspace is being erased."""

    workspace_id: UUID
    is_any: bool


# The rest of the entries of an object that was deleted long ago is no person.
UNDER_WAY: Final = Table(
    row=UnderWay,
    key=lambda _: "erasures",
    load="""
        select asked.workspace_id, exists (
            select from erasure_task t where t.workspace_id = asked.workspace_id
                and (t.state -> 'subject' ->> 'contact_ids' <> '[]' or t.state -> 'subject' ->> 'addresses' <> '[]')
        ) as is_any
        from json_to_recordset($rows) as asked(workspace_id uuid)
    """,
    save=None,
)


def is_under_way(work: UnitOfWork) -> bool:
    """Whether a person is being erased: no import goes on, because a row of it may make the person anew."""
    stored = work.get(UNDER_WAY, "erasures")
    begun = (task.state.subject for task in work.changed_in(ERASURE_TASKS))
    return (stored is not None and stored.is_any) or any(each.contact_ids or each.addresses for each in begun)


# The origin of a slice is found by the entry of the erasure, as those of other tasks by the version of their objects.
ERASE: Final = Task("erase", "erasure_task")


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """An erasure as it is kept: the hash of an id or address, when, and on whose request."""

    workspace_id: UUID
    hash: str
    at: datetime
    request_id: UUID
    credential_id: UUID
    with_engagements: bool
    found: Found | FoundLater | None = None


_SAVE_ERASURES: Final = insertion(
    "erasure_saved",
    "erasure",
    {
        "hash": "text",
        "at": "timestamptz",
        "request_id": "uuid",
        "credential_id": "uuid",
        "with_engagements": "boolean",
        "found": "json",
    },
    """
            on conflict (workspace_id, hash) do update
            set at = excluded.at, request_id = excluded.request_id, credential_id = excluded.credential_id,
                with_engagements = excluded.with_engagements,
                -- A distributed database takes nothing but immutable functions here.
                found = case
                    when excluded.found is null or excluded.found -> 'kept' is not null
                        then coalesce(excluded.found, stored.found)
                    else jsonb_set(
                        jsonb_set(
                            stored.found::jsonb,
                            '{rows}',
                            (stored.found::jsonb -> 'rows') || (excluded.found::jsonb -> 'rows')
                        ),
                        '{imports}',
                        coalesce(stored.found::jsonb -> 'imports', '[]') || jsonb_path_query_array(
                            excluded.found::jsonb -> 'imports',
                            '$[*] ? (!(@.id == $known[*].id))',
                            jsonb_set('{"known": []}', '{known}', coalesce(stored.found::jsonb -> 'imports', '[]'))
                        )
                    )::json
                end
    """,
)
ERASURES: Final = Table(
    row=Erasure,
    key=lambda erasure: erasure.hash,
    load=None,
    save=_SAVE_ERASURES,
)


class MergedContacts(msgspec.Struct, frozen=True):
    """The contacts that were merged into one."""

    workspace_id: UUID
    contact_id: UUID
    merged: tuple[UUID, ...]


MERGED_CONTACTS: Final = Table(
    row=MergedContacts,
    key=lambda merged: merged.contact_id,
    load="""
        select asked.workspace_id, asked.key as contact_id, array(
            select c.id from contact c where c.workspace_id = asked.workspace_id and c.merged_into = asked.key
        ) as merged
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    """,
    save=None,
)


class ChainEntry(msgspec.Struct, frozen=True):
    """An entry of an object. `object` and `previous` are null in a range that is not read.

    `replaced_by` is the object into which the entry merges this one.
    """

    seq: int
    object: msgspec.Raw
    previous: msgspec.Raw
    replaced_by: UUID | None = None


class ChainRange(msgspec.Struct, frozen=True):
    """The entries of an object from one backwards. `is_cut` if the range is full: the chain may go on from its last entry.

    A range is full with `most` entries, or with 4 KB for each of these: as text if it reads them, otherwise as stored.
    """

    workspace_id: UUID
    kind: str
    object_id: UUID
    seq: int
    most: int
    is_read: bool
    entries: tuple[ChainEntry, ...]
    is_cut: bool


# A range has two entries at least, because the next one begins with its last.
CHAIN_RANGES: Final = Table(
    row=ChainRange,
    key=lambda found: (found.kind, found.object_id, found.seq, found.most, found.is_read),
    load="""
        select asked.workspace_id, k.kind, k.object_id, k.seq, k.most, k.is_read, found.entries, found.is_cut
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        cross join lateral (
            select asked.key ->> 0 as kind, (asked.key ->> 1)::uuid as object_id, (asked.key ->> 2)::bigint as seq,
                (asked.key ->> 3)::int as most, (asked.key ->> 4)::boolean as is_read
        ) as k
        cross join lateral (
            with recursive chain as (
                select c.*, 1 as place, $bytes as bytes from change c
                where c.workspace_id = asked.workspace_id and c.seq = k.seq and c.object_id = k.object_id
                    and c.kind::text = k.kind
                union all
                select c.*, chain.place + 1, chain.bytes + $bytes from chain $previous_entry
                cross join lateral (select e.*) as c
                where chain.place < k.most and (chain.place < 2 or chain.bytes < 4096 * k.most)
            )
            select coalesce(json_agg(json_build_object(
                    'seq', chain.seq, 'object', case when k.is_read then chain.object end,
                    'previous', case when k.is_read then chain.previous end,
                    'replaced_by', case when chain.action = 'd' then chain.merged_into end
                ) order by chain.seq desc), '[]') as entries,
                coalesce(max(chain.place) >= k.most or (max(chain.place) >= 2 and max(chain.bytes) >= 4096 * k.most), false)
                    as is_cut
            from chain
        ) as found
    """.replace(
        "$bytes",
        """
        case when k.is_read then octet_length(c.object::text) + coalesce(octet_length(c.previous::text), 0)
        else pg_column_size(c.object) + coalesce(pg_column_size(c.previous), 0) end
        """,
    ).replace("$previous_entry", PREVIOUS_ENTRY.replace("= $1", "= asked.workspace_id")),
    save=None,
)


class EmptiedEntry(msgspec.Struct, frozen=True):
    """An entry from which personal data are removed. The answers of webhooks to its event go, too."""

    workspace_id: UUID
    seq: int
    object: Any
    previous: Any = None


# The keys of deliveries are found through the readers, because no index has them by entry.
EMPTIED_ENTRIES: Final = Table(
    row=EmptiedEntry,
    key=lambda emptied: emptied.seq,
    load=None,
    save="""
        emptied as (
            select r.workspace_id, r.seq, r.object, r.previous
            from json_to_recordset($rows) as r(workspace_id uuid, seq bigint, object json, previous json)
            join held on held.id = r.workspace_id
        ), change_emptied as (
            update change c set object = r.object, previous = r.previous
            from emptied r where c.workspace_id = r.workspace_id and c.seq = r.seq
        ), delivery_emptied as (
            update webhook_delivery d set attempts = '[]'
            from emptied r join webhook_reader w on w.workspace_id = r.workspace_id
            where d.workspace_id = r.workspace_id and d.endpoint_id = w.endpoint_id and d.seq = r.seq
        )
    """,
)


class CommentsOf(msgspec.Struct, frozen=True):
    """The first comments on an engagement, deleted or not."""

    workspace_id: UUID
    engagement_id: UUID
    comments: tuple[tuple[UUID, int], ...]


COMMENTS_OF: Final = Table(
    row=CommentsOf,
    key=lambda found: found.engagement_id,
    load="""
        select asked.workspace_id, asked.key as engagement_id, (
            select coalesce(json_agg(json_build_array(n.id, n.version)), '[]') from (
                select n.id, n.version from transcript_comment n
                where n.workspace_id = asked.workspace_id and n.engagement_id = asked.key and n.deleted_at is null
                union all
                select n.id, n.version from transcript_comment n
                where n.workspace_id = asked.workspace_id and n.engagement_id = asked.key and n.deleted_at is not null
                limit 50
            ) as n
        ) as comments
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    """,
    save=None,
)
MAX_COMMENTS: Final = 50


class NotesOf(msgspec.Struct, frozen=True):
    """The first notes on a contact, deleted or not."""

    workspace_id: UUID
    contact_id: UUID
    notes: tuple[UUID, ...]


MAX_NOTES: Final = 20
NOTES_OF: Final = Table(
    row=NotesOf,
    key=lambda found: found.contact_id,
    load="""
        select asked.workspace_id, asked.key as contact_id, array(
            select n.id from note n where n.workspace_id = asked.workspace_id and n.contact_id = asked.key limit 20
        ) as notes
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    """,
    save=None,
)


# The person, as the loads of the ledger and the statements of a count have it.
_OF_LOAD: Final = ("k.terms", "k.tails")
_OF_COUNT: Final = ("$3::text[]", "$4::text[]")


def _says(said: LiteralString, written: LiteralString, of: tuple[LiteralString, LiteralString]) -> LiteralString:
    """Return the condition that a text names a person: by a term in its searched form, or by a number as it was written."""
    return (
        """(
    exists (select from unnest($terms) as term(text) where strpos($said, term.text) > 0)
    or exists (select from unnest($tails) as tail(pattern) where $written ~ tail.pattern)
)""".replace("$said", said)
        .replace("$written", written)
        .replace("$terms", of[0])
        .replace("$tails", of[1])
    )


_TERMS_AND_TAILS: Final[LiteralString] = """
    array(select json_array_elements_text(asked.key -> 1)) as terms,
    array(select json_array_elements_text(asked.key -> 2)) as tails
"""


class Mentions(msgspec.Struct, frozen=True):
    """The engagements after one that may mention a person, deleted ones, too; `last` is the last one that was read."""

    workspace_id: UUID
    after: UUID
    terms: tuple[str, ...]
    tails: tuple[str, ...]
    last: UUID | None
    has_more: bool
    found: tuple[UUID, ...]


# A statement looks through so few rows and stored bytes that others hardly wait for it. Because of the offset, the text that is
# searched is computed once for each row.
_NEXT_ENGAGEMENTS: Final[LiteralString] = """
    select e.id, e.details, e.link, concat_ws(' ', e.details ->> 'participants', e.details ->> 'external_id', e.link) as naming,
        $said as said
    from (
        select e.id, e.details, e.object ->> 'external_url' as link,
            sum(pg_column_size(e.details)) over (order by e.id) - pg_column_size(e.details) as bytes_before
        from (
            select e.id, e.details, e.object from engagement e where e.workspace_id = $workspace and e.id > $after
            order by e.id limit 500
        ) as e
    ) as e
    where e.bytes_before < 131072 offset 0
""".replace(
    "$said",
    searched(
        "concat_ws(' ', e.details ->> 'participants', e.details ->> 'external_id', e.details ->> 'contact_ids', "
        "replace(e.link, '%40', '@'))"
    ),
)
_MENTIONS: Final[LiteralString] = """
    select asked.workspace_id, k.after, k.terms, k.tails, read.last, read.found,
        exists (select from engagement e where e.workspace_id = asked.workspace_id and e.id > read.last) as has_more
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    cross join lateral (select (asked.key ->> 0)::uuid as after, $terms_and_tails) as k
    cross join lateral (
        select max(e.id::text)::uuid as last, coalesce(array_agg(e.id) filter (where $mentioned), '{}') as found
        from ($next) as e
    ) as read
"""
MENTIONS: Final = Table(
    row=Mentions,
    key=lambda found: (found.after, found.terms, found.tails),
    load=_MENTIONS.replace("$terms_and_tails", _TERMS_AND_TAILS)
    .replace("$mentioned", _says("e.said", "e.naming", _OF_LOAD))
    .replace("$next", _NEXT_ENGAGEMENTS.replace("$workspace", "asked.workspace_id").replace("$after", "k.after")),
    save=None,
)


class Speaking(msgspec.Struct, frozen=True):
    """A transcript with speakers: its bytes as they are stored, and whether its engagement is linked to the person."""

    id: UUID
    bytes: int
    speakers: tuple[TimelineSpeaker, ...]
    is_linked: bool


class Speakers(msgspec.Struct, frozen=True):
    """The transcripts after one whose speakers may be a person, deleted ones, too; `last` is the last one that was read.

    In an engagement that is linked to the contacts, a name is enough, so that all its speakers may be.
    """

    workspace_id: UUID
    after: UUID
    terms: tuple[str, ...]
    tails: tuple[str, ...]
    contact_ids: tuple[UUID, ...]
    last: UUID | None
    has_more: bool
    found: tuple[Speaking, ...]


# A statement takes apart so few stored bytes that others hardly wait for it.
_NEXT_SPEAKERS: Final[LiteralString] = """
    select t.id, t.bytes, t.speakers, $said as said
    from (
        select t.id, t.bytes, t.object ->> 'speakers' as speakers
        from (
            select t.id, t.object, t.bytes, sum(t.bytes) over (order by t.id) - t.bytes as bytes_before
            from (
                select t.id, t.object, coalesce(pg_column_size(t.object), 0) as bytes from transcript t
                where t.workspace_id = $workspace and t.id > $after order by t.id limit 500
            ) as t
        ) as t
        where t.bytes_before < 32768 offset 0
    ) as t offset 0
""".replace("$said", searched("coalesce(t.speakers, '')"))
_LINKED_TO: Final[LiteralString] = """exists (
    select from engagement e where e.workspace_id = asked.workspace_id and e.id = $id and e.contact_ids && k.contact_ids
)"""
_TERMS_AND_CONTACTS: Final[LiteralString] = (
    _TERMS_AND_TAILS + ", array(select json_array_elements_text(asked.key -> 3)::uuid) as contact_ids"
)
SPEAKERS: Final = Table(
    row=Speakers,
    key=lambda found: (found.after, found.terms, found.tails, found.contact_ids),
    load="""
        select asked.workspace_id, k.after, k.terms, k.tails, k.contact_ids, read.last, read.found, exists (
            select from transcript t where t.workspace_id = asked.workspace_id and t.id > read.last
        ) as has_more
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        cross join lateral (select (asked.key ->> 0)::uuid as after, $terms_and_contacts) as k
        cross join lateral (
            select max(r.id::text)::uuid as last, coalesce(json_agg(json_build_object(
                'id', r.id, 'bytes', r.bytes, 'speakers', r.speakers::json, 'is_linked', r.is_linked
            ) order by r.id) filter (where r.speakers is not null and (r.is_linked or $named)), '[]') as found
            from (select t.*, $is_linked as is_linked from ($next) as t) as r
        ) as read
    """.replace("$terms_and_contacts", _TERMS_AND_CONTACTS)
    .replace("$is_linked", _LINKED_TO.replace("$id", "t.id"))
    .replace("$named", _says("r.said", "r.said", _OF_LOAD))
    .replace("$next", _NEXT_SPEAKERS.replace("$workspace", "asked.workspace_id").replace("$after", "k.after")),
    save=None,
)


# The entries of one statement, of all kinds.
_RANGE: Final[LiteralString] = """cross join lateral (
    select max(c.seq) as last from (
        select c.seq from change c where c.workspace_id = asked.workspace_id and c.seq > k.after order by c.seq limit 2000
    ) as c
) as range"""


class SpokenEntry(msgspec.Struct, frozen=True):
    """An entry of a transcript, and whether its engagement is linked to the person."""

    seq: int
    object: msgspec.Raw
    previous: msgspec.Raw
    is_linked: bool


class SpokenEntries(msgspec.Struct, frozen=True):
    """The entries of transcripts after one whose speakers, or whose engagement's link, may name a person."""

    workspace_id: UUID
    after: int
    terms: tuple[str, ...]
    tails: tuple[str, ...]
    contact_ids: tuple[UUID, ...]
    last: int | None
    has_more: bool
    found: tuple[SpokenEntry, ...]


SPOKEN_ENTRIES: Final = Table(
    row=SpokenEntries,
    key=lambda found: (found.after, found.terms, found.tails, found.contact_ids),
    load="""
        select asked.workspace_id, k.after, k.terms, k.tails, k.contact_ids, place.last, read.found,
            exists (select from change c where c.workspace_id = asked.workspace_id and c.seq > place.last) as has_more
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        cross join lateral (select (asked.key ->> 0)::bigint as after, $terms_and_contacts) as k
        $range
        cross join lateral (
            select count(*) as many, coalesce(bool_or(c.bytes_to >= 16384), false) as is_full, max(c.seq) as last,
                coalesce(json_agg(json_build_object(
                    'seq', c.seq, 'object', c.object, 'previous', c.previous, 'is_linked', c.is_linked
                ) order by c.seq) filter (where c.is_linked or $named), '[]') as found
            from (
                select c.*, $is_linked as is_linked, $said as said
                from (
                    select c.*, concat_ws(
                        ' ', c.object -> 'timeline' ->> 'speakers', c.previous -> 'timeline' ->> 'speakers',
                        replace(c.object -> 'engagement' ->> 'external_url', '%40', '@')
                    ) as naming
                    from (
                        select c.seq, c.object_id, c.object, c.previous, sum(c.bytes) over (order by c.seq) as bytes_to,
                            sum(c.bytes) over (order by c.seq) - c.bytes as bytes_before
                        from (
                            select c.*, pg_column_size(c.object) + coalesce(pg_column_size(c.previous), 0) as bytes
                            from change c
                            where c.workspace_id = asked.workspace_id and c.seq > k.after and c.seq <= range.last
                                and c.kind = 'r' order by c.seq limit 100
                        ) as c
                    ) as c
                    where c.bytes_before < 16384 offset 0
                ) as c offset 0
            ) as c
        ) as read
        cross join lateral (
            select case when read.many = 100 or read.is_full then read.last else range.last end as last
        ) as place
    """.replace("$terms_and_contacts", _TERMS_AND_CONTACTS)
    .replace("$range", _RANGE)
    .replace("$is_linked", _LINKED_TO.replace("$id", "c.object_id"))
    .replace("$named", _says("c.said", "c.said", _OF_LOAD))
    .replace("$said", searched("c.naming")),
    save=None,
)


class NamingValues(msgspec.Struct, frozen=True):
    """The objects of a type after one whose values may name a person, deleted ones, too; `last` is the last that was read."""

    workspace_id: UUID
    after: UUID
    terms: tuple[str, ...]
    tails: tuple[str, ...]
    last: UUID | None
    has_more: bool
    found: tuple[UUID, ...]


_NEXT_VALUES: Final[LiteralString] = """
    select c.id, c.fields, $said as said
    from (
        select c.id, c.own ->> 'fields' as fields,
            sum(coalesce(pg_column_size(c.own), 0)) over (order by c.id) - coalesce(pg_column_size(c.own), 0) as bytes_before
        from (
            select c.id, c.own from $table c where c.workspace_id = $workspace and c.id > $after order by c.id limit 2000
        ) as c
    ) as c
    where c.bytes_before < 131072 offset 0
""".replace("$said", searched("coalesce(c.fields, '')"))
_NAMED: Final[LiteralString] = "(c.fields is not null and $said)"
_NAMING_VALUES: Final[LiteralString] = """
    select asked.workspace_id, k.after, k.terms, k.tails, read.last, read.found,
        exists (select from $table c where c.workspace_id = asked.workspace_id and c.id > read.last) as has_more
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    cross join lateral (select (asked.key ->> 0)::uuid as after, $terms_and_tails) as k
    cross join lateral (
        select max(c.id::text)::uuid as last, coalesce(array_agg(c.id) filter (where $named), '{}') as found
        from ($next) as c
    ) as read
"""


def _naming_values(table: LiteralString) -> Table[NamingValues]:
    next_values = _NEXT_VALUES.replace("$workspace", "asked.workspace_id").replace("$after", "k.after")
    return Table(
        row=NamingValues,
        key=lambda found: (found.after, found.terms, found.tails),
        load=_NAMING_VALUES.replace("$terms_and_tails", _TERMS_AND_TAILS)
        .replace("$named", _NAMED.replace("$said", _says("c.said", "c.fields", _OF_LOAD)))
        .replace("$next", next_values)
        .replace("$table", table),
        save=None,
    )


NAMING: Final = {each.name: _naming_values(each.table.name) for each in WITH_VALUES}


class Defaulted(msgspec.Struct, frozen=True):
    """The fields of contacts and companies that have a text as default, deleted ones, too. A workspace has few."""

    workspace_id: UUID
    field_ids: tuple[UUID, ...]


_DEFAULTED: Final[LiteralString] = "f.object ->> 'default' is not null"
DEFAULTED: Final = Table(
    row=Defaulted,
    key=lambda _: "default",
    load="""
        select asked.workspace_id, array(
            select f.id from field f where f.workspace_id = asked.workspace_id and $defaulted order by f.id
        ) as field_ids
        from json_to_recordset($rows) as asked(workspace_id uuid)
    """.replace("$defaulted", _DEFAULTED),
    save=None,
)


class NamingEntry(msgspec.Struct, frozen=True):
    """An entry of a contact, a company or a field with values, or a default, that may name a person."""

    seq: int
    kind: str
    object_id: UUID
    object: msgspec.Raw
    previous: msgspec.Raw


class NamingEntries(msgspec.Struct, frozen=True):
    """The entries after one that may name a person in values of fields; `last` is the last one that was read."""

    workspace_id: UUID
    after: int
    terms: tuple[str, ...]
    tails: tuple[str, ...]
    last: int | None
    has_more: bool
    found: tuple[NamingEntry, ...]


NAMING_ENTRIES: Final = Table(
    row=NamingEntries,
    key=lambda found: (found.after, found.terms, found.tails),
    load="""
        select asked.workspace_id, k.after, k.terms, k.tails, place.last, read.found,
            exists (select from change c where c.workspace_id = asked.workspace_id and c.seq > place.last) as has_more
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        cross join lateral (select (asked.key ->> 0)::bigint as after, $terms_and_tails) as k
        $range
        cross join lateral (
            select count(*) as many, max(c.seq) as last, coalesce(json_agg(json_build_object(
                'seq', c.seq, 'kind', c.kind::text, 'object_id', c.object_id, 'object', c.object, 'previous', c.previous
            ) order by c.seq), '[]') as found
            from (
                select c.* from (
                    select c.*, $said as said
                    from (
                        select c.seq, c.kind, c.object_id, c.object, c.previous,
                            concat_ws(
                                ' ', c.object ->> 'fields', c.previous ->> 'fields',
                                c.object ->> 'default', c.previous ->> 'default'
                            ) as fields
                        from change c
                        where c.workspace_id = asked.workspace_id and c.seq > k.after and c.seq <= range.last
                            and (c.kind = 'f' or c.kind in ('c', 'o') and (
                                strpos(c.object::text, '"fields":') > 0 or strpos(c.previous::text, '"fields":') > 0
                            ))
                    ) as c offset 0
                ) as c
                where $named order by c.seq limit 50
            ) as c
        ) as read
        cross join lateral (select case when read.many = 50 then read.last else range.last end as last) as place
    """.replace("$terms_and_tails", _TERMS_AND_TAILS)
    .replace("$range", _RANGE)
    .replace("$said", searched("c.fields"))
    .replace("$named", _NAMED.replace("$said", _says("c.said", "c.fields", _OF_LOAD))),
    save=None,
)


class AnswerKey(msgspec.Struct, frozen=True):
    """The key of an idempotency record, and whether the key itself mentions the person.

    `maybe` is an answer that has the last digits of a number, or whose key has, unless something else tells that it must go.
    """

    credential_id: UUID
    key: str
    is_in_key: bool
    maybe: Any = None


class MentioningAnswers(msgspec.Struct, frozen=True):
    """The idempotency records after one that mention a person, or show what was erased; `last` is the last that was read.

    The answer to an erasure, which has the id alone, is left out.
    """

    workspace_id: UUID
    after: tuple[UUID, str]
    terms: tuple[str, ...]
    tails: tuple[str, ...]
    last: tuple[UUID, str] | None
    has_more: bool
    found: tuple[AnswerKey, ...]


_NEXT_ANSWERS: Final[LiteralString] = """
    select r.credential_id, r.key, r.version, r.answer, $key as said_by_key, $answer as said,
        r.answer::text like '{"erased":true,%' as is_of_erasure
    from (
        select r.credential_id, r.key, r.version, r.answer,
            sum(pg_column_size(r.answer)) over (order by r.credential_id, r.key) - pg_column_size(r.answer) as bytes_before
        from (
            select r.credential_id, r.key, r.version, r.answer from idempotency_record r
            where r.workspace_id = $workspace and (r.credential_id, r.key) > $after
            order by r.credential_id, r.key limit 200
        ) as r
    ) as r
    where r.bytes_before < 65536 offset 0
""".replace("$key", searched("r.key")).replace("$answer", searched("r.answer::text"))
# An answer shows the object of the entry with its version, which an erasure has emptied by now. Emptied entries are small. An
# entry that is kept no longer does not tell, so the answers about such calls, meetings, comments and notes go, too.
# One that shows more of the speakers, or the link that the entry had, is of a time when these named the person.
_SHOWS_ERASED: Final[LiteralString] = """coalesce(
    (
        select case
            when pg_column_size(c.object) < 200
                then c.object::text like '{"erased":true,%' and strpos(n.answer::text, c.object ->> 'id') > 0
            when c.kind = 'e' then (n.answer ->> 'external_url') <> coalesce(c.object ->> 'external_url', '')
            when c.kind = 'r' and n.answer -> 'speakers' is not null
                then (n.answer ->> 'speakers') <> (c.object -> 'timeline' ->> 'speakers')
        end is true
        from change c where c.workspace_id = $workspace and c.seq = n.version limit 1
    ),
    n.version > 0 and n.answer::text ~ '"(id|engagement_id)":"(ngmt|tano|note)_'
)"""
_MENTIONING_ANSWERS: Final[LiteralString] = """
    select asked.workspace_id, json_build_array(k.credential_id, k.key) as after, k.terms, k.tails, found.last, found.found,
        exists (
            select from idempotency_record r
            where r.workspace_id = asked.workspace_id
                and (r.credential_id, r.key) > ((found.last ->> 0)::uuid, found.last ->> 1)
        ) as has_more
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    cross join lateral (
        select (asked.key ->> 0)::uuid as credential_id, asked.key ->> 1 as key,
            array(select json_array_elements_text(asked.key -> 2)) as terms,
            array(select json_array_elements_text(asked.key -> 3)) as tails
    ) as k
    cross join lateral (
        with read as materialized (
            select n.credential_id, n.key, n.answer,
                exists (select from unnest(k.terms) as t(text) where strpos(n.said_by_key, t.text) > 0) as is_in_key,
                not n.is_of_erasure and (
                    exists (select from unnest(k.terms) as t(text) where strpos(n.said, t.text) > 0) or $shows_erased
                ) as is_in_answer,
                exists (
                    select from unnest(k.tails) as t(pattern) where n.key ~ t.pattern or n.answer::text ~ t.pattern
                ) as may_be
            from ($next) as n
        )
        select (
            select json_build_array(read.credential_id, read.key) from read
            order by read.credential_id desc, read.key desc limit 1
        ) as last, (
            select coalesce(json_agg(n), '[]') from (
                select read.credential_id, read.key, read.is_in_key,
                    case when not read.is_in_key and not read.is_in_answer then read.answer end as maybe
                from read where read.is_in_key or read.is_in_answer or read.may_be
            ) as n
        ) as found
    ) as found
"""
MENTIONING_ANSWERS: Final = Table(
    row=MentioningAnswers,
    key=lambda found: (*found.after, found.terms, found.tails),
    load=_MENTIONING_ANSWERS.replace("$next", _NEXT_ANSWERS)
    .replace("$after", "(k.credential_id, k.key)")
    .replace("$shows_erased", _SHOWS_ERASED)
    .replace("$workspace", "asked.workspace_id"),
    save=None,
)


class EmptiedAnswer(msgspec.Struct, frozen=True):
    """An idempotency record whose answer is emptied, so that a repeated request still does nothing.

    A record whose key mentions the person goes as a whole.
    """

    workspace_id: UUID
    credential_id: UUID
    key: str
    is_in_key: bool
    answer: msgspec.Raw = ERASED_ANSWER


EMPTIED_ANSWERS: Final = Table(
    row=EmptiedAnswer,
    key=lambda emptied: (emptied.credential_id, emptied.key),
    load=None,
    save="""
        emptied_answer as (
            select r.workspace_id, r.credential_id, r.key, r.is_in_key, r.answer
            from json_to_recordset($rows) as r(
                workspace_id uuid, credential_id uuid, key text, is_in_key boolean, answer json
            )
            join held on held.id = r.workspace_id
        ), answer_removed as (
            delete from idempotency_record i using emptied_answer r
            where i.workspace_id = r.workspace_id and i.credential_id = r.credential_id and i.key = r.key and r.is_in_key
        ), answer_emptied as (
            update idempotency_record i set answer = r.answer from emptied_answer r
            where i.workspace_id = r.workspace_id and i.credential_id = r.credential_id and i.key = r.key and not r.is_in_key
        )
    """,
)


class MentioningView(msgspec.Struct, frozen=True):
    """A saved view that may mention a person."""

    id: UUID
    object_type: str
    name: str
    content: ViewContent


class MentioningViews(msgspec.Struct, frozen=True):
    """The saved views that may mention a person, by name or in a condition or a search."""

    workspace_id: UUID
    terms: tuple[str, ...]
    tails: tuple[str, ...]
    foreign_ids: tuple[str, ...]
    views: tuple[MentioningView, ...]


# An id within JSON may be escaped.
_MENTIONING_VIEWS: Final[LiteralString] = """
    select t.id, t.object_type, t.name, t.content from saved_view t
    where t.workspace_id = $workspace and (
        exists (select from unnest($terms) as term(text) where strpos($said, term.text) > 0)
        or exists (select from unnest($tails) as tail(pattern) where $text ~ tail.pattern)
        or exists (
            select from unnest($foreign_ids) as foreign_id(text)
            where strpos($said, lower(foreign_id.text)) > 0 or strpos($text, to_json(foreign_id.text)::text) > 0
        )
    )
""".replace("$said", searched(VIEW_TEXT)).replace("$text", VIEW_TEXT)
MENTIONING_VIEWS: Final = Table(
    row=MentioningViews,
    key=lambda found: (found.terms, found.tails, found.foreign_ids),
    load="""
        select asked.workspace_id, k.terms, k.tails, k.foreign_ids, (
            select coalesce(json_agg(v), '[]') from ($views) as v
        ) as views
        from json_to_recordset($rows) as asked(workspace_id uuid, key json)
        cross join lateral (
            select array(select json_array_elements_text(asked.key -> 0)) as terms,
                array(select json_array_elements_text(asked.key -> 1)) as tails,
                array(select json_array_elements_text(asked.key -> 2)) as foreign_ids
        ) as k
    """.replace("$views", _MENTIONING_VIEWS)
    .replace("$workspace", "asked.workspace_id")
    .replace("$terms", "k.terms")
    .replace("$tails", "k.tails")
    .replace("$foreign_ids", "k.foreign_ids"),
    save=None,
)


def view_key(subject: Subject) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the key of the views that may mention a person."""
    return tuple(subject.terms), tuple(subject.tails), tuple(sorted(subject.foreign_ids))


class RemovedView(msgspec.Struct, frozen=True):
    """A saved view that mentions a person, and goes as a whole: without one of its conditions it would list others."""

    workspace_id: UUID
    id: UUID


REMOVED_VIEWS: Final = Table(
    row=RemovedView,
    key=lambda removed: removed.id,
    load=None,
    save="""
        view_removed as (
            delete from saved_view t
            using json_to_recordset($rows) as r(workspace_id uuid, id uuid) join held on held.id = r.workspace_id
            where t.workspace_id = r.workspace_id and t.id = r.id
        )
    """,
)


class Imports(msgspec.Struct, frozen=True):
    """The imports of a workspace with their states, and how many outcomes of removed ones are left, up to a limit."""

    workspace_id: UUID
    imports: tuple[tuple[UUID, str], ...]
    outcomes: int


# Limits how many rows a slice removes with the outcomes of imports. Each has those of a hundred rows of a file.
MAX_OUTCOMES: Final = 500
_LEFT_OUTCOMES: Final[LiteralString] = """
    select s.workspace_id, s.job_id, s.is_check, s.last_row from import_slice s
    where s.workspace_id = $workspace
        and not exists (select from import_job j where j.workspace_id = $workspace and j.id = s.job_id)
    limit 500
"""
IMPORTS: Final = Table(
    row=Imports,
    key=lambda _: "imports",
    load="""
        select asked.workspace_id, (
            select coalesce(json_agg(json_build_array(j.id, j.state) order by j.id), '[]') from import_job j
            where j.workspace_id = asked.workspace_id
        ) as imports, (select count(*) from ($left) as s) as outcomes
        from json_to_recordset($rows) as asked(workspace_id uuid)
    """.replace("$left", _LEFT_OUTCOMES.replace("$workspace", "asked.workspace_id")),
    save=None,
)


class RemovedImports(msgspec.Struct, frozen=True):
    """Imports that go, because any row of a file may be about the person, with some outcomes of those that went before.

    Mappings that mention the person go, too.
    """

    workspace_id: UUID
    terms: tuple[str, ...]
    import_ids: tuple[UUID, ...]


REMOVED_IMPORTS: Final = Table(
    row=RemovedImports,
    key=lambda removed: removed.terms,
    load=None,
    save="""
        imports_gone as (
            select r.workspace_id, r.terms, r.import_ids
            from json_to_recordset($rows) as r(workspace_id uuid, terms json, import_ids json)
            join held on held.id = r.workspace_id
        ), import_slice_removed as (
            delete from import_slice t
            using (select distinct workspace_id from imports_gone) as r cross join lateral ($left) as l
            where t.workspace_id = r.workspace_id
                and (t.job_id, t.is_check, t.last_row) = (l.job_id, l.is_check, l.last_row)
        ), import_job_removed as (
            delete from import_job t using imports_gone r, json_array_elements_text(r.import_ids) as gone(id)
            where t.workspace_id = r.workspace_id and t.id = gone.id::uuid
        ), import_mapping_removed as (
            delete from import_mapping t using imports_gone r
            where t.workspace_id = r.workspace_id and exists (
                select from json_array_elements_text(r.terms) as term(text) where strpos($said, term.text) > 0
            )
        )
    """.replace("$said", searched(MAPPING_TEXT)).replace("$left", _LEFT_OUTCOMES.replace("$workspace", "r.workspace_id")),
)


async def needing_uploads(
    statements: Executor, workspace_ids: Sequence[UUID], import_ids: Sequence[UUID]
) -> set[tuple[UUID, UUID]]:
    """Return those of the imports that are there, and so need their files."""
    records = await statements.fetch(
        """
        select j.workspace_id, j.id from unnest($1::uuid[], $2::uuid[]) as asked(workspace_id, id)
        join import_job j on j.workspace_id = asked.workspace_id and j.id = asked.id
        """,
        workspace_ids,
        import_ids,
    )
    return {(record["workspace_id"], record["id"]) for record in records}


async def subject_of(statements: Executor, workspace_id: UUID, contact_ids: Sequence[UUID]) -> Subject:
    """Return the person that these contacts are, with the contacts merged into them and all that their history kept."""
    records = await statements.fetch(
        """
        with recursive found as (
            select c.id, c.version from contact c where c.workspace_id = $1 and c.id = any($2)
            union
            select c.id, c.version
            from found join contact c on c.workspace_id = $1 and c.merged_into = found.id
        ), chain as (
            select c.* from found join change c on c.workspace_id = $1 and c.seq = found.version and c.object_id = found.id
            union all
            select e.* from chain
        """
        + PREVIOUS_ENTRY
        + """
        )
        select id, case when own is null then object else (object::jsonb || own::jsonb)::json end
        from contact where workspace_id = $1 and id in (select id from found)
        union all
        select object_id, object from chain
        """,
        workspace_id,
        list(contact_ids),
    )
    found = frozenset(record[0] for record in records)
    subject = Subject(contact_ids=found, region=await region_of(statements, workspace_id))
    for _, object_ in records:
        if not is_erased(object_):
            subject = subject.having(msgspec.json.decode(object_, type=ContactRecord))
    held = await _held_by_others(statements, workspace_id, subject)
    return await with_engagements_of(statements, workspace_id, msgspec.structs.replace(subject, held=held))


async def subject_with_address(statements: Executor, workspace_id: UUID, address: str) -> Subject:
    """Return the person without a contact who has an address."""
    subject = Subject(addresses=frozenset({address}), region=await region_of(statements, workspace_id))
    held = await _held_by_others(statements, workspace_id, subject)
    return await with_engagements_of(statements, workspace_id, msgspec.structs.replace(subject, held=held))


async def _held_by_others(statements: Executor, workspace_id: UUID, subject: Subject) -> frozenset[str]:
    """Return those addresses of a person that another active contact has, and the keys of such numbers."""
    keys = {number: number_keys(number, subject.region) for number in subject.phone_numbers}
    records = await statements.fetch(
        """
        select address from contact_email
        where workspace_id = $1 and address = any($2) and contact_id <> all($4)
        union
        select word from contact_word
        where workspace_id = $1 and word = any($3) and contact_id <> all($4)
        """,
        workspace_id,
        list(subject.addresses),
        [key for some in keys.values() for key in some],
        list(subject.contact_ids),
    )
    found = frozenset(record[0] for record in records)
    return found.union(*(some for some in keys.values() if not found.isdisjoint(some)))


# The last row has the place from which to read on, or null if nothing follows.
_END: Final[LiteralString] = """
    union all select (
        select max(read.id::text)::uuid from read
        having exists (select from $table t where t.workspace_id = $1 and t.id > max(read.id::text)::uuid)
    ), $others
"""
# Limits how many participants are compared before others have their turn.
_TURN_PARTICIPANTS: Final = 500
_NEXT_MENTIONS: Final[LiteralString] = (
    "with read as materialized ("
    + _NEXT_ENGAGEMENTS.replace("$workspace", "$1").replace("$after", "$2")
    + ") select e.id, e.details, e.link from read e where "
    + _says("e.said", "e.naming", _OF_COUNT)
    + _END.replace("$table", "engagement").replace("$others", "null, null")
)


_NEXT_NAMED_SPEAKERS: Final[LiteralString] = (
    "with read as materialized ("
    + _NEXT_SPEAKERS.replace("$workspace", "$1").replace("$after", "$2")
    + ") select r.id, r.speakers from read r where "
    + _says("r.said", "r.said", _OF_COUNT)
    + _END.replace("$table", "transcript").replace("$others", "null")
)


async def with_engagements_of(statements: Executor, workspace_id: UUID, subject: Subject) -> Subject:
    """Return a person with the engagements that are linked to them, or have them among the participants.

    Engagements are read a slice at a time.
    """
    linked: set[UUID] = set(
        await statements.fetchval(
            "select array(select engagement_id from engagement_contact where workspace_id = $1 and contact_id = any($2))",
            workspace_id,
            list(subject.contact_ids),
        )
    )
    found = set[UUID]()
    shown_ids = {ids.encoded(ids.CONTACT, each) for each in subject.contact_ids}
    after: UUID | None = ids.NIL if subject.terms or subject.tails else None
    compared = 0
    while after is not None:
        *mentioning, end = await statements.fetch(_NEXT_MENTIONS, workspace_id, after, subject.terms, subject.tails)
        for record in mentioning:
            details = msgspec.json.decode(record[1], type=Details)
            if not shown_ids.isdisjoint(details.contact_ids):
                linked.add(record[0])
            elif subject.is_in(details, record[2], is_linked=False):
                found.add(record[0])
            compared += len(details.participants)
            if compared >= _TURN_PARTICIPANTS:
                compared = 0
                await asyncio.sleep(0)
        after = end[0]
    after = ids.NIL if subject.terms or subject.tails else None
    while after is not None:
        *speaking, end = await statements.fetch(_NEXT_NAMED_SPEAKERS, workspace_id, after, subject.terms, subject.tails)
        for record in speaking:
            speakers = msgspec.json.decode(record[1], type=tuple[TimelineSpeaker, ...])
            if subject.without_speaker(speakers, is_linked=False) != speakers:
                found.add(record[0])
        after = end[0]
        await asyncio.sleep(0)
    return msgspec.structs.replace(subject, engagement_ids=frozenset(found | linked), linked_ids=frozenset(linked))


# Limits how many engagements a statement counts the rows of.
_COUNTED_ENGAGEMENTS: Final = 200


async def count(statements: Executor, workspace_id: UUID, subject: Subject, *, with_engagements: bool) -> Found:
    """Return how many rows of each table have data of a person, a slice at a time."""
    rows, kept = dict[str, int](), dict[str, int]()
    going = subject.linked_ids if with_engagements else frozenset[UUID]()
    in_going, in_kept = (
        [*parts(msgspec.structs.replace(subject, engagement_ids=each), _COUNTED_ENGAGEMENTS)]
        for each in (going, subject.engagement_ids - going)
    )
    # The part without engagements is in both.
    in_all = [*in_going, *in_kept[1:]]
    for place in PLACES:
        for counts, slices in ((rows, in_going), (kept, in_kept)) if place.goes_with_engagements else ((rows, in_all),):
            if many := await _count_of(statements, workspace_id, place, slices, going):
                counts[place.table] = counts.get(place.table, 0) + many
    for counts, slices in ((rows, in_going), (kept, in_kept)):
        if many := await _recordings(statements, workspace_id, slices):
            counts[RECORDING] = many
    kept_ids = subject.engagement_ids - going
    if kept_ids:
        kept["engagement"] = len(kept_ids)
    others = await _others_named(statements, workspace_id, subject)
    for name, object_ids in others.items():
        if object_ids:
            rows[OTHER + name] = len(object_ids)
    shown = [each for some in others.values() for each in some]
    return Found(
        rows=rows,
        kept=kept,
        engagement_ids=tuple(sorted(going)),
        kept_engagement_ids=tuple(sorted(kept_ids)),
        imports=tuple(await imports_of(statements, workspace_id)),
        others=tuple(shown),
    )


async def imports_of(statements: Executor, workspace_id: UUID) -> list[ErasedImport]:
    """Return the imports of a workspace, all of which an erasure removes."""
    records = await statements.fetch("select id, state from import_job where workspace_id = $1 order by id", workspace_id)
    return [ErasedImport.of(*record) for record in records]


async def _outcomes_of(statements: Executor, workspace_id: UUID) -> int:
    """Return how many rows have outcomes of imports. Each has those of up to a hundred rows of a file, about anybody."""
    many = 0
    imports = await imports_of(statements, workspace_id)
    for import_id in ids.decoded_all(ids.IMPORT, [each.id for each in imports]):
        many += await statements.fetchval(
            "select count(*) from import_slice where workspace_id = $1 and job_id = $2", workspace_id, import_id
        )
    return many


_NEXT_NAMING: Final[LiteralString] = (
    "with read as materialized ("
    + _NEXT_VALUES.replace("$workspace", "$1").replace("$after", "$2")
    + ") select c.id, c.fields from read c where "
    + _NAMED.replace("$said", _says("c.said", "c.fields", _OF_COUNT))
    + _END.replace("$others", "null")
)


async def _others_named(statements: Executor, workspace_id: UUID, subject: Subject) -> dict[str, list[str]]:
    """Return the ids of other objects of each type with values that name a person, and of fields with such a default.

    Objects are read a slice at a time.
    """
    kinds = kinds_of(await all_definitions(statements, workspace_id))
    found: dict[str, list[str]] = {}
    for object_type in WITH_VALUES:
        named = found[object_type.name] = []
        after: UUID | None = ids.NIL if subject.terms or subject.tails else None
        while after is not None:
            *naming, end = await statements.fetch(
                _NEXT_NAMING.replace("$table", object_type.table.name), workspace_id, after, subject.terms, subject.tails
            )
            for object_id, fields in naming:
                values = msgspec.json.decode(fields, type=dict[str, Any])
                if object_id not in subject.contact_ids and subject.named_in(values, kinds[object_type.name]):
                    named.append(ids.encoded(object_type.prefix, object_id))
            after = end[0]
            await asyncio.sleep(0)
    records = await statements.fetch(
        "select f.object from field f where f.workspace_id = $1 and " + _DEFAULTED + " order by f.id", workspace_id
    )
    defined = [msgspec.json.decode(record[0], type=Field) for record in records]
    found[FIELD.name] = [each.id for each in defined if subject.is_named(each.default, each.kind)]
    return found


def kinds_of(definitions: Iterable[Field]) -> dict[str, dict[str, FieldKind]]:
    """Return the kinds of fields by the type of the objects that have them and their keys."""
    kinds: dict[str, dict[str, FieldKind]] = {each.name: {} for each in WITH_VALUES}
    for field in definitions:
        kinds[field.object_type.value][field.key] = field.kind
    return kinds


async def _count_of(
    statements: Executor, workspace_id: UUID, place: Place, slices: Sequence[Subject], going: Collection[UUID]
) -> int:
    if place.table == "idempotency_record":
        return await _answers_of(statements, workspace_id, slices[0], going)
    if place.table == "saved_view":
        return await _views_of(statements, workspace_id, slices[0])
    # All imports go, whom they mention or not, and are counted unread.
    if place.table == "import_job":
        return len(await imports_of(statements, workspace_id))
    if place.is_of_imports:
        return await _outcomes_of(statements, workspace_id)
    many = 0
    statement: LiteralString = "select count(*) from (" + place.rows + ") as found"
    for part in slices:
        if not part.engagement_ids or place.is_of_engagements:
            many += await statements.fetchval(statement, *parameters(workspace_id, part))
    return many


async def _views_of(statements: Executor, workspace_id: UUID, subject: Subject) -> int:
    """Return how many saved views mention a person."""
    records = await statements.fetch(
        _MENTIONING_VIEWS.replace("$workspace", "$1")
        .replace("$terms", "$2::text[]")
        .replace("$tails", "$3::text[]")
        .replace("$foreign_ids", "$4::text[]"),
        workspace_id,
        *view_key(subject),
    )
    return sum(subject.is_in_view(each[1], each[2], msgspec.json.decode(each[3], type=ViewContent)) for each in records)


async def _recordings(statements: Executor, workspace_id: UUID, slices: Sequence[Subject]) -> int:
    """Return how many of the engagements have a recording."""
    many = 0
    for part in slices:
        many += await statements.fetchval(
            """
            select count(*) from engagement
            where workspace_id = $1 and id = any($2) and json_typeof(details -> 'media') = 'object'
            """,
            workspace_id,
            list(part.engagement_ids),
        )
    return many


_COUNT_ANSWERS: Final[LiteralString] = (
    "with read as materialized ("
    + _NEXT_ANSWERS.replace("$workspace", "$1").replace("$after", "($2, $3)")
    + """), last as (select credential_id, key from read order by credential_id desc, key desc limit 1)
    select last.credential_id, last.key, (
        select count(*) from read where exists (
            select from unnest($4::text[]) as term(text)
            where strpos(read.said_by_key, term.text) > 0 or strpos(read.said, term.text) > 0
        ) or exists (
            select from change c where c.workspace_id = $1 and c.seq = read.version and (
                c.object_id in (select unnest($6::uuid[])) or exists (
                    select from transcript_comment t
                    where t.workspace_id = $1 and t.id = c.object_id
                        and t.engagement_id in (select unnest($6::uuid[]))
                ) or exists (
                    select from note t where t.workspace_id = $1 and t.id = c.object_id and t.contact_id = any($5)
                )
            )
        )
    )
    from (select) as one
    left join last on exists (
        select from idempotency_record r where r.workspace_id = $1 and (r.credential_id, r.key) > (last.credential_id, last.key)
    )
    """
)


async def _answers_of(statements: Executor, workspace_id: UUID, subject: Subject, going: Collection[UUID]) -> int:
    """Return how many idempotency records mention a person, or are about the person's notes or engagements that go."""
    many = 0
    credential_id: UUID | None = ids.NIL
    key = ""
    while credential_id is not None:
        record = await statements.fetchrow(
            _COUNT_ANSWERS, workspace_id, credential_id, key, subject.terms, [*subject.contact_ids], [*going]
        )
        assert record is not None, "the left side has one row"
        credential_id, key = record[0], record[1]
        many += record[2]
    return many


def parts(subject: Subject, many: int) -> Iterator[Subject]:
    """Yield the person without engagements, and then so many engagements each: a row belongs to exactly one of them."""
    yield msgspec.structs.replace(subject, engagement_ids=frozenset())
    engagement_ids = sorted(subject.engagement_ids)
    for start in range(0, len(engagement_ids), many):
        yield Subject(engagement_ids=frozenset(engagement_ids[start : start + many]))


def parameters(workspace_id: UUID, subject: Subject) -> tuple[UUID, list[UUID], list[UUID], list[str]]:
    """Return the parameters of the statements of `PLACES`."""
    return workspace_id, sorted(subject.contact_ids), sorted(subject.engagement_ids), subject.terms


class KeptErasure(NamedTuple):
    """An erasure as its certificate shows it."""

    at: datetime
    request_id: UUID
    credential_id: UUID
    is_finished: bool
    with_engagements: bool
    found: Found


async def read_key(statements: Executor) -> str:
    """Return the key of the hashes."""
    key: str = await statements.fetchval("select value from setting where name = $1", KEY)
    return key


async def erasure_of(statements: Executor, workspace_id: UUID, contact_id: UUID) -> KeptErasure | None:
    """Return the erasure of a contact, or None if it was not erased."""
    hashed = keyed_hash(await read_key(statements), workspace_id, ids.encoded(ids.CONTACT, contact_id))
    return await _kept_erasure(statements, workspace_id, hashed, contact_id)


async def has_erased_entry(
    statements: Executor, object_type: ObjectType[Any, Any], workspace_id: UUID, object_id: UUID
) -> bool:
    """Whether the history still says that an object was erased, with a person or because it was deleted too long ago."""
    found: bool = await statements.fetchval(
        """
        select exists (
            select from change where workspace_id = $1 and object_id = $2 and kind::text = $3 and action = 'x'
        )
        """,
        workspace_id,
        object_id,
        object_type.kind,
    )
    return found


async def erasure_of_address(statements: Executor, workspace_id: UUID, address: str) -> KeptErasure | None:
    """Return the erasure that was asked for by an address, or None if there was none."""
    hashed = keyed_hash(await read_key(statements), workspace_id, erased_address(address))
    return await _kept_erasure(statements, workspace_id, hashed, task_of_address(hashed))


async def _kept_erasure(statements: Executor, workspace_id: UUID, hashed: str, task_id: UUID) -> KeptErasure | None:
    record = await statements.fetchrow(
        """
        select e.at, e.request_id, e.credential_id,
            not exists (select from erasure_task t where t.workspace_id = $1 and t.id = $3),
            e.with_engagements, e.found
        from erasure e where e.workspace_id = $1 and e.hash = $2
        """,
        workspace_id,
        hashed,
        task_id,
    )
    if record is None:
        return None
    found = Found(rows={}, kept={}) if record[5] is None else msgspec.json.decode(record[5], type=Found)
    return KeptErasure(record[0], record[1], record[2], record[3], record[4], found)


class Credential(NamedTuple):
    """The credential of a request: whether it is an OAuth client's, and its name, or that of the person who acted by it."""

    is_client: bool
    name: str | None


async def credential(statements: Executor, credential_id: UUID) -> Credential:
    """Return what is known of a credential. The one of a person in the console has no secret."""
    client: str | None = await statements.fetchval("select name from oauth_client where id = $1", credential_id)
    if client is not None:
        return Credential(is_client=True, name=client)
    key = await statements.fetchrow(
        "select name, secret_hash = '' as is_person, workspace_id, user_id from credential where id = $1", credential_id
    )
    if key is None:
        return Credential(is_client=False, name=None)
    person: str | None = None
    if key["is_person"]:
        person = await statements.fetchval(
            """
            select nullif(concat_ws(' ', u.object ->> 'first_name', u.object ->> 'last_name'), '')
            from workspace_user u where u.workspace_id = $1 and u.id = $2
            """,
            key["workspace_id"],
            key["user_id"],
        )
    return Credential(is_client=False, name=person or key["name"])


# Limits how many contacts or entries a statement looks through.
_LOOKED_THROUGH: Final = 5000


async def contacts_known_by(statements: Executor, workspace_id: UUID, address: str) -> set[UUID]:
    """Return the contacts that have or had an address. A merged one stands for the contact that replaces it.

    One that had it only through a merge that was taken back is somebody else.
    """
    entries: list[_EntryWithAddress] = []
    after, head = 0, await statements.fetchval("select seq from workspace where id = $1", workspace_id)
    while after < head:
        records = await statements.fetch(
            """
            select seq, object_id, action::text, merged_into, object from change
            where workspace_id = $1 and seq > $2 and seq <= $2 + $3 and kind = 'c' and exists (
                select from unnest($4::text[]) as term(text) where strpos($object, term.text) > 0
            )
            order by seq
            """.replace("$object", searched("object::text")),
            workspace_id,
            after,
            _LOOKED_THROUGH,
            sorted(spellings(address)),
        )
        entries += [
            _EntryWithAddress(seq, contact_id, Action(action), merged_into)
            for seq, contact_id, action, merged_into, object_ in records
            if _has(object_, address)
        ]
        after += _LOOKED_THROUGH
    merges = _merges(entries)
    found = {each.contact_id for each in entries if not _was_taken_back(merges, each.contact_id, each.seq, each.seq)}
    last: UUID | None = ids.NIL
    while last is not None:
        contacts = await contacts_after(statements, workspace_id, last, _LOOKED_THROUGH)
        found |= {each.id for each in contacts if address in each.addresses}
        last = contacts[-1].id if len(contacts) == _LOOKED_THROUGH else None
    left = await stored(statements, workspace_id, found)
    replacing = await survivors(statements, "contact", workspace_id, left)
    return {replacing.get(each, each) for each in left}


class _EntryWithAddress(NamedTuple):
    """An entry of a contact that had the address then."""

    seq: int
    contact_id: UUID
    action: Action
    merged_into: UUID | None


class _Merge(NamedTuple):
    """A merge of a contact with the address, from one entry to another: `ended` is None if it was not taken back."""

    source: UUID
    target: UUID
    began: int
    ended: int | None


def _merges(entries: Iterable[_EntryWithAddress]) -> list[_Merge]:
    found: list[_Merge] = []
    standing: dict[UUID, _Merge] = {}
    for each in entries:
        if each.merged_into is None:
            continue
        if each.action is Action.DELETED:
            standing[each.contact_id] = _Merge(each.contact_id, each.merged_into, each.seq, None)
        else:
            # The entry of the merge may be kept no longer.
            merge = standing.pop(each.contact_id, _Merge(each.contact_id, each.merged_into, 0, None))
            found.append(merge._replace(ended=each.seq))
    return [*found, *standing.values()]


def _was_taken_back(merges: Sequence[_Merge], target: UUID, before: int, at: int) -> bool:
    """Whether a contact had the address at an entry through a merge, directly or not, that was taken back after it."""
    return any(
        each.target == target
        and each.began < before
        and (_was_taken_back(merges, each.source, each.began, at) if each.ended is None else at < each.ended)
        for each in merges
    )


def _has(object_: bytes, address: str) -> bool:
    if is_erased(object_):
        return False
    contact = msgspec.json.decode(object_, type=Contact)
    return address in {comparable_address(item.email) for item in contact.emails}


class KnownContact(NamedTuple):
    """A contact, deleted or not: when it was created, and its addresses."""

    id: UUID
    created_at: datetime
    addresses: frozenset[str]


async def contacts_after(statements: Executor, workspace_id: UUID, after: UUID, limit: int) -> list[KnownContact]:
    """Return contacts of a workspace in the order of their ids."""
    records = await statements.fetch(
        "select id, object from contact where workspace_id = $1 and id > $2 order by id limit $3", workspace_id, after, limit
    )
    contacts = [(record[0], msgspec.json.decode(record[1], type=Contact)) for record in records]
    return [
        KnownContact(
            contact_id,
            datetime.fromisoformat(contact.created_at),
            frozenset(comparable_address(item.email) for item in contact.emails),
        )
        for contact_id, contact in contacts
    ]


class DescribedContact(NamedTuple):
    """A contact as people know it."""

    id: UUID
    name: str
    addresses: tuple[str, ...]
    is_deleted: bool


async def described(statements: Executor, workspace_id: UUID, contact_ids: Collection[UUID]) -> list[DescribedContact]:
    """Return those of the contacts that have a row, in the order of their ids."""
    records = await statements.fetch(
        "select id, object, deleted_at is not null from contact where workspace_id = $1 and id = any($2) order by id",
        workspace_id,
        list(contact_ids),
    )
    contacts = [(record[0], msgspec.json.decode(record[1], type=Contact), record[2]) for record in records]
    return [
        DescribedContact(
            contact_id,
            name_of(contact),
            tuple(item.email for item in contact.emails),
            is_deleted,
        )
        for contact_id, contact, is_deleted in contacts
    ]


async def version_of(statements: Executor, workspace_id: UUID, contact_id: UUID) -> int:
    """Return the version of a contact that has a row, deleted or not."""
    version: int = await statements.fetchval(
        "select version from contact where workspace_id = $1 and id = $2", workspace_id, contact_id
    )
    return version


async def stored(statements: Executor, workspace_id: UUID, contact_ids: Collection[UUID]) -> list[UUID]:
    """Return those of the contacts that have a row, deleted or not."""
    found: list[UUID] = await statements.fetchval(
        "select array(select id from contact where workspace_id = $1 and id = any($2))", workspace_id, list(contact_ids)
    )
    return found


_LISTED: Final[LiteralString] = "select workspace_id, hash, at, request_id, credential_id, with_engagements from erasure"


async def listed(statements: Executor, days: int | None = None) -> list[ListedErasure]:
    """Return all erasures of the database, or those of the last days."""
    key = await read_key(statements)
    if days is None:
        records = await statements.fetch(_LISTED + " order by at")
    else:
        records = await statements.fetch(_LISTED + " where at > now() - make_interval(days => $1) order by at", days)
    return [ListedErasure(key, record[0], record[1], record[2], record[3], record[4], record[5]) for record in records]


async def note(statements: Executor, erasures: Sequence[ListedErasure]) -> None:
    """Note erasures of a list, so that they are not looked for again."""
    for each in erasures:
        await statements.execute(
            """
            insert into erasure (workspace_id, hash, at, request_id, credential_id, with_engagements)
            values ($1, $2, $3, $4, $5, $6)
            on conflict (workspace_id, hash) do update set at = greatest(erasure.at, excluded.at)
            """,
            *msgspec.structs.astuple(each)[1:],
        )


# Limits how many objects a statement looks at, and how many of them it returns.
_LOOKED_AT: Final = 5000
MAX_EXPIRED: Final = 25
_EXPIRABLE: Final[LiteralString] = """
    with read as materialized (
        select c.workspace_id, c.id, c.version, c.deleted_at$columns from $table c
        where (c.workspace_id, c.id) > ($2, $3) order by c.workspace_id, c.id limit $4
    ), found as (
        select r.workspace_id, r.id, r.version from read r
        where (r.deleted_at < now() - make_interval(days => $1) $and_or)
            and not exists (select from unfinished u where u.workspace_id = r.workspace_id and u.object_id = r.id)
        order by r.workspace_id, r.id limit $5
    )
    select workspace_id, id, version from found
    union all
    (select workspace_id, id, null from read order by workspace_id desc, id desc limit 1)
"""


# A merged object leads to the one that replaces it, and goes once that is gone. Undoing can turn a chain of merges into a
# circle, which leads nowhere; `union` ends there.
_LEADING_NOWHERE: Final[LiteralString] = """
    and not exists (
        with recursive goes_on as (
            select r.id, r.merged_into
            union
            select p.id, p.merged_into
            from goes_on join $table p on p.workspace_id = r.workspace_id and p.id = goes_on.merged_into
        )
        select from goes_on where goes_on.id <> r.id and goes_on.merged_into is null
    )
"""
# The notes on an object go with it, because nobody can read them any more.
_ORPHANED_NOTES: Final[LiteralString] = """
    or not exists (
        select from contact p where p.workspace_id = r.workspace_id and p.id = r.contact_id
        union all
        select from company p where p.workspace_id = r.workspace_id and p.id = r.company_id
    )
"""
_EXPIRABLE_MERGED: Final = _EXPIRABLE.replace("$columns", ", c.merged_into").replace("$and_or", _LEADING_NOWHERE)
_EXPIRABLE_NOTES: Final = _EXPIRABLE.replace("$columns", ", c.contact_id, c.company_id").replace("$and_or", _ORPHANED_NOTES)
_EXPIRABLE_OTHERS: Final = _EXPIRABLE.replace("$columns", "").replace("$and_or", "")
_EXPIRABLE_OF: Final[dict[str, LiteralString]] = {
    "contact": _EXPIRABLE_MERGED,
    "company": _EXPIRABLE_MERGED,
    "note": _EXPIRABLE_NOTES,
}


class ExpirableObjects(NamedTuple):
    """Objects that were deleted long ago, with their versions, by workspace; and the place from which the search goes on."""

    objects: dict[UUID, list[tuple[UUID, int]]]
    place: tuple[UUID, UUID] | None


async def expirable(
    statements: Executor,
    table: LiteralString,
    days: int,
    after: tuple[UUID, UUID] = (ids.NIL, ids.NIL),
) -> ExpirableObjects:
    """Return some objects after a place that were deleted more than this many days ago. The last ones have no place after.

    Merged objects stay as long as the one that replaces them, deleted or not. Notes go once their object is gone.
    """
    statement = _EXPIRABLE_OF.get(table, _EXPIRABLE_OTHERS)
    records = await statements.fetch(statement.replace("$table", table), days, *after, _LOOKED_AT, MAX_EXPIRED)
    objects: dict[UUID, list[tuple[UUID, int]]] = {}
    for workspace_id, object_id, version in records[:-1]:
        objects.setdefault(workspace_id, []).append((object_id, version))
    if not records:
        return ExpirableObjects(objects, None)
    last = records[-2] if len(records) > MAX_EXPIRED else records[-1]
    return ExpirableObjects(objects, (last[0], last[1]))
