"""The queue of requests whose connections have no known caller yet.

Refusing a request is cheap, but refusing many in one turn of the event loop would keep known callers waiting.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from herdbook.auth.sign_ins import network_of

MAX_STARTS: Final = 4
"""The requests that are started in one turn of the event loop."""


class StartQueue:
    """Starts up to `MAX_STARTS` requests in each turn of the event loop. The addresses of clients take turns."""

    def __init__(self) -> None:
        self._room = MAX_STARTS
        self._is_counting = False
        # The order of the keys is the order of the next starts.
        self._queues: dict[str, dict[object, Callable[[], None]]] = {}

    def add(self, address: str, connection: object, start: Callable[[], None]) -> None:
        """Start a connection's request, at once if there is room."""
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._next_turn)
        if self._room:
            self._room -= 1
            start()
        else:
            self._queues.setdefault(network_of(address), {})[connection] = start

    def discard(self, address: str, connection: object) -> None:
        """Drop a connection's request, if it waits."""
        network = network_of(address)
        queue = self._queues.get(network, {})
        if queue.pop(connection, None) is not None and not queue:
            del self._queues[network]

    def _next_turn(self) -> None:
        self._is_counting = self._room < MAX_STARTS
        self._room = MAX_STARTS
        if self._is_counting:
            asyncio.get_running_loop().call_soon(self._next_turn)
        while self._room and self._queues:
            network, queue = next(iter(self._queues.items()))
            # The rest of its queue goes behind all others.
            del self._queues[network]
            start = queue.pop(next(iter(queue)))
            if queue:
                self._queues[network] = queue
            self._room -= 1
            start()
