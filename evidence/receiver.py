"""A webhook endpoint, and a server of one recording, in this process."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from herdbook.webhooks.events import seq_of

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """An endpoint that takes every event. `arrived` are the numbers of their changes, in the order of arrival."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                headers = await _headers(reader)
                await reader.readexactly(int(headers["content-length"]))
                number = seq_of(headers["webhook-id"])
                assert number is not None
                self.arrived.append(number)
                writer.write(TAKEN)
        writer.close()


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
