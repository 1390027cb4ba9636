"""Recordings left by crashes and undone engagements: they are never served, and they are removed."""

import asyncio
from functools import partial
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import trustme

from herdbook.db.pool import Executor, Pool
from herdbook.engagements.store import needing_recordings
from herdbook.ledger.retention import trim_slice
from herdbook.media_sweep import SLICE, sweep
from tests.cast import Person
from tests.engagements.calls import URL, Made, expanded
from tests.engagements.labs import WAV, Lab, lab, recorded
from tests.engagements.media_server import MediaServer, answer
from tests.engagements.test_fetching import asked, under_way
from tests.history.requests import undo
from tests.waiting import until, until_blocked


@pytest.fixture
def needed(app_pool: Pool) -> "partial[object]":
    """Return the function that tells which engagements need a recording."""
    return partial(needing_recordings, app_pool)


def leave(folder: Path, name: str) -> Path:
    """Create a file in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"RIFF")
    return folder / name


async def test_what_a_crash_left_is_gone_soon_after_the_next_start(
    database_url: str, authority: trustme.CA, tmp_path: Path
) -> None:
    """Partial files and recordings without an engagement are removed, at most one slice at a time."""
    assert authority, "it is trusted"
    folder = tmp_path / "media" / uuid4().hex
    left = [leave(folder, f"{uuid4().hex}{suffix}") for suffix in (".part", "") for _ in range(SLICE)]
    async with lab(database_url, tmp_path, allowed_targets="127.0.0.1"):
        await until(lambda: not any(path.exists() for path in left))


async def test_what_is_under_way_stays(near: Lab, alice: Person, media: MediaServer, needed: "partial[object]") -> None:
    """No sweep, of this process or another, removes a file that is or was just being fetched, or that is no recording."""
    person = near.person(alice)
    kept = Made(await person.post(URL, json=recorded(media.puts("/call.wav", answer(WAV)), "kept")))
    own = [leave(near.folder, "readme.txt"), leave(near.folder / alice.workspace_id.hex, "notes")]
    media_url, released = media.holds("/under-way", answer(WAV))
    (fetching,) = await asked(person, media_url, 1)
    await until(lambda: under_way(media, "/under-way") == 1)
    await sweep(near.folder, needed)  # type: ignore[arg-type]
    released.set()
    created = Made(await fetching)

    assert all(path.exists() for path in own)
    assert {kept.uuid.hex, created.uuid.hex} <= {path.name for path in near.kept(alice)}


async def test_an_undone_engagement_keeps_its_recording_while_it_may_come_back(
    near: Lab, alice: Person, media: MediaServer, pool: Executor, needed: "partial[object]"
) -> None:
    """The recording is not served meanwhile. It is removed once the undo cannot be reverted."""
    person = near.person(alice)
    response = await person.post(URL, json=recorded(media.puts("/call.wav", answer(WAV))))
    address = await expanded(person, Made(response), "media_url")
    undone = await undo(person, response)
    while_undone = await near.client.get(address)
    await sweep(near.folder, needed)  # type: ignore[arg-type]
    redone = await undo(person, undone)
    while_redone = await near.client.get(address)
    await undo(person, redone)
    await trim_slice(pool, alice.workspace_id, 0)
    await sweep(near.folder, needed)  # type: ignore[arg-type]

    assert [while_undone.status_code, while_redone.status_code] == [404, 200]
    assert while_redone.content == WAV
    assert near.kept(alice) == []


async def test_an_error_of_the_database_leaves_no_recording(
    near: Lab, alice: Person, media: MediaServer, pool: Executor
) -> None:
    """An error of the database, expected or not, leaves no recording."""
    await pool.execute("alter table engagement add constraint no_outage check (object ->> 'title' <> 'Outage')")
    try:
        body = recorded(media.puts("/call.wav", answer(WAV)), title="Outage")
        response = await near.person(alice).post(URL, json=body)
    finally:
        await pool.execute("alter table engagement drop constraint no_outage")

    assert response.status_code == 500
    assert near.kept(alice) == []


async def test_an_unknown_outcome_leaves_the_recording_to_the_next_sweep(
    near: Lab, alice: Person, media: MediaServer, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A caller who stops waiting may have an engagement that needs the recording, so only a sweep removes it."""
    media_url, released = media.holds("/gone", answer(WAV))
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select from workspace where id = $1 for update", alice.workspace_id)
        (asking,) = await asked(near.person(alice), media_url, 1)
        released.set()
        # The recording has its name before all of it is on the disk; the engagement is written after that.
        await until_blocked(pool)
        asking.cancel()
        await asyncio.wait([asking])

    assert len(near.kept(alice)) == 1
