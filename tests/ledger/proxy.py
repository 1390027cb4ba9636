"""A proxy in front of PostgreSQL with which a test catches a request on its way, and loses, delays or cuts it.

It understands the frontend/backend protocol, version 3, well enough to separate requests
(https://www.postgresql.org/docs/current/protocol-message-formats.html).
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

Matches: TypeAlias = Callable[[str], bool]

_SOCKET: Final = ".s.PGSQL.5432"
_PORT: Final = "5432"
# Passwords, too, are answered.
_ENDS_OF_REQUESTS: Final = frozenset(b"SQXHp")
_READY: Final = ord("Z")
_PATIENCE_SECONDS: Final = 10


class Caught:
    """A request that was caught on its way to the server; its connection is blocked until it is released or cut."""

    def __init__(self, link: "_Link", sql: str, request: bytes) -> None:
        self._link = link
        self.sql = sql
        self._request = request

    @property
    def is_connected(self) -> bool:
        """Whether its client is still connected."""
        return not self._link.to_client.is_closing()

    def let_go(self) -> None:
        """Send the request on unchanged."""
        self._link.to_server.write(self._request)
        self._link.moves.set()

    def cut(self) -> None:
        """Cut the connection on both sides."""
        self._link.cut()

    def cut_client(self) -> None:
        """Disconnect the client. The server does not notice yet, and the request can still be sent to it."""
        self._link.to_client.transport.abort()

    def cut_server(self) -> None:
        """Disconnect the server. The client still waits."""
        self._link.answers = asyncio.Queue()
        self._link.to_server.transport.abort()

    def send(self) -> None:
        """Send the request to the server, and keep the answer from the client."""
        self._link.answers = asyncio.Queue()
        self._link.to_server.write(self._request)

    async def answer(self) -> bytes:
        """Wait for the server's whole answer, and thus until the request is done."""
        assert self._link.answers is not None, "the request was sent"
        answer = b""
        while True:
            message = await self._link.answers.get()
            answer += message
            if message[0] == _READY:
                return answer

    async def deliver(self) -> bytes:
        """Have the server carry out the request; return the answer, which the client does not get."""
        self.send()
        return await self.answer()

    def refuse(self, code: str, *, in_transaction: bool) -> None:
        """Answer with an error in the server's place, and unblock the connection."""
        fields = b"SERROR\0VERROR\0C" + code.encode() + b"\0Mas the test has it\0\0"
        status = b"E" if in_transaction else b"I"
        self._link.to_client.write(_message(b"E", fields) + _message(b"Z", status))
        self._link.moves.set()


class Proxy:
    """The proxy to a database; `url` connects through it."""

    def __init__(self, database_url: str, socket: Path) -> None:
        self._parts = urlsplit(database_url)
        self._query = dict(parse_qsl(self._parts.query))
        user, separator, _ = self._parts.netloc.rpartition("@")
        query = urlencode(self._query | {"host": str(socket.parent), "port": _PORT}, safe="/")
        self.url = urlunsplit(self._parts._replace(netloc=user + separator, query=query))
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._traps: list[tuple[Matches, asyncio.Future[Caught]]] = []

    async def open(self) -> None:
        """Accept clients."""
        self._server = await asyncio.start_unix_server(self._serve, self._socket)

    async def close(self) -> None:
        """Cut all connections and refuse new ones, so that clients find the database unreachable."""
        assert self._server is not None, "the proxy is open"
        self._server.close()
        self._socket.unlink(missing_ok=True)
        while self._serving:
            for link in self._links:
                link.cut()
            await asyncio.wait(self._serving, return_when=asyncio.FIRST_COMPLETED)

    def trap(self, matches: Matches) -> "asyncio.Future[Caught]":
        """Catch the next request whose statement matches; the future raises TimeoutError if none comes."""
        caught: asyncio.Future[Caught] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(_PATIENCE_SECONDS, _give_up, caught)
        self._traps.append((matches, caught))
        return caught

    def end_sessions(self) -> None:
        """Tell all clients that their sessions have ended, and close each at its next request, as a server does."""
        fields = b"SFATAL\0VFATAL\0C57P01\0Mas the test has it\0\0"
        for link in self._links:
            link.is_over = True
            link.to_client.write(_message(b"E", fields))

    def disarm(self) -> None:
        """Remove all traps and cut blocked connections, so that a failed test ends."""
        self._traps.clear()
        for link in self._links:
            if not link.moves.is_set():
                link.cut()

    def catches(self, link: "_Link", sql: str, request: bytes) -> bool:
        """Trigger the first trap that matches the request; return whether there was one."""
        for place, (matches, caught) in enumerate(self._traps):
            if sql and not caught.done() and matches(sql):
                del self._traps[place]
                link.moves.clear()
                caught.set_result(Caught(link, sql, request))
                return True
        return False

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host = self._query.get("host") or self._parts.hostname or "localhost"
        port = int(self._query.get("port") or self._parts.port or _PORT)
        if host.startswith("/"):
            return await asyncio.open_unix_connection(Path(host, f".s.PGSQL.{port}"))
        return await asyncio.open_connection(host, port)

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            from_server, to_server = await self._connected()
        except OSError:
            to_client.transport.abort()
            return
        link = _Link(self, to_client, to_server)
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(link.pass_requests(from_client))
                pumps.create_task(link.pass_answers(from_server))
        finally:
            link.cut()
            self._links.discard(link)


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, to_client: asyncio.StreamWriter, to_server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self.to_client = to_client
        self.to_server = to_server
        self.answers: asyncio.Queue[bytes] | None = None
        self.is_over = False
        self.moves = asyncio.Event()
        self.moves.set()

    def cut(self) -> None:
        self.to_client.transport.abort()
        self.to_server.transport.abort()
        self.moves.set()

    async def pass_requests(self, from_client: asyncio.StreamReader) -> None:
        statements: dict[bytes, str] = {}
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            length = await from_client.readexactly(4)
            self.to_server.write(length + await from_client.readexactly(struct.unpack("!i", length)[0] - 4))
            while True:
                request, sql = await _next_request(from_client, statements)
                if self.is_over:
                    self.cut()
                elif self._proxy.catches(self, sql, request):
                    await self.moves.wait()
                else:
                    self.to_server.write(request)
        self.to_server.transport.abort()

    async def pass_answers(self, from_server: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                message = await _next_message(from_server)
                if self.answers is not None:
                    self.answers.put_nowait(message)
                else:
                    self.to_client.write(message)
        if self.answers is None:
            self.to_client.transport.abort()


async def _next_message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    return head + await reader.readexactly(struct.unpack("!i", head[1:])[0] - 4)


async def _next_request(reader: asyncio.StreamReader, statements: dict[bytes, str]) -> tuple[bytes, str]:
    """Read messages up to one that the server answers; return them with their statement, if any."""
    request, sql = b"", ""
    while True:
        message = await _next_message(reader)
        request += message
        body = message[5:]
        if message[:1] == b"P":
            name, text, *_ = body.split(b"\0", 2)
            statements[name] = text.decode()
        elif message[:1] == b"B":
            _, name, *_ = body.split(b"\0", 2)
            sql = statements[name]
        elif message[:1] == b"Q":
            sql = body[:-1].decode()
        if message[0] in _ENDS_OF_REQUESTS:
            return request, sql


def _give_up(caught: "asyncio.Future[Caught]") -> None:
    if not caught.done():
        caught.set_exception(TimeoutError("no matching request came"))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


@asynccontextmanager
async def proxy_to(database_url: str, folder: Path) -> AsyncGenerator[Proxy]:
    """Open a proxy to a database, with a socket in the test's folder."""
    proxy = Proxy(database_url, folder / _SOCKET)
    await proxy.open()
    try:
        yield proxy
    finally:
        await proxy.close()
