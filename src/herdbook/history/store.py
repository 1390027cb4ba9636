"""Every SQL statement about histories, and about the changes of a request."""

import functools
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook.db.pool import Executor
from herdbook.ledger.changes import PREVIOUS_ENTRY, Action
from herdbook.ledger.object_types import ObjectType, ObjectTypes, whole
from herdbook.ledger.unit_of_work import Table


class StoredObject(NamedTuple):
    """An object's row, deleted or not, with the object's own members in the object."""

    id: UUID
    version: int
    updated_at: datetime
    is_deleted: bool
    is_private: bool
    object: bytes


_STORED_OBJECT: Final[LiteralString] = """
    select c.id, c.version, c.updated_at, c.deleted_at is not null, coalesce(c.object ->> 'is_private', 'false') = 'true',
        c.object, $own
    from $table c where c.workspace_id = $1 and c.id = $2
"""


async def stored_object(
    statements: Executor, object_type: ObjectType[Any, Any], workspace_id: UUID, object_id: UUID
) -> StoredObject | None:
    """Return the row of an object, deleted or not."""
    select = _STORED_OBJECT.replace("$table", object_type.table.name)
    select = select.replace("$own", "c.own" if object_type.has_own else "null::json")
    record = await statements.fetchrow(select, workspace_id, object_id)
    return None if record is None else StoredObject._make((*record[:5], whole(record[5], record[6])))


_CHAIN: Final[LiteralString] = (
    """
    with recursive chain as (
        select c.*, 1 as place from change c
        where c.workspace_id = $1 and c.seq = $4 and c.object_id = $2 and c.kind::text = $3
        union all
        select e.*, chain.place + 1
        from chain
    """
    + PREVIOUS_ENTRY
    + """
        where $goes_on
    )
    """
)
_BACK_BY_NUMBER: Final = _CHAIN.replace("$goes_on", "chain.place < $5")
_BACK_BY_TIME: Final = _CHAIN.replace("$goes_on", "chain.at > $5")


class HistoryRow(NamedTuple):
    """An entry of an object, with the known facts about its credential."""

    seq: int
    at: datetime
    action: Action
    request_id: UUID
    credential_id: UUID
    credential_name: str | None
    user_id: UUID | None
    is_client: bool
    merged_into: UUID | None
    object: bytes
    previous: bytes | None


async def entries(
    statements: Executor, object_type: ObjectType[Any, Any], workspace_id: UUID, object_id: UUID, version: int, limit: int
) -> list[HistoryRow]:
    """Return entries of an object, from one version backwards."""
    records = await statements.fetch(
        _BACK_BY_NUMBER
        + """
        select chain.seq, chain.at, chain.action::text, chain.request_id, chain.credential_id, coalesce(k.name, o.name),
            k.user_id, o.id is not null, chain.merged_into, chain.object, chain.previous
        from chain
        left join lateral (select k.name, k.user_id from credential k where k.id = chain.credential_id limit 1) as k on true
        left join lateral (select o.id, o.name from oauth_client o where o.id = chain.credential_id limit 1) as o on true
        order by chain.seq desc
        """,
        workspace_id,
        object_id,
        object_type.kind,
        version,
        limit,
    )
    return [HistoryRow(record[0], record[1], Action(record[2]), *record[3:]) for record in records]


_LAST: Final = 2**63 - 1
# The number of entries that a page scans if most of them do not match.
LOOKED_AT: Final = 20_000
# The most bytes of an object that are read for a page, as stored. Transcripts are longer.
_MAX_BYTES: Final = 65_536


class ActivityView(NamedTuple):
    """The entries that a page of activity has: of which types, with private objects or without, and by whom."""

    object_types: tuple[ObjectType[Any, Any], ...]
    sees_private: bool
    user_id: UUID | None = None
    credential_id: UUID | None = None


class ActivityRow(NamedTuple):
    """An entry with its type and its object's id. A very long object is left out."""

    object_type: ObjectType[Any, Any]
    object_id: UUID
    seq: int
    at: datetime
    action: Action
    request_id: UUID
    credential_id: UUID
    credential_name: str | None
    user_id: UUID | None
    is_client: bool
    merged_into: UUID | None
    object: bytes | None
    previous: bytes | None


_ACTIVITY: Final[LiteralString] = """
    select found.kind::text, found.object_id, found.seq, found.at, found.action::text, found.request_id, found.credential_id,
        coalesce(k.name, o.name), k.user_id, o.id is not null, found.merged_into,
        case when found.size <= $10 then found.object end, case when found.size <= $10 then found.previous end
    from (
        select change.*, pg_column_size(change.object) + coalesce(pg_column_size(change.previous), 0) as size
        from (select * from change where workspace_id = $1 and seq < $2 and seq >= $3 order by seq desc offset 0) as change
        where kind::text = any($4) and ($5 or $is_public)
            and ($6::uuid is null or credential_id = $6)
            and ($7::uuid is null or credential_id in (
                select k.id from credential k where k.workspace_id = $8 and k.user_id = $7
            ))
        order by seq desc limit $9
    ) as found
    left join lateral (select k.name, k.user_id from credential k where k.id = found.credential_id limit 1) as k on true
    left join lateral (select o.id, o.name from oauth_client o where o.id = found.credential_id limit 1) as o on true
    order by found.seq desc
"""


@functools.cache
def _activity(guarded: tuple[ObjectType[Any, Any], ...]) -> LiteralString:
    """Return the statement for types of which these may have private objects."""
    cases: list[LiteralString] = [" when '" + each.kind + "' then " + (each.is_public or "true") for each in guarded]
    return _ACTIVITY.replace("$is_public", "case kind::text" + "".join(cases) + " else true end" if cases else "true")


async def activity(statements: Executor, workspace_id: UUID, view: ActivityView, below: int, limit: int) -> list[ActivityRow]:
    """Return entries below a number, the latest first: at most `limit` of the next `LOOKED_AT` entries."""
    by_kind = {each.kind: each for each in view.object_types}
    records = await statements.fetch(
        _activity(tuple(each for each in view.object_types if each.is_public is not None)),
        workspace_id,
        below,
        below - LOOKED_AT,
        list(by_kind),
        view.sees_private,
        view.credential_id,
        view.user_id,
        workspace_id,
        limit,
        _MAX_BYTES,
    )
    return [ActivityRow._make((by_kind[record[0]], *record[1:4], Action(record[4]), *record[5:])) for record in records]


class DeletedRow(NamedTuple):
    """A deleted object, and the entry of its deletion, if that is kept."""

    id: UUID
    version: int
    deleted_at: datetime
    object: bytes
    request_id: UUID | None
    credential_id: UUID
    credential_name: str | None
    user_id: UUID | None
    is_client: bool


_DELETED: Final[LiteralString] = """
    select found.id, found.version, found.deleted_at, found.object, found.own, e.request_id, e.credential_id,
        coalesce(k.name, o.name), k.user_id, o.id is not null
    from (
        select c.id, c.version, c.deleted_at, c.object, $own as own
        from $table c
        where c.workspace_id = $1 and c.deleted_at is not null and $is_its_own
            and c.version <= $2
            and ($3 or coalesce(c.object ->> 'is_private', 'false') = 'false')
        order by c.version desc limit $4
    ) as found
    left join change e on e.workspace_id = $1 and e.seq = found.version
    left join lateral (select k.name, k.user_id from credential k where k.id = e.credential_id limit 1) as k on true
    left join lateral (select o.id, o.name from oauth_client o where o.id = e.credential_id limit 1) as o on true
    order by found.version desc
"""


async def deleted_objects(
    statements: Executor,
    object_type: ObjectType[Any, Any],
    workspace_id: UUID,
    version: int | None,
    limit: int,
    *,
    sees_private: bool,
) -> list[DeletedRow]:
    """Return deleted objects of a type, from one version backwards. Those that were merged into others are none."""
    select = _DELETED.replace("$table", object_type.table.name)
    select = select.replace("$own", "c.own" if object_type.has_own else "null::json")
    select = select.replace("$is_its_own", "c.merged_into is null" if object_type.merges else "true")
    records = await statements.fetch(select, workspace_id, _LAST if version is None else version, sees_private, limit)
    return [DeletedRow._make((*record[:3], whole(record[3], record[4]), *record[5:])) for record in records]


class EntryThen(NamedTuple):
    """The entry with an object's state at some time, or the oldest entry that is kept."""

    seq: int
    at: datetime
    action: Action
    object: bytes
    previous: bytes | None
    previous_version: int | None


async def entry_at(
    statements: Executor, object_type: ObjectType[Any, Any], workspace_id: UUID, row: StoredObject, time: datetime
) -> EntryThen | None:
    """Return the last entry of an object up to a time, or the oldest that is kept."""
    record = await statements.fetchrow(
        _BACK_BY_TIME + "select seq, at, action::text, object, previous, previous_version from chain order by seq limit 1",
        workspace_id,
        row.id,
        object_type.kind,
        row.version,
        time,
    )
    return None if record is None else EntryThen(record[0], record[1], Action(record[2]), *record[3:])


class LedgerRange(NamedTuple):
    """The numbers of a ledger's last entry, and of the last entry that is no longer kept.

    All entries that are no longer kept were made at `since` at the latest. It is None if that time is unknown.
    """

    head: int
    trimmed: int
    since: datetime | None


async def ledger_range(statements: Executor, workspace_id: UUID) -> LedgerRange:
    """Return the range of entries that a ledger has."""
    record = await statements.fetchrow(
        """
        select w.seq, coalesce(t.seq, 0), coalesce(
            case when t.at_seq = t.seq then t.at end,
            (select c.at from change c where c.workspace_id = w.id and c.seq = coalesce(t.seq, 0) + 1)
        )
        from workspace w left join change_trimmed t on t.workspace_id = w.id
        where w.id = $1
        """,
        workspace_id,
    )
    assert record is not None, "a caller has a workspace"
    return LedgerRange(*record)


class TouchedObject(NamedTuple):
    """An object that a request changed: the numbers of its first and last entry, and whether it existed before."""

    object_type: ObjectType[Any, Any]
    object_id: UUID
    first: int
    last: int
    was_there: bool


async def touched(statements: Executor, object_types: ObjectTypes, workspace_id: UUID, request_id: UUID) -> list[TouchedObject]:
    """Return the objects that a request changed, in the order of their first change."""
    records = await statements.fetch(
        """
        select kind::text, object_id, min(seq) as first, max(seq), (array_agg(action::text order by seq))[1] in ('u', 'd', 'x')
        from (select * from change where request_id = $2 offset 0) as of_the_request where workspace_id = $1
        group by kind, object_id
        order by first
        """,
        workspace_id,
        request_id,
    )
    return [TouchedObject(object_types.of(record[0]), *record[1:]) for record in records]


async def may_be_cut(statements: Executor, workspace_id: UUID, request_id: UUID) -> bool:
    """Whether some of the request's entries may have been trimmed from the ledger."""
    oldest: datetime | None = await statements.fetchval(
        """
        select c.at from change c
        where c.workspace_id = $1 and c.seq = (select t.seq + 1 from change_trimmed t where t.workspace_id = $1)
        """,
        workspace_id,
    )
    # A request's id begins with the time of its arrival, and its entries are later.
    return oldest is not None and datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=request_id.int >> 80) <= oldest


class FirstEntry(NamedTuple):
    """The first entry of an object by some request, with its mark: another mark later says that an erasure has emptied it."""

    seq: int
    action: Action
    merged_into: UUID | None
    object: bytes
    previous: bytes | None
    previous_version: int | None
    mark: str


class EntryMark(msgspec.Struct, frozen=True):
    """The mark of an entry."""

    workspace_id: UUID
    seq: int
    mark: str


# The transaction that wrote a row last is its mark.
ENTRY_MARKS: Final = Table(
    row=EntryMark,
    key=lambda entry: entry.seq,
    load="""
        select asked.workspace_id, c.seq, c.xmin::text as mark
        from json_to_recordset($rows) as asked(workspace_id uuid, key bigint)
        cross join lateral (
            select c.seq, c.xmin from change c where c.workspace_id = asked.workspace_id and c.seq = asked.key limit 1
        ) as c
    """,
    save=None,
)


async def first_entries(statements: Executor, workspace_id: UUID, seqs: Collection[int]) -> dict[int, FirstEntry]:
    """Return entries by their numbers."""
    records = await statements.fetch(
        """
        select c.seq, c.action::text, c.merged_into, c.object, c.previous, c.previous_version, c.xmin::text
        from unnest($2::bigint[]) as asked(seq)
        cross join lateral (select c.*, c.xmin from change c where c.workspace_id = $1 and c.seq = asked.seq limit 1) as c
        """,
        workspace_id,
        list(seqs),
    )
    return {record[0]: FirstEntry(record[0], Action(record[1]), *record[2:]) for record in records}


async def private_ones(
    statements: Executor, workspace_id: UUID, engagement_ids: Collection[UUID], comment_ids: Collection[UUID]
) -> set[UUID]:
    """Return the private engagements, and the comments on private ones, deleted or not."""
    records: list[asyncpg.Record] = await statements.fetch(
        """
        select asked.id
        from (
            select id, id as engagement_id from unnest($2::uuid[]) as engagement(id)
            union all
            select n.id, n.engagement_id
            from unnest($3::uuid[]) as comment(id)
            cross join lateral (
                select n.id, n.engagement_id from transcript_comment n
                where n.workspace_id = $1 and n.id = comment.id limit 1
            ) as n
        ) as asked
        cross join lateral (
            select e.is_private from engagement e where e.workspace_id = $1 and e.id = asked.engagement_id limit 1
        ) as e
        where e.is_private
        """,
        workspace_id,
        list(engagement_ids),
        list(comment_ids),
    )
    return {record["id"] for record in records}


async def places_of_notes(statements: Executor, workspace_id: UUID, note_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the plural names of the types of the objects that notes are on, deleted or not. An erased note has none."""
    records = await statements.fetch(
        """
        select n.id, case when n.contact_id is null then 'companies' else 'contacts' end
        from unnest($2::uuid[]) as asked(id)
        cross join lateral (select n.* from note n where n.workspace_id = $1 and n.id = asked.id limit 1) as n
        """,
        workspace_id,
        list(note_ids),
    )
    return {record[0]: record[1] for record in records}


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """Two questions: which objects are missing, and which of those to be deleted are needed by others.

    `contacts`, `companies` and `tags` are expected to exist. The `going_` objects are to be deleted, and are needed if objects
    other than `aside` refer to them. An engagement or a merged object counts only if it changed from entry `since` on: an
    earlier reference was made while its target did not exist. At most `most` referrers are examined for each object, and an
    object with more is needed. `merging` are contacts and companies for which any engagement counts. Any note counts for
    contacts and companies. `going_tags` are ids as the API shows them.
    """

    since: int
    contacts: tuple[UUID, ...] = ()
    companies: tuple[UUID, ...] = ()
    tags: tuple[UUID, ...] = ()
    going_contacts: tuple[UUID, ...] = ()
    going_companies: tuple[UUID, ...] = ()
    going_tags: tuple[str, ...] = ()
    going_engagements: tuple[UUID, ...] = ()
    merging: tuple[UUID, ...] = ()
    aside: tuple[UUID, ...] = ()
    most: int = 0


class Gone(msgspec.Struct, frozen=True):
    """A missing object: the number of the entry that deleted it, and whether that was a merge."""

    id: UUID
    version: int | None
    is_merged: bool


class References(msgspec.Struct, frozen=True):
    """The answer to `Around`: the objects that are missing, and those that others need."""

    workspace_id: UUID
    around: Around
    gone: tuple[Gone, ...]
    needed: tuple[UUID, ...]
    needed_tags: tuple[str, ...]


# Limits how many referrers are examined, for all objects to be deleted together.
MAX_COMPANY_CONTACTS: Final = 20_000
# In each part, a lateral join with a limit forces a lookup by key for each row.
_LINKED: Final[LiteralString] = """
    select from (
        select few.version, count(*) over () as many from (
            select e.version
            from (
                select l.$linker_id as id from $linker_$kind l
                where l.workspace_id = asked.workspace_id and l.$kind_id = going.id
                    and l.$linker_id not in (select unnest(k.aside))
                order by l.$linker_id desc limit k.most + 1
            ) as l
            cross join lateral (
                select e.version from $linker e
                where e.workspace_id = asked.workspace_id and e.id = l.id limit 1
            ) as e
        ) as few
    ) as seen
    where seen.version >= k.since or seen.many > k.most
"""
_MERGED: Final[LiteralString] = """
    select from (
        select m.version, count(*) over () as many from (
            select m.version from $table m
            where m.workspace_id = asked.workspace_id and m.merged_into = going.id and m.id not in (select unnest(k.aside))
            limit k.most + 1
        ) as m
    ) as seen
    where seen.version >= k.since or seen.many > k.most
"""
_GONE: Final[LiteralString] = """
    select named.id, c.version, coalesce($merged, false) as is_merged
    from unnest(k.$names) as named(id)
    left join lateral (
        select c.* from $table c where c.workspace_id = asked.workspace_id and c.id = named.id limit 1
    ) as c on true
    where c.version is null or c.deleted_at is not null
"""
_NOTED: Final[LiteralString] = """
    select from $kind_note l
    where l.workspace_id = asked.workspace_id and l.$kind_id = going.id and l.note_id not in (select unnest(k.aside))
"""
_REFERENCES: Final[LiteralString] = """
    select asked.workspace_id, asked.key as around, (
        select coalesce(json_agg(gone), '[]') from ($gone_contacts union all $gone_companies union all $gone_tags) as gone
    ) as gone, (
        select coalesce(json_agg(needed.id), '[]') from (
            select going.id from unnest(k.going_companies) as going(id)
            where exists (
                select from company_contact l
                where l.workspace_id = asked.workspace_id and l.company_id = going.id
                    and l.contact_id not in (select unnest(k.aside))
            ) or exists ($noted_companies) or exists ($linked_companies) or exists ($merged_companies)
            union all
            select going.id from unnest(k.going_contacts) as going(id)
            where exists ($noted_contacts) or exists ($linked_contacts) or exists ($merged_contacts)
            union all
            select going.id from unnest(k.merging) as going(id)
            where exists (
                select from engagement_contact l
                where l.workspace_id = asked.workspace_id and l.contact_id = going.id
                    and l.engagement_id not in (select unnest(k.aside))
            ) or exists (
                select from engagement_company l
                where l.workspace_id = asked.workspace_id and l.company_id = going.id
                    and l.engagement_id not in (select unnest(k.aside))
            ) or exists ($noted_contacts) or exists ($noted_companies)
            union all
            select going.id from unnest(k.going_engagements) as going(id)
            where exists (
                select from transcript_comment n
                where n.workspace_id = asked.workspace_id and n.engagement_id = going.id and n.deleted_at is null
                    and n.id not in (select unnest(k.aside))
            )
        ) as needed
    ) as needed, (
        select coalesce(json_agg(going.id), '[]') from unnest(k.going_tags) as going(id)
        where exists ($linked_tags) or exists ($tagged_contacts) or exists ($tagged_companies)
    ) as needed_tags
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    cross join lateral json_to_record(asked.key) as k(
        since bigint, contacts uuid[], companies uuid[], tags uuid[], going_contacts uuid[], going_companies uuid[],
        going_tags text[], going_engagements uuid[], merging uuid[], aside uuid[], most int
    )
"""
REFERENCES: Final = Table(
    row=References,
    key=lambda references: references.around,
    load=_REFERENCES.replace(
        "$gone_contacts",
        _GONE.replace("$names", "contacts").replace("$table", "contact").replace("$merged", "c.merged_into is not null"),
    )
    .replace(
        "$gone_companies",
        _GONE.replace("$names", "companies").replace("$table", "company").replace("$merged", "c.merged_into is not null"),
    )
    .replace("$gone_tags", _GONE.replace("$names", "tags").replace("$table", "tag").replace("$merged", "false"))
    .replace("$linked_contacts", _LINKED.replace("$linker", "engagement").replace("$kind", "contact"))
    .replace("$linked_companies", _LINKED.replace("$linker", "engagement").replace("$kind", "company"))
    .replace("$linked_tags", _LINKED.replace("$linker", "engagement").replace("$kind", "tag"))
    .replace("$tagged_contacts", _LINKED.replace("$linker", "contact").replace("$kind", "tag"))
    .replace("$tagged_companies", _LINKED.replace("$linker", "company").replace("$kind", "tag"))
    .replace("$noted_contacts", _NOTED.replace("$kind", "contact"))
    .replace("$noted_companies", _NOTED.replace("$kind", "company"))
    .replace("$merged_contacts", _MERGED.replace("$table", "contact"))
    .replace("$merged_companies", _MERGED.replace("$table", "company")),
    save=None,
)
