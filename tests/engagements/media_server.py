"""An HTTPS server of recordings, like those of third parties."""

import asyncio
import contextlib
import io
import ssl
import wave
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

SECONDS = 2


def sound(seconds: float = SECONDS) -> bytes:
    """Return a silent recording, as the `wave` module writes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(1)
        recording.setframerate(8000)
        recording.writeframes(bytes([128]) * int(8000 * seconds))
    return file.getvalue()


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """Return a response; by default, a recording of this length."""
    lines = {"content_type": "audio/wav", "content_length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


def unending(body: bytes) -> bytes:
    """Return a response without a length, which ends with the connection."""
    return b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nConnection: close\r\n\r\n" + body


def redirect(to: str) -> bytes:
    """Return a redirect."""
    return answer(status="302 Found", location=to)


class MediaServer:
    """The server: its responses by path, and the heads of the requests it received. It runs until it is closed."""

    def __init__(self) -> None:
        self.port = 0
        self.answers: dict[str, bytes] = {}
        self._held: dict[str, tuple[asyncio.Event, bytes]] = {}
        self.requests: list[str] = []
        self._connections: set[asyncio.Task[None]] = set()

    def url(self, path: str, scheme: str = "https", host: str = "127.0.0.1") -> str:
        """Return the address of a path here."""
        return f"{scheme}://{host}:{self.port}{path}"

    def puts(self, path: str, given: bytes) -> str:
        """Set the response of a path; return its address."""
        self.answers[path] = given
        return self.url(path)

    def holds(self, path: str, given: bytes) -> tuple[str, asyncio.Event]:
        """Send the head at once, and the rest when the event is set; return the address and the event."""
        head, separator, body = given.partition(b"\r\n\r\n")
        self._held[path] = (asyncio.Event(), body)
        return self.puts(path, head + separator), self._held[path][0]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.requests.append(head)
                path = head.split()[1]
                given = self.answers.get(path, answer(b"Not here.", "404 Not Found"))
                writer.write(given)
                await writer.drain()
                if path in self._held:
                    released, rest = self._held[path]
                    await released.wait()
                    writer.write(rest)
                    await writer.drain()
                if b"connection: close" in given.lower():
                    break
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self._connections.discard(task)

    async def close(self) -> None:
        """Close all connections."""
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections)


@asynccontextmanager
async def media_server(certificate: ssl.SSLContext) -> AsyncGenerator[MediaServer]:
    """Serve recordings with a certificate."""
    served = MediaServer()
    server = await asyncio.start_server(served.serve, "127.0.0.1", 0, ssl=certificate)
    served.port = server.sockets[0].getsockname()[1]
    try:
        yield served
    finally:
        server.close()
        await served.close()
        await server.wait_closed()
