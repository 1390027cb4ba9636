"""A round: one endpoint is read and delivered to, for as long as there is something to deliver."""

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
from herdbook.ledger.book import Origin
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.objects import NOBODY
from herdbook.webhooks import delivering
from herdbook.webhooks.actions import DisableEndpoint
from herdbook.webhooks.delivering import Due, Progress, Read
from herdbook.webhooks.events import Told, marks, told
from herdbook.webhooks.model import Attempt, DisabledReason, Place
from herdbook.webhooks.sender import Lane, Sender

_log: Final = logging.getLogger("herdbook.webhooks")

# When attempts are made: the first at once, each other so long after the one before.
SCHEDULE: Final = tuple(timedelta(seconds=seconds) for seconds in (0, 5, 300, 1800, 7200, 18_000, 36_000, 36_000))
# What is added to that at most, as a part of it, so that what failed together does not come again together.
_JITTER: Final = 0.1
_GIVEN_UP_AFTER: Final = timedelta(days=5)
_LONGEST_RETRY_AFTER: Final = timedelta(days=1)
_LOOK_FOR_DUE_EVERY_SECONDS: Final = 0.5
# Entries that are read at once, and events that wait to be sent, at most.
_MOST: Final = 200
# As many events are under way at once at first, where nothing has failed, and one more with each that is taken.
_FIRST_LANES: Final = 4
_LANES: Final = 16
_KEPT_ATTEMPTS: Final = 20
# An endpoint that fails so often in a row is asked less often: what it would only refuse stays in the ledger.
_FAILURES: Final = 10
_LONGEST_PAUSE: Final = timedelta(seconds=60)


@dataclass(frozen=True)
class Means:
    """What a courier works with. `clock` is what the schedule goes by; `jitter` returns a number from 0 to 1.

    An endpoint with nothing more to be told is kept for `linger_seconds`, with its connections. How far it has come is stored
    every `store_seconds` while it moves: what a courier that dies has sent since is sent again.
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
    """An event on its way; `due` where it was not taken before."""

    entry: Read
    told: Told
    due: Due | None


class Round:
    """One endpoint, for as long as this courier has it.

    Events of one object wait for each other. The position is the last entry before the first that is not settled: not taken,
    and not entered as failed. `ahead` are those settled beyond it, which a later round does not send again.
    """

    def __init__(self, means: Means, place: Place, ahead: set[int]) -> None:
        self.place = place
        self.ahead = ahead
        self.wake = asyncio.Event()
        self.is_stopping = False
        self._means = means
        self._unsettled: dict[int, None] = {}
        self._under_way: dict[int, None] = {}
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
        """Read and deliver until there is nothing more, or somebody says stop."""
        leased = await delivering.lease(self._means.pool, self.place, self._means.holder)
        if leased is None:
            return
        self._leased = leased
        self._marks = marks(leased.event_types)
        self._read_to = leased.position
        self._failing_since = leased.failing_since
        self._failures = leased.failures_in_a_row
        self._width = 1 if self._failures else _FIRST_LANES
        self._paused_until = leased.paused_until
        try:
            await self._deliver()
        finally:
            await self._end_lanes()
        await self._store(gives_back=True)

    async def _deliver(self) -> None:
        store_at = time.monotonic() + self._means.store_seconds
        while self._error is None:
            if self._is_over:
                return
            self.wake.clear()
            read = 0 if self.is_stopping else await self._read()
            is_idle = not self._under_way and not read
            if is_idle and self.is_stopping:
                return
            if read < _MOST or len(self._unsettled) >= _MOST:
                seconds = self._means.linger_seconds if is_idle else max(store_at - time.monotonic(), 0)
                if not await self._woken(seconds) and is_idle:
                    return
            if time.monotonic() >= store_at:
                await self._store(gives_back=False)
                store_at = time.monotonic() + self._means.store_seconds
        raise self._error

    async def _woken(self, seconds: float) -> bool:
        """Wait to be woken; return whether that was so."""
        try:
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        except TimeoutError:
            return False
        return True

    async def _read(self) -> int:
        """Read what is due, and on in the ledger, as far as there is room; return how many entries that was."""
        now = self._means.clock()
        count = 0
        if time.monotonic() >= self._look_for_due_at:
            self._look_for_due_at = time.monotonic() + _LOOK_FOR_DUE_EVERY_SECONDS
            for due in await delivering.read_due(self._means.pool, self.place, now, _MOST):
                if due.seq not in self._under_way:
                    count += 1
                    await self._take_due(due)
        if len(self._unsettled) >= _MOST or (self._paused_until is not None and now < self._paused_until):
            return count
        entries = await delivering.read_on(self._means.pool, self.place.workspace_id, self._read_to, self._marks, _MOST)
        for entry in entries:
            self._read_to = entry.seq
            if entry.object is None or entry.seq in self.ahead:
                continue
            if (event := self._told(entry)) is not None:
                self._unsettled[entry.seq] = None
                self._take(_Parcel(entry, event, None))
        return count + len(entries)

    async def _take_due(self, due: Due) -> None:
        event = None if due.entry is None else self._told(due.entry)
        if due.entry is None or event is None:
            # The ledger keeps it no longer, so there is nothing to send any more.
            await delivering.enter_attempt(self._means.pool, self.place, due, due.attempts, None)
        else:
            self._take(_Parcel(due.entry, event, due))

    def _told(self, entry: Read) -> Told | None:
        assert entry.object is not None, "it is of interest"
        return told(self.place.workspace_id, entry.seq, entry.at, entry.mark, entry.object, entry.previous)

    def _take(self, parcel: _Parcel) -> None:
        self._under_way[parcel.entry.seq] = None
        behind = self._behind.get(parcel.entry.object_id)
        if behind is not None:
            behind.append(parcel)
            return
        self._behind[parcel.entry.object_id] = deque()
        self._send(parcel)

    def _send(self, parcel: _Parcel) -> None:
        """Give a parcel to a lane that is free; else to a new one, or to the next that will be."""
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
        """Return what a lane is to send next; None: it is not needed any more."""
        if self._error is not None or self._is_over or len(self._lanes) > self._width:
            return None
        if self._ready:
            return self._ready.popleft()
        free: asyncio.Future[_Parcel | None] = asyncio.get_running_loop().create_future()
        self._free.append(free)
        return await free

    async def _end_lanes(self) -> None:
        self._is_over = True
        while self._free:
            free = self._free.popleft()
            if not free.done():
                free.set_result(None)
        if self._lanes:
            await asyncio.wait(self._lanes)

    async def _attempt(self, lane: Lane, parcel: _Parcel) -> None:
        signing_secrets = self._leased.signing_secrets(self._means.clock())
        attempt, retry_after = await lane.attempt(signing_secrets, parcel.told.id, parcel.told.body)
        if attempt.is_success:
            await self._taken(parcel, attempt)
        else:
            await self._not_taken(parcel, attempt, retry_after)
        self._settle(parcel)

    async def _taken(self, parcel: _Parcel, attempt: Attempt) -> None:
        self._delivered += 1
        self._failures, self._failing_since, self._paused_until = 0, None, None
        self._width = min(self._width + 1, _LANES)
        self._widen()
        if parcel.due is not None:
            await self._note(parcel.due, attempt, None)

    async def _not_taken(self, parcel: _Parcel, attempt: Attempt, retry_after: str | None) -> None:
        now = self._means.clock()
        self._failed += 1
        self._failures += 1
        self._failing_since = self._failing_since or now
        self._width = 1
        if self._failures >= _FAILURES:
            self._paused_until = now + min(timedelta(seconds=2 ** min(self._failures - _FAILURES, 6)), _LONGEST_PAUSE)
            self._end()
        if parcel.due is None:
            next_at = self._next_attempt_at(1, attempt, retry_after, now)
            assert next_at is not None, "there is more than one attempt"
            await delivering.enter_failure(self._means.pool, self.place, parcel.entry, parcel.told.type, next_at, attempt)
        else:
            next_at = self._next_attempt_at(parcel.due.attempt_count + 1, attempt, retry_after, now)
            await self._note(parcel.due, attempt, next_at)
        if attempt.status == 410:
            await self._disable(DisabledReason.GONE)
        elif now - self._failing_since >= _GIVEN_UP_AFTER:
            await self._disable(DisabledReason.FAILING)

    async def _note(self, due: Due, attempt: Attempt, next_at: datetime | None) -> None:
        attempts = [*due.attempts, attempt][-_KEPT_ATTEMPTS:]
        await delivering.enter_attempt(self._means.pool, self.place, due, attempts, next_at)

    def _next_attempt_at(self, made: int, attempt: Attempt, retry_after: str | None, now: datetime) -> datetime | None:
        if made >= len(SCHEDULE):
            return None
        pause = SCHEDULE[made] * (1 + _JITTER * self._means.jitter())
        if retry_after is not None and attempt.status in (429, 503):
            pause = max(pause, min(_asked_for(retry_after, now), _LONGEST_RETRY_AFTER))
        return now + pause

    async def _disable(self, reason: DisabledReason) -> None:
        self._end()
        shown_id = ids.encoded(ids.WEBHOOK_ENDPOINT, self.place.endpoint_id)
        _log.warning("a webhook endpoint is disabled", extra={"endpoint": shown_id, "reason": reason.value})
        origin = Origin(request_id=ids.new_id(), credential_id=NOBODY)
        await self._means.ledger.write(self.place.workspace_id, DisableEndpoint(self.place.endpoint_id, reason), origin)

    def _settle(self, parcel: _Parcel) -> None:
        seq = parcel.entry.seq
        del self._under_way[seq]
        if parcel.due is None:
            del self._unsettled[seq]
            self.ahead.add(seq)
        behind = self._behind[parcel.entry.object_id]
        if behind:
            self._send(behind.popleft())
        else:
            del self._behind[parcel.entry.object_id]
        if len(self._under_way) in (0, _MOST // 2):
            self.wake.set()

    @property
    def _position(self) -> int:
        first = next(iter(self._unsettled), None)
        return self._read_to if first is None else first - 1

    async def _store(self, *, gives_back: bool) -> None:
        position = self._position
        progress = Progress(position, self._delivered, self._failed, self._failing_since, self._failures, self._paused_until)
        self._delivered = self._failed = 0
        version = await delivering.store(self._means.pool, self.place, self._means.holder, progress, gives_back=gives_back)
        self.ahead.difference_update({seq for seq in self.ahead if seq <= position})
        # Another courier has it, or it was changed or disabled: what it is now is read by the next round.
        if version != self._leased.version:
            self._end()

    def _end(self) -> None:
        """End with what is under way; what was read, and is not, is read again by a later round."""
        self._is_over = True
        self.wake.set()


def _asked_for(retry_after: str, now: datetime) -> timedelta:
    """Return for how long an answer asks to be left alone: seconds, or a date (RFC 9110, section 10.2.3)."""
    try:
        if retry_after.isascii() and retry_after.isdecimal():
            return timedelta(seconds=min(int(retry_after), 10**9))
        return parsedate_to_datetime(retry_after) - now
    except (ValueError, TypeError, OverflowError):
        return timedelta()
