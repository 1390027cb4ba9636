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
    previous: bytes | None
    previous_version: int | None


async def entry_at(
    statements: Statements, subject: Subject[Any, Any], workspace_id: UUID, row: Standing, time: datetime
) -> EntryThen | None:
    """Return the last entry of an object that is not later than a time, or the oldest that is kept."""
    record = await statements.fetchrow(
        _BACK_BY_TIME + "select seq, at, action::text, object, previous, previous_version from chain order by seq limit 1",
        workspace_id,
        row.id,
        subject.kind.value,
        row.version,
        time,
    )
    return None if record is None else EntryThen(record[0], record[1], Action(record[2]), *record[3:])


class Extent(NamedTuple):
    """The numbers of a ledger's last entry, and of the last that is no longer kept.

    All that is no longer kept happened until `since`; None where nothing says when.
    """

    head: int
    trimmed: int
    since: datetime | None


async def extent(statements: Statements, workspace_id: UUID) -> Extent:
    """Return how far a ledger goes."""
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


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """Two questions: which objects are not there, and which of those that are to go do others need.

    `contacts`, `companies` and `tags` are to be there. Of the `going` ones it is looked at what names them beside the objects
    `aside`. Engagements and merged contacts count that have changed from entry `since` on: what named an object before did so
    while it was not there. At most `most` of them are looked at for each; one that has more is needed. `merging` are contacts
    of which any engagement counts. `going_tags` are ids as the API shows them.
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
    """An object that is not there: the number of the entry that deleted it, and whether that was a merge."""

    id: UUID
    version: int | None
    is_merged: bool


class References(msgspec.Struct, frozen=True):
    """The objects asked for that are not there, and those that others need."""

    workspace_id: UUID
    around: Around
    gone: tuple[Gone, ...]
    needed: tuple[UUID, ...]
    needed_tags: tuple[str, ...]


# So many objects are looked at to find out whether those that go are needed, for all of them together.
MOST_COLLEAGUES: Final = 20_000
# In each part, a lateral with a limit has rows taken by their keys, one after the other.
_LINKED: Final[LiteralString] = """
    select from (
        select few.version, count(*) over () as many from (
            select e.version
            from (
                select l.engagement_id from engagement_$kind l
                where l.workspace_id = asked.workspace_id and l.$kind_id = going.id
                    and l.engagement_id not in (select unnest(k.aside))
                order by l.engagement_id desc limit k.most + 1
            ) as l
            cross join lateral (
                select e.version from engagement e
                where e.workspace_id = asked.workspace_id and e.id = l.engagement_id limit 1
            ) as e
        ) as few
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
            ) or exists ($linked_companies)
            union all
            select going.id from unnest(k.going_contacts) as going(id)
            where exists ($linked_contacts) or exists (
                select from (
                    select m.version, count(*) over () as many from (
                        select m.version from contact m
                        where m.workspace_id = asked.workspace_id and m.merged_into = going.id
                            and m.id not in (select unnest(k.aside))
                        limit k.most + 1
                    ) as m
                ) as seen
                where seen.version >= k.since or seen.many > k.most
            )
            union all
            select going.id from unnest(k.merging) as going(id)
            where exists (
                select from engagement_contact l
                where l.workspace_id = asked.workspace_id and l.contact_id = going.id
                    and l.engagement_id not in (select unnest(k.aside))
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
        select coalesce(json_agg(going.id), '[]') from unnest(k.going_tags) as going(id) where exists ($linked_tags)
    ) as needed_tags
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
    cross join lateral json_to_record(asked.key) as k(
        since bigint, contacts uuid[], companies uuid[], tags uuid[], going_contacts uuid[], going_companies uuid[],
        going_tags text[], going_engagements uuid[], merging uuid[], aside uuid[], most int
    )
"""
REFERENCES: Final = Shelf(
    row=References,
    key=lambda references: references.around,
    load=_REFERENCES.replace(
        "$gone_contacts",
        _GONE.replace("$names", "contacts").replace("$table", "contact").replace("$merged", "c.merged_into is not null"),
    )
    .replace("$gone_companies", _GONE.replace("$names", "companies").replace("$table", "company").replace("$merged", "false"))
    .replace("$gone_tags", _GONE.replace("$names", "tags").replace("$table", "tag").replace("$merged", "false"))
    .replace("$linked_contacts", _LINKED.replace("$kind", "contact"))
    .replace("$linked_companies", _LINKED.replace("$kind", "company"))
    .replace("$linked_tags", _LINKED.replace("$kind", "tag")),
    save=None,
)
