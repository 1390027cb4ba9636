"""All SQL statements of the courier, the delivery worker."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook.db.distribution import fetch_everywhere, fetch_of
from herdbook.db.pool import Pool
from herdbook.engagements.store import TRANSCRIPT
from herdbook.webhook_endpoints.model import LEASE_SECONDS, EndpointKey, EventType, WebhookEndpoint
from herdbook.webhook_endpoints.signing import signing_secrets
from herdbook.webhook_endpoints.subscription import SubscriptionSpan
from herdbook.webhooks.model import MAX_STORED_BYTES, Attempt, DeliveryState

_KEPT_ATTEMPTS: Final = 20
_encode: Final = msgspec.json.Encoder().encode

# Columns of an entry, as far as its event needs them: a transcript may be long, and its event has nothing of its text.
_TOLD_OBJECT: Final[LiteralString] = f"""
    case
        when left(kind_action, 1) is distinct from '{TRANSCRIPT.kind}' then object
        else json_build_object(
            'timeline', (json_typeof(object -> 'timeline') = 'object') or null, 'engagement', object -> 'engagement'
        )
    end
"""
_TOLD_PREVIOUS: Final[LiteralString] = f"case when left(kind_action, 1) is distinct from '{TRANSCRIPT.kind}' then previous end"


class Failing(NamedTuple):
    """Failures of an endpoint: the first and the last time, how many in a row, and how many seconds of failure count."""

    since: datetime | None
    last_at: datetime | None
    in_a_row: int
    seconds: float


WELL: Final = Failing(None, None, 0, 0.0)


class Lease(NamedTuple):
    """An endpoint leased to this courier: its position, failure state, URL and secrets.

    `told` holds its subscription spans: the event types for each range of entries. `event_types` is the current subscription,
    and `include_fields` says whether it asks for own members now.
    """

    position: int
    told: Sequence[SubscriptionSpan]
    failing: Failing
    paused_until: datetime | None
    version: int
    url: str
    event_types: Sequence[EventType] | None
    include_fields: bool
    secret: str
    former_secret: str | None
    former_secret_until: datetime | None
    own_headers: str | None

    def signing_secrets(self, now: datetime) -> list[str]:
        """Return the secrets to sign with: two for a while after a rotation."""
        return signing_secrets(self.secret, self.former_secret, self.former_secret_until, now)


class LedgerEntry(NamedTuple):
    """A ledger entry and its size in bytes. `object` is None for entries that the endpoint is not told of.

    `stored` is how many bytes the whole entry takes in the database, 0 if the endpoint is not told of it.
    """

    seq: int
    at: datetime
    kind_action: str
    object_id: UUID
    object: bytes | None
    previous: bytes | None
    merged_into: UUID | None
    size: int
    stored: int


class DueDelivery(NamedTuple):
    """A delivery whose next attempt is due, and its ledger entry if that is still kept.

    `is_resend`: a person asked for it, so it is sent even if the endpoint has unsubscribed from its event type.
    """

    seq: int
    event_type: str
    is_resend: bool
    attempt_count: int
    attempts: list[Attempt]
    entry: LedgerEntry | None


class Progress(NamedTuple):
    """Progress of a round: its position, its counts, and the endpoint's failure state.

    `version` is the version of the endpoint that the round sends as; `sends`: it will begin more attempts.
    """

    position: int
    delivered: int
    failed: int
    failing: Failing
    paused_until: datetime | None
    version: int
    sends: bool


class Tried(NamedTuple):
    """An attempt, the time of the next one if there is to be one, and the endpoint's version at the attempt."""

    attempt: Attempt
    next_attempt_at: datetime | None
    version: int


_WITH_WORK: Final[LiteralString] = """
    select r.workspace_id, r.endpoint_id
    from webhook_reader r join workspace w on w.id = r.workspace_id
    where r.is_enabled
        and (r.lease_holder is null or r.lease_holder = $1 or r.leased_until < now())
        and coalesce(r.paused_until <= $2, true)
        and (
            r.position < w.seq
            or exists (
                select from webhook_delivery d
                where d.workspace_id = r.workspace_id and d.endpoint_id = r.endpoint_id and d.next_attempt_at <= $2
            )
        )
"""
_OF_THESE: Final[LiteralString] = " and r.workspace_id = any($3)"


async def endpoints_with_work(
    pool: Pool, holder: UUID, now: datetime, workspace_ids: Collection[UUID] | None = None
) -> tuple[list[EndpointKey], bool]:
    """Return the endpoints, of all workspaces or of these, to which this courier could deliver something now.

    Those on a node that is away are missing, and the second value is then false.
    """
    if workspace_ids is None:
        found = await fetch_everywhere(pool, _WITH_WORK, holder, now)
    else:
        found = await fetch_of(pool, workspace_ids, _WITH_WORK + _OF_THESE, holder, now)
    return [EndpointKey(*record) for record in found.records], found.is_all


async def workspaces_to_look_at(
    pool: Pool, due_after: datetime, now: datetime, requests_since: UUID
) -> tuple[list[UUID], bool]:
    """Return the workspaces in which something may have come to be delivered, without a look at any other.

    These are the workspaces with a retry that fell due between two times, with an endpoint that a courier has leased or that
    fails, and with entries of requests since one. Those on a node that is away are missing, and the second value is then false.
    """
    found = await fetch_everywhere(
        pool,
        """
        select workspace_id from webhook_delivery where next_attempt_at > $1 and next_attempt_at <= $2
        union
        select workspace_id from webhook_reader
        where is_enabled and (lease_holder is not null or paused_until is not null or failing_since is not null)
        union
        select workspace_id from change where request_id >= $3
        """,
        due_after,
        now,
        requests_since,
    )
    return [record[0] for record in found.records], found.is_all


async def lease(pool: Pool, place: EndpointKey, holder: UUID) -> Lease | None:
    """Lease an endpoint. Return None if another courier holds it or it is disabled.

    A change of the endpoint and a new lease exclude each other: the change must know whether somebody still sends as the former
    version. The endpoint's row is locked after its reader, with `skip locked`, because the change may lock the two rows in
    either order.
    """
    record = await pool.fetchrow(
        """
        with reader as materialized (
            select endpoint_id from webhook_reader
            where workspace_id = $1 and endpoint_id = $2 and is_enabled
                and (lease_holder is null or lease_holder = $3 or leased_until < now()) /* held */
            for update
        ), endpoint as materialized (
            select e.version, e.object, e.secret, e.former_secret, e.former_secret_until, e.own_headers
            from webhook_endpoint e join reader on reader.endpoint_id = e.id
            where e.workspace_id = $1
            for share of e skip locked
        )
        update webhook_reader r
        set lease_holder = $3, leased_until = now() + make_interval(secs => $4), sends_as = e.version
        from endpoint e
        where r.workspace_id = $1 and r.endpoint_id = $2
        returning r.position, r.told, r.failing_since, r.failed_at, r.failures_in_a_row, r.failing_seconds, r.paused_until,
            e.version, e.object, e.secret, e.former_secret, e.former_secret_until, e.own_headers
        """,
        *place,
        holder,
        LEASE_SECONDS,
    )
    if record is None:
        return None
    endpoint = msgspec.json.decode(record["object"], type=WebhookEndpoint)
    return Lease(
        position=record["position"],
        told=msgspec.json.decode(record["told"], type=tuple[SubscriptionSpan, ...]),
        failing=Failing(*record[2:6]),
        paused_until=record["paused_until"],
        version=record["version"],
        url=endpoint.url,
        event_types=endpoint.event_types,
        include_fields=endpoint.include_fields,
        secret=record["secret"],
        former_secret=record["former_secret"],
        former_secret_until=record["former_secret_until"],
        own_headers=record["own_headers"],
    )


async def read_on(
    pool: Pool, workspace_id: UUID, position: int, kind_actions: Sequence[str], limit: int, byte_limit: int
) -> list[LedgerEntry]:
    """Return the entries after a position; transcripts hold only what their event needs.

    Returns at most `limit` entries, and stops with the entry that reaches `byte_limit`, or the limit of stored bytes that
    may be unpacked at once.
    """
    # Measure the stored bytes first, because that unpacks nothing. With an offset, only entries within the limit are unpacked.
    records = await pool.fetch(
        f"""
        select seq, at, kind_action, object_id, object, previous, merged_into, size, stored from (
            select *, sum(size) over (order by seq rows between unbounded preceding and 1 preceding) as size_before from (
                select *, coalesce(octet_length(object::text), 0) + coalesce(octet_length(previous::text), 0) as size from (
                    select seq, at, kind_action, object_id, merged_into, stored,
                        case when is_told then {_TOLD_OBJECT} end as object,
                        case when is_told then {_TOLD_PREVIOUS} end as previous
                    from (
                        select *, sum(stored) over (order by seq rows between unbounded preceding and 1 preceding)
                            as stored_before
                        from (
                            select *,
                                case when is_told then pg_column_size(object) + coalesce(pg_column_size(previous), 0) else 0 end
                                    as stored
                            from (
                                select seq, at, kind::text || action::text as kind_action, object_id, object, previous,
                                    merged_into, (kind::text || action::text) = any($3) as is_told
                                from change where workspace_id = $1 and seq > $2 /* here */ order by seq limit $4
                            ) as entry
                        ) as stored
                    ) as summed
                    where coalesce(stored_before, 0) < $6
                    offset 0
                ) as shown
            ) as measured
        ) as summed
        where coalesce(size_before, 0) < $5
        order by seq
        """,
        workspace_id,
        position,
        list(kind_actions),
        limit,
        byte_limit,
        MAX_STORED_BYTES,
    )
    return [LedgerEntry(*record) for record in records]


async def read_due(
    pool: Pool, place: EndpointKey, now: datetime, under_way: Sequence[int], limit: int, byte_limit: int
) -> list[DueDelivery]:
    """Return due deliveries that are not under way, the longest due first. Limits are those of `read_on`."""
    records = await pool.fetch(
        f"""
        select seq, event_type, is_resend, attempt_count, attempts, at, kind_action, object_id, object, previous, merged_into,
            size, stored
        from (
            select *,
                sum(size) over (order by next_attempt_at, seq rows between unbounded preceding and 1 preceding) as size_before
            from (
                select *,
                    coalesce(octet_length(object::text), 0) + coalesce(octet_length(previous::text), 0)
                        + octet_length(attempts::text) as size
                from (
                    select seq, event_type, is_resend, attempt_count, attempts, next_attempt_at, at, kind_action, object_id,
                        merged_into, stored,
                        {_TOLD_OBJECT} as object, {_TOLD_PREVIOUS} as previous
                    from (
                        select *, sum(stored) over (
                                order by next_attempt_at, seq rows between unbounded preceding and 1 preceding
                            ) as stored_before
                        from (
                            select d.seq, d.event_type, d.is_resend, d.attempt_count, d.attempts, d.next_attempt_at,
                                c.at, c.kind::text || c.action::text as kind_action, c.object_id, c.object, c.previous,
                                c.merged_into,
                                coalesce(pg_column_size(c.object), 0) + coalesce(pg_column_size(c.previous), 0) as stored
                            from webhook_delivery d left join change c on c.workspace_id = d.workspace_id and c.seq = d.seq
                            where d.workspace_id = $1 and d.endpoint_id = $2 and d.next_attempt_at <= $3 and d.seq <> all($4)
                                /* here */
                            order by d.next_attempt_at, d.seq limit $5
                        ) as entry
                    ) as summed
                    where coalesce(stored_before, 0) < $7
                    offset 0
                ) as shown
            ) as measured
        ) as summed
        where coalesce(size_before, 0) < $6
        order by next_attempt_at, seq
        """,
        *place,
        now,
        list(under_way),
        limit,
        byte_limit,
        MAX_STORED_BYTES,
    )
    return [
        DueDelivery(
            record[0],
            record[1],
            record[2],
            record[3],
            msgspec.json.decode(record[4], type=list[Attempt]),
            None if record[5] is None else LedgerEntry(record[0], *record[5:]),
        )
        for record in records
    ]


async def store(pool: Pool, place: EndpointKey, holder: UUID, progress: Progress, *, gives_back: bool) -> int | None:
    """Store the progress of a round, and renew the lease or give it back.

    After the endpoint has changed, the round's failure state is discarded, and the round may begin no more attempts.
    Return the endpoint's version, or None if the lease is lost, the endpoint is disabled, or it is being changed right now.
    """
    # A row, even one without a version, is a proof that the counts were written, so that they are not written again.
    record = await pool.fetchrow(
        """
        with reader as materialized (
            select endpoint_id from webhook_reader
            where workspace_id = $1 and endpoint_id = $2 and lease_holder = $3 /* held */
            for update
        ), endpoint as materialized (
            select e.version from webhook_endpoint e join reader on reader.endpoint_id = e.id
            where e.workspace_id = $1
            for share of e skip locked
        ), known as (
            select e.version, coalesce(e.version = $4, false) as is_same from reader left join endpoint e on true
        )
        update webhook_reader r
        set position = greatest(r.position, $7), delivered = r.delivered + $8, failed = r.failed + $9,
            failing_since = case when k.is_same then $10 else r.failing_since end,
            failed_at = case when k.is_same then $11 else r.failed_at end,
            failures_in_a_row = case when k.is_same then $12 else r.failures_in_a_row end,
            failing_seconds = case when k.is_same then $13 else r.failing_seconds end,
            paused_until = case when k.is_same then $14 else r.paused_until end,
            sends_as = case when k.is_same and r.is_enabled and $5 then $4 end,
            lease_holder = case when $6 then null else r.lease_holder end,
            leased_until = case when $6 then null else now() + make_interval(secs => $15) end
        from known k
        where r.workspace_id = $1 and r.endpoint_id = $2
        returning case when r.is_enabled then k.version end
        """,
        *place,
        holder,
        progress.version,
        progress.sends,
        gives_back,
        *progress[:3],
        *progress.failing,
        progress.paused_until,
        LEASE_SECONDS,
    )
    return None if record is None else record[0]


async def enter_failure(pool: Pool, place: EndpointKey, entry: LedgerEntry, event_type: str, tried: Tried) -> bool:
    """Store a delivery whose first attempt failed, unless the endpoint has a newer version.

    Return whether the version is still the same.
    """
    is_same: bool = await pool.fetchval(
        """
        with endpoint as (
            select id from webhook_endpoint where workspace_id = $1 and id = $2 and version = $8
        ), entered as (
            insert into webhook_delivery
                (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, next_attempt_at, attempts)
            select $1, $2, $3, $4, $5, 'waiting', 1, $6, $7 from endpoint where true /* held */
            on conflict (workspace_id, endpoint_id, seq) do nothing
        )
        select exists (select from endpoint)
        """,
        *place,
        entry.seq,
        event_type,
        entry.at,
        tried.next_attempt_at,
        _encode([tried.attempt]),
        tried.version,
    )
    return is_same


async def enter_expired(pool: Pool, place: EndpointKey, entries: Sequence[tuple[LedgerEntry, str]]) -> None:
    """Store deliveries that are never tried, each with its event type, because their entries were erased before."""
    await pool.execute(
        """
        insert into webhook_delivery
            (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, next_attempt_at, attempts)
        select $1, $2, e.seq, e.event_type, e.at, $6, 0, null, '[]'
        from unnest($3::bigint[], $4::text[], $5::timestamptz[]) as e(seq, event_type, at)
        where true /* held */
        on conflict (workspace_id, endpoint_id, seq) do nothing
        """,
        *place,
        [entry.seq for entry, _ in entries],
        [event_type for _, event_type in entries],
        [entry.at for entry, _ in entries],
        DeliveryState.EXPIRED.value,
    )


async def enter_attempt(pool: Pool, place: EndpointKey, due: DueDelivery, tried: Tried) -> bool:
    """Store another attempt. There is no next attempt after a success or after the last failure.

    A failure is not stored if the endpoint has a newer version. Return whether the version is still the same.
    """
    is_same: bool = await pool.fetchval(
        """
        with endpoint as (
            select id from webhook_endpoint where workspace_id = $1 and id = $2 and version = $8
        ), noted as (
            update webhook_delivery
            set state = $4, attempt_count = $5, next_attempt_at = $6, attempts = $7
            where workspace_id = $1 and endpoint_id = $2 and seq = $3 and state = 'waiting'
                and ($4 = 'delivered' or exists (select from endpoint)) /* held */
        )
        select exists (select from endpoint)
        """,
        *place,
        due.seq,
        "delivered" if tried.attempt.is_success else "failed" if tried.next_attempt_at is None else "waiting",
        due.attempt_count + 1,
        tried.next_attempt_at,
        _encode([*due.attempts, tried.attempt][-_KEPT_ATTEMPTS:]),
        tried.version,
    )
    return is_same


async def give_up(pool: Pool, place: EndpointKey, seq: int, state: DeliveryState) -> None:
    """End a waiting delivery with the given state; it gets no further attempt."""
    await pool.execute(
        """
        update webhook_delivery set state = $4, next_attempt_at = null
        where workspace_id = $1 and endpoint_id = $2 and seq = $3 and state = 'waiting' /* held */
        """,
        *place,
        seq,
        state.value,
    )
