"""Sends events to endpoints over kept-alive HTTP/1.1 connections, parsed by httptools, as in uvicorn.

A general client costs more than a write does here (httpx takes a millisecond of processor time per request), and events
should flow as fast as writes. The request always has the same form, and only the status, one header and the first bytes of
the response matter, so a small client is enough. It connects to the address that was checked and follows no redirects.
"""

import asyncio
import os
import ssl
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Final, NamedTuple, cast
from uuid import UUID

import httptools
import httpx

from herdbook import sources
from herdbook.outgoing import Targets
from herdbook.webhook_endpoints.signing import signed_headers
from herdbook.webhooks.model import Attempt

SHOWN_BYTES: Final = 4096
_TIMEOUT_SECONDS: Final = 15.0
# A name may have several addresses. If one does not answer, this leaves time for the next.
_NEXT_ADDRESS_SECONDS: Final = 3.0
# Give up on a longer response.
_MAX_BYTES: Final = 1_048_576
_USER_AGENT: Final = f"herdbook/{version('herdbook')}"


class Answered(NamedTuple):
    """A response: the status, the first bytes of the body, and the value of `Retry-After`."""

    status: int
    body: bytes
    retry_after: str | None


class _Failed(Exception):
    """No response; the message says why. `is_unheard`: the peer may have closed the connection before it saw the request."""

    def __init__(self, why: str, *, is_unheard: bool = False) -> None:
        super().__init__(why)
        self.is_unheard = is_unheard


class NotBegun(Exception):
    """Sending was no longer allowed when the connection was ready."""


class Address(NamedTuple):
    """The parsed URL of an endpoint."""

    is_secure: bool
    host: str
    port: int
    head: bytes

    @classmethod
    def of(cls, url: str) -> "Address":
        """Return the parts of a URL and the head that all requests to it share."""
        parsed = httpx.URL(url)
        is_secure = parsed.scheme == "https"
        head = (
            b"POST "
            + parsed.raw_path
            + b" HTTP/1.1\r\nHost: "
            + parsed.netloc
            + b"\r\nUser-Agent: "
            + _USER_AGENT.encode()
            + b"\r\n"
            b"Content-Type: application/json\r\nAccept: */*\r\n"
        )
        return cls(is_secure, parsed.raw_host.decode("ascii"), parsed.port or (443 if is_secure else 80), head)


class HttpConnection(asyncio.Protocol):
    """A connection to an endpoint, for one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answered] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._why_closed = "the connection was closed"
        self.is_open = False
        self.has_served = False
        self._begin()

    def request(self, message: bytes, seconds: float) -> "asyncio.Future[Answered]":
        """Send a request. The response must arrive within so many seconds."""
        assert self._transport is not None, "it is connected"
        loop = asyncio.get_running_loop()
        self._begin()
        self._waiting = loop.create_future()
        self._timer = loop.call_later(seconds, self._too_late)
        self._transport.write(message)
        return self._waiting

    def close(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self.is_open = False
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._received += len(data)
        if self._waiting is None or self._received > _MAX_BYTES:
            self._fail("the answer is too long" if self._waiting else "the endpoint sent data without a request")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("the endpoint switched to another protocol")
        except httptools.HttpParserError as error:
            self._fail(f"the answer is not HTTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio."""
        self.is_open = False
        if self._waiting is not None and self._is_headed and not self._has_length:
            # Without a length, the body ends with the connection (RFC 9112, section 6.3).
            self._answer()
        else:
            self._fail(f"the connection broke: {exc}" if exc else self._why_closed, is_unheard=self._received == 0)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by httptools."""
        lower = name.lower()
        if lower == b"retry-after":
            self._retry_after = value.decode("latin-1")
        elif lower in (b"content-length", b"transfer-encoding"):
            self._has_length = True

    def on_headers_complete(self) -> None:
        """Called by httptools."""
        self._status = self._parser.get_status_code()
        self._is_headed = self._status >= 200
        if not self._is_headed:
            # These headers belong to an informational response.
            self._retry_after, self._has_length = None, False

    def on_body(self, body: bytes) -> None:
        """Called by httptools."""
        if len(self._body) < SHOWN_BYTES:
            self._body += body[: SHOWN_BYTES - len(self._body)]

    def on_message_complete(self) -> None:
        """Handle the end of a message. Informational responses do not count (RFC 9110, section 15.2). Called by httptools."""
        if self._is_headed:
            if not self._parser.should_keep_alive():
                self.close()
            self._answer()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._received = 0
        self._status = 0
        self._body = b""
        self._retry_after: str | None = None
        self._is_headed = self._has_length = False

    def _answer(self) -> None:
        waiting = self._released()
        if waiting is not None:
            self.has_served = True
            waiting.set_result(Answered(self._status, self._body, self._retry_after))

    def _too_late(self) -> None:
        self._fail("no answer in time")

    def _fail(self, why: str, *, is_unheard: bool = False) -> None:
        waiting = self._released()
        self.close()
        if waiting is not None:
            waiting.set_exception(_Failed(why, is_unheard=is_unheard))

    def _released(self) -> "asyncio.Future[Answered] | None":
        waiting, self._waiting = self._waiting, None
        if self._timer is not None:
            self._timer.cancel()
        return None if waiting is None or waiting.done() else waiting


class KeptConnection:
    """Sends requests to one endpoint, one after another, over a kept-alive connection."""

    def __init__(self, sender: "Sender", url: str, workspace_id: UUID, own_headers: str | None) -> None:
        self._sender = sender
        self._url = url
        self._workspace_id = workspace_id
        self._address = Address.of(url)
        self._head = self._address.head + (own_headers or "").encode()
        self._connection: HttpConnection | None = None
        self._connected_at = 0.0

    async def attempt(
        self, signing_secrets: Sequence[str], event_id: str, body: bytes, may_begin: Callable[[], bool] = lambda: True
    ) -> tuple[Attempt, str | None]:
        """Send an event, and return the attempt and the value of `Retry-After`.

        Once connected, just before the first byte, it calls `may_begin` and raises NotBegun if the answer is no.
        """
        at = sources.now()
        headers = signed_headers(signing_secrets, event_id, at, body)
        message = b"".join(
            (
                self._head,
                "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode(),
                b"Content-Length: %d\r\n\r\n" % len(body),
                body,
            )
        )
        began = time.perf_counter()
        answered: Answered | None = None
        error: str | None = None
        try:
            answered = await self._exchange(message, began + self._sender.timeout_seconds, may_begin)
        except TimeoutError:
            error = "no connection in time"
        except (_Failed, httpx.RequestError, ssl.SSLError) as failure:
            error = str(failure)
        except OSError as failure:
            # Not the message: it contains the resolved address, which the endpoint's owner need not learn.
            error = os.strerror(failure.errno) if failure.errno else type(failure).__name__
        attempt = Attempt(
            at=at,
            url=self._url,
            headers=headers,
            milliseconds=round((time.perf_counter() - began) * 1000, 2),
            status=None if answered is None else answered.status,
            answer="" if answered is None else answered.body.decode("utf-8", "replace"),
            error=error,
        )
        return attempt, None if answered is None else answered.retry_after

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    async def _exchange(self, message: bytes, until: float, may_begin: Callable[[], bool]) -> Answered:
        connection = self._connection
        # Reconnect after a minute: the name may resolve elsewhere by now, and targets are checked when a connection is made.
        if connection is not None and connection.is_open and time.perf_counter() < self._connected_at + 60:
            if not may_begin():
                raise NotBegun
            try:
                return await connection.request(message, until - time.perf_counter())
            except _Failed as failed:
                if not failed.is_unheard:
                    raise
        self.close()
        async with asyncio.timeout(until - time.perf_counter()):
            connection = self._connection = await self._sender.connect(self._address, self._workspace_id)
        self._connected_at = time.perf_counter()
        if not may_begin():
            raise NotBegun
        return await connection.request(message, until - time.perf_counter())


class Sender:
    """Sends events to the targets that the rules allow."""

    def __init__(
        self,
        targets: Targets,
        timeout_seconds: float = _TIMEOUT_SECONDS,
        ssl_context: ssl.SSLContext | None = None,
        next_address_seconds: float = _NEXT_ADDRESS_SECONDS,
    ) -> None:
        self._targets = targets
        self._ssl_context: Callable[[], ssl.SSLContext] = cache(ssl.create_default_context)
        if ssl_context is not None:
            self._ssl_context = lambda: ssl_context
        self.timeout_seconds = timeout_seconds
        self._next_address_seconds = next_address_seconds

    def kept_connection(self, url: str, workspace_id: UUID, own_headers: str | None = None) -> KeptConnection:
        """Return a new connection to an endpoint of a workspace, which is sent its own headers with each event."""
        return KeptConnection(self, url, workspace_id, own_headers)

    async def attempt(
        self,
        url: str,
        workspace_id: UUID,
        signing_secrets: Sequence[str],
        event_id: str,
        body: bytes,
        own_headers: str | None = None,
    ) -> Attempt:
        """Send one event and return the attempt. Its `error` holds any failure to connect or to read the response."""
        kept = self.kept_connection(url, workspace_id, own_headers)
        try:
            attempt, _ = await kept.attempt(signing_secrets, event_id, body)
            return attempt
        finally:
            kept.close()

    async def connect(self, address: Address, workspace_id: UUID) -> HttpConnection:
        """Connect to the first checked address that answers. Raises TargetRefused."""
        loop = asyncio.get_running_loop()
        *others, last = await self._targets.addresses(address.host, address.port, workspace_id)
        for resolved in others:
            try:
                async with asyncio.timeout(self._next_address_seconds):
                    return await self._connect_to(loop, address, resolved)
            except OSError:
                # This includes TimeoutError.
                continue
        return await self._connect_to(loop, address, last)

    async def _connect_to(self, loop: asyncio.AbstractEventLoop, address: Address, resolved: str) -> HttpConnection:
        _, connection = await loop.create_connection(
            HttpConnection,
            resolved,
            address.port,
            ssl=self._ssl_context() if address.is_secure else None,
            server_hostname=address.host if address.is_secure else None,
        )
        return connection
