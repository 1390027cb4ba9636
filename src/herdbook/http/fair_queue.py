"""Work for clients, shared fairly: a limited amount in each iteration of the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from typing import Final

MAX_AT_ONCE: Final = 64
"""Pieces of work that are done in one iteration, as they come, while none waits."""
MAX_TURNS: Final = 16
"""The cost of waiting work that is done in one iteration."""


class FairQueue:
    """Waiting work. The client that has waited longest is next, so that no client waits for all the work of another one."""

    def __init__(self) -> None:
        # The order of the clients is the order of their next turns.
        self._queues: dict[Hashable, deque[tuple[int, Callable[[], object]]]] = {}
        self._left = MAX_AT_ONCE
        self._goes_on = False

    def takes(self, cost: int = 1) -> bool:
        """Whether a piece of work may be done at once. Otherwise it must be added."""
        if self._queues or self._left < cost:
            return False
        if not self._goes_on:
            self._go_on_soon()
        self._left -= cost
        return True

    def add(self, client: Hashable, work: Callable[[], object], cost: int = 1) -> None:
        """Do a piece of work when it is the client's turn."""
        queue = self._queues.get(client)
        if queue is None:
            queue = self._queues[client] = deque()
        queue.append((cost, work))
        if not self._goes_on:
            self._go_on_soon()

    def _go_on_soon(self) -> None:
        self._goes_on = True
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._left = MAX_AT_ONCE
        self._goes_on = False
        if not self._queues:
            return
        self._go_on_soon()
        loop = asyncio.get_running_loop()
        turns = MAX_TURNS
        while self._queues and turns > 0:
            client = next(iter(self._queues))
            queue = self._queues.pop(client)
            cost, work = queue.popleft()
            # A failure of one piece of work must not end the others.
            loop.call_soon(work)
            turns -= cost
            if queue:
                self._queues[client] = queue
