"""Outages of the database: the server restarts it, and requests wait or are asked to retry."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import asyncpg
import psutil
import pytest
import requests

from herdbook.embedded import EmbeddedPostgres, running
from tests.cli.programs import PATIENCE, Running, environment, kill, serving, until
from tests.cli.test_workers import workers_of
from tests.repeats import DEEP
from tests.waiting import blocked

# The program, with a patience of one second for the database.
IMPATIENT = """
import sys
from herdbook import embedded

embedded.GIVE_UP_SECONDS = 1.0
from herdbook.cli.main import run

sys.argv[0] = "herdbook"
run()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a disk to fill")


def postmaster(folder: Path) -> int:
    """Return the database's process id."""
    return int((folder / "herdbook-data/postgres/postmaster.pid").read_text().split()[0])


def status(server: Running, path: str = "/readyz") -> int:
    """Return the server's status, or 0 if it takes too long."""
    try:
        return server.get(path).status_code
    except requests.Timeout:
        return 0


def restarts(server: Running) -> int:
    """Return how often the database was restarted, from the metrics."""
    lines = requests.get(server.url + "/metrics", timeout=90).text.splitlines()
    (line,) = [line for line in lines if line.startswith("herdbook_database_restarts_total ")]
    return int(float(line.split()[1]))


def create(server: Running) -> requests.Response:
    return server.post("/api/v2/contacts", {"first_name": "Ada"})


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Generator[Path]:
    """A small disk for a server's data."""
    data = folder / "herdbook-data"
    data.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "herdbook-test", str(data)], check=False)
    if mount.returncode != 0:
        pytest.skip("not allowed to mount a disk")
    try:
        yield data
    finally:
        subprocess.run(["umount", str(data)], check=True)


def fill(file: Path, leave: int) -> None:
    """Fill the file's disk except for this many bytes."""
    with file.open("wb") as filler:
        while True:
            free = shutil.disk_usage(file.parent).free
            # The database writes meanwhile, so that there may be less when this is done.
            with contextlib.suppress(OSError):
                os.posix_fallocate(filler.fileno(), 0, free - leave)
                return


# Several workers meet one signal, and all of them if the tests are deep: the database ends before they notice.
@pytest.mark.parametrize(
    ("number", "workers"),
    [
        (number, workers)
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGQUIT)
        for workers in ((1, 2) if DEEP or number == signal.SIGKILL else (1,))
    ],
)
def test_a_database_that_ends_is_started_again(tmp_path: Path, number: signal.Signals, workers: int) -> None:
    """Acknowledged writes survive, service resumes by itself, and log and metrics report the restart."""
    with serving(tmp_path, f"--workers={workers}") as server:
        kept = create(server).json()
        first = postmaster(tmp_path)
        os.kill(first, number)
        until(lambda: restarts(server) == 1)
        until(lambda: create(server).status_code == 201)

        assert postmaster(tmp_path) != first
        assert server.get(f"/api/v2/contacts/{kept['id']}").json() == kept
        assert create(server).status_code == 201
        assert server.end() == 0
    log = (tmp_path / "err.txt").read_text()
    assert "the database ended and is being restarted" in log
    assert "the database is back" in log


def test_it_is_started_again_as_often_as_it_ends(tmp_path: Path) -> None:
    """No acknowledged write is lost in repeated restarts."""
    with serving(tmp_path) as server:
        for time in range(1, 4):
            os.kill(postmaster(tmp_path), signal.SIGKILL)
            until(lambda time=time: restarts(server) == time)
            until(lambda: create(server).status_code == 201)

        assert len(server.get("/api/v2/contacts").json()["data"]) >= 3


def test_workers_that_die_during_an_outage_are_replaced(tmp_path: Path) -> None:
    """A new worker waits for the database instead of ending the server."""
    with serving(tmp_path, "--workers=2") as server:
        keep_down(tmp_path)
        workers = workers_of(server)
        kill(workers[0])
        until(lambda: len(successors(server, workers)) == 1)
        give_back(tmp_path)
        until(lambda: create(server).status_code == 201)

        assert server.process.poll() is None
        assert create(server).status_code == 201


def test_workers_that_start_as_an_outage_begins_are_patient(tmp_path: Path) -> None:
    """A worker that had reached the database when it ended waits like the others."""
    with serving(tmp_path, "--workers=2") as server:
        workers = workers_of(server)
        asyncio.run(end_during_a_start(tmp_path, workers[0]))
        give_back(tmp_path)
        until(lambda: create(server).status_code == 201)

        assert server.process.poll() is None
        assert len(successors(server, workers)) == 1


def test_workers_that_start_during_an_outage_end_with_their_parent(tmp_path: Path) -> None:
    """A worker that waits for the database does not keep the port of a killed server."""
    with serving(tmp_path, "--workers=2") as server:
        keep_down(tmp_path)
        workers = workers_of(server)
        kill(workers[0])
        until(lambda: len(successors(server, workers)) == 1)
        new = successors(server, workers)
        server.process.kill()
        server.process.wait()

        assert psutil.wait_procs(new, timeout=PATIENCE)[1] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_during_an_outage_ends_it(tmp_path: Path, workers: int) -> None:
    """A signal ends the server at once with status 0 and no process left, even though the database never came back."""
    with serving(tmp_path, f"--workers={workers}") as server:
        keep_down(tmp_path)
        until(lambda: status(server) == 503)
        before = server.family()
        ended = server.end()
        _, left = psutil.wait_procs(before, timeout=90)

    assert ended == 0
    assert left == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_database_that_stays_away_ends_the_server(tmp_path: Path, workers: int) -> None:
    """The server ends after the stated time, with a status that its supervisor acts on."""
    with serving(tmp_path):
        pass
    ready = tmp_path / "impatient.json"
    command = [sys.executable, "-c", IMPATIENT, "serve", "--port=0", f"--ready-file={ready}", f"--workers={workers}"]
    with (tmp_path / "impatient.txt").open("w") as err:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment({}), stdout=err, stderr=err)
    try:
        until(ready.exists)
        keep_down(tmp_path)
        ended = process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()

    assert ended == 1
    assert "could not be restarted" in (tmp_path / "impatient.txt").read_text()


@as_root
def test_a_full_disk_refuses_writes_before_the_database_stops(tmp_path: Path) -> None:
    """Writes are refused and name whom to contact, reads work, no server path is shown, and freed space is enough to resume."""
    with disk(tmp_path, "size=300m") as data, serving(tmp_path) as server:
        kept = create(server).json()
        first = postmaster(tmp_path)
        fill(data / "filler", leave=40_000_000)
        until(lambda: status(server) == 503)
        refused, read = create(server), server.get(f"/api/v2/contacts/{kept['id']}")
        reason = server.get("/readyz").json()
        metrics = server.get("/metrics").text
        (data / "filler").unlink()
        until(lambda: create(server).status_code == 201)

        assert (refused.status_code, read.status_code) == (503, 200)
        assert refused.json()["detail"] == "The server's disk is almost full. Nothing was written. Tell its operator."
        assert "disk" in reason
        assert "herdbook_disk_free_bytes " in metrics
        assert create(server).status_code == 201
        assert postmaster(tmp_path) == first
        until(lambda: f'"folder":"{data}/postgres"' in (tmp_path / "err.txt").read_text())


@as_root
def test_a_disk_that_is_elsewhere_is_not_named(tmp_path: Path) -> None:
    """A client learns that a disk that nobody watches is full, but not which file was affected."""
    with disk(tmp_path, "size=300m") as data:
        database = EmbeddedPostgres(data)
        try:
            with serving(tmp_path, f"--database-url={database.start()}") as server:
                fill(data / "filler", leave=0)
                answers: list[requests.Response] = []

                def refused() -> bool:
                    answers.append(server.post("/api/v2/contacts", {"description": os.urandom(500).hex()}))
                    return answers[-1].status_code != 201

                until(refused)
                (data / "filler").unlink()
                until(lambda: create(server).status_code == 201)
        finally:
            database.stop()

    assert answers[-1].status_code == 503
    assert answers[-1].json()["detail"] == "The server's disk is almost full. Nothing was written. Tell its operator."


@as_root
@pytest.mark.parametrize("options", ["size=300m", "size=300m,nr_inodes=4000"])
def test_a_disk_that_was_used_up_needs_nothing_but_room(tmp_path: Path, options: str) -> None:
    """The database recovers once there is space, even though its write-ahead log ran into the end of the disk."""
    with disk(tmp_path, options) as data, serving(tmp_path) as server:
        kept = create(server).json()
        use_up(data, inodes="inodes" in options)
        with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            asyncio.run(write_log(tmp_path))
        until(lambda: has_panicked(tmp_path))
        for filler in data.glob("filler*"):
            shutil.rmtree(filler) if filler.is_dir() else filler.unlink()
        until(lambda: create(server).status_code == 201)

        assert server.get(f"/api/v2/contacts/{kept['id']}").json() == kept
        assert create(server).status_code == 201


@as_root
def test_a_disk_that_was_read_only_needs_nothing_but_to_be_mended(tmp_path: Path) -> None:
    """The server recovers by itself once the disk is writable again, and could be stopped meanwhile."""
    with disk(tmp_path, "size=300m") as data, serving(tmp_path) as server:
        kept = create(server).json()
        # Files open for writing keep a disk from being remounted read-only, but not from a read-only bind mount.
        os.kill(postmaster(tmp_path), signal.SIGSTOP)
        subprocess.run(["mount", "--bind", str(data / "postgres"), str(data / "postgres")], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(data / "postgres")], check=True)
        try:
            os.kill(postmaster(tmp_path), signal.SIGKILL)
            until(lambda: "Read-only file system" in (tmp_path / "err.txt").read_text())
        finally:
            subprocess.run(["umount", "--lazy", str(data / "postgres")], check=True)
        until(lambda: create(server).status_code == 201)

        assert server.get(f"/api/v2/contacts/{kept['id']}").json() == kept


def has_panicked(folder: Path) -> bool:
    """Whether the database has ended. Its log is on the full disk, and may have no room for its last words."""
    is_told = "the database ended and is being restarted" in (folder / "err.txt").read_text()
    return is_told or "PANIC" in (folder / "herdbook-data/postgres.log").read_text()


async def write_log(folder: Path) -> None:
    """Write more WAL than the disk has room for, on the database itself, because the server would refuse."""
    dsn = running(folder / "herdbook-data")
    assert dsn is not None
    connection = await asyncpg.connect(dsn)
    try:
        for _ in range(10):
            await connection.execute("select pg_logical_emit_message(false, 'test', repeat('x', 10000000))")
    finally:
        await connection.close()


def use_up(data: Path, *, inodes: bool) -> None:
    """Leave the disk no space, or no inodes."""
    if not inodes:
        fill(data / "filler", leave=0)
        return
    folder = data / "filler"
    folder.mkdir()
    with contextlib.suppress(OSError):
        for number in range(10_000):
            (folder / str(number)).touch()


def keep_down(folder: Path) -> None:
    """End the database and prevent its restart."""
    data = folder / "herdbook-data"
    pid = postmaster(folder)
    # The cluster is invalid without this file.
    (data / "postgres/global/pg_control").rename(data / "pg_control")
    os.kill(pid, signal.SIGKILL)
    until(lambda: not psutil.pid_exists(pid))


async def end_during_a_start(folder: Path, worker: psutil.Process) -> None:
    """End the database while the worker that replaces this one reads its first table."""
    dsn = running(folder / "herdbook-data")
    assert dsn is not None
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("begin; lock table erasure")
        kill(worker)
        async with asyncio.timeout(PATIENCE):
            while not await blocked(connection, "erasure"):
                pass
        keep_down(folder)
    finally:
        connection.terminate()


def give_back(folder: Path) -> None:
    """Allow the database to restart."""
    data = folder / "herdbook-data"
    (data / "pg_control").rename(data / "postgres/global/pg_control")


def successors(server: Running, workers: list[psutil.Process]) -> list[psutil.Process]:
    return [child for child in workers_of(server) if child not in workers]
