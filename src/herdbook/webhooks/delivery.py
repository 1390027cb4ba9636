"""Delivery to one endpoint: read its entries from the ledger and send them until there are no more."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import UUID

from herdbook import ids, sources
from herdbook.db.pool import Pool
from herdbook.errors import Stale
from herdbook.ledger.changes import is_erased
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.object_types import ObjectTypes
from herdbook.ledger.unit_of_work import Origin
from herdbook.object_types import OBJECT_TYPES
from herdbook.webhook_endpoints.commands import DisableEndpoint
from herdbook.webhook_endpoints.model import LEASE_SECONDS, DisabledReason, EndpointKey
from herdbook.webhook_endpoints.subscription import SubscriptionSpan, span_of
from herdbook.webhooks import delivery_store
from herdbook.webhooks.delivery_store import WELL, DueDelivery, Failing, LedgerEntry, Progress, Tried
from herdbook.webhooks.events import Event, EventEntry, event_type, kind_actions, to_event
from herdbook.webhooks.model import MAX_STORED_BYTES, Attempt, DeliveryState
from herdbook.webhooks.sender import KeptConnection, NotBegun, Sender

_log: Final = logging.getLogger("herdbook.webhooks")

# The delay before each attempt, counted from the previous one. The first attempt is immediate.
SCHEDULE: Final = tuple(timedelta(seconds=seconds) for seconds in (0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000))
# Jitter, as a fraction of the delay, so that failures do not retry in lockstep.
_JITTER: Final = 0.1
_GIVEN_UP_AFTER: Final = timedelta(days=5)
_MAX_RETRY_AFTER: Final = timedelta(days=1)
# No attempt is delayed longer than this. After a longer gap between two failures nothing was tried in between, perhaps
# because no server was running.
_MAX_GAP: Final = _MAX_RETRY_AFTER + timedelta(hours=1)
_LOOK_FOR_DUE_EVERY_SECONDS: Final = 0.5
# Limits on one read and on the events in memory: their number, and the bytes after which no more are loaded.
_MAX_EVENTS: Final = 200
_MAX_BYTES: Final = 8_388_608
# Concurrent sends to a healthy endpoint at the start. Each success allows one more, up to the maximum.
_FIRST_CONNECTIONS: Final = 4
_MAX_CONNECTIONS: Final = 16
# An endpoint with this many failures in a row is paused between attempts. Its events stay in the ledger meanwhile.
_FAILURES: Final = 10
_MAX_PAUSE: Final = timedelta(seconds=60)


@dataclass(frozen=True)
class DeliveryContext:
    """Dependencies of a courier. `clock` drives the schedule; `jitter` returns a number from 0 to 1.

    An endpoint without events is kept open for `linger_seconds`, together with its connections. While the position moves, it is
    stored every `store_seconds`: events that a courier sent after the last store are sent again if it dies.
    """

    pool: Pool
    ledger: Ledger
    sender: Sender
    holder: UUID
    clock: Callable[[], datetime] = sources.now
    jitter: Callable[[], float] = random.random
    linger_seconds: float = 2.0
    store_seconds: float = 1.0
    object_types: ObjectTypes = OBJECT_TYPES


@dataclass(eq=False)
class PendingEvent:
    """An event to send; `due` is set if an earlier attempt failed or it is a resend."""

    entry: LedgerEntry
    told: Event
    due: DueDelivery | None


class EndpointDelivery:
    """Delivers to one endpoint while this courier holds its lease and the endpoint does not change.

    Events of one object are sent one after another. The position is the last entry before the first unsettled one. An entry is
    settled once it is delivered or its failure is stored. `ahead` holds the settled entries beyond the position, so that a
    later round does not send them again.

    A round sends as one version of the endpoint. It stops at the ledger entry of a newer version, and another round sends
    everything after that. An attempt begins only while the lease is sure to last, because a change of the endpoint waits until
    no more attempts begin. If an attempt that began before the change fails, the failure is not counted against the new
    version, and the event is sent again. `since` is when this courier started to deliver.
    """

    def __init__(self, context: DeliveryContext, place: EndpointKey, ahead: set[int], since: datetime) -> None:
        self.place = place
        self.ahead = ahead
        self.wake = asyncio.Event()
        self.is_stopping = False
        self.is_outdated = False
        self._context = context
        self._since = since
        self._unsettled: dict[int, None] = {}
        self._under_way: dict[int, None] = {}
        self._bytes = 0
        self._behind: dict[UUID, deque[PendingEvent]] = {}
        self._ready: deque[PendingEvent] = deque()
        self._free: deque[asyncio.Future[PendingEvent | None]] = deque()
        self._connections: set[asyncio.Task[None]] = set()
        self._width = 1
        self._look_for_due_at = 0.0
        self._delivered = self._failed = 0
        self._error: Exception | None = None
        self._is_over = False

    async def go(self) -> None:
        """Read and deliver until there is nothing left or a stop is requested."""
        began = time.monotonic()
        leased = await delivery_store.lease(self._context.pool, self.place, self._context.holder)
        if leased is None:
            return
        self._leased = leased
        self._leased_until = began + LEASE_SECONDS
        spans = [each.event_types for each in leased.told]
        self._kind_actions = sorted(
            {kind_action for event_types in spans for kind_action in kind_actions(self._context.object_types, event_types)}
        )
        self._read_to = leased.position
        self._failing = leased.failing
        self._width = 1 if leased.failing.in_a_row else _FIRST_CONNECTIONS
        self._paused_until = leased.paused_until
        try:
            await self._deliver()
            # Begin nothing new, but keep the lease until the running attempts end.
            self._release_lanes()
            if self._under_way:
                # A change of the endpoint waits until this says so.
                await self._store(gives_back=False)
            while self._connections:
                await asyncio.wait(self._connections, timeout=self._context.store_seconds)
                if self._connections:
                    await self._store(gives_back=False)
        finally:
            self._release_lanes()
            if self._connections:
                await asyncio.wait(self._connections)
        if self._error is not None:
            raise self._error
        await self._store(gives_back=True)

    async def _deliver(self) -> None:
        store_at = time.monotonic() + self._context.store_seconds
        while self._error is None and not self._is_over:
            self.wake.clear()
            is_more = not self.is_stopping and await self._read()
            is_idle = not self._under_way
            if is_idle and self.is_stopping:
                return
            if not is_more or self._is_full:
                seconds = self._context.linger_seconds if is_idle else max(store_at - time.monotonic(), 0)
                if not await self._woken(seconds) and is_idle:
                    return
            if time.monotonic() >= store_at:
                await self._store(gives_back=False)
                store_at = time.monotonic() + self._context.store_seconds

    async def _woken(self, seconds: float) -> bool:
        """Wait for a wake-up. Return whether one came."""
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            return False
        return True

    async def _read(self) -> bool:
        """Read due deliveries and further ledger entries while there is room. Return whether there may be more."""
        now = self._context.clock()
        if self._paused_until is not None and now < self._paused_until:
            return False
        if not self._is_full and time.monotonic() >= self._look_for_due_at:
            self._look_for_due_at = time.monotonic() + _LOOK_FOR_DUE_EVERY_SECONDS
            room = _MAX_EVENTS - len(self._under_way)
            for due in await delivery_store.read_due(
                self._context.pool, self.place, now, list(self._under_way), room, _MAX_BYTES - self._bytes
            ):
                await self._take_due(due)
        if self._is_full:
            return True
        room = _MAX_BYTES - self._bytes
        entries = await delivery_store.read_on(
            self._context.pool, self.place.workspace_id, self._read_to, self._kind_actions, _MAX_EVENTS, room
        )
        await self._take_entries(entries)
        return (
            len(entries) == _MAX_EVENTS
            or sum(entry.size for entry in entries) >= room
            or sum(entry.stored for entry in entries) >= MAX_STORED_BYTES
        )

    async def _take_entries(self, entries: Iterable[LedgerEntry]) -> None:
        """Take those entries that the endpoint is told of. Events whose object was erased expire."""
        expired: list[tuple[LedgerEntry, str]] = []
        for entry in entries:
            self._read_to = entry.seq
            if entry.object_id == self.place.endpoint_id and entry.seq > self._leased.version:
                self._outdate()
                break
            if entry.object is None or entry.seq in self.ahead:
                continue
            type_ = event_type(self._context.object_types, entry.kind_action)
            if type_ is None or not self._is_asked_for(entry, type_):
                continue
            event = self._told(entry, with_own=self._span(entry).include_fields)
            if event is not None:
                self._unsettled[entry.seq] = None
                self._take(PendingEvent(entry, event, None))
            elif is_erased(entry.object):
                expired.append((entry, type_))
        if expired:
            # Without rows, they would count as delivered.
            await delivery_store.enter_expired(self._context.pool, self.place, expired)

    @property
    def _is_full(self) -> bool:
        return len(self._under_way) >= _MAX_EVENTS or self._bytes >= _MAX_BYTES

    def _is_asked_for(self, entry: LedgerEntry, type_: str) -> bool:
        """Whether the endpoint subscribed to an event when it happened, and still does."""
        span = self._span(entry)
        return span.event_types is None or type_ in span.event_types

    def _span(self, entry: LedgerEntry) -> SubscriptionSpan:
        return span_of(self._leased.told, entry.seq) or self._leased.told[0]

    async def _take_due(self, due: DueDelivery) -> None:
        event_types, with_own = self._leased.event_types, due.entry is not None and self._span(due.entry).include_fields
        event = None if due.entry is None else self._told(due.entry, with_own=with_own)
        if due.entry is None or event is None:
            await delivery_store.give_up(self._context.pool, self.place, due.seq, DeliveryState.EXPIRED)
            return
        # Only a person sends again what the endpoint no longer asks for.
        if not due.is_resend and with_own and not self._leased.include_fields:
            event = self._told(due.entry, with_own=False)
        if event is None or not (due.is_resend or event_types is None or due.event_type in event_types):
            await delivery_store.give_up(self._context.pool, self.place, due.seq, DeliveryState.SKIPPED)
        else:
            self._take(PendingEvent(due.entry, event, due))

    def _told(self, entry: LedgerEntry, *, with_own: bool) -> Event | None:
        assert entry.object is not None, "only told entries get here"
        told = EventEntry(entry.seq, entry.at, entry.kind_action, entry.object, entry.previous, entry.merged_into)
        return to_event(self._context.object_types, self.place.workspace_id, told, with_own=with_own)

    def _take(self, pending: PendingEvent) -> None:
        # The body holds everything that is needed of the entry, so free the rest.
        pending.entry = pending.entry._replace(object=None, previous=None)
        self._under_way[pending.entry.seq] = None
        self._bytes += len(pending.told.body)
        behind = self._behind.get(pending.entry.object_id)
        if behind is not None:
            behind.append(pending)
            return
        self._behind[pending.entry.object_id] = deque()
        self._send(pending)

    def _send(self, pending: PendingEvent) -> None:
        """Hand an event to a free connection, or queue it and open a new connection if the limit allows."""
        while self._free:
            free = self._free.popleft()
            if not free.done():
                free.set_result(pending)
                return
        self._ready.append(pending)
        self._widen()

    def _widen(self) -> None:
        if self._ready and len(self._connections) < self._width:
            kept = asyncio.create_task(self._run_connection())
            self._connections.add(kept)
            kept.add_done_callback(self._connection_ended)

    def _connection_ended(self, kept: "asyncio.Task[None]") -> None:
        self._connections.discard(kept)
        if self._error is None and not self._is_over:
            self._widen()

    async def _run_connection(self) -> None:
        kept = self._context.sender.kept_connection(self._leased.url, self.place.workspace_id, self._leased.own_headers)
        try:
            while (pending := await self._next()) is not None:
                await self._attempt(kept, pending)
        except Exception as error:
            self._error = error
            self.wake.set()
        finally:
            kept.close()

    async def _next(self) -> PendingEvent | None:
        """Return the next event for a connection, or None if the connection is no longer needed."""
        if self._error is not None or self._is_over or len(self._connections) > self._width:
            return None
        if self._ready:
            return self._ready.popleft()
        free: asyncio.Future[PendingEvent | None] = asyncio.get_running_loop().create_future()
        self._free.append(free)
        return await free

    def _release_lanes(self) -> None:
        self._is_over = True
        while self._free:
            free = self._free.popleft()
            if not free.done():
                free.set_result(None)

    def _may_send(self) -> bool:
        """Whether an attempt may begin now. A change of the endpoint waits no longer than the lease lasts."""
        return not self._is_over and time.monotonic() < self._leased_until

    async def _attempt(self, kept: KeptConnection, pending: PendingEvent) -> None:
        signing_secrets = self._leased.signing_secrets(self._context.clock())
        try:
            attempt, retry_after = await kept.attempt(signing_secrets, pending.told.id, pending.told.body, self._may_send)
        except NotBegun:
            self._end()
            return
        if attempt.is_success:
            await self._taken(pending, attempt)
        elif not await self._not_taken(pending, attempt, retry_after):
            return
        self._settle(pending)

    async def _taken(self, pending: PendingEvent, attempt: Attempt) -> None:
        self._delivered += 1
        self._failing = WELL
        if not self._is_over:
            self._paused_until = None
            self._width = min(self._width + 1, _MAX_CONNECTIONS)
            self._widen()
        if pending.due is not None:
            tried = Tried(attempt, None, self._leased.version)
            await delivery_store.enter_attempt(self._context.pool, self.place, pending.due, tried)

    async def _not_taken(self, pending: PendingEvent, attempt: Attempt, retry_after: str | None) -> bool:
        """Store a failure unless the endpoint has changed. Return whether it was stored."""
        now = self._context.clock()
        asks_for = timedelta()
        if retry_after is not None and attempt.status in (429, 503):
            asks_for = min(_asked_for(retry_after, now), _MAX_RETRY_AFTER)
        if asks_for > timedelta():
            # Pause before storing the failure: meanwhile other events would still be sent.
            self._pause(now + asks_for)
        if self.is_outdated or not await self._note_failure(pending, attempt, asks_for, now):
            self._outdate()
            return False
        self._failed += 1
        self._failing = self._failed_again(now)
        self._width = 1
        if self._failing.in_a_row >= _FAILURES:
            self._pause(now + min(timedelta(seconds=2 ** min(self._failing.in_a_row - _FAILURES, 6)), _MAX_PAUSE))
        if attempt.status == 410:
            await self._disable(DisabledReason.GONE)
        elif self._failing.seconds >= _GIVEN_UP_AFTER.total_seconds():
            await self._disable(DisabledReason.FAILING)
        return True

    async def _note_failure(self, pending: PendingEvent, attempt: Attempt, asks_for: timedelta, now: datetime) -> bool:
        made = 1 if pending.due is None else pending.due.attempt_count + 1
        next_at = None
        if made < len(SCHEDULE):
            next_at = now + max(SCHEDULE[made] * (1 + _JITTER * self._context.jitter()), asks_for)
        tried = Tried(attempt, next_at, self._leased.version)
        if pending.due is not None:
            return await delivery_store.enter_attempt(self._context.pool, self.place, pending.due, tried)
        return await delivery_store.enter_failure(self._context.pool, self.place, pending.entry, pending.told.type, tried)

    def _failed_again(self, now: datetime) -> Failing:
        """Return the failure state after one more failure. Only time in which this courier could have tried counts."""
        before = self._failing
        gap = timedelta() if before.last_at is None else now - max(before.last_at, self._since)
        counted = gap.total_seconds() if timedelta() < gap <= _MAX_GAP else 0.0
        return Failing(before.since or now, now, before.in_a_row + 1, before.seconds + counted)

    def _pause(self, until: datetime) -> None:
        """Send the endpoint nothing until then."""
        self._paused_until = until if self._paused_until is None else max(self._paused_until, until)
        self._end()

    async def _disable(self, reason: DisabledReason) -> None:
        self._end()
        shown_id = ids.encoded(ids.WEBHOOK_ENDPOINT, self.place.endpoint_id)
        origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
        command = DisableEndpoint(self.place.endpoint_id, reason, frozenset({self._leased.version}))
        try:
            await self._context.ledger.write(self.place.workspace_id, command, origin)
        except Stale:
            self._outdate()
        else:
            _log.warning("a webhook endpoint is disabled", extra={"endpoint": shown_id, "reason": reason.value})

    def _settle(self, pending: PendingEvent) -> None:
        seq, bytes_before = pending.entry.seq, self._bytes
        del self._under_way[seq]
        self._bytes -= len(pending.told.body)
        if pending.due is None:
            del self._unsettled[seq]
            self.ahead.add(seq)
        behind = self._behind[pending.entry.object_id]
        if behind:
            self._send(behind.popleft())
        else:
            del self._behind[pending.entry.object_id]
        if len(self._under_way) in (0, _MAX_EVENTS // 2) or bytes_before >= _MAX_BYTES // 2 > self._bytes:
            self.wake.set()

    @property
    def _position(self) -> int:
        first = next(iter(self._unsettled), None)
        return self._read_to if first is None else first - 1

    async def _store(self, *, gives_back: bool) -> None:
        position, began = self._position, time.monotonic()
        progress = Progress(
            position,
            self._delivered,
            self._failed,
            self._failing,
            self._paused_until,
            self._leased.version,
            sends=not self._is_over,
        )
        self._delivered = self._failed = 0
        version = await delivery_store.store(
            self._context.pool, self.place, self._context.holder, progress, gives_back=gives_back
        )
        self.ahead.difference_update({seq for seq in self.ahead if seq <= position})
        if version == self._leased.version:
            self._leased_until = began + LEASE_SECONDS
        else:
            # Another courier holds the lease, or the endpoint was changed or disabled. The next round loads its new state.
            self._outdate()

    def _outdate(self) -> None:
        """End because the endpoint has changed or another courier holds it."""
        self.is_outdated = True
        self._end()

    def _end(self) -> None:
        """Begin nothing new. A later round reads the events again that were loaded but not sent."""
        self._is_over = True
        self.wake.set()


def _asked_for(retry_after: str, now: datetime) -> timedelta:
    """Return the delay that `Retry-After` asks for: seconds, or a date (RFC 9110, section 10.2.3)."""
    try:
        if retry_after.isascii() and retry_after.isdecimal():
            return timedelta(seconds=min(int(retry_after), 10**9))
        return parsedate_to_datetime(retry_after) - now
    except (ValueError, TypeError, OverflowError):
        return timedelta()
