"""All SQL statements about deliveries, except the courier's."""

import functools
import math
from collections.abc import Sequence
from datetime import datetime
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg

from herdbook.db.distribution import fetch_everywhere
from herdbook.db.pool import Executor, Pool
from herdbook.db.slices import SLICE, each_slice, each_slice_of_workspaces
from herdbook.engagements.store import TRANSCRIPT
from herdbook.webhook_endpoints.model import EndpointKey


class DeliveryRow(NamedTuple):
    """A delivery: its ledger entry while that is kept, joined with its stored row if there is one.

    `kind_action` holds the letters of the entry's kind and action. `event_type` comes from the stored row; `state` is None
    without one. `with_own`: the endpoint asked for own members when the entry was made.
    """

    seq: int
    at: datetime
    kind_action: str | None
    object_id: UUID | None
    event_type: str | None
    state: str | None
    attempt_count: int | None
    next_attempt_at: datetime | None
    attempts: bytes | None
    object: bytes | None = None
    previous: bytes | None = None
    merged_into: UUID | None = None
    with_own: bool = False


class Totals(NamedTuple):
    """Totals over the endpoints of all workspaces."""

    enabled: float
    failing: float
    disabled: float
    behind: float
    waiting: float
    delivered: float
    failed: float


UNKNOWN: Final = Totals(*[math.nan] * 7)


class DeliveryFilter(NamedTuple):
    """A filter for deliveries: entries after one and before another, with these event types, and a state if one is given.

    `kind_actions` are the kinds and actions of the entries that these event types stand for.
    """

    behind: int
    before: int
    event_types: Sequence[str]
    kind_actions: Sequence[str]
    state: str | None


async def any_enabled(pool: Pool) -> bool:
    """Whether an endpoint of any workspace is enabled, or may be on a node that is away."""
    found = await fetch_everywhere(pool, "select exists (select 1 from webhook_reader where is_enabled)")
    return not found.is_all or any(record[0] for record in found.records)


async def totals(pool: Pool) -> Totals:
    """Return totals over the endpoints of all workspaces, but of those on a node that is away."""
    found = await fetch_everywhere(
        pool,
        """
        select count(*) filter (where r.is_enabled and r.failing_since is null),
            count(*) filter (where r.is_enabled and r.failing_since is not null),
            count(*) filter (where not r.is_enabled),
            coalesce(sum(w.seq - r.position) filter (where r.is_enabled), 0)::bigint,
            (select count(*) from webhook_delivery d where d.next_attempt_at is not null),
            coalesce(sum(r.delivered), 0)::bigint,
            coalesce(sum(r.failed), 0)::bigint
        from webhook_reader r
        join webhook_endpoint e on e.workspace_id = r.workspace_id and e.id = r.endpoint_id
        join workspace w on w.id = r.workspace_id
        where coalesce(e.deleted_at, 'infinity') = 'infinity'
        """,
    )
    return Totals(*_sums(found.records, len(Totals._fields)))


async def totals_at_work(pool: Pool) -> tuple[int, int, int]:
    """Return how many endpoints fail, how far those that a courier has, or that fail, are behind, and how many retries wait.

    It looks at no others, so an endpoint that no courier has taken up is missing in the second.
    """
    found = await fetch_everywhere(
        pool,
        """
        select count(*) filter (where r.failing_since is not null), coalesce(sum(w.seq - r.position), 0)::bigint,
            (select count(*) from webhook_delivery d where d.next_attempt_at is not null)
        from webhook_reader r
        join workspace w on w.id = r.workspace_id
        where r.is_enabled and (r.lease_holder is not null or r.paused_until is not null or r.failing_since is not null)
        """,
    )
    failing, behind, waiting = _sums(found.records, 3)
    return failing, behind, waiting


def _sums(records: Sequence[asyncpg.Record], columns: int) -> list[int]:
    """Return the sums of columns over the parts of a database, of which there may be none."""
    return [sum(record[column] for record in records) for column in range(columns)]


async def count_waiting(pool: Pool, place: EndpointKey) -> int:
    """Return the number of deliveries that wait for another attempt."""
    count: int = await pool.fetchval(
        """
        select count(*) from webhook_delivery where workspace_id = $1 and endpoint_id = $2 and state = 'waiting'
        """,
        *place,
    )
    return count


async def last_before(pool: Pool, workspace_id: UUID, time: datetime, *, included: bool) -> int:
    """Return the number of the last entry before a time, or at that time if `included`, by binary search."""
    seq: int = await pool.fetchval(
        """
        with recursive search(older, newer) as (
            select coalesce((select seq from change_trimmed where workspace_id = $1), 0), seq + 1
            from workspace where id = $1
            union all
            select case when c.is_older then c.seq else older end, case when c.is_older then newer else c.seq end
            from search cross join lateral (
                select seq, at < $2 or at = $2 and $3 as is_older
                from change where workspace_id = $1 and seq = (older + newer) / 2 limit 1
            ) as c
            where newer - older > 1
        )
        select max(older) from search
        """,
        workspace_id,
        time,
        included,
    )
    return seq


async def behind_bytes(pool: Pool, workspace_id: UUID, behind: int, before: int, byte_limit: int) -> int:
    """Return behind which entry those before another one may be looked through: as far as what is stored of transcripts allows.

    To learn whether a transcript has a timeline takes all of it. One may be looked at in any case.
    """
    floor: int = await pool.fetchval(
        """
        select coalesce(max(seq), $2) from (
            select seq, sum(pg_column_size(object)) over (order by seq desc rows between unbounded preceding and 1 preceding)
                as stored_before
            from change where workspace_id = $1 and seq > $2 and seq < $3 and kind::text = $5
        ) as summed
        where stored_before >= $4
        """,
        workspace_id,
        behind,
        before,
        byte_limit,
        TRANSCRIPT.kind,
    )
    return floor


# `limit 1` makes the planner look up stored deliveries by their key, one by one, instead of scanning all of them. Most
# endpoints have few, and the planner cannot know which ones have many.
_DELIVERIES: Final[LiteralString] = """
    select * from (
        select change.seq, change.at, change.kind::text || change.action::text as kind_action, change.object_id, d.event_type,
            coalesce(d.state, case when change.seq > $8 then 'queued' else 'delivered' end) as state,
            d.attempt_count, d.next_attempt_at, d.attempts
        from change
        left join lateral (
            select * from webhook_delivery where workspace_id = $1 and endpoint_id = $2 and seq = change.seq limit 1
        ) as d on true
        where change.workspace_id = $1 and change.seq > $3 and change.seq < $4
            and change.kind::text || change.action::text = any($5)
            and (d.seq is not null or (change.kind::text || change.action::text = any($7) and $sends_event))
    ) as delivery
    where state = coalesce($6, state)
    order by seq desc limit $9
"""


class ToldEntries(NamedTuple):
    """The entries that an endpoint is told of: their kinds and actions, and the SQL condition on those that send an event."""

    kind_actions: Sequence[str]
    sends_event: LiteralString


async def deliveries(
    pool: Pool, place: EndpointKey, wanted: DeliveryFilter, told: ToldEntries, position: int, limit: int
) -> list[DeliveryRow]:
    """Return deliveries, the latest first: subscribed entries, and entries with a stored delivery.

    An entry without a stored delivery was delivered at the first attempt if it is not after the endpoint's position.
    """
    records = await pool.fetch(
        _DELIVERIES.replace("$sends_event", told.sends_event),
        *place,
        wanted.behind,
        wanted.before,
        wanted.kind_actions,
        wanted.state,
        told.kind_actions,
        position,
        limit,
    )
    return [DeliveryRow(*record) for record in records]


async def deliveries_noted(pool: Pool, place: EndpointKey, wanted: DeliveryFilter, limit: int) -> list[DeliveryRow]:
    """Return the stored deliveries in a state, the latest first."""
    records = await pool.fetch(
        """
        select d.seq, d.created_at, c.kind::text || c.action::text, c.object_id, d.event_type,
            d.state, d.attempt_count, d.next_attempt_at, d.attempts
        from webhook_delivery d left join lateral (
            select * from change where workspace_id = $1 and seq = d.seq limit 1
        ) as c on true
        where d.workspace_id = $1 and d.endpoint_id = $2 and d.seq > $3 and d.seq < $4
            and d.event_type = any($5) and d.state = $6
        order by d.seq desc limit $7
        """,
        *place,
        wanted.behind,
        wanted.before,
        wanted.event_types,
        wanted.state,
        limit,
    )
    return [DeliveryRow(*record) for record in records]


async def find_delivery(pool: Pool, place: EndpointKey, seq: int, sends_event: LiteralString) -> DeliveryRow | None:
    """Return a delivery with the entry's object: a stored one, or that of an entry that sends an event."""
    record = await pool.fetchrow(
        """
        select asked.seq, coalesce(change.at, d.created_at), change.kind::text || change.action::text, change.object_id,
            d.event_type, d.state, d.attempt_count, d.next_attempt_at, d.attempts, change.object, change.previous,
            change.merged_into
        from (select $3::bigint as seq) as asked
        left join change on change.workspace_id = $1 and change.seq = asked.seq
        left join webhook_delivery d on d.workspace_id = $1 and d.endpoint_id = $2 and d.seq = asked.seq
        where d.seq is not null or (change.seq is not null and $sends_event)
        """.replace("$sends_event", sends_event),
        *place,
        seq,
    )
    return None if record is None else DeliveryRow(*record)


async def send_again(pool: Pool, place: EndpointKey, delivery: DeliveryRow, event_type: str) -> None:
    """Restart a delivery; its first attempt is due at once."""
    await pool.execute(
        """
        insert into webhook_delivery
            (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, next_attempt_at, attempts, is_resend)
        values ($1, $2, $3, $4, $5, 'waiting', 0, now(), '[]', true)
        on conflict (workspace_id, endpoint_id, seq) do update
        set state = excluded.state, attempt_count = excluded.attempt_count, next_attempt_at = excluded.next_attempt_at,
            is_resend = true
        """,
        *place,
        delivery.seq,
        event_type,
        delivery.at,
    )


async def send_failed_again(pool: Pool, place: EndpointKey, since: datetime) -> int:
    """Restart the deliveries of all events since a time that failed for good. Return their number."""
    count: int = await pool.fetchval(
        """
        with again as (
            update webhook_delivery set state = 'waiting', attempt_count = 0, next_attempt_at = now(), is_resend = true
            where workspace_id = $1 and endpoint_id = $2 and state = 'failed' and created_at >= $3
            returning seq
        )
        select count(*) from again
        """,
        *place,
        since,
    )
    return count


async def skip(pool: Pool, place: EndpointKey, seq: int) -> None:
    """Give up a delivery that waits for another attempt or has failed."""
    await pool.execute(
        """
        update webhook_delivery set state = 'skipped', next_attempt_at = null
        where workspace_id = $1 and endpoint_id = $2 and seq = $3 and state in ('waiting', 'failed')
        """,
        *place,
        seq,
    )


# A stored delivery with answers of its receiver to an entry that was trimmed: an erasure finds deliveries by entries.
_BEYOND_ERASURES: Final[LiteralString] = """
    d.attempts::text <> '[]'
    and d.seq <= coalesce((select seq from change_trimmed where workspace_id = $workspace), 0)
"""
# A stored delivery that may be deleted: its entry was trimmed, and nobody waits for it.
_FORGETTABLE: Final[LiteralString] = """
    d.state <> 'waiting'
    and (d.state <> 'expired' or (
        select is_enabled from webhook_reader where workspace_id = $workspace and endpoint_id = $endpoint
    ))
    and d.seq <= coalesce((select seq from change_trimmed where workspace_id = $workspace), 0)
"""


async def forget_old_deliveries(statements: Executor) -> None:
    """Delete stored deliveries whose entries were trimmed, except waiting ones, and all deliveries of deleted endpoints.

    Expired deliveries are shown until their endpoint is enabled again, but without the answers of the receiver.
    """

    async def look(part: Executor, workspace_ids: list[UUID]) -> None:
        for place, is_deleted in await endpoints_with_old_deliveries(part, workspace_ids):
            await each_slice(functools.partial(_forget_slice, statements, place, is_deleted=is_deleted))
            await each_slice(functools.partial(_empty_slice, statements, place))
            if is_deleted:
                await statements.execute("delete from webhook_reader where workspace_id = $1 and endpoint_id = $2", *place)

    await each_slice_of_workspaces(statements, look)


async def endpoints_with_old_deliveries(statements: Executor, workspace_ids: Sequence[UUID]) -> list[tuple[EndpointKey, bool]]:
    """Return the endpoints with stored deliveries to delete, and whether the endpoint itself was deleted."""
    # Events of an endpoint that was deleted just now may still be under way.
    records = await statements.fetch(
        """
        select r.workspace_id, r.endpoint_id, e.is_deleted
        from webhook_reader r
        cross join lateral (
            select coalesce(e.deleted_at, 'infinity') < now() - interval '1 minute' as is_deleted
            from webhook_endpoint e
            where e.workspace_id = r.workspace_id and e.id = r.endpoint_id limit 1
        ) as e
        where r.workspace_id = any($1) and (e.is_deleted or exists (
            select from webhook_delivery d
            where d.workspace_id = r.workspace_id and d.endpoint_id = r.endpoint_id and (($forgettable) or ($beyond_erasures))
            offset 0
        ))
        """.replace("$forgettable", _FORGETTABLE)
        .replace("$beyond_erasures", _BEYOND_ERASURES)
        .replace("$workspace", "r.workspace_id")
        .replace("$endpoint", "r.endpoint_id"),
        workspace_ids,
    )
    return [(EndpointKey(record[0], record[1]), record[2]) for record in records]


async def _forget_slice(statements: Executor, place: EndpointKey, *, is_deleted: bool) -> int:
    count: int = await statements.fetchval(
        """
        with old as (
            delete from webhook_delivery d
            using (
                select seq from webhook_delivery d
                where workspace_id = $1 and endpoint_id = $2 and ($3 or ($forgettable))
                order by seq limit $4
            ) as slice
            where d.workspace_id = $1 and d.endpoint_id = $2 and d.seq = slice.seq
            returning d.seq
        )
        select count(*) from old
        """.replace("$forgettable", _FORGETTABLE)
        .replace("$workspace", "$1")
        .replace("$endpoint", "$2"),
        *place,
        is_deleted,
        SLICE,
    )
    return count


async def _empty_slice(statements: Executor, place: EndpointKey) -> int:
    count: int = await statements.fetchval(
        """
        with emptied as (
            update webhook_delivery d set attempts = '[]'
            where d.workspace_id = $1 and d.endpoint_id = $2 and d.seq = any(array(
                select d.seq from webhook_delivery d
                where d.workspace_id = $1 and d.endpoint_id = $2 and $beyond_erasures order by d.seq limit $3
            ))
            returning d.seq
        )
        select count(*) from emptied
        """.replace("$beyond_erasures", _BEYOND_ERASURES).replace("$workspace", "$1"),
        *place,
        SLICE,
    )
    return count
