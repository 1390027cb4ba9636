"""GET /herdbook/imports/{id} as server-sent events, from a separate server: another process works on the imports."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.auth.store import create_key, revoke_key
from herdbook.http import event_stream
from tests.cast import Json, Person
from tests.cli.programs import PATIENCE, Running, serving
from tests.feed.streams import Stream, opened
from tests.importing.jobs import URL, Job, counts, upload
from tests.repeats import DEEP

ROWS: Final = 1500
MANY: Final = "First name,E-mail\n" + "".join(f"First{n},p{n}@events.test\n" for n in range(ROWS))
_HANGS_SECONDS: Final = 60.0
_STREAM: Final = {"Accept": "text/event-stream"}
_AT_WORK: Final = {
    "file": {"name": "x", "bytes": 1, "rows": 9, "layout": {"format": "csv"}, "columns": [{"name": "a", "samples": ["b"]}]},
    "mapping": {},
    "request_id": str(ids.NIL),
    "credential_id": str(ids.NIL),
}


@pytest.fixture(scope="module")
def server(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server on the application's database. It has no files of imports, so it works on none."""
    with serving(tmp_path_factory.mktemp("server"), f"--database-url={database_url}", "--log-level=warning") as server:
        yield server


@pytest_asyncio.fixture
async def at_work(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> AsyncGenerator[str]:
    """The path of an import at work whose file is on another machine, so that nothing moves it."""
    import_id = ids.new_id()
    insert = """
        insert into import_job (workspace_id, id, expires_at, state, progress, content)
        values ($1, $2, now() + interval '1 day', 'running', '{"done": 4}', $3)
    """
    await pool.execute(insert, alice.workspace_id, import_id, json.dumps(_AT_WORK))
    yield f"{URL}/{ids.encoded(ids.IMPORT, import_id)}"
    await pool.execute("delete from import_job where id = $1", import_id)


async def _told(stream: Stream) -> list[Json]:
    """Return the data of all events up to the end of a stream, the last of which is one of the end."""
    told: list[Json] = []
    types: list[str] = []
    while (event := await stream.next()) is not None:
        told.append(event.data)
        types.append(event.type)
    assert types == ["progress"] * (len(types) - 1) + ["end"]
    return told


async def _ends(stream: Stream) -> bool:
    """Whether nothing more is told, also no end of the import."""
    async with asyncio.timeout(_HANGS_SECONDS):
        return await stream.next() is None


def _states(told: list[Json]) -> list[str]:
    """Return the states that events tell, each once while it lasts."""
    states = [each["state"] for each in told]
    return [state for before, state in zip([None, *states], states, strict=False) if state != before]


async def _followed(server: Running, job: Job, act: str) -> list[Json]:
    """Begin some work on an import, and return what a stream tells of it."""
    begun = await job.person.post(f"{job.url}/{act}")
    assert begun.status_code == 200, begun.text
    async with opened(server.url, job.person, url=job.url) as stream:
        return await _told(stream)


async def test_anonymous_and_charlie_are_refused(server: Running, alice: Person, charlie: Person) -> None:
    """A stream is refused to those to whom the import is, before it begins."""
    job = await upload(alice, "First name\nAda\n")
    async with httpx.AsyncClient(base_url=server.url) as client:
        anonymous = await client.get(job.url, headers=_STREAM)
    async with opened(server.url, charlie, url=job.url) as stream:
        foreign = stream.response

    assert (anonymous.status_code, foreign.status_code) == (401, 404)
    assert foreign.headers["Content-Type"] == "application/json"


async def test_a_stream_needs_the_scopes_of_the_objects(
    server: Running, alice: Person, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A credential that may write companies alone learns nothing of an import of contacts."""
    job = await upload(alice, "First name\nAda\n")
    key = await create_key(pool, alice.workspace_id, "Companies", ["companies:read", "companies:write"])
    async with opened(server.url, Person(alice.client, alice.workspace_id, key), url=job.url) as stream:
        assert stream.response.status_code == 404


async def test_a_run_is_told_to_its_end(server: Running, alice: Person) -> None:
    """The progress comes from another process than the one that runs the import, and then the result, as an answer has it."""
    job = await upload(alice, MANY)
    told = await _followed(server, job, "run")
    done = [each["progress"]["done"] for each in told]
    shown = await job.read()

    assert _states(told) == ["running", "finished"]
    assert done == sorted(done)
    assert {0 < each < ROWS for each in done} == {True, False}
    assert told[-1]["result"] == counts(create=ROWS)
    assert told[-1].items() <= shown.items()
    assert not {"file", "mapping"} & {*told[-1]}


async def test_a_dry_run_is_told(server: Running, alice: Person) -> None:
    """A dry run moves no ledger, and is told as well."""
    job = await upload(alice, MANY)
    told = await _followed(server, job, "check")

    assert _states(told) == ["checking", "checked"]
    assert [each["progress"]["done"] for each in told[1:-1]]
    assert told[-1]["checked"] == counts(create=ROWS)


async def test_an_undo_is_told(server: Running, alice: Person) -> None:
    """An undo is told with its own progress, and with what came of it."""
    job = await upload(alice, MANY)
    await job.run()
    told = await _followed(server, job, "undo")

    assert _states(told) == ["undoing", "undone"]
    assert [0 < each["undo"]["progress"]["done"] < ROWS for each in told].count(True) > 0
    assert told[-1]["undo"]["reverted"] == ROWS


async def test_a_pause_ends_the_stream(server: Running, alice: Person) -> None:
    """A pause is an end for now. A stream that begins then says so, and one that begins later tells the rest."""
    job = await upload(alice, MANY)
    await alice.post(f"{job.url}/run")
    async with opened(server.url, alice, url=job.url) as stream:
        while (event := await stream.next()) is not None and not event.data["progress"]["done"]:
            pass
        await alice.post(f"{job.url}/pause")
        told = await _told(stream)
    async with opened(server.url, alice, url=job.url) as stream:
        again = await _told(stream)
    rest = await _followed(server, job, "run")

    assert told[-1]["state"] == "paused"
    assert again == told[-1:]
    assert _states(rest) == ["running", "finished"]
    assert rest[0]["progress"]["done"] >= again[0]["progress"]["done"]


async def test_it_is_told_a_few_times_a_second(server: Running, alice: Person) -> None:
    """However fast an import moves on, no more than four events come in a second."""
    job = await upload(alice, MANY)
    began = time.monotonic()
    told = await _followed(server, job, "run")

    assert len(told) <= 4 * (time.monotonic() - began) + 2


async def test_a_stream_begins_with_the_present_state(server: Running, alice: Person, at_work: str) -> None:
    """A client that comes back gets the present state, with the delay after which it may come back again."""
    async with opened(server.url, alice, url=at_work) as stream:
        event = await stream.next()

    assert event is not None
    assert (event.type, event.data["state"], event.data["progress"]["done"]) == ("progress", "running", 4)
    assert stream.retry is not None
    assert stream.response.headers["Content-Type"] == "text/event-stream"
    assert stream.response.headers["Cache-Control"] == "no-store"


async def test_a_revoked_key_ends_the_stream(
    server: Running, alice: Person, at_work: str, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Within 5 seconds of the revocation, nothing more is told, and no end of the import either."""
    key = await create_key(pool, alice.workspace_id, "Followed", ["contacts:read", "contacts:write"])
    async with opened(server.url, Person(alice.client, alice.workspace_id, key), url=at_work) as stream:
        assert await stream.next() is not None
        began = time.monotonic()
        await revoke_key(pool, key.id)
        assert await _ends(stream)

    assert time.monotonic() - began < 6


async def test_a_deleted_import_ends_the_stream(
    server: Running, alice: Person, at_work: str, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Nothing more comes of an import that is gone, as after an erasure."""
    async with opened(server.url, alice, url=at_work) as stream:
        assert await stream.next() is not None
        await pool.execute("delete from import_job where workspace_id = $1 and state = 'running'", alice.workspace_id)

        assert await _ends(stream)


async def test_a_server_that_stops_ends_its_streams(database_url: str, tmp_path: Path, alice: Person, at_work: str) -> None:
    """A server that stops ends its streams at once, although the import is still at work."""
    with serving(tmp_path, f"--database-url={database_url}") as server:
        async with opened(server.url, alice, url=at_work) as stream:
            assert await stream.next() is not None
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert await _ends(stream)
        status = await asyncio.to_thread(server.process.wait, PATIENCE)

    assert status == 0
    assert time.monotonic() - began < 5


async def test_too_many_are_refused(alice: Person, at_work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams of imports count as those of the feed do."""
    monkeypatch.setattr(event_stream, "MAX_FOLLOWERS", 0)
    async with asyncio.timeout(_HANGS_SECONDS):
        refused = await alice.get(at_work, headers=_STREAM)

    assert refused.status_code == 429
    assert refused.json()["type"].endswith("/too_many_followers")


async def test_a_head_request_ends(server: Running, alice: Person, at_work: str) -> None:
    """HEAD returns the headers of a stream and ends."""
    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
        response = await client.head(at_work, headers=_STREAM | {"Authorization": str(alice.key)})

    assert (response.status_code, response.headers["Content-Type"], response.content) == (200, "text/event-stream", b"")


@pytest.mark.skipif(not DEEP, reason="it takes a quarter of a minute")
async def test_silence_is_told(server: Running, alice: Person, at_work: str) -> None:
    """A comment every 15 seconds keeps the connection open while nothing moves."""
    async with opened(server.url, alice, url=at_work) as stream:
        began = time.monotonic()
        comment = await stream.comment()

    assert comment == ":"
    assert 14 < time.monotonic() - began < 20
