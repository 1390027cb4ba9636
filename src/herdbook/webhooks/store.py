"""All SQL statements about webhook endpoints and their deliveries, except the courier's."""

import asyncio
import functools
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListQuery, ListRow, PageQuery
from herdbook.db.pool import CONNECTION_ERRORS, Pool
from herdbook.db.slices import SLICE, each_slice
from herdbook.ledger.object_types import object_table
from herdbook.ledger.unit_of_work import Table
from herdbook.webhooks.model import LEASE_SECONDS, EndpointKey, Missed, WebhookEndpoint, missed
from herdbook.webhooks.signing import signing_secrets
from herdbook.webhooks.subscription import SubscriptionSpan

_SHORTEST_LOOK_SECONDS: Final = 0.005
_MAX_LOOK_SECONDS: Final = 0.1


class WebhookEndpointRow(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook endpoint's row."""

    workspace_id: UUID
    id: UUID
    version: int
    updated_at: datetime
    deleted_at: datetime | None
    secret: str
    former_secret: str | None
    former_secret_until: datetime | None
    object: WebhookEndpoint


class ReaderRow(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's position in the ledger: the columns that commands write. The courier writes the others.

    `missed_from` and `missed_to` are the entries that were trimmed before they could be sent because the endpoint was disabled.
    `gives_up` drops the deliveries that wait for another attempt. `begins_anew` resets the failure state and retries waiting
    deliveries at once.
    """

    workspace_id: UUID
    endpoint_id: UUID
    is_enabled: bool
    position: int
    told: tuple[SubscriptionSpan, ...]
    missed_from: int | None = None
    missed_to: int | None = None
    gives_up: bool = False
    begins_anew: bool = False


WEBHOOK_ENDPOINTS: Final = object_table(
    WebhookEndpointRow,
    "webhook_endpoint",
    {"secret": "text", "former_secret": "text", "former_secret_until": "timestamptz"},
)
# The courier also writes these rows and moves the position all the time, so loaded values are never written back and a
# position never decreases.
READERS: Final = Table(
    row=ReaderRow,
    key=lambda reader: reader.endpoint_id,
    load="""
        select t.workspace_id, t.endpoint_id, t.is_enabled, t.position, t.told, t.missed_from, t.missed_to
        from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
        join webhook_reader t on t.workspace_id = asked.workspace_id and t.endpoint_id = asked.key
    """,
    save="""
        webhook_reader_asked as (
            select r.* from json_to_recordset($rows) as r(
                workspace_id uuid, endpoint_id uuid, is_enabled boolean, position bigint, told json, gives_up boolean,
                begins_anew boolean
            )
            join held on held.id = r.workspace_id
        ), webhook_reader_created as (
            insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position, told)
            select workspace_id, endpoint_id, is_enabled, position, told from webhook_reader_asked
            on conflict do nothing
        ), webhook_reader_saved as (
            update webhook_reader t
            set is_enabled = r.is_enabled, position = greatest(t.position, r.position), told = r.told,
                failing_since = case when not r.begins_anew then t.failing_since end,
                failed_at = case when not r.begins_anew then t.failed_at end,
                failing_seconds = case when r.begins_anew then 0 else t.failing_seconds end,
                failures_in_a_row = case when r.begins_anew then 0 else t.failures_in_a_row end,
                paused_until = case when not r.begins_anew then t.paused_until end,
                missed_from = case when r.is_enabled or not t.is_enabled then t.missed_from end,
                missed_to = case when r.is_enabled or not t.is_enabled then t.missed_to end
            from webhook_reader_asked r
            where t.workspace_id = r.workspace_id and t.endpoint_id = r.endpoint_id
        ), webhook_delivery_begun_anew as (
            update webhook_delivery d
            set state = case when r.gives_up then 'skipped' else d.state end,
                next_attempt_at = case when not r.gives_up then least(d.next_attempt_at, now()) end
            from webhook_reader_asked r
            where d.workspace_id = r.workspace_id and d.endpoint_id = r.endpoint_id and d.state = 'waiting'
                and (r.gives_up or r.begins_anew)
        )
    """,
)


class EndpointState(NamedTuple):
    """An active endpoint with its secrets and its position."""

    endpoint: WebhookEndpoint
    told: tuple[SubscriptionSpan, ...]
    secret: str
    former_secret: str | None
    former_secret_until: datetime | None
    position: int
    failing_since: datetime | None
    delivered: int
    failed: int
    missed_from: int | None
    missed_to: int | None
    head: int

    @property
    def missed(self) -> Missed | None:
        """The entries that it missed because it was disabled for too long."""
        return missed(self.missed_from, self.missed_to)

    @property
    def former_signs_until(self) -> datetime | None:
        """The time until which the former secret also signs, or None if it no longer does."""
        until = self.former_secret_until
        return until if until is not None and until > datetime.now(UTC) else None

    @property
    def signing_secrets(self) -> list[str]:
        """The secrets to sign with."""
        return signing_secrets(self.secret, self.former_secret, self.former_secret_until, datetime.now(UTC))


class DeliveryRow(NamedTuple):
    """A delivery: its ledger entry while that is kept, joined with its stored row if there is one.

    `mark` is the entry's kind and action. `event_type` comes from the stored row; `state` is None without one.
    """

    seq: int
    at: datetime
    mark: str | None
    object_id: UUID | None
    event_type: str | None
    state: str | None
    attempt_count: int | None
    next_attempt_at: datetime | None
    attempts: bytes | None
    object: bytes | None = None
    previous: bytes | None = None


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

    `marks` are the kinds and actions of the entries that these event types stand for.
    """

    behind: int
    before: int
    event_types: Sequence[str]
    marks: Sequence[str]
    state: str | None


async def find(database: Database, workspace_id: UUID, endpoint_id: UUID) -> ObjectRead | None:
    """Return an active webhook endpoint as the API shows it, with its version."""
    return await database.find(find_in("webhook_endpoint"), workspace_id, endpoint_id)


async def page(pool: Pool, workspace_id: UUID, query: PageQuery) -> list[ListRow]:
    """Return the webhook endpoints of a page, plus one more if there is a next page."""
    return await ListQuery(workspace_id, query).fetch(pool, "webhook_endpoint")


async def read(pool: Pool, place: EndpointKey) -> EndpointState | None:
    """Return an active endpoint with its position."""
    record = await pool.fetchrow(
        """
        select e.object, r.told, e.secret, e.former_secret, e.former_secret_until,
            r.position, r.failing_since, r.delivered, r.failed, r.missed_from, r.missed_to, w.seq
        from webhook_endpoint e
        join webhook_reader r on r.workspace_id = e.workspace_id and r.endpoint_id = e.id
        join workspace w on w.id = e.workspace_id
        where e.workspace_id = $1 and e.id = $2 and coalesce(e.deleted_at, 'infinity') = 'infinity'
        """,
        *place,
    )
    if record is None:
        return None
    endpoint = msgspec.json.decode(record[0], type=WebhookEndpoint)
    return EndpointState(endpoint, msgspec.json.decode(record[1], type=tuple[SubscriptionSpan, ...]), *record[2:])


async def until_in_force(pool: Pool, place: EndpointKey, version: int) -> None:
    """Wait until nobody sends as an older version of the endpoint than the committed one.

    A courier sends as one version until it reports otherwise or its lease ends. After the commit, no courier takes or renews a
    lease for the older version. This takes no longer than a lease, even if the courier is dead or the database is away.
    """
    pause = _SHORTEST_LOOK_SECONDS
    try:
        async with asyncio.timeout(LEASE_SECONDS):
            while await _is_sent_as_before(pool, place, version):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_LOOK_SECONDS)
    except TimeoutError:
        return
    except (*CONNECTION_ERRORS, asyncpg.PostgresError):
        await asyncio.sleep(LEASE_SECONDS)


async def _is_sent_as_before(pool: Pool, place: EndpointKey, version: int) -> bool:
    is_sent: bool = await pool.fetchval(
        """
        select exists (
            select from webhook_reader
            where workspace_id = $1 and endpoint_id = $2 and sends_as < $3 and leased_until > now()
        )
        """,
        *place,
        version,
    )
    return is_sent


async def totals(pool: Pool) -> Totals:
    """Return totals over the endpoints of all workspaces."""
    record = await pool.fetchrow(
        """
        select count(*) filter (where r.is_enabled and r.failing_since is null),
            count(*) filter (where r.is_enabled and r.failing_since is not null),
            count(*) filter (where not r.is_enabled),
            coalesce(sum(w.seq - r.position) filter (where r.is_enabled), 0)::bigint,
            (select count(*) from webhook_delivery where next_attempt_at is not null),
            coalesce(sum(r.delivered), 0)::bigint,
            coalesce(sum(r.failed), 0)::bigint
        from webhook_reader r
        join webhook_endpoint e on e.workspace_id = r.workspace_id and e.id = r.endpoint_id
        join workspace w on w.id = r.workspace_id
        where coalesce(e.deleted_at, 'infinity') = 'infinity'
        """
    )
    assert record is not None, "an aggregate returns one row"
    return Totals(*record)


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
            from change where workspace_id = $1 and seq > $2 and seq < $3 and kind = 'r'
        ) as summed
        where stored_before >= $4
        """,
        workspace_id,
        behind,
        before,
        byte_limit,
    )
    return floor


async def deliveries(
    pool: Pool, place: EndpointKey, wanted: DeliveryFilter, told: Sequence[str], position: int, limit: int
) -> list[DeliveryRow]:
    """Return deliveries, the latest first: subscribed entries, and entries with a stored delivery.

    An entry without a stored delivery was delivered at the first attempt if it is not after the endpoint's position.
    """
    # `limit 1` makes the planner look up stored deliveries by their key, one by one, instead of scanning all of them. Most
    # endpoints have few, and the planner cannot know which ones have many.
    records = await pool.fetch(
        """
        select * from (
            select c.seq, c.at, c.kind::text || c.action::text as mark, c.object_id, d.event_type,
                coalesce(d.state, case when c.seq > $8 then 'queued' else 'delivered' end) as state,
                d.attempt_count, d.next_attempt_at, d.attempts
            from change c
            left join lateral (
                select * from webhook_delivery where workspace_id = $1 and endpoint_id = $2 and seq = c.seq limit 1
            ) as d on true
            where c.workspace_id = $1 and c.seq > $3 and c.seq < $4
                and c.kind::text || c.action::text = any($5)
                and (
                    d.seq is not null
                    or (
                        c.kind::text || c.action::text = any($7)
                        and (c.kind <> 'r' or json_typeof(c.object -> 'timeline') = 'object')
                    )
                )
        ) as delivery
        where state = coalesce($6, state)
        order by seq desc limit $9
        """,
        *place,
        wanted.behind,
        wanted.before,
        wanted.marks,
        wanted.state,
        told,
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


async def find_delivery(pool: Pool, place: EndpointKey, seq: int) -> DeliveryRow | None:
    """Return a delivery with the entry's object."""
    record = await pool.fetchrow(
        """
        select asked.seq, coalesce(c.at, d.created_at), c.kind::text || c.action::text, c.object_id, d.event_type,
            d.state, d.attempt_count, d.next_attempt_at, d.attempts, c.object, c.previous
        from (select $3::bigint as seq) as asked
        left join change c on c.workspace_id = $1 and c.seq = asked.seq
        left join webhook_delivery d on d.workspace_id = $1 and d.endpoint_id = $2 and d.seq = asked.seq
        where c.seq is not null or d.seq is not null
        """,
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


async def forget_old_deliveries(pool: Pool) -> None:
    """Delete stored deliveries whose entries were trimmed, except waiting ones, and all deliveries of deleted endpoints.

    Expired deliveries are shown until their endpoint is enabled again.
    """
    for workspace in await pool.fetch("select id from workspace"):
        readers = await pool.fetch(
            """
            select r.endpoint_id, coalesce(e.deleted_at, 'infinity') < now() - interval '1 minute'
            from webhook_reader r join webhook_endpoint e on e.workspace_id = r.workspace_id and e.id = r.endpoint_id
            where r.workspace_id = $1
            """,
            workspace["id"],
        )
        # Events of an endpoint that was deleted just now may still be under way.
        for endpoint_id, is_deleted in readers:
            place = EndpointKey(workspace["id"], endpoint_id)
            await each_slice(functools.partial(_forget_slice, pool, place, is_deleted=is_deleted))
            if is_deleted:
                await pool.execute("delete from webhook_reader where workspace_id = $1 and endpoint_id = $2", *place)


async def _forget_slice(pool: Pool, place: EndpointKey, *, is_deleted: bool) -> int:
    count: int = await pool.fetchval(
        """
        with old as (
            delete from webhook_delivery d
            using (
                select seq from webhook_delivery
                where workspace_id = $1 and endpoint_id = $2
                    and ($3 or (
                        state <> 'waiting'
                        and (state <> 'expired' or (
                            select is_enabled from webhook_reader where workspace_id = $1 and endpoint_id = $2
                        ))
                        and seq <= coalesce((select seq from change_trimmed where workspace_id = $1), 0)
                    ))
                order by seq limit $4
            ) as slice
            where d.workspace_id = $1 and d.endpoint_id = $2 and d.seq = slice.seq
            returning d.seq
        )
        select count(*) from old
        """,
        *place,
        is_deleted,
        SLICE,
    )
    return count
