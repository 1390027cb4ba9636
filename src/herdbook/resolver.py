"""Look-ups of host names, in threads of their own.

A caller chooses the host, and so the name server, which may never answer. Nothing can end a look-up, so a host holds one
thread at most, a workspace's hosts hold a share of all threads, and nobody waits for longer than a deadline, first for a turn
and then for the answer.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Final
from uuid import UUID

from herdbook.turns import Turns

MAX_LOOKUPS: Final = 16
MAX_LOOKUPS_OF_WORKSPACE: Final = 4
# A waiting look-up costs little: its caller gives up after the deadline.
_MAX_WAITING: Final = 4096
_MAX_WAITING_OF_WORKSPACE: Final = 256
_SECONDS: Final = 5.0


def find_addresses(host: str) -> list[str]:
    """Return the addresses of a host, the best first. Raise OSError if there are none, UnicodeError if it is no name."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))


class Resolver:
    """Looks up hosts with `find`, which blocks: each host once at a time, however many ask for it."""

    def __init__(self, find: Callable[[str], list[str]] = find_addresses, seconds: float = _SECONDS) -> None:
        self._find = find
        self._seconds = seconds
        self._turns = Turns(
            "look-ups of host names",
            at_once=MAX_LOOKUPS,
            at_once_each=MAX_LOOKUPS_OF_WORKSPACE,
            waiting=_MAX_WAITING,
            waiting_each=_MAX_WAITING_OF_WORKSPACE,
            seconds=seconds,
        )
        self._lookups: dict[str, asyncio.Task[list[str]]] = {}

    async def addresses(self, host: str, workspace_id: UUID) -> list[str]:
        """Return the addresses of a host.

        Raise the errors of `find`, and TimeoutError after some seconds. Refusal: Busy, if it has no turn in that time.
        """
        lookup = self._lookups.get(host)
        if lookup is None:
            await self._turns.begin(workspace_id)
            lookup = self._lookups.get(host)
            if lookup is None:
                lookup = self._lookups[host] = asyncio.create_task(self._look_up(host, workspace_id))
                # Its error is nobody's if all who asked have gone.
                lookup.add_done_callback(lambda done: done.cancelled() or done.exception())
            else:
                # Another caller's look-up of the host began while this one waited. It holds the thread.
                self._turns.end(workspace_id)
        async with asyncio.timeout(self._seconds):
            return await asyncio.shield(lookup)

    async def _look_up(self, host: str, workspace_id: UUID) -> list[str]:
        """Look up a host during a turn that has begun, and end the turn."""
        loop = asyncio.get_running_loop()
        try:
            found: asyncio.Future[list[str]] = loop.create_future()
            # A thread of a pool would keep the process from ending.
            threading.Thread(target=self._run, args=(host, loop, found), daemon=True).start()
            return await found
        finally:
            del self._lookups[host]
            self._turns.end(workspace_id)

    def _run(self, host: str, loop: asyncio.AbstractEventLoop, found: "asyncio.Future[list[str]]") -> None:
        addresses, error = list[str](), None
        try:
            addresses = self._find(host)
        # Any error must reach the callers, and end the turn.
        except Exception as raised:
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
