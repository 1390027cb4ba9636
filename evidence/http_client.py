"""A small client of HTTP/1.1, which leaves most of the processor to the server under test."""

import asyncio
import json
from typing import Any, NamedTuple
from urllib.parse import urlsplit

PATIENCE = 20.0
"""Seconds after which a request counts as unanswered: longer than the server's own limits."""


class Answer(NamedTuple):
    status: int
    request_id: str
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def lacks(self) -> bool:
        """Whether the server knows nothing of an object, or of a position of the feed, that the request names."""
        return any(code in self.body for code in (b'"not_found"', b"/not_found", b'"invalid_range"'))


class NotSent(Exception):
    """Nothing was sent, because nobody accepts connections."""


class Unanswered(Exception):
    """The request was sent, at least in part, and no whole answer came."""


class Connection:
    """A connection that is opened anew when it has ended."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        self._key = key
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: object = None, key: str | None = None) -> Answer:
        """Make a request, perhaps with an Idempotency-Key. Raise NotSent or Unanswered if it fails."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: herdbook.test", f"Authorization: {self._key}"]
        lines += [] if body is None else ["Content-Type: application/json"]
        lines += [f"Content-Length: {len(content)}"] + ([] if key is None else [f"Idempotency-Key: {key}"])
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection(*self._address)
            except OSError as error:
                raise NotSent from error
        reader, writer = self._streams
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
                return await _read(reader)
        except (OSError, EOFError, TimeoutError) as error:
            self.close()
            raise Unanswered from error

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split(" ")[1]), headers.get("x-request-id", ""), body)
