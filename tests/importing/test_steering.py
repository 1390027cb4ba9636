"""An import is paused, cancelled and deleted."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from herdbook import ids
from herdbook.app import Herdbook
from herdbook.db.database import Database
from herdbook.db.pool import open_pool
from herdbook.importing import running
from herdbook.importing.commands import EndImport, StartImport, StopImport
from herdbook.importing.running import Importer
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.media_sweep import sweep
from herdbook.object_types import OBJECT_TYPES
from herdbook.settings import Settings
from herdbook.uploads import Uploads, locked, locked_table
from tests.cast import Person, Thing, faults
from tests.importing.jobs import URL, Job, counts, upload
from tests.serving import serving

ROWS = 1500
MANY = "First name,E-mail\n" + "".join(f"First{n},p{n}@steer.test\n" for n in range(ROWS))


async def _begun(alice: Person) -> Job:
    """Return an import that runs and is not at its end."""
    job = await upload(alice, MANY)
    await alice.post(f"{job.url}/run")
    while not (await job.read())["progress"]["done"]:
        pass
    return job


async def test_a_paused_import_goes_on(alice: Person) -> None:
    """After a pause, the import goes on with the next row."""
    job = await _begun(alice)
    paused = await alice.post(f"{job.url}/pause")
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    assert 0 < paused.json()["progress"]["done"] < ROWS

    assert await job.run() == counts(create=ROWS)


async def test_a_cancelled_import_keeps_what_is_done(alice: Person) -> None:
    """Nothing is imported after the row at which it stopped."""
    job = await _begun(alice)
    cancelled = (await alice.post(f"{job.url}/cancel")).json()

    assert cancelled["state"] == "cancelled"
    assert cancelled["result"]["create"] == cancelled["progress"]["done"] < ROWS
    refused = await alice.post(f"{job.url}/run")
    assert (refused.status_code, faults(refused)) == (422, [("state", "not_allowed")])
    assert len(await job.rows(limit=500)) <= cancelled["progress"]["done"]


async def test_a_running_import_is_neither_changed_nor_deleted(alice: Person) -> None:
    """An import at work refuses both."""
    job = await _begun(alice)

    changed = await alice.patch(job.url, json={"mapping": job.shown["mapping"]})
    deleted = await alice.delete(job.url)

    assert faults(changed) == faults(deleted) == [("state", "not_allowed")]
    await alice.post(f"{job.url}/cancel")


async def test_a_deleted_import_is_gone_with_its_file(
    alice: Person, app: Herdbook, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Neither the file nor the outcome of its rows stays."""
    assert app
    job = await upload(alice, "First name\nAda\n")
    await job.run()

    assert (await alice.delete(job.url)).status_code == 200
    assert (await alice.get(job.url)).status_code == 404
    assert await pool.fetchval("select count(*) from import_slice where workspace_id = $1", alice.workspace_id) == 0


_CONTENT = {
    "file": {"name": "x", "bytes": 1, "rows": 1, "layout": {"format": "csv"}, "columns": [{"name": "a", "samples": ["b"]}]},
    "mapping": {},
    "request_id": str(ids.NIL),
    "credential_id": str(ids.NIL),
}


@pytest.mark.parametrize("state", ["running", "checking"])
@pytest.mark.parametrize(("database", "days"), [("own", 1), ("shared", 1), ("shared", -1)])
async def test_an_import_without_its_file_ends(
    database_url: str, workspace_id: UUID, tmp_path: Path, state: str, database: str, days: int
) -> None:
    """An import at work whose file is in no backup fails, unless another machine may have it; then once its time is over."""
    job_id, pool = ids.new_id(), await open_pool(database_url, 2)
    ledger = Ledger(pool, queue_limit=10)
    ledger.open()
    insert = """
        insert into import_job (workspace_id, id, expires_at, state, progress, content)
        values ($1, $2, now() + make_interval(days => $3), $4, '{}', $5)
    """
    await pool.execute(insert, workspace_id, job_id, days, state, json.dumps(_CONTENT).encode())
    uploads = Uploads(tmp_path, 1000, 7)
    importer = Importer(Database(pool, pool), ledger, uploads, OBJECT_TYPES, shares_database=database == "shared")
    await importer.look()
    await asyncio.gather(*(each for each in asyncio.all_tasks() if each.get_name() == f"import {job_id}"))
    record = await pool.fetchrow("select state, progress ->> 'error' from import_job where id = $1", job_id)
    await importer.forget_expired()
    left = await pool.fetchval("select count(*) from import_job where id = $1", job_id)
    await ledger.close()
    await pool.close()

    is_left_alone = database == "shared" and days > 0
    assert record is not None
    assert record[0] == (state if is_left_alone else "failed")
    assert is_left_alone or "Upload the file again" in record[1]
    assert left == (days > 0)


async def test_imports_elsewhere_hold_up_none_here(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """However many imports are at work on other machines, one whose file is here begins."""
    insert = """
        insert into import_job (workspace_id, id, expires_at, state, progress, content)
        values ($1, $2, now() + interval '1 day', 'running', '{}', $3)
    """
    elsewhere = [(alice.workspace_id, ids.new_id(), json.dumps(_CONTENT)) for _ in range(6)]
    await pool.executemany(insert, elsewhere)
    try:
        job = await upload(alice, "First name\nAda\n")

        assert await job.run() == counts(create=1)
    finally:
        await pool.execute("delete from import_job where id = any($1)", [each[1] for each in elsewhere])


async def test_a_half_made_table_goes(tmp_path: Path) -> None:
    """The table of a workbook or of cards is removed if its server was killed, and stays while it is made."""

    async def needed(*_: object) -> set[tuple[UUID, UUID]]:
        return set()

    left, upload = [tmp_path / ids.new_id().hex / ids.new_id().hex for _ in range(2)]
    files = (left, left.with_suffix(".table"), left.with_suffix(".sheet0"), upload)
    for path in files:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with locked(upload) as is_ours, locked_table(upload) as table:
        await sweep(tmp_path, needed)
        kept = [each for each in (*files, table) if each.exists()]
    await sweep(tmp_path, needed)

    assert is_ours
    assert kept == [upload, table]
    assert not any(each.exists() for each in (*files, table))


async def _parts(*parts: bytes) -> AsyncIterator[bytes]:
    """Yield a body whose length no header tells."""
    for part in parts:
        yield part


@pytest.mark.parametrize("limit", [20])
async def test_a_file_is_private_and_limited(alice: Person, database_url: str, tmp_path: Path, limit: int) -> None:
    """Only the server's user reads an upload, and one beyond the limit leaves nothing."""
    async with serving(Settings(rate_limit=0, data_dir=tmp_path, import_limit=limit), database_url) as client:
        person = Person(client, alice.workspace_id, alice.key)
        fits = await person.post(URL, content=b"First name\nAda\n")
        refused = await person.post(URL, content=b"First name\nAda Lovelace\n")
        in_parts = await person.post(URL, content=_parts(b"First name\n", b"Ada Lovelace\n"))
        (path,) = [each for each in (tmp_path / "imports").rglob("*") if each.is_file()]

        assert (fits.status_code, refused.status_code, in_parts.status_code) == (201, 413, 413)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        await person.delete(f"{URL}/{fits.json()['id']}")
        assert not path.exists()


async def _slices(pool: "asyncpg.Pool[asyncpg.Record]", job: Job) -> list[int]:
    """Return how many rows each slice of an import had."""
    records = await pool.fetch("select json_array_length(rows) from import_slice where job_id = $1 order by last_row", job.uuid)
    return [record[0] for record in records]


@pytest.mark.parametrize(("seconds", "rows"), [(0.0, 250), (3600.0, running.SLICE)])
async def test_slices_are_larger_once_nobody_else_has_written(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch, seconds: float, rows: int
) -> None:
    """After some seconds alone, the import takes more rows at once."""
    monkeypatch.setattr(running, "_ALONE_SECONDS", seconds)
    job = await upload(alice, MANY)

    assert await job.run() == counts(create=ROWS)
    found = await _slices(pool, job)
    assert max(found) == rows
    assert sum(found) == ROWS


async def test_slices_are_small_while_somebody_else_writes(
    alice: Person, ada: Thing, pool: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neighbour's write never waits for a large slice, as long as the neighbour goes on writing."""
    monkeypatch.setattr(running, "_ALONE_SECONDS", 0.5)
    job = await upload(alice, MANY)
    work = asyncio.create_task(job.run())
    written = 0
    while not work.done():
        written += 1
        answer = await alice.patch(f"/api/v2/contacts/{ada.id}", json={"first_name": f"Ada{written}"})
        assert answer.status_code == 200

    assert await work == counts(create=ROWS)
    assert max(await _slices(pool, job)) == running.SLICE


@pytest.mark.parametrize("again", ["run", "check"])
async def test_the_end_of_a_dry_run_ends_no_later_work(database_url: str, workspace_id: UUID, again: str) -> None:
    """A dry run is cancelled when it is at its end, and other work on the import begins: that goes on, from its first row."""
    job_id, pool = ids.new_id(), await open_pool(database_url, 2)
    ledger = Ledger(pool, queue_limit=10)
    ledger.open()
    insert = """
        insert into import_job (workspace_id, id, expires_at, state, progress, content)
        values ($1, $2, now() + interval '1 day', 'uploaded', '{}', $3)
    """
    await pool.execute(insert, workspace_id, job_id, json.dumps(_CONTENT).encode())
    commands: list[Command] = [
        StartImport(job_id=job_id, is_check=True, at=1.0),
        StopImport(job_id=job_id, is_pause=False),
        StartImport(job_id=job_id, is_check=again == "check", at=2.0),
        EndImport(job_id=job_id, began=1.0),
    ]
    for command in commands:
        await ledger.write(workspace_id, command, Origin(ids.new_id(), ids.NIL))
    state = await pool.fetchval("select state from import_job where id = $1", job_id)
    await ledger.write(workspace_id, EndImport(job_id=job_id, began=2.0), Origin(ids.new_id(), ids.NIL))
    ended = await pool.fetchval("select state from import_job where id = $1", job_id)
    await ledger.close()
    await pool.close()

    assert (state, ended) == (("running", "finished") if again == "run" else ("checking", "checked"))
