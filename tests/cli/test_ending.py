"""How `herdbook serve` ends: no process, open port or stray file is left."""

import contextlib
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from tests.cli.programs import PATIENCE, PROGRAM, environment, serving, until
from tests.cli.test_workers import workers_of


def listens_again(url: str) -> bool:
    """Whether a new server could listen on the old one's port."""
    address = urlsplit(url)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address.hostname, address.port))
            listener.listen()
        except OSError:
            return False
    return True


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_leaves_nothing_behind(tmp_path: Path, workers: int) -> None:
    """A signal leaves status 0, no process, no temporary file, a free port and a free folder, with any number of workers."""
    # The path of the test's own folder is too long for a socket.
    with tempfile.TemporaryDirectory() as name, serving(tmp_path, f"--workers={workers}", TMPDIR=name) as server:
        before = server.family()
        assert not listens_again(server.url)
        status = server.end()
        _, left = psutil.wait_procs(before, timeout=90)

        assert status == 0
        assert left == []
        assert list(Path(name).iterdir()) == []
        assert listens_again(server.url)
        assert (tmp_path / "herdbook-data/herdbook.lock").read_text() == "{}\n"


def test_a_request_is_answered_while_two_workers_drain(tmp_path: Path) -> None:
    """A body that arrives after the signal is answered, although the supervisor has told all workers to stop."""
    with serving(tmp_path, "--workers=2") as server:
        head = (
            f"POST /api/v2/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: {server.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n"
        )
        address = urlsplit(server.url)
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port or 0), timeout=PATIENCE) as client:
            client.sendall(head.encode())
            # The server says this once it waits for the body.
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            server.process.send_signal(signal.SIGTERM)
            workers = workers_of(server)
            # The idle worker ends first, so the other one has received the signal as well.
            until(lambda: sum(alive(worker) for worker in workers) == 1)
            client.sendall(b'{"first_name":"Ada"}')
            answer = client.recv(1000)
        status = server.process.wait(PATIENCE)

    assert answer.startswith(b"HTTP/1.1 201")
    assert status == 0


def test_a_signal_while_the_database_is_created(tmp_path: Path) -> None:
    """The start is cancelled with status 0 and no PostgreSQL, and the next start works."""
    with (tmp_path / "err.txt").open("w") as err:
        process = subprocess.Popen([str(PROGRAM), "serve", "--port=0"], cwd=tmp_path, env=environment({}), stderr=err)
    try:
        until((tmp_path / "herdbook-data/postgres.new").exists)
        started = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.terminate()
        status = process.wait(PATIENCE)
    _, left = psutil.wait_procs(started, timeout=90)

    assert status == 0
    assert left == []
    assert (tmp_path / "err.txt").read_text() == ""
    with serving(tmp_path) as server:
        assert server.first


def test_a_signal_while_the_database_recovers(tmp_path: Path) -> None:
    """The start is cancelled with status 0 and no PostgreSQL, however long a recovery takes, and the next start works."""
    with serving(tmp_path) as server:
        made = server.post("/api/v2/contacts", json={"first_name": "Ada"}).json()
        server.kill_all()
    cluster = tmp_path / "herdbook-data/postgres"
    # A replica recovers for as long as it runs.
    (cluster / "standby.signal").touch()
    settings = (cluster / "postgresql.conf").read_text()
    (cluster / "postgresql.conf").write_text(f"{settings}\nhot_standby = off\n")
    process = subprocess.Popen([str(PROGRAM), "serve", "--port=0"], cwd=tmp_path, env=environment({}))
    try:
        until(lambda: "standby" in content(cluster / "postmaster.pid"))
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        status = process.wait(PATIENCE)
        _, left = psutil.wait_procs(family, timeout=90)
    finally:
        process.kill()
        process.wait()
    (cluster / "standby.signal").unlink()
    (cluster / "postgresql.conf").write_text(settings)

    assert (status, left) == (0, [])
    with serving(tmp_path) as server:
        assert server.get(f"/api/v2/contacts/{made['id']}").json() == made


def test_a_start_right_after_a_first_one_was_killed(tmp_path: Path) -> None:
    """A second start works whatever the killed first one left behind."""
    unfinished = tmp_path / "herdbook-data/postgres.new"
    process = subprocess.Popen([str(PROGRAM), "serve", "--port=0"], cwd=tmp_path, env=environment({}))
    until(lambda: any(unfinished.rglob("PG_VERSION")))
    process.kill()
    process.wait(PATIENCE)
    with serving(tmp_path) as server:
        assert server.first
        assert not unfinished.exists()


def content(path: Path) -> str:
    """Return the text of a file; nothing while there is none."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text()
    return ""


def alive(process: psutil.Process) -> bool:
    """Whether a process runs and is not a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
