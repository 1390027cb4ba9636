"""Streamed answers: how they are sent, and how they end."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeAlias

import msgspec
import pytest
import pytest_asyncio

from herdbook.db.pool import PagePool, open_pool
from herdbook.http.api_app import ApiApp
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.logs import JsonLines
from tests.cast import Person
from tests.serving import answering

Parts: TypeAlias = Callable[[], AsyncGenerator[bytes]]
_GONE: Final = {"type": "http.disconnect"}


class Exchange:
    """A request as a server hands it to an application; it keeps the messages that the application sends."""

    def __init__(self, person: Person, method: str = "GET") -> None:
        self.sent: list[Any] = []
        self.goes = asyncio.Event()
        self.takes = asyncio.Event()
        self.takes.set()
        self._scope = {
            "type": "http",
            "method": method,
            "path": "/api/v2/parts",
            "query_string": b"",
            "scheme": "http",
            "headers": [(b"authorization", str(person.key).encode())],
        }

    async def run(self, app: ApiApp) -> None:
        """Run the request."""
        await app(self._scope, self._receive, self._send)

    @property
    def body(self) -> bytes:
        """The part of the body sent so far."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def is_complete(self) -> bool:
        """Whether the answer was ended."""
        return self.sent[-1]["type"] == "http.response.body" and not self.sent[-1].get("more_body", False)

    async def _receive(self) -> Any:
        await self.goes.wait()
        return _GONE

    async def _send(self, message: Any) -> None:
        await self.takes.wait()
        self.sent.append(message)


@pytest_asyncio.fixture
async def connections(database_url: str) -> AsyncGenerator[PagePool]:
    """A pool with a single connection."""
    pool = await open_pool(database_url, 1)
    yield pool
    await pool.close()


def streaming(parts: Parts, pool: PagePool) -> ApiApp:
    """Return an application that streams these parts."""

    async def answer(_: Call) -> Answer:
        return Answer(b"", stream=parts(), media_type=b"text/plain")

    operation = Operation(
        method="GET",
        path="/v2/parts",
        id="parts",
        summary="Parts",
        description="Parts.",
        tag="parts",
        scopes=("contacts:read",),
        handler=answer,
        answer=msgspec.Struct,
        answer_description="None.",
    )
    return answering([operation], pool)


async def test_parts_are_sent_as_they_come(alice: Person, connections: PagePool) -> None:
    """Parts are sent one by one, and then the answer ends."""

    async def parts() -> AsyncGenerator[bytes]:
        yield b"one"
        yield b"two"

    exchange = Exchange(alice)
    await exchange.run(streaming(parts, connections))

    assert exchange.sent[0]["status"] == 200
    assert (b"content-type", b"text/plain") in exchange.sent[0]["headers"]
    assert [message["body"] for message in exchange.sent[1:]] == [b"one", b"two", b""]
    assert exchange.is_complete


async def test_nothing_is_made_before_it_is_taken(alice: Person, connections: PagePool) -> None:
    """A slow client delays the making of its parts, so its stream fills no memory."""
    made: list[int] = []
    made_one = asyncio.Event()

    async def parts() -> AsyncGenerator[bytes]:
        for number in range(100):
            made.append(number)
            exchange.takes.clear()
            made_one.set()
            yield b"part"

    exchange = Exchange(alice)
    answering = asyncio.create_task(exchange.run(streaming(parts, connections)))
    await made_one.wait()
    await alice.get("/api/v2/contacts")
    made_meanwhile = len(made)
    exchange.goes.set()
    await answering

    assert made_meanwhile == 1


async def test_it_ends_with_its_client(alice: Person, connections: PagePool, caplog: pytest.LogCaptureFixture) -> None:
    """A client that disconnects ends the generator, which can clean up; nothing is logged as a failure."""
    waits, cleared = asyncio.Event(), asyncio.Event()

    async def parts() -> AsyncGenerator[bytes]:
        try:
            yield b"one"
            waits.set()
            await asyncio.Event().wait()
        finally:
            cleared.set()

    exchange = Exchange(alice)
    answering = asyncio.create_task(exchange.run(streaming(parts, connections)))
    await waits.wait()
    exchange.goes.set()
    await answering

    assert cleared.is_set()
    assert exchange.body == b"one"
    assert caplog.records == []


async def test_it_ends_with_a_client_that_takes_nothing(alice: Person, connections: PagePool) -> None:
    """The generator also ends while a finished part waits for a client that has gone."""
    made, cleared = asyncio.Event(), asyncio.Event()

    async def parts() -> AsyncGenerator[bytes]:
        try:
            exchange.takes.clear()
            made.set()
            yield b"one"
        finally:
            cleared.set()

    exchange = Exchange(alice)
    answering = asyncio.create_task(exchange.run(streaming(parts, connections)))
    await made.wait()
    exchange.goes.set()
    await answering

    assert cleared.is_set()


async def test_it_ends_with_the_server(alice: Person, connections: PagePool) -> None:
    """A server that cancels the request ends the generator, too."""
    waits, cleared = asyncio.Event(), asyncio.Event()

    async def parts() -> AsyncGenerator[bytes]:
        try:
            yield b"one"
            waits.set()
            await asyncio.Event().wait()
        finally:
            cleared.set()

    answering = asyncio.create_task(Exchange(alice).run(streaming(parts, connections)))
    await waits.wait()
    answering.cancel()
    await asyncio.wait({answering})

    assert answering.cancelled()
    assert cleared.is_set()


async def test_a_failure_in_the_middle_is_logged_and_seen(
    alice: Person, connections: PagePool, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged with the request's id, and the answer stays unfinished, so the server closes the connection."""

    async def parts() -> AsyncGenerator[bytes]:
        yield b"one"
        raise LookupError("the inside")

    exchange = Exchange(alice)
    await exchange.run(streaming(parts, connections))
    (record,) = caplog.records
    line = json.loads(JsonLines().format(record))

    assert [message["type"] for message in exchange.sent] == ["http.response.start", "http.response.body"]
    assert exchange.body == b"one"
    assert not exchange.is_complete
    assert (b"x-request-id", line["request_id"].encode()) in exchange.sent[0]["headers"]
    assert "the inside" in line["exception"]


async def test_head_has_no_parts(alice: Person, connections: PagePool) -> None:
    """HEAD is answered as GET is, and no part is generated."""
    made: list[bytes] = []

    async def parts() -> AsyncGenerator[bytes]:
        made.append(b"one")
        yield b"one"

    exchange = Exchange(alice, "HEAD")
    await exchange.run(streaming(parts, connections))

    assert (exchange.sent[0]["status"], exchange.body, made) == (200, b"", [])
    assert exchange.is_complete
