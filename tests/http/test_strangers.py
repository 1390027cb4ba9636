"""Requests of unknown callers start few at a time, so that known callers do not wait for all of them."""

import asyncio
from collections import Counter

from starlette.types import Receive, Scope, Send

from herdbook.http.protocol import HAS_CALLER, MAX_STRANGERS
from tests.http.wires import Wires, until, until_there_are, wired

_REQUEST = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"


class Turns:
    """An application that counts the requests that start in each turn of the event loop. `/known` has a caller."""

    def __init__(self) -> None:
        self.turn = 0
        self.started: Counter[int] = Counter()
        self._loop = asyncio.get_running_loop()
        self._next_turn()

    def _next_turn(self) -> None:
        self.turn += 1
        self._loop.call_soon(self._next_turn)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        self.started[self.turn] += 1
        if scope["path"] == "/known":
            scope["state"][HAS_CALLER] = True
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def _send_at_once(wires: Wires, turns: Turns, count: int, *paths: bytes) -> None:
    """Send requests over each of a number of connections; the server finds the last of all of them in one turn."""
    connections = [await wires.open() for _ in range(count)]
    await until_there_are(wires, count)
    for path in paths:
        turns.started.clear()
        # The sockets are written to while the server's loop cannot run.
        for _, writer in connections:
            writer.write(_REQUEST % path)
        await until(lambda: turns.started.total() == count)
        for reader, _ in connections:
            await reader.readuntil(b"\r\n\r\n")


async def test_unknown_callers_start_few_at_a_time() -> None:
    """No turn of the event loop starts more than the limit, though 64 requests without a known caller arrive at once."""
    turns = Turns()
    async with wired(turns) as wires:
        await _send_at_once(wires, turns, 64, b"unknown")

    assert max(turns.started.values()) == MAX_STRANGERS


async def test_known_callers_do_not_queue() -> None:
    """Connections whose last request had a known caller start their requests at once."""
    turns = Turns()
    async with wired(turns) as wires:
        await _send_at_once(wires, turns, 64, b"known", b"known")

    assert max(turns.started.values()) > MAX_STRANGERS


async def test_a_connection_is_known_by_its_last_request_alone() -> None:
    """A connection that had a known caller once cannot be used for any number of requests without one."""
    turns = Turns()
    async with wired(turns) as wires:
        await _send_at_once(wires, turns, 64, b"known", b"unknown", b"unknown")

    assert max(turns.started.values()) == MAX_STRANGERS
