"""GET /herdbook/changes as server-sent events, from a separate server: the application's writes come from another process."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import httpx_sse
import pytest

from herdbook.auth.keys import read_key
from herdbook.auth.store import revoke_key
from tests.cast import Person, Thing, faults
from tests.cli.programs import PATIENCE, Running, serving
from tests.feed.feed import URL, now, read
from tests.feed.streams import opened
from tests.repeats import DEEP


async def test_anonymous_is_refused(server: Running) -> None:
    """An anonymous request gets a problem, as on every other operation."""
    async with httpx.AsyncClient() as client:
        response = await client.get(server.url + URL, headers={"Accept": "text/event-stream"})

    assert response.status_code == 401
    assert response.headers["Content-Type"] == "application/json"


async def test_what_was_and_what_is_to_come_is_told(server: Running, alice: Person, ada: Thing) -> None:
    """A stream sends first the changes after the position, then new ones, each in the form that the list has."""
    position = int(ada.etag.strip('"')) - 1
    async with opened(server.url, alice, after=position) as stream:
        events = [await stream.next()]
        await alice.patch(ada.url, json={"first_name": "Augusta"})
        events.append(await stream.next())
        await alice.delete(ada.url)
        events.append(await stream.next())
    listed = (await read(alice, after=position))["data"]

    assert [event and event.data for event in events] == listed
    assert [event and event.type for event in events] == ["contact.created", "contact.updated", "contact.deleted"]
    assert [event and event.id for event in events] == [str(change["position"]) for change in listed]


async def test_it_is_an_event_stream(server: Running, alice: Person, ada: Thing) -> None:
    """The response is an event stream that must not be cached and begins with the reconnection delay."""
    async with opened(server.url, alice) as stream:
        await stream.next()

    assert ada.id
    assert stream.response.headers["Content-Type"] == "text/event-stream"
    assert stream.response.headers["Cache-Control"] == "no-store"
    assert stream.response.headers["X-Request-Id"].startswith("rid_")
    assert stream.retry is not None


async def test_a_client_that_comes_back_goes_on(server: Running, alice: Person, ada: Thing) -> None:
    """A client that reconnects continues at `Last-Event-ID`, whatever the URL says; no event is missing or repeated."""
    async with opened(server.url, alice, after=int(ada.etag.strip('"')) - 1) as stream:
        await stream.next()
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    async with opened(server.url, alice, stream.last_id, after=0) as again:
        event = await again.next()

    assert event is not None
    assert (event.type, event.data["position"]) == ("contact.updated", int(stream.last_id) + 1)


@pytest.mark.parametrize("after", ["now", None])
async def test_a_stream_says_its_position_first(server: Running, alice: Person, ada: Thing, after: str | None) -> None:
    """The stream sends its position first, so a connection that breaks before the first event loses nothing."""
    position = await now(alice)
    async with opened(server.url, alice, after=after or position) as stream:
        await stream.until(position)
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    async with opened(server.url, alice, stream.last_id, after=after or 0) as again:
        event = await again.next()

    assert event is not None
    assert (event.type, event.data["position"]) == ("contact.updated", position + 1)


async def test_each_event_has_data(server: Running, alice: Person, ada: Thing) -> None:
    """A client that takes each block for an event finds an id and data in each, also in the first and between changes."""
    began = await now(alice)
    headers, params = {"Authorization": str(alice.key)}, {"after": began, "types": "contact"}
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client,
        httpx_sse.aconnect_sse(client, "GET", URL, params=params, headers=headers) as source,
    ):
        events = source.aiter_sse()
        first = await anext(events)
        # A tag is left out, so that only the position moves on.
        await alice.post("/api/v2/tags", json={"name": "renewal"})
        second = await anext(events)
        await alice.patch(ada.url, json={"first_name": "Augusta"})
        third = await anext(events)

    assert [(each.event, each.id, each.json()["position"]) for each in (first, second, third)] == [
        ("position", str(began), began),
        ("position", str(began + 1), began + 1),
        ("contact.updated", str(began + 2), began + 2),
    ]
    assert all(each.json()["type"] == each.event for each in (first, second, third))


async def test_many_changes_come_in_order(server: Running, alice: Person) -> None:
    """Many changes arrive in order, also while new ones are written."""
    position = await now(alice)

    async def write() -> None:
        for number in range(200):
            await alice.post("/api/v2/contacts", json={"first_name": f"Ada {number}"})

    writing = asyncio.create_task(write())
    async with opened(server.url, alice, after=position, limit=7) as stream:
        events = [await stream.next() for _ in range(200)]
    await writing

    assert [event and event.data["data"]["object"]["first_name"] for event in events] == [f"Ada {n}" for n in range(200)]


async def test_the_position_moves_on_past_what_is_left_out(server: Running, alice: Person, ada: Thing) -> None:
    """The position moves past changes that are left out, so a client that reconnects does not begin far behind."""
    async with opened(server.url, alice, after="now", types="tag") as stream:
        updated = await alice.patch(ada.url, json={"first_name": "Augusta"})
        types = await stream.until(int(updated.headers["ETag"].strip('"')))

    assert types == []


async def test_what_is_left_out_is_not_looked_at_each_time(server: Running, alice: Person, ada: Thing) -> None:
    """A follower of a rare kind pauses between two looks in a workspace where very much happens."""
    async with opened(server.url, alice, after="now", types="tag") as stream, httpx.AsyncClient() as client:
        for number in range(100):
            headers, patch = {"Authorization": str(alice.key)}, {"first_name": f"Ada {number}"}
            await client.patch(server.url + ada.url, json=patch, headers=headers)
        await stream.until(await now(alice))

    assert stream.ids < 50


@pytest.mark.parametrize(
    ("last_id", "code"), [("now then", "invalid_format"), ("-1", "invalid_format"), ("999999", "invalid_range")]
)
async def test_what_is_no_position_is_refused(server: Running, alice: Person, last_id: str, code: str) -> None:
    """A bad position is refused, and the refusal names the header."""
    async with opened(server.url, alice, last_id) as stream:
        assert stream.response.status_code == 400
        assert faults(stream.response) == [("Last-Event-ID", code)]


async def test_a_head_request_ends(server: Running, alice: Person) -> None:
    """HEAD returns the headers of a stream and ends."""
    headers = {"Authorization": str(alice.key), "Accept": "text/event-stream"}
    async with httpx.AsyncClient() as client:
        response = await client.head(server.url + URL, headers=headers)

    assert (response.status_code, response.headers["Content-Type"], response.content) == (200, "text/event-stream", b"")


async def test_a_revoked_key_ends_what_it_has_open(
    server: Running, alice: Person, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Within 5 seconds of a key's revocation, its streams end and its long polls are refused."""
    async with opened(server.url, alice, after="now") as stream, httpx.AsyncClient(timeout=90) as client:
        ending = asyncio.create_task(stream.next())
        waiting = asyncio.create_task(
            client.get(server.url + URL, params={"after": "now", "wait": 30}, headers={"Authorization": str(alice.key)})
        )
        await read(alice)
        began = time.monotonic()
        await revoke_key(pool, alice.key.id)
        event, response = await asyncio.gather(ending, waiting)

    assert event is None
    assert response.status_code == 401
    assert time.monotonic() - began < 20


@pytest.mark.skipif(not DEEP, reason="it takes a quarter of a minute")
async def test_silence_is_told(server: Running, alice: Person) -> None:
    """A comment every 15 seconds keeps an idle connection open, and shows whether it is still alive."""
    async with opened(server.url, alice, after="now") as stream:
        began = time.monotonic()
        comment = await stream.comment()
        # No empty line follows, which would end an event without data.
        await alice.post("/api/v2/contacts", json={})
        assert await stream.next() is not None

    assert comment == ":"
    assert 14 < time.monotonic() - began < 20


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_server_that_stops_ends_what_is_open(tmp_path: Path, workers: int) -> None:
    """A server that stops ends its streams and answers its long polls at once, so it need not wait for them."""
    with serving(tmp_path, f"--workers={workers}") as server:
        async with AsyncExitStack() as opening, httpx.AsyncClient(timeout=PATIENCE) as client:
            alice = Person(client, UUID(int=0), read_key(server.key))
            streams = [await opening.enter_async_context(opened(server.url, alice, after="now")) for _ in range(10)]
            waiting = [await sent(alice, server.url + URL, after="now", wait=30) for _ in range(10)]
            server.process.send_signal(signal.SIGTERM)
            events = await asyncio.gather(*(stream.next() for stream in streams))
            answers = await asyncio.gather(*waiting)
        status = await asyncio.to_thread(server.process.wait, PATIENCE)

    assert status == 0
    assert "graceful shutdown exceeded" not in (tmp_path / "err.txt").read_text()
    assert events == [None] * 10
    assert [answer.json()["data"] for answer in answers] == [[]] * 10


async def sent(person: Person, url: str, **params: Any) -> "asyncio.Task[httpx.Response]":
    """Return a request that has reached the server and is not answered yet."""
    is_sent = asyncio.Event()

    async def trace(event: str, _: Any) -> None:
        if event == "http11.send_request_body.complete":
            is_sent.set()

    task = asyncio.create_task(person.get(url, params=params, extensions={"trace": trace}))
    await is_sent.wait()
    return task
