"""Every SQL statement of the courier."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook.db.pool import Pool
from herdbook.webhooks.model import Attempt, EventType, Place, WebhookEndpoint
from herdbook.webhooks.signing import signing_secrets

_encode: Final = msgspec.json.Encoder().encode


class Enabled(NamedTuple):
    """An endpoint that is enabled, and whether this courier could deliver something there now."""

    place: Place
    has_work: bool


class Leased(NamedTuple):
    """An endpoint that this courier has to itself for a while: how far it has read, how it does, where it is, what signs."""

    position: int
    failing_since: datetime | None
    failures_in_a_row: int
    paused_until: datetime | None
    version: int
    url: str
    event_types: Sequence[EventType] | None
    secret: str
    former_secret: str | None
    former_secret_until: datetime | None

    def signing_secrets(self, now: datetime) -> list[str]:
        """Return the secrets that sign: for a while after a rotation, two."""
        return signing_secrets(self.secret, self.former_secret, self.former_secret_until, now)


class Read(NamedTuple):
    """An entry of the ledger; without the object, where it is none that the endpoint is told of."""

    seq: int
    at: datetime
    mark: str
    object_id: UUID
    object: bytes | None
    previous: bytes | None


class Due(NamedTuple):
    """A delivery whose next attempt is due, and its entry, if that is still kept."""

    seq: int
    attempt_count: int
    attempts: list[Attempt]
    entry: Read | None


class Progress(NamedTuple):
    """How far a round has come, and how the endpoint does."""

    position: int
    delivered: int
    failed: int
    failing_since: datetime | None
    failures_in_a_row: int
    paused_until: datetime | None


async def enabled_endpoints(pool: Pool, holder: UUID, now: datetime) -> list[Enabled]:
    """Return the enabled endpoints of all workspaces."""
    records = await pool.fetch(
        """
        select r.workspace_id, r.endpoint_id,
            (r.lease_holder is null or r.lease_holder = $1 or r.leased_until < now())
            and (
                (r.position < w.seq and coalesce(r.paused_until <= $2, true))
                or exists (
                    select from webhook_delivery d
                    where d.workspace_id = r.workspace_id and d.endpoint_id = r.endpoint_id and d.next_attempt_at <= $2
                )
            )
        from webhook_reader r join workspace w on w.id = r.workspace_id
        where r.is_enabled
        """,
        holder,
        now,
    )
    return [Enabled(Place(record[0], record[1]), record[2]) for record in records]


async def lease(pool: Pool, place: Place, holder: UUID) -> Leased | None:
    """Have an endpoint to oneself for a while, unless another courier has it or it is not to be told of anything."""
    record = await pool.fetchrow(
        """
        update webhook_reader r set lease_holder = $3, leased_until = now() + interval '5 seconds'
        from webhook_endpoint e
        where r.workspace_id = $1 and r.endpoint_id = $2 and r.is_enabled
            and (r.lease_holder is null or r.lease_holder = $3 or r.leased_until < now())
            and e.workspace_id = r.workspace_id and e.id = r.endpoint_id
        returning r.position, r.failing_since, r.failures_in_a_row, r.paused_until, e.version, e.object,
            e.secret, e.former_secret, e.former_secret_until
        """,
        *place,
        holder,
    )
    if record is None:
        return None
    endpoint = msgspec.json.decode(record["object"], type=WebhookEndpoint)
    return Leased(
        position=record["position"],
        failing_since=record["failing_since"],
        failures_in_a_row=record["failures_in_a_row"],
        paused_until=record["paused_until"],
        version=record["version"],
        url=endpoint.url,
        event_types=endpoint.event_types,
        secret=record["secret"],
        former_secret=record["former_secret"],
        former_secret_until=record["former_secret_until"],
    )


async def read_on(pool: Pool, workspace_id: UUID, position: int, marks: Sequence[str], limit: int) -> list[Read]:
    """Return the entries behind a position; of a transcript no more than an event says of it."""
    records = await pool.fetch(
        """
        select seq, at, kind::text || action::text, object_id,
            case
                when not (kind::text || action::text) = any($3) then null
                when kind <> 'r' then object
                else json_build_object(
                    'timeline', (json_typeof(object -> 'timeline') = 'object') or null, 'engagement', object -> 'engagement'
                )
            end,
            previous
        from change where workspace_id = $1 and seq > $2 order by seq limit $4
        """,
        workspace_id,
        position,
        list(marks),
        limit,
    )
    return [Read(*record) for record in records]


async def read_due(pool: Pool, place: Place, now: datetime, limit: int) -> list[Due]:
    """Return the deliveries whose next attempt is due, the longest due first."""
    records = await pool.fetch(
        """
        select d.seq, d.attempt_count, d.attempts, c.at, c.kind::text || c.action::text, c.object_id, c.object, c.previous
        from webhook_delivery d left join change c on c.workspace_id = d.workspace_id and c.seq = d.seq
        where d.workspace_id = $1 and d.endpoint_id = $2 and d.next_attempt_at <= $3
        order by d.next_attempt_at limit $4
        """,
        *place,
        now,
        limit,
    )
    return [
        Due(
            record[0],
            record[1],
            msgspec.json.decode(record[2], type=list[Attempt]),
            None if record[3] is None else Read(record[0], *record[3:]),
        )
        for record in records
    ]


async def store(pool: Pool, place: Place, holder: UUID, progress: Progress, *, gives_back: bool) -> int | None:
    """Store how far a round has come, and keep the lease, or give it back.

    Return the endpoint's version, or None where the lease is lost or the endpoint was disabled.
    """
    version: int | None = await pool.fetchval(
        """
        update webhook_reader r
        set position = greatest(r.position, $4), delivered = r.delivered + $5, failed = r.failed + $6,
            failing_since = $7, failures_in_a_row = $8, paused_until = $9,
            lease_holder = case when $10 then null else r.lease_holder end,
            leased_until = case when $10 then null else now() + interval '5 seconds' end
        from webhook_endpoint e
        where r.workspace_id = $1 and r.endpoint_id = $2 and r.lease_holder = $3
            and e.workspace_id = r.workspace_id and e.id = r.endpoint_id
        returning case when r.is_enabled then e.version end
        """,
        *place,
        holder,
        *progress,
        gives_back,
    )
    return version


async def enter_failure(
    pool: Pool,
    place: Place,
    entry: Read,
    event_type: EventType,
    next_attempt_at: datetime,
    attempt: Attempt,
) -> None:
    """Note a delivery that failed at its first attempt."""
    await pool.execute(
        """
        insert into webhook_delivery
            (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, next_attempt_at, attempts)
        values ($1, $2, $3, $4, $5, 'waiting', 1, $6, $7)
        on conflict (workspace_id, endpoint_id, seq) do nothing
        """,
        *place,
        entry.seq,
        event_type.value,
        entry.at,
        next_attempt_at,
        _encode([attempt]),
    )


async def enter_attempt(
    pool: Pool,
    place: Place,
    due: Due,
    attempts: Sequence[Attempt],
    next_attempt_at: datetime | None,
) -> None:
    """Note another attempt, and when the next one is due; None: there is none, since it was taken or is given up."""
    taken = bool(attempts) and attempts[-1].is_success
    await pool.execute(
        """
        update webhook_delivery
        set state = $4, attempt_count = $5, next_attempt_at = $6, attempts = $7
        where workspace_id = $1 and endpoint_id = $2 and seq = $3 and state = 'waiting'
        """,
        *place,
        due.seq,
        "delivered" if taken else "failed" if next_attempt_at is None else "waiting",
        due.attempt_count + 1,
        next_attempt_at,
        _encode(attempts),
    )
