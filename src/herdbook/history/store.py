"""Every SQL statement about histories, and about the changes of a request."""

import functools
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook.custom_fields.store import hidden_keys, record_of
from herdbook.db.database import ObjectRead
from herdbook.db.pool import Executor
from herdbook.ledger.changes import PREVIOUS_ENTRY, Action
from herdbook.ledger.insertion import insertion
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
    """An entry of an object, with the known facts about its credential. `undoes` is the request that its own has undone.

    A very long object is left out of an activity.
    """

    seq: int
    at: datetime
    action: Action
    request_id: UUID
    credential_id: UUID
    credential_name: str | None
    user_id: UUID | None
    is_client: bool
    merged_into: UUID | None
    undoes: UUID | None
    object: bytes | None
    previous: bytes | None


# The facts about entries `e`: their columns, and the joins that these need.
_FACTS: Final[LiteralString] = """
    e.seq, e.at, e.action::text, e.request_id, e.credential_id, coalesce(k.name, o.name), k.user_id, o.id is not null,
    e.merged_into, undone.undone_id
"""
_OF_FACTS: Final[LiteralString] = """
    left join lateral (select k.name, k.user_id from credential k where k.id = e.credential_id limit 1) as k on true
    left join lateral (select o.id, o.name from oauth_client o where o.id = e.credential_id limit 1) as o on true
    left join lateral (
        select r.undone_id from undone_request r where r.workspace_id = $1 and r.request_id = e.request_id limit 1
    ) as undone on true
"""


def _row(record: Sequence[Any]) -> HistoryRow:
    return HistoryRow(record[0], record[1], Action(record[2]), *record[3:])


async def entries(
    statements: Executor, object_type: ObjectType[Any, Any], workspace_id: UUID, object_id: UUID, version: int, limit: int
) -> list[HistoryRow]:
    """Return entries of an object, from one version backwards."""
    records = await statements.fetch(
        _BACK_BY_NUMBER + "select" + _FACTS + ", e.object, e.previous from chain e" + _OF_FACTS + "order by e.seq desc",
        workspace_id,
        object_id,
        object_type.kind,
        version,
        limit,
    )
    return [_row(tuple(record)) for record in records]


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
    """An entry of some object of the workspace."""

    object_type: ObjectType[Any, Any]
    object_id: UUID
    entry: HistoryRow


_ACTIVITY: Final[LiteralString] = (
    "select e.kind::text, e.object_id,"
    + _FACTS
    + """
    , case when e.size <= $10 then e.object end, case when e.size <= $10 then e.previous end
    from (
        select change.*, pg_column_size(change.object) + coalesce(pg_column_size(change.previous), 0) as size
        from (select * from change where workspace_id = $1 and seq < $2 and seq >= $3 order by seq desc offset 0) as change
        where kind::text = any($4) and ($5 or $is_public)
            and ($6::uuid is null or credential_id = $6)
            and ($7::uuid is null or credential_id in (
                select k.id from credential k where k.workspace_id = $8 and k.user_id = $7
            ))
        order by seq desc limit $9
    ) as e
    """
    + _OF_FACTS
    + "order by e.seq desc"
)


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
    return [ActivityRow(by_kind[record[0]], record[1], _row(tuple(record)[2:])) for record in records]


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
    select found.id, found.version, found.deleted_at, found.object, found.own, found.hidden, e.request_id, e.credential_id,
        coalesce(k.name, o.name), k.user_id, o.id is not null
    from (
        select c.id, c.version, c.deleted_at, c.object, $own as own, $hidden as hidden
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
    """Return deleted objects of a type, from one version backwards, without the values of archived fields.

    Those that were merged into others are none.
    """
    select = _DELETED.replace("$table", object_type.table.name)
    select = select.replace("$own", "c.own" if object_type.has_own else "null::json")
    select = select.replace("$hidden", hidden_keys(object_type.table.name) if object_type.has_own else "null::json")
    select = select.replace("$is_its_own", "c.merged_into is null" if object_type.merges else "true")
    records = await statements.fetch(select, workspace_id, _LAST if version is None else version, sees_private, limit)
    return [_deleted_row(record) for record in records]


def _deleted_row(record: asyncpg.Record) -> DeletedRow:
    object_id, version, deleted_at, object_, own, hidden, *by = record
    shown = record_of(ObjectRead(version, object_, (own, hidden)))
    return DeletedRow._make((object_id, version, deleted_at, shown.body, *by))


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
            (select c.at from change c where c.workspace_id = $1 and c.seq = coalesce(t.seq, 0) + 1)
        )
        from workspace w left join change_trimmed t on t.workspace_id = $1
        where w.id = $1
        """,
        workspace_id,
    )
    assert record is not None, "a caller has a workspace"
    return LedgerRange(*record)


class TouchedObject(NamedTuple):
    """An object that a request changed: the numbers of its first and last entry, and whether it existed before.

    `is_undone` says that an undo has taken the changes back, and that none followed.
    """

    object_type: ObjectType[Any, Any]
    object_id: UUID
    first: int
    last: int
    was_there: bool
    is_undone: bool = False


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


class RequestOfType(NamedTuple):
    """A request's entries of a type: the numbers of the first and the last, how many there are, and whether some create."""

    object_type: ObjectType[Any, Any]
    first: int
    last: int
    entries: int
    creates: bool


async def types_of(
    statements: Executor, object_types: ObjectTypes, workspace_id: UUID, request_id: UUID
) -> list[RequestOfType]:
    """Return the types of the objects that a request changed."""
    records = await statements.fetch(
        """
        select kind::text, min(seq), max(seq), count(*), bool_or(action::text in ('c', 'r'))
        from (select * from change where request_id = $2 offset 0) as of_the_request where workspace_id = $1
        group by kind
        """,
        workspace_id,
        request_id,
    )
    return [RequestOfType(object_types.of(record[0]), *record[1:]) for record in records]


# The entries of the ledger that one statement looks through for those of a request.
LOOKED_THROUGH: Final = 5_000


class EntriesAsked(NamedTuple):
    """The entries of a request that are asked for: of some types, behind one entry, up to the request's last one."""

    request_id: UUID
    object_types: Collection[ObjectType[Any, Any]]
    after: int
    last: int
    limit: int


class EntriesFound(NamedTuple):
    """The numbers of entries with their objects, and the number up to which all were looked through."""

    entries: list[tuple[int, ObjectType[Any, Any], UUID]]
    through: int


async def entries_of_request(statements: Executor, workspace_id: UUID, asked: EntriesAsked) -> EntriesFound:
    """Return the next entries of a request, in order, among the next `LOOKED_THROUGH` of the ledger."""
    through = min(asked.after + LOOKED_THROUGH, asked.last)
    by_kind = {each.kind: each for each in asked.object_types}
    # By number, because the index by request knows no order: each page would sort all entries of the request.
    records = await statements.fetch(
        """
        select c.seq, c.kind::text, c.object_id
        from (
            select e.seq, e.kind, e.object_id, e.request_id from change e
            where e.workspace_id = $1 and e.seq > $2 and e.seq <= $3 order by e.seq offset 0
        ) as c
        where c.request_id = $4 and c.kind::text = any($5)
        limit $6
        """,
        workspace_id,
        asked.after,
        through,
        asked.request_id,
        list(by_kind),
        asked.limit,
    )
    entries = [(record[0], by_kind[record[1]], record[2]) for record in records]
    return EntriesFound(entries, entries[-1][0] if len(entries) == asked.limit else through)


_TOUCHED_AMONG: Final[LiteralString] = (
    """
    with recursive chain as (
        select e.*
        from unnest($2::uuid[]) as asked(id)
        cross join lateral (
            select c.version from $table c where c.workspace_id = $1 and c.id = asked.id limit 1
        ) as c
        cross join lateral (
            select e.* from change e where e.workspace_id = $1 and e.seq = c.version limit 1
        ) as e
        union all
        select e.* from chain
    """
    + PREVIOUS_ENTRY
    + """
        where chain.seq > $4 and chain.action::text <> 'c' and coalesce(chain.previous_version, $4) >= $4
    )
    select object_id, min(seq), max(seq), (array_agg(action::text order by seq))[1] in ('u', 'd', 'x')
    from chain where request_id = $3 and seq >= $4 and kind::text = $5
    group by object_id
    """
)


async def touched_among(  # the request, and the objects
    statements: Executor,
    object_type: ObjectType[Any, Any],
    workspace_id: UUID,
    request_id: UUID,
    since: int,
    object_ids: Collection[UUID],
) -> dict[UUID, TouchedObject]:
    """Return those of some objects that a request changed, whose first entry is `since`. Erased ones are none."""
    records = await statements.fetch(
        _TOUCHED_AMONG.replace("$table", object_type.table.name),
        workspace_id,
        list(object_ids),
        request_id,
        since,
        object_type.kind,
    )
    return {record[0]: TouchedObject(object_type, *record) for record in records}


class Effective(NamedTuple):
    """An object without the changes that undos have taken back: its present version, and what is left of a request's changes.

    `is_same`: the last change that counts is one of the request. `is_undone`: all of the request are taken back, and the object
    has not changed since.
    """

    version: int
    is_same: bool
    is_undone: bool


_EFFECTIVE: Final[LiteralString] = (
    """
    with recursive chain as (
        select e.*, u.undone_id, array_remove(array[u.undone_id], null) as taken_back
        from unnest($2::uuid[]) as asked(id)
        cross join lateral (select c.version from $table c where c.workspace_id = $1 and c.id = asked.id limit 1) as c
        cross join lateral (select e.* from change e where e.workspace_id = $1 and e.seq = c.version limit 1) as e
        left join undone_request u on u.workspace_id = $1 and u.request_id = e.request_id
        union all
        select e.*, u.undone_id,
            case when u.undone_id is null or e.request_id = any(chain.taken_back) then chain.taken_back
                else chain.taken_back || u.undone_id end
        from chain
    """
    + PREVIOUS_ENTRY
    + """
        left join undone_request u on u.workspace_id = $1 and u.request_id = e.request_id
        where chain.undone_id is not null or chain.request_id = any(chain.taken_back)
    )
    select distinct on (object_id) object_id, max(seq) over (partition by object_id), request_id = $3 and not is_taken_back,
        $3 = any(taken_back)
    from (
        select *, undone_id is not null or request_id = any(taken_back) as is_taken_back from chain
    ) as looked_at
    order by object_id, seq
    """
)
# The statement looks at so many objects, each as far back as undos go.
_OBJECTS_AT_ONCE: Final = 500


async def effective(
    statements: Executor, object_type: ObjectType[Any, Any], workspace_id: UUID, object_ids: Sequence[UUID], request_id: UUID
) -> dict[UUID, Effective]:
    """Return objects without the changes that undos have taken back since a request changed them. Erased ones are left out."""
    found: dict[UUID, Effective] = {}
    select = _EFFECTIVE.replace("$table", object_type.table.name)
    for index in range(0, len(object_ids), _OBJECTS_AT_ONCE):
        some = object_ids[index : index + _OBJECTS_AT_ONCE]
        for record in await statements.fetch(select, workspace_id, some, request_id):
            found[record[0]] = Effective(*tuple(record)[1:])
    return found


async def may_be_cut(statements: Executor, workspace_id: UUID, request_id: UUID) -> bool:
    """Whether some of the request's entries may have been trimmed from the ledger."""
    oldest = await statements.fetchrow(
        """
        select c.at, c.request_id from change c
        where c.workspace_id = $1 and c.seq = (select t.seq + 1 from change_trimmed t where t.workspace_id = $1)
        """,
        workspace_id,
    )
    if oldest is None:
        return False
    # A request's id begins with the time of its arrival. Its entries are later, unless clocks differ.
    arrived = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=request_id.int >> 80)
    return oldest["request_id"] == request_id or arrived <= oldest["at"]


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


class Survivor(msgspec.Struct, frozen=True):
    """The active object that replaces a merged one, directly or through other merged objects."""

    workspace_id: UUID
    merged_id: UUID
    survivor_id: UUID


def _survivors(table: LiteralString) -> Table[Survivor]:
    load: LiteralString = """
        select asked.workspace_id, asked.key as merged_id, found.id as survivor_id
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        cross join lateral (
            with recursive goes_on as (
                select c.id, c.merged_into, c.deleted_at from $table c
                where c.workspace_id = asked.workspace_id and c.id = asked.key
                union
                select c.id, c.merged_into, c.deleted_at from goes_on cross join lateral (
                    select c.id, c.merged_into, c.deleted_at from $table c
                    where c.workspace_id = asked.workspace_id and c.id = goes_on.merged_into limit 1
                ) as c
                where goes_on.deleted_at is not null
            )
            select id from goes_on where deleted_at is null limit 1
        ) as found
    """
    return Table(row=Survivor, key=lambda found: found.merged_id, load=load.replace("$table", table), save=None)


SURVIVORS: Final = {"contact": _survivors("contact"), "company": _survivors("company")}

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


async def fitting_entries(statements: Executor, workspace_id: UUID, seqs: Sequence[int], most_bytes: int) -> int:
    """Return how many of the first of some entries, at least one, have at most so many bytes together."""
    many: int = await statements.fetchval(
        """
        with recursive walk as (
            select 0 as many, 0::bigint as bytes
            union all
            select walk.many + 1, walk.bytes + coalesce((
                select octet_length(c.object::text) + coalesce(octet_length(c.previous::text), 0) from change c
                where c.workspace_id = $1 and c.seq = ($2::bigint[])[walk.many + 1]
            ), 0)
            from walk where walk.many < cardinality($2::bigint[]) and walk.bytes < $3
        )
        select greatest(1, max(many) filter (where bytes <= $3)) from walk
        """,
        workspace_id,
        seqs,
        most_bytes,
    )
    return many


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
    other than `aside` refer to them. An engagement, a note or a merged object counts only if it changed from entry `since` on:
    an earlier one referred to an object that was gone before the request, too. At most `most` referrers are examined for each
    object, and an object with more is needed. `merging` are contacts and companies for which any engagement and note counts.
    `going_tags` are ids as the API shows them.
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


class UndoneRequest(msgspec.Struct, frozen=True):
    """A request that was an undo, and the request that it has undone."""

    workspace_id: UUID
    request_id: UUID
    undone_id: UUID


_NOTE_UNDONE: Final = insertion(
    "undone_noted", "undone_request", {"request_id": "uuid", "undone_id": "uuid"}, "on conflict do nothing"
)
UNDONE: Final = Table(
    row=UndoneRequest,
    key=lambda undone: undone.request_id,
    load=None,
    save=_NOTE_UNDONE,
)


class Undone(NamedTuple):
    """The latest undo of a request: its own request, its time, and the credential with the known facts about it."""

    request_id: UUID
    at: datetime
    credential_id: UUID
    credential_name: str | None
    user_id: UUID | None
    is_client: bool


async def undone_by(statements: Executor, workspace_id: UUID, request_ids: Collection[UUID]) -> dict[UUID, Undone]:
    """Return the latest undo of each of some requests, unless it has none, or that undo was itself undone."""
    records = await statements.fetch(
        """
        select distinct on (u.undone_id) u.undone_id, u.request_id, e.at, e.credential_id, coalesce(k.name, o.name),
            k.user_id, o.id is not null
        from undone_request u
        cross join lateral (
            select c.at, c.credential_id from change c where c.workspace_id = $1 and c.request_id = u.request_id limit 1
        ) as e
        left join lateral (select k.name, k.user_id from credential k where k.id = e.credential_id limit 1) as k on true
        left join lateral (select o.id, o.name from oauth_client o where o.id = e.credential_id limit 1) as o on true
        where u.workspace_id = $1 and u.undone_id = any($2) and not exists (
            select from undone_request again where again.workspace_id = $1 and again.undone_id = u.request_id
        )
        order by u.undone_id, e.at desc
        """,
        workspace_id,
        list(request_ids),
    )
    return {record[0]: Undone(*tuple(record)[1:]) for record in records}


class Author(NamedTuple):
    """The known facts about a credential."""

    name: str | None
    user_id: UUID | None
    is_client: bool


async def authors(statements: Executor, credential_ids: Collection[UUID]) -> dict[UUID, Author]:
    """Return what is known about credentials that have made changes."""
    records = await statements.fetch(
        """
        select asked.id, coalesce(k.name, o.name), k.user_id, o.id is not null
        from unnest($1::uuid[]) as asked(id)
        left join lateral (select k.name, k.user_id from credential k where k.id = asked.id limit 1) as k on true
        left join lateral (select o.id, o.name from oauth_client o where o.id = asked.id limit 1) as o on true
        """,
        list(credential_ids),
    )
    return {record[0]: Author(*tuple(record)[1:]) for record in records}


# Limits how many referrers are examined, for all objects to be deleted together.
MAX_COMPANY_CONTACTS: Final = 20_000
# In each part, a lateral join with a limit forces a lookup by key for each row.
_LINKED: Final[LiteralString] = """
    select from (
        select few.version, count(*) over () as many from (
            select e.version
            from (
                select l.$linker_id as id from $links l
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


def _linked(links: LiteralString, linker: LiteralString, kind: LiteralString) -> LiteralString:
    """Return the query for objects of a type that refer to one of a kind. `links` is the table of these references."""
    return _LINKED.replace("$links", links).replace("$linker", linker).replace("$kind", kind)


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
            ) or exists (
                select from contact_note l
                where l.workspace_id = asked.workspace_id and l.contact_id = going.id
                    and l.note_id not in (select unnest(k.aside))
            ) or exists (
                select from company_note l
                where l.workspace_id = asked.workspace_id and l.company_id = going.id
                    and l.note_id not in (select unnest(k.aside))
            )
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
    .replace("$linked_contacts", _linked("engagement_contact", "engagement", "contact"))
    .replace("$linked_companies", _linked("engagement_company", "engagement", "company"))
    .replace("$linked_tags", _linked("engagement_tag", "engagement", "tag"))
    .replace("$tagged_contacts", _linked("contact_tag", "contact", "tag"))
    .replace("$tagged_companies", _linked("company_tag", "company", "tag"))
    .replace("$noted_contacts", _linked("contact_note", "note", "contact"))
    .replace("$noted_companies", _linked("company_note", "note", "company"))
    .replace("$merged_contacts", _MERGED.replace("$table", "contact"))
    .replace("$merged_companies", _MERGED.replace("$table", "company")),
    save=None,
)


class ImportedFile(NamedTuple):
    """The import that a request was: its id, and the name of its file."""

    id: UUID
    name: str


async def imported_files(statements: Executor, workspace_id: UUID, request_ids: Collection[UUID]) -> dict[UUID, ImportedFile]:
    """Return the imports whose changes have these request ids, unless they are deleted."""
    records = await statements.fetch(
        """
        select (content ->> 'request_id')::uuid as request_id, id, content -> 'file' ->> 'name' as name
        from import_job
        where workspace_id = $1 and content ->> 'request_id' = any($2)
        """,
        workspace_id,
        [*map(str, request_ids)],
    )
    return {record["request_id"]: ImportedFile(record["id"], record["name"]) for record in records}
