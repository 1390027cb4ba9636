"""Turns: limits on work in parallel and on the work of one iteration of the event loop, so that nobody keeps others waiting.

There are three mechanisms. Choose by the work:

- `Turns`: work that waits for something outside and holds a scarce thing meanwhile, such as a thread. It limits how many run.
- `TimeSlices`: work of a workspace that holds the event loop for milliseconds. It is cut into steps, with pauses between them.
- `FairQueue` in `http/fair_queue.py`: very many short calls before a caller is known. It counts calls, and goes by address.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from typing import Final, TypeVar
from uuid import UUID

from herdbook.errors import Busy

_RETRY_AFTER_SECONDS: Final = 10
# Limits how often long work tries a write while the queue of writes is full.
MAX_TRIES: Final = 6
_PAUSE_SECONDS: Final = 0.05
T = TypeVar("T")


class TimeSlices:
    """Slices of the event loop's time for long work, for one workspace after the other.

    After a slice, other tasks have the loop for as long as the slice took, because a usual request needs several iterations.
    """

    def __init__(self) -> None:
        # The order of the keys is the order of the next slices.
        self._queues: dict[UUID | None, deque[asyncio.Future[None]]] = {}
        self._is_giving = False

    async def next(self, workspace_id: UUID | None) -> None:
        """Wait for the workspace's next slice. The slice ends when the task waits for anything else."""
        loop = asyncio.get_running_loop()
        if not self._is_giving:
            self._is_giving = True
            loop.call_soon(self._give)
        given = loop.create_future()
        self._queues.setdefault(workspace_id, deque()).append(given)
        await given

    async def run(self, workspace_id: UUID | None, steps: Generator[None, None, T]) -> T:
        """Run work in steps, each in a slice of its own, and return its result. Refusals: those of the work."""
        while True:
            await self.next(workspace_id)
            try:
                next(steps)
            except StopIteration as ended:
                return ended.value

    def _give(self) -> None:
        workspace_id = next(iter(self._queues))
        # The rest of its queue goes behind all others.
        queue = self._queues.pop(workspace_id)
        given = queue.popleft()
        if queue:
            self._queues[workspace_id] = queue
        if not given.done():
            given.set_result(None)
        # The task runs before that.
        given.get_loop().call_soon(self._rest, time.perf_counter())

    def _rest(self, began: float) -> None:
        self._is_giving = bool(self._queues)
        if self._is_giving:
            asyncio.get_running_loop().call_later(time.perf_counter() - began, self._give)


async def pause(tries: int) -> None:
    """Wait before another try, after so many in vain: longer each time."""
    await asyncio.sleep(_PAUSE_SECONDS * 2 ** (tries - 1))


def finished(steps: Generator[None, None, T]) -> T:
    """Run all steps of some work at once, and return its result. Refusals: those of the work."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


class Turns:
    """Turns of workspaces. The workspace that has waited longest is next.

    `at_once` turns may run together, and `at_once_each` of one workspace. `waiting` may wait, and `waiting_each` of one
    workspace, for `seconds` at most.
    """

    def __init__(
        self, things: str, *, at_once: int, at_once_each: int, waiting: int, waiting_each: int, seconds: float
    ) -> None:
        self._things = things
        self._at_once = at_once
        self._at_once_each = at_once_each
        self._waiting = waiting
        self._waiting_each = waiting_each
        self._seconds = seconds
        self._under_way: Counter[UUID] = Counter()
        # The order of the keys is the order of the next turns.
        self._queues: dict[UUID, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def turn(self, workspace_id: UUID) -> AsyncGenerator[None]:
        """Wait for a turn, and hold it during the block. Refusal: Busy, if too many wait or this one has waited too long."""
        await self.begin(workspace_id)
        try:
            yield
        finally:
            self.end(workspace_id)

    async def begin(self, workspace_id: UUID) -> None:
        """Wait for a turn that lasts until `end`, because it outlives its caller. Refusal: Busy, as for `turn`."""
        if self._may(workspace_id):
            self._under_way[workspace_id] += 1
            return
        queue = self._queues.get(workspace_id, ())
        if len(queue) >= self._waiting_each:
            raise self._busy(len(queue), "in this workspace")
        in_all = sum(map(len, self._queues.values()))
        if in_all >= self._waiting:
            raise self._busy(in_all, "on this server")
        called: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(workspace_id, deque()).append(called)
        try:
            await asyncio.wait((called,), timeout=self._seconds)
        except asyncio.CancelledError:
            self._leave(workspace_id, called)
            raise
        if not called.done():
            self._leave(workspace_id, called)
            raise self._busy(in_all + 1, "on this server")

    def _busy(self, waiting: int, place: str) -> Busy:
        return Busy(waiting, _RETRY_AFTER_SECONDS, self._things, place)

    def _may(self, workspace_id: UUID) -> bool:
        return self._under_way.total() < self._at_once and self._under_way[workspace_id] < self._at_once_each

    def _leave(self, workspace_id: UUID, called: "asyncio.Future[None]") -> None:
        if called.done():
            # Its turn came just as it left, so pass the turn on.
            self.end(workspace_id)
            return
        queue = self._queues[workspace_id]
        queue.remove(called)
        if not queue:
            del self._queues[workspace_id]

    def end(self, workspace_id: UUID) -> None:
        """End a turn, and begin the next one."""
        self._under_way[workspace_id] -= 1
        if not self._under_way[workspace_id]:
            del self._under_way[workspace_id]
        following = next((each for each in self._queues if self._may(each)), None)
        if following is None:
            return
        # The rest of its queue goes behind all others.
        queue = self._queues.pop(following)
        queue.popleft().set_result(None)
        if queue:
            self._queues[following] = queue
        self._under_way[following] += 1
