"""Delivery to one endpoint: read its entries from the ledger and send them until there are no more."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import UUID

from herdbook import ids
from herdbook.db.pool import Pool
from herdbook.errors import Stale
from herdbook.ledger.book import Origin
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.objects import NOBODY
from herdbook.webhooks import delivering
from herdbook.webhooks.actions import DisableEndpoint
from herdbook.webhooks.delivering import WELL, Due, Failing, Progress, Read, Tried
from herdbook.webhooks.events import Told, marks, told
from herdbook.webhooks.model import LEASE_SECONDS, MAX_STORED_BYTES, Attempt, DeliveryState, DisabledReason, Place
from herdbook.webhooks.sender import Lane, NotBegun, Sender
from herdbook.webhooks.stretches import stretch_of

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
_FIRST_LANES: Final = 4
_MAX_LANES: Final = 16
# An endpoint with this many failures in a row is paused between attempts. Its events stay in the ledger meanwhile.
_FAILURES: Final = 10
_MAX_PAUSE: Final = timedelta(seconds=60)


@dataclass(frozen=True)
class Means:
    """Dependencies of a courier. `clock` drives the schedule; `jitter` returns a number from 0 to 1.

    An endpoint without events is kept open for `linger_seconds`, together with its connections. While the position moves, it is
    stored every `store_seconds`: events that a courier sent after the last store are sent again if it dies.
    """

    pool: Pool
    ledger: Ledger
    sender: Sender
    holder: UUID
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    jitter: Callable[[], float] = random.random
    linger_seconds: float = 2.0
    store_seconds: float = 1.0


@dataclass(eq=False)
class _Parcel:
    """An event to send; `due` is set if an earlier attempt failed or it is a resend."""

    entry: Read
    told: Told
    due: Due | None


class Round:
    """Delivers to one endpoint while this courier holds its lease and the endpoint does not change.

    Events of one object are sent one after another. The position is the last entry before the first unsettled one. An entry is
    settled once it is delivered or its failure is stored. `ahead` holds the settled entries beyond the position, so that a
    later round does not send them again.

    A round sends as one version of the endpoint. It stops at the ledger entry of a newer version, and another round sends
    everything after that. An attempt begins only while the lease is sure to last, because a change of the endpoint waits until
    no more attempts begin. If an attempt that began before the change fails, the failure is not counted against the new
    version, and the event is sent again. `since` is when this courier started to deliver.
    """

    def __init__(self, means: Means, place: Place, ahead: set[int], since: datetime) -> None:
        self.place = place
        self.ahead = ahead
        self.wake = asyncio.Event()
        self.is_stopping = False
        self.is_outdated = False
        self._means = means
        self._since = since
        self._unsettled: dict[int, None] = {}
        self._under_way: dict[int, None] = {}
        self._bytes = 0
        self._behind: dict[UUID, deque[_Parcel]] = {}
        self._ready: deque[_Parcel] = deque()
        self._free: deque[asyncio.Future[_Parcel | None]] = deque()
        self._lanes: set[asyncio.Task[None]] = set()
        self._width = 1
        self._look_for_due_at = 0.0
        self._delivered = self._failed = 0
        self._error: Exception | None = None
        self._is_over = False

    async def go(self) -> None:
        """Read and deliver until there is nothing left or a stop is requested."""
        began = time.monotonic()
        leased = await delivering.lease(self._means.pool, self.place, self._means.holder)
        if leased is None:
            return
        self._leased = leased
        self._leased_until = began + LEASE_SECONDS
        stretches = [each.event_types for each in leased.told]
        self._marks = sorted({mark for event_types in stretches for mark in marks(event_types)})
        self._read_to = leased.position
        self._failing = leased.failing
        self._width = 1 if leased.failing.in_a_row else _FIRST_LANES
        self._paused_until = leased.paused_until
        try:
            await self._deliver()
            # Begin nothing new, but keep the lease until the running attempts end.
            self._release_lanes()
            while self._lanes:
                await self._store(gives_back=False)
                if self._lanes:
                    await asyncio.wait(self._lanes, timeout=self._means.store_seconds)
        finally:
            self._release_lanes()
            if self._lanes:
                await asyncio.wait(self._lanes)
        if self._error is not None:
            raise self._error
        await self._store(gives_back=True)

    async def _deliver(self) -> None:
        store_at = time.monotonic() + self._means.store_seconds
        while self._error is None and not self._is_over:
            self.wake.clear()
            is_more = not self.is_stopping and await self._read()
            is_idle = not self._under_way
            if is_idle and self.is_stopping:
                return
            if not is_more or self._is_full:
                seconds = self._means.linger_seconds if is_idle else max(store_at - time.monotonic(), 0)
                if not await self._woken(seconds) and is_idle:
                    return
            if time.monotonic() >= store_at:
                await self._store(gives_back=False)
                store_at = time.monotonic() + self._means.store_seconds

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
        now = self._means.clock()
        if self._paused_until is not None and now < self._paused_until:
            return False
        if not self._is_full and time.monotonic() >= self._look_for_due_at:
            self._look_for_due_at = time.monotonic() + _LOOK_FOR_DUE_EVERY_SECONDS
            room = _MAX_EVENTS - len(self._under_way)
            for due in await delivering.read_due(
                self._means.pool, self.place, now, list(self._under_way), room, _MAX_BYTES - self._bytes
            ):
                await self._take_due(due)
        if self._is_full:
            return True
        room = _MAX_BYTES - self._bytes
        entries = await delivering.read_on(
            self._means.pool, self.place.workspace_id, self._read_to, self._marks, _MAX_EVENTS, room
        )
        for entry in entries:
            self._read_to = entry.seq
            if entry.object_id == self.place.endpoint_id and entry.seq > self._leased.version:
                self._outdate()
                break
            if entry.object is None or entry.seq in self.ahead:
                continue
            event = self._told(entry)
            if event is not None and self._is_asked_for(entry, event):
                self._unsettled[entry.seq] = None
                self._take(_Parcel(entry, event, None))
        return (
            len(entries) == _MAX_EVENTS
            or sum(entry.size for entry in entries) >= room
            or sum(entry.stored for entry in entries) >= MAX_STORED_BYTES
        )

    @property
    def _is_full(self) -> bool:
        return len(self._under_way) >= _MAX_EVENTS or self._bytes >= _MAX_BYTES

    def _is_asked_for(self, entry: Read, event: Told) -> bool:
        """Whether the endpoint subscribed to the event when it happened, and still does."""
        stretch = stretch_of(self._leased.told, entry.seq) or self._leased.told[0]
        return stretch.event_types is None or event.type in stretch.event_types

    async def _take_due(self, due: Due) -> None:
        event_types = self._leased.event_types
        event = None if due.entry is None else self._told(due.entry)
        if due.entry is None or event is None:
            await delivering.give_up(self._means.pool, self.place, due.seq, DeliveryState.EXPIRED)
        elif not due.is_resend and event_types is not None and due.event_type not in event_types:
            await delivering.give_up(self._means.pool, self.place, due.seq, DeliveryState.SKIPPED)
        else:
            self._take(_Parcel(due.entry, event, due))

    def _told(self, entry: Read) -> Told | None:
        assert entry.object is not None, "only told entries get here"
        return told(self.place.workspace_id, entry.seq, entry.at, entry.mark, entry.object, entry.previous)

    def _take(self, parcel: _Parcel) -> None:
        # The body holds everything that is needed of the entry, so free the rest.
        parcel.entry = parcel.entry._replace(object=None, previous=None)
        self._under_way[parcel.entry.seq] = None
        self._bytes += len(parcel.told.body)
        behind = self._behind.get(parcel.entry.object_id)
        if behind is not None:
            behind.append(parcel)
            return
        self._behind[parcel.entry.object_id] = deque()
        self._send(parcel)

    def _send(self, parcel: _Parcel) -> None:
        """Hand an event to a free lane, or queue it and open a new lane if the limit allows."""
        while self._free:
            free = self._free.popleft()
            if not free.done():
                free.set_result(parcel)
                return
        self._ready.append(parcel)
        self._widen()

    def _widen(self) -> None:
        if self._ready and len(self._lanes) < self._width:
            lane = asyncio.create_task(self._run_lane())
            self._lanes.add(lane)
            lane.add_done_callback(self._lane_ended)

    def _lane_ended(self, lane: "asyncio.Task[None]") -> None:
        self._lanes.discard(lane)
        if self._error is None and not self._is_over:
            self._widen()

    async def _run_lane(self) -> None:
        lane = self._means.sender.lane(self._leased.url)
        try:
            while (parcel := await self._next()) is not None:
                await self._attempt(lane, parcel)
        except Exception as error:
            self._error = error
            self.wake.set()
        finally:
            lane.close()

    async def _next(self) -> _Parcel | None:
        """Return the next event for a lane, or None if the lane is no longer needed."""
        if self._error is not None or self._is_over or len(self._lanes) > self._width:
            return None
        if self._ready:
            return self._ready.popleft()
        free: asyncio.Future[_Parcel | None] = asyncio.get_running_loop().create_future()
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

    async def _attempt(self, lane: Lane, parcel: _Parcel) -> None:
        signing_secrets = self._leased.signing_secrets(self._means.clock())
        try:
            attempt, retry_after = await lane.attempt(signing_secrets, parcel.told.id, parcel.told.body, self._may_send)
        except NotBegun:
            self._end()
            return
        if attempt.is_success:
            await self._taken(parcel, attempt)
        elif not await self._not_taken(parcel, attempt, retry_after):
            return
        self._settle(parcel)

    async def _taken(self, parcel: _Parcel, attempt: Attempt) -> None:
        self._delivered += 1
        self._failing = WELL
        if not self._is_over:
            self._paused_until = None
            self._width = min(self._width + 1, _MAX_LANES)
            self._widen()
        if parcel.due is not None:
            tried = Tried(attempt, None, self._leased.version)
            await delivering.enter_attempt(self._means.pool, self.place, parcel.due, tried)

    async def _not_taken(self, parcel: _Parcel, attempt: Attempt, retry_after: str | None) -> bool:
        """Store a failure unless the endpoint has changed. Return whether it was stored."""
        now = self._means.clock()
        asks_for = timedelta()
        if retry_after is not None and attempt.status in (429, 503):
            asks_for = min(_asked_for(retry_after, now), _MAX_RETRY_AFTER)
        if asks_for > timedelta():
            # Pause before storing the failure: meanwhile other events would still be sent.
            self._pause(now + asks_for)
        if self.is_outdated or not await self._note_failure(parcel, attempt, asks_for, now):
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

    async def _note_failure(self, parcel: _Parcel, attempt: Attempt, asks_for: timedelta, now: datetime) -> bool:
        made = 1 if parcel.due is None else parcel.due.attempt_count + 1
        next_at = None
        if made < len(SCHEDULE):
            next_at = now + max(SCHEDULE[made] * (1 + _JITTER * self._means.jitter()), asks_for)
        tried = Tried(attempt, next_at, self._leased.version)
        if parcel.due is not None:
            return await delivering.enter_attempt(self._means.pool, self.place, parcel.due, tried)
        return await delivering.enter_failure(self._means.pool, self.place, parcel.entry, parcel.told.type, tried)

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
        origin = Origin(request_id=ids.new_id(), credential_id=NOBODY)
        command = DisableEndpoint(self.place.endpoint_id, reason, frozenset({self._leased.version}))
        try:
            await self._means.ledger.write(self.place.workspace_id, command, origin)
        except Stale:
            self._outdate()
        else:
            _log.warning("a webhook endpoint is disabled", extra={"endpoint": shown_id, "reason": reason.value})

    def _settle(self, parcel: _Parcel) -> None:
        seq, bytes_before = parcel.entry.seq, self._bytes
        del self._under_way[seq]
        self._bytes -= len(parcel.told.body)
        if parcel.due is None:
            del self._unsettled[seq]
            self.ahead.add(seq)
        behind = self._behind[parcel.entry.object_id]
        if behind:
            self._send(behind.popleft())
        else:
            del self._behind[parcel.entry.object_id]
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
        version = await delivering.store(self._means.pool, self.place, self._means.holder, progress, gives_back=gives_back)
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
