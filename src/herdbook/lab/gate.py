"""The gate of a workspace: requests pass it beside each other, and whoever changes all its rows at once is alone."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from herdbook.errors import NotFound

# The connection of a request that still runs when a change has waited so long is cut, because it waits for its client. If it
# runs on for as long again, it is cancelled.
_PATIENCE_SECONDS: Final = 3.0


def gone() -> NotFound:
    """Return the refusal of a workspace that is not there."""
    fault = "There is no such workspace in this lab."
    return NotFound("workspace", "Check the id, and that it was not deleted.", fault=fault)


class Closing(Exception):
    """Somebody wants to be alone in the workspace."""


class Cancelled(Exception):
    """A request was cancelled, because a change of the workspace has waited for it too long."""


class Gate:
    """Counts who is in a workspace, so that a change of all its rows waits for them, and holds others until it is done.

    `when_closed` lets those go who would wait for ever.
    """

    def __init__(self, when_closed: Callable[[], None]) -> None:
        self.is_gone = False
        self._is_open = True
        self._opening = asyncio.Event()
        self._emptied = asyncio.Event()
        self._turn = asyncio.Lock()
        # Those inside, and what cuts the connection of each.
        self._inside: dict[asyncio.Task[object], Callable[[], None] | None] = {}
        self._cancelled = Counter[asyncio.Task[object]]()
        self._waits = set[asyncio.Timeout]()
        self._when_closed = when_closed

    @asynccontextmanager
    async def inside(self, cut: Callable[[], None] | None = None) -> AsyncGenerator[None]:
        """Be in the workspace. A change waits for this block, but not for long if its connection can be `cut`.

        Refusals: NotFound, if the workspace was deleted; Cancelled, at the end of a block that ran on after that.
        """
        while not self._is_open:
            if self.is_gone:
                raise gone()
            await self._opening.wait()
        task = asyncio.current_task()
        assert task is not None, "an application runs in a task"
        self._inside[task] = cut
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._cancelled:
                raise
            for _ in range(self._cancelled[task]):
                task.uncancel()
            raise Cancelled from None
        finally:
            del self._inside[task]
            self._cancelled.pop(task, None)
            if not self._inside:
                self._emptied.set()

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Be alone in the workspace: let all others out first, and nobody in before the end. Refusal: NotFound."""
        async with self._turn:
            if self.is_gone:
                raise gone()
            self._is_open = False
            self._opening.clear()
            try:
                await self._empty()
                yield
            finally:
                self._is_open = not self.is_gone
                self._opening.set()

    async def close_for_good(self) -> None:
        """Let nobody in any more, and wait until nobody is inside."""
        self.is_gone, self._is_open = True, False
        self._opening.set()
        async with self._turn:
            await self._empty()

    @asynccontextmanager
    async def until_closed(self) -> AsyncGenerator[None]:
        """End a block by Closing when somebody wants to be alone."""
        scope = asyncio.timeout(None if self._is_open else 0)
        try:
            async with scope:
                self._waits.add(scope)
                try:
                    yield
                finally:
                    self._waits.discard(scope)
        except TimeoutError:
            if scope.expired():
                raise Closing from None
            raise

    async def pause(self, seconds: float) -> None:
        """Wait some seconds, but not while somebody wants to be alone."""
        with suppress(Closing):
            async with self.until_closed():
                await asyncio.sleep(seconds)

    async def _empty(self) -> None:
        self._when_closed()
        now = asyncio.get_running_loop().time()
        for scope in self._waits:
            if not scope.expired():
                scope.reschedule(now)
        are_cut = False
        while self._inside:
            self._emptied.clear()
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._emptied.wait()
            except TimeoutError:
                for task, cut in self._inside.items():
                    if cut is not None and are_cut:
                        self._cancelled[task] += 1
                        task.cancel()
                    elif cut is not None:
                        cut()
                are_cut = True
