"""Look-ups of host names, in threads of their own.

A caller chooses the host, and so the name server, which may never answer. Nothing can end a look-up, so a host holds one
thread at most, and nobody waits for it longer than a deadline.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final

_MAX_LOOKUPS: Final = 16
_SECONDS: Final = 5.0


def find_addresses(host: str) -> list[str]:
    """Return the addresses of a host, the best first. Raise OSError if there are none, UnicodeError if it is no name."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))


class Resolver:
    """Looks up hosts with `find`, which blocks: each host once at a time, however many ask for it."""

    def __init__(self, find: Callable[[str], list[str]] = find_addresses, seconds: float = _SECONDS) -> None:
        self._find = find
        self._seconds = seconds
        self._slots = asyncio.Semaphore(_MAX_LOOKUPS)
        self._lookups: dict[str, asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str) -> list[str]:
        """Return the addresses of a host. Raise the errors of `find`, and TimeoutError after some seconds."""
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = self._lookups[host] = asyncio.create_task(self._look_up(host))
            # Its error is nobody's if all who asked have gone.
            lookup.add_done_callback(lambda done: done.cancelled() or done.exception())
        async with asyncio.timeout(self._seconds):
            return await asyncio.shield(lookup)

    async def _look_up(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            async with self._slots:
                found: asyncio.Future[list[str]] = loop.create_future()
                # A thread of a pool would keep the process from ending.
                threading.Thread(target=self._run, args=(host, loop, found), daemon=True).start()
                return await found
        finally:
            del self._lookups[host]

    def _run(self, host: str, loop: asyncio.AbstractEventLoop, found: "asyncio.Future[list[str]]") -> None:
        addresses, error = list[str](), None
        try:
            addresses = self._find(host)
        except (OSError, UnicodeError) as raised:
            error = raised
        # The loop may have been closed meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, found, addresses, error)


def _settle(found: "asyncio.Future[list[str]]", addresses: list[str], error: Exception | None) -> None:
    if found.done():
        return
    if error is None:
        found.set_result(addresses)
    else:
        found.set_exception(error)
