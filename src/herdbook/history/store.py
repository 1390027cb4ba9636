"""Every SQL statement about histories, and about what a request did."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook.db.pool import Statements
from herdbook.ledger.book import Shelf
from herdbook.ledger.changes import Action, Kind
from herdbook.ledger.objects import Subject


class Standing(NamedTuple):
    """An object's row, deleted or not."""

    id: UUID
    version: int
    updated_at: datetime
    is_deleted: bool
    is_private: bool
    object: bytes


_STANDING: Final[LiteralString] = """
    select c.id, c.version, c.updated_at, c.deleted_at is not null, coalesce(c.object ->> 'is_private', 'false') = 'true',
        c.object
    from $table c where c.workspace_id = $1 and c.id = $2
"""


async def standing(statements: Statements, subject: Subject[Any, Any], workspace_id: UUID, object_id: UUID) -> Standing | None:
    """Return the row of an object, be it deleted."""
    record = await statements.fetchrow(_STANDING.replace("$table", subject.table), workspace_id, object_id)
    return None if record is None else Standing(*record)


# From an entry back to the one before it, by its number. Entries of older releases do not name that: for theirs, the ledger is
# searched backwards. As in all that follows, a limit has each row looked for by itself, so that the whole key is taken.
_CHAIN: Final[LiteralString] = """
    with recursive chain as (
        select c.*, 1 as place from change c
        where c.workspace_id = $1 and c.seq = $4 and c.object_id = $2 and c.kind::text = $3
        union all
        select e.*, chain.place + 1
        from chain cross join lateral (
            select c.* from change c
            where c.workspace_id = $1 and c.seq = coalesce(
                chain.previous_version,
                case when chain.action::text <> 'c' then (
                    select p.seq from change p
                    where p.workspace_id = $1 and p.seq < chain.seq and p.object_id = $2 and p.kind::text = $3
                    order by p.seq desc limit 1
                ) end
            )
            limit 1
        ) as e
        where $goes_on
    )
"""
_BACK_BY_NUMBER: Final = _CHAIN.replace("$goes_on", "chain.place < $5")
_BACK_BY_TIME: Final = _CHAIN.replace("$goes_on", "chain.at > $5")


class HistoryRow(NamedTuple):
    """An entry of an object, and what is known of the credential."""

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
    statements: Statements, subject: Subject[Any, Any], workspace_id: UUID, object_id: UUID, version: int, limit: int
) -> list[HistoryRow]:
    """Return entries of an object, from one back."""
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
        subject.kind.value,
        version,
        limit,
    )
    return [HistoryRow(record[0], record[1], Action(record[2]), *record[3:]) for record in records]


class EntryThen(NamedTuple):
    """The entry that tells how an object was at some time, or the oldest that is kept."""

    seq: int
    at: datetime
    action: Action
    object: bytes


async def entry_at(
    statements: Statements, subject: Subject[Any, Any], workspace_id: UUID, row: Standing, time: datetime
) -> EntryThen | None:
    """Return the last entry of an object that is not later than a time, or the oldest that is kept."""
    record = await statements.fetchrow(
        _BACK_BY_TIME + "select seq, at, action::text, object from chain order by seq limit 1",
        workspace_id,
        row.id,
        subject.kind.value,
        row.version,
        time,
    )
    return None if record is None else EntryThen(record[0], record[1], Action(record[2]), record[3])


class Extent(NamedTuple):
    """The numbers of a ledger's last entry, and of the last that is no longer kept."""

    head: int
    trimmed: int


async def extent(statements: Statements, workspace_id: UUID) -> Extent:
    """Return how far a ledger goes."""
    record = await statements.fetchrow(
        "select w.seq, coalesce(t.seq, 0) from workspace w left join change_trimmed t on t.workspace_id = w.id where w.id = $1",
        workspace_id,
    )
    assert record is not None, "a caller has a workspace"
    return Extent(*record)


class Touched(NamedTuple):
    """An object that a request changed: the numbers of its first and last entry of that, and whether it was there before."""

    kind: Kind
    object_id: UUID
    first: int
    last: int
    was_there: bool


async def touched(statements: Statements, workspace_id: UUID, request_id: UUID) -> list[Touched]:
    """Return what a request changed, in the order in which it came to it."""
    records = await statements.fetch(
        """
        select kind::text, object_id, min(seq) as first, max(seq), (array_agg(action::text order by seq))[1] in ('u', 'd')
        from (select * from change where request_id = $2 offset 0) as of_the_request where workspace_id = $1
        group by kind, object_id
        order by first
        """,
        workspace_id,
        request_id,
    )
    return [Touched(Kind(record[0]), *record[1:]) for record in records]


async def may_be_cut(statements: Statements, workspace_id: UUID, request_id: UUID) -> bool:
    """Whether the ledger may have been trimmed within what a request did."""
    oldest: datetime | None = await statements.fetchval(
        """
        select c.at from change c
        where c.workspace_id = $1 and c.seq = (select t.seq + 1 from change_trimmed t where t.workspace_id = $1)
        """,
        workspace_id,
    )
    # A request's id begins with the time at which it came, and what it did is later.
    return oldest is not None and datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=request_id.int >> 80) <= oldest


class FirstEntry(NamedTuple):
    """The first entry of an object by some request."""

    seq: int
    action: Action
    merged_into: UUID | None
    object: bytes
    previous: bytes | None


async def first_entries(statements: Statements, workspace_id: UUID, seqs: Collection[int]) -> dict[int, FirstEntry]:
    """Return entries by their numbers."""
    records = await statements.fetch(
        """
        select c.seq, c.action::text, c.merged_into, c.object, c.previous
        from unnest($2::bigint[]) as asked(seq)
        cross join lateral (select c.* from change c where c.workspace_id = $1 and c.seq = asked.seq limit 1) as c
        """,
        workspace_id,
        list(seqs),
    )
    return {record[0]: FirstEntry(record[0], Action(record[1]), *record[2:]) for record in records}


async def private_ones(
    statements: Statements, workspace_id: UUID, engagement_ids: Collection[UUID], comment_ids: Collection[UUID]
) -> set[UUID]:
    """Return which engagements are private, and which comments are about one that is; deleted or not."""
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


class Colleagues(msgspec.Struct, frozen=True):
    """The contacts of a company, or of those as many as decide whether it can go."""

    workspace_id: UUID
    company_id: UUID
    contact_ids: tuple[UUID, ...]


MOST_COLLEAGUES: Final = 1001
COLLEAGUES: Final = Shelf(
    row=Colleagues,
    key=lambda colleagues: colleagues.company_id,
    load="""
        select asked.workspace_id, asked.key as company_id, (
            select coalesce(json_agg(few.contact_id), '[]') from (
                select l.contact_id from company_contact l
                where l.workspace_id = asked.workspace_id and l.company_id = asked.key
                limit 1001
            ) as few
        ) as contact_ids
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    """,
    save=None,
)
