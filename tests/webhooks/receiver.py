"""An endpoint like an integrator's: a server on loopback that keeps its requests and answers as a test wants."""

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Request(NamedTuple):
    """A received request: number of its connection, first line, headers by lower-case name, and body."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        """The event in the body."""
        return json.loads(self.body)


# Returns the raw bytes of the answer, or None to close the connection without one.
Answering = Callable[[Request], bytes | None]


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """Return an answer with a status."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Receiver:
    """The endpoint. `answering` may change at any time, and `requests` holds all requests in order."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answering: Answering = lambda _: TAKEN
        self.url = ""
        self.port = 0
        # Cleared, it holds back answers until it is set again: all of them, or those that `holds` selects.
        self.may_answer = asyncio.Event()
        self.holds: Callable[[Request], bool] = lambda _: True
        self.may_answer.set()
        self.came = asyncio.Condition()
        self._connections = 0
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def event_ids(self) -> list[str]:
        """The ids of the received events, in order."""
        return [request.headers["webhook-id"] for request in self.requests]

    async def wait_for(self, count: int) -> None:
        """Wait for a number of requests."""
        async with asyncio.timeout(60), self.came:
            await self.came.wait_for(lambda: len(self.requests) >= count)

    def hang_up(self) -> None:
        """Close all connections."""
        for writer in self._writers:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self._connections += 1
        connection = self._connections
        self._writers.add(writer)
        try:
            while (request := await self._read(reader, connection)) is not None:
                async with self.came:
                    self.requests.append(request)
                    self.came.notify_all()
                if self.holds(request):
                    await self.may_answer.wait()
                said = self.answering(request)
                if said is None:
                    break
                writer.write(said)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request | None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        return Request(connection, head[0], headers, await reader.readexactly(int(headers["content-length"])))


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None, receiver: Receiver | None = None) -> AsyncGenerator[Receiver]:
    """Run an endpoint."""
    receiver = receiver or Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    receiver.url = f"http{'s' if tls else ''}://127.0.0.1:{receiver.port}/hook?from=herdbook"
    try:
        yield receiver
    finally:
        server.close()
        receiver.may_answer.set()
        receiver.hang_up()
        await server.wait_closed()
