"""An application behind its HTTP server, and helpers that exchange bytes with it."""

import asyncio
import contextlib
import ipaddress
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from herdbook.http.listener import Server
from herdbook.http.protocol import Connection, Front, Limits
from tests.cast import Person

PATIENCE = 90.0
_LIMITS = Limits(connections=100)


class Wires:
    """A server's address and its connections."""

    def __init__(self, server: uvicorn.Server, address: tuple[str, int]) -> None:
        self.address = address
        self._server = server
        self._writers: list[StreamWriter] = []

    @property
    def connections(self) -> list[Connection]:
        """Return the server side of the open connections."""
        return cast("list[Connection]", list(self._server.server_state.connections))

    async def open(self) -> tuple[StreamReader, StreamWriter]:
        """Open a connection."""
        reader, writer = await asyncio.open_connection(*self.address)
        self._writers.append(writer)
        return reader, writer

    def close(self) -> None:
        """Close the client side of all connections."""
        for writer in self._writers:
            writer.close()

    def connected(self) -> socket.socket:
        """Open a connection whose bytes are sent without running the event loop."""
        client = socket.create_connection(self.address)
        client.setblocking(False)  # noqa: FBT003
        return client

    async def exchange(self, request: bytes) -> bytes:
        """Send a request; return everything until the connection closes."""
        reader, writer = await self.open()
        return await exchange_over(reader, writer, request)


async def exchange_over(reader: StreamReader, writer: StreamWriter, request: bytes = b"") -> bytes:
    """Send bytes; return everything until the connection closes."""
    writer.write(request)
    answer = await rest_of(reader)
    writer.close()
    return answer


async def rest_of(reader: StreamReader) -> bytes:
    """Return everything until the connection closes."""
    async with asyncio.timeout(PATIENCE):
        return await reader.read()


@contextlib.asynccontextmanager
async def wired(
    app: ASGIApp, limits: Limits = _LIMITS, proxies: Sequence[str] = (), *, of_both_families: bool = False
) -> AsyncGenerator[Wires]:
    """Put an application behind its HTTP server, which listens at `::` for IPv4, too, or at an address of IPv4."""
    front = Front(
        limits,
        proxies=[ipaddress.ip_network(proxy) for proxy in proxies],
        problem_type_base="https://herdbook.test/errors/",
        problem_media_type="application/json",
    )
    protocol: Any = partial(Connection, front=front)
    if of_both_families:
        listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    else:
        listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    config = uvicorn.Config(
        app, http=protocol, lifespan="off", ws="none", log_config=None, access_log=False, proxy_headers=False
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    wires = Wires(server, ("127.0.0.1", listener.getsockname()[1]))
    yield wires
    wires.close()
    server.should_exit = True
    await serving


def head(person: Person, method: str, path: str, *headers: str) -> bytes:
    """Return the head of a request that closes its connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: herdbook.test", f"Authorization: {person.key}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds of which nobody is told."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0)


async def until_there_are(wires: Wires, count: int) -> None:
    """Wait until the server has a number of connections."""
    async with asyncio.timeout(PATIENCE):
        while len(wires.connections) != count:  # noqa: ASYNC110  # connections send no event when they open or close
            await asyncio.sleep(0)
