"""A webhook endpoint, and a server of one recording, in this process."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from standardwebhooks import Webhook, WebhookVerificationError

from evidence.checks import Fault
from herdbook.webhooks.events import seq_of

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """An endpoint that takes every event.

    `arrived` are the numbers of their changes, in the order of arrival, and `bodies` has those that were not compared yet.
    `secret` verifies their signatures; `faults` are those that it did not verify.
    """

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.bodies: list[tuple[int, bytes]] = []
        self.faults: list[Fault] = []
        self.secret = ""
        self.url = ""

    def take(self, until: int) -> list[tuple[int, bytes]]:
        """Return the bodies up to a number that were not compared yet."""
        taken = [each for each in self.bodies if each[0] <= until]
        self.bodies = [each for each in self.bodies if each[0] > until]
        return taken

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                headers = await _headers(reader)
                body = await reader.readexactly(int(headers["content-length"]))
                self.receive(headers, body)
                writer.write(TAKEN)
        writer.close()

    def receive(self, headers: dict[str, str], body: bytes) -> None:
        """Verify an event, and note it."""
        number = seq_of(headers["webhook-id"])
        assert number is not None, "it is the id of an event"
        try:
            Webhook(self.secret).verify(body, headers)
        except WebhookVerificationError as error:
            self.faults.append(Fault("content", f"change {number}: {error}"))
        self.arrived.append(number)
        self.bodies.append((number, body))


@asynccontextmanager
async def receiving() -> AsyncGenerator[Receiver]:
    """Receive events while the block runs."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield receiver
    finally:
        server.close()


@asynccontextmanager
async def playing(recording: bytes, certificate: ssl.SSLContext) -> AsyncGenerator[str]:
    """Serve a recording while the block runs; yield its address."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {len(recording)}\r\n\r\n".encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(head + recording)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=certificate)
    try:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/recording.wav"
    finally:
        server.close()


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.split("\r\n"))}
