"""Many connections at once: an iteration of the event loop does a limited amount for them, and others do not wait."""

import asyncio
import socket

import pytest
from starlette.types import Receive, Scope, Send

from herdbook.http.fair_queue import MAX_AT_ONCE, MAX_TURNS
from herdbook.http.protocol import Limits
from tests.http.wires import PATIENCE, Wires, until, until_there_are, wired

_GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_LIMITS = Limits(connections=2000)
# The work of one iteration: some that comes in it, and some that waited.
_MAX_STEP = MAX_AT_ONCE + MAX_TURNS


class Counting:
    """An application that counts its requests, the messages of their bodies, and the clients that have gone."""

    def __init__(self, *, waits: bool = False) -> None:
        self.requests = self.messages = self.gone = 0
        self._waits = waits

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        while (message := await receive()).get("more_body", False) or self._waits:
            self.messages += 1
            if message["type"] == "http.disconnect":
                self.gone += 1
                return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def _connected(wires: Wires, count: int, source: str = "127.0.0.1") -> list[socket.socket]:
    """Open connections from an address, without running the event loop."""
    return [socket.create_connection(wires.address, source_address=(source, 0)) for _ in range(count)]


def _close(clients: list[socket.socket]) -> None:
    for client in clients:
        client.close()


async def test_many_requests_at_once_begin_in_turns() -> None:
    """One iteration of the event loop begins a limited number of requests, also of those that lie behind others."""
    app = Counting()
    steps: list[int] = []
    async with wired(app, _LIMITS) as wires:
        clients = _connected(wires, 400)
        await until_there_are(wires, 400)
        for client in clients:
            client.send(3 * _GET)
        async with asyncio.timeout(PATIENCE):
            while app.requests < 1200:
                before = app.requests
                await asyncio.sleep(0)
                steps.append(app.requests - before)
        _close(clients)

    assert max(steps) <= _MAX_STEP


async def test_a_newcomer_does_not_wait_for_all_connections_of_another_client() -> None:
    """A connection from another address is opened, and its request answered, before the last of 600."""
    async with wired(Counting(), _LIMITS) as wires:
        crowd = _connected(wires, 600)
        (newcomer,) = _connected(wires, 1, "127.0.0.2")
        newcomer.send(_GET)
        await until(lambda: any(each.client == newcomer.getsockname() for each in wires.connections))
        opened = len(wires.connections)
        newcomer.setblocking(False)  # noqa: FBT003
        async with asyncio.timeout(PATIENCE):
            answer = await asyncio.get_running_loop().sock_recv(newcomer, 1000)
        answered = len(wires.connections)
        _close([*crowd, newcomer])

    assert answer.startswith(b"HTTP/1.1 200")
    assert opened < 400
    assert answered < 600


@pytest.mark.parametrize(
    "forwarded", [b"X-Forwarded-For: %s\r\n", b"X-Forwarded-For: 192.0.2.9\r\nx-forwarded-for:::ffff:%s\r\n"]
)
async def test_clients_of_a_trusted_proxy_have_turns_of_their_own(forwarded: bytes) -> None:
    """A client behind a trusted proxy does not wait for 300 requests that the proxy has from another client."""
    began: list[str] = []

    async def app(scope: Scope, _: Receive, send: Send) -> None:
        began.append(scope["client"][0])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with wired(app, _LIMITS, ("127.0.0.1",)) as wires:
        clients = _connected(wires, 301)
        await until_there_are(wires, 301)
        for number, client in enumerate(clients):
            address = b"192.0.2.8" if number == 300 else b"192.0.2.7"
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n" + forwarded % address + b"\r\n")
        await until(lambda: len(began) == 301)
        _close(clients)

    assert began.index("192.0.2.8") < _MAX_STEP


async def test_a_client_may_not_take_all_places_where_connections_wait() -> None:
    """Connections that come faster than they can be opened are closed, but not those of another client."""
    async with wired(Counting(), Limits(connections=2000, waiting=20)) as wires:
        crowd = _connected(wires, 500)
        (newcomer,) = _connected(wires, 1, "127.0.0.2")
        await until(lambda: any(each.client == newcomer.getsockname() for each in wires.connections))
        opened = len(wires.connections)
        newcomer.send(_GET)
        newcomer.setblocking(False)  # noqa: FBT003
        async with asyncio.timeout(PATIENCE):
            answer = await asyncio.get_running_loop().sock_recv(newcomer, 1000)
        _close([*crowd, newcomer])

    assert opened < 500
    assert answer.startswith(b"HTTP/1.1 200")


async def test_many_clients_leave_in_turns() -> None:
    """One iteration of the event loop tells a limited number of requests that their clients have gone."""
    app = Counting(waits=True)
    steps: list[int] = []
    async with wired(app, _LIMITS) as wires:
        clients = _connected(wires, 400)
        for client in clients:
            client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        await until(lambda: app.requests == 400)
        _close(clients)
        async with asyncio.timeout(PATIENCE):
            while app.gone < 400:
                before = app.gone
                await asyncio.sleep(0)
                steps.append(app.gone - before)

    assert max(steps) <= _MAX_STEP


async def test_drops_of_a_body_come_together() -> None:
    """A body that comes byte by byte wakes the application once, when it is complete."""
    app = Counting()
    async with wired(app, _LIMITS) as wires:
        client = wires.connected()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        await until(lambda: app.requests == 1)
        (connection,) = wires.connections
        for number in range(1, 101):
            client.send(b"a")
            await until(lambda: len(connection.cycle.body) == number or not connection.cycle.more_body)  # noqa: B023
        async with asyncio.timeout(PATIENCE):
            answer = await asyncio.get_running_loop().sock_recv(client, 1000)
        client.close()

    assert answer.startswith(b"HTTP/1.1 200")
    assert app.messages == 0
