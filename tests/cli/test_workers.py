"""`herdbook serve --workers`: several processes on one port."""

import asyncio
import json
import os
import signal
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path

import asyncpg
import psutil
import pytest
import requests
import uvicorn

from herdbook.embedded import running
from herdbook.http.listener import Worker
from tests.cli.programs import PATIENCE, PROGRAM, Running, accepts, command_line, environment, kill, serving, until


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server with two workers."""
    with serving(tmp_path_factory.mktemp("workers"), "--workers=2") as server:
        yield server


def test_metrics_add_up(workers: Running) -> None:
    """Each worker reports the counts of both."""
    for _ in range(40):
        requests.get(workers.url + "/api/v2/nothing", headers={"Connection": "close"}, timeout=90)

    # A worker counts a request after its answer, and the other one may report before that.
    until(lambda: 'herdbook_requests_total{operation="none",status="404"} 40.0' in metrics(workers))


def test_the_others_go_on_when_one_dies(workers: Running) -> None:
    """A killed worker is replaced, requests are answered meanwhile, and the log names its pid and the signal."""
    before = {process.pid for process in workers_of(workers)}
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len({process.pid for process in workers_of(workers)} - before) == 1)

    until(lambda: workers.get("/api/v2/contacts").status_code == 200)
    until(lambda: replaced(workers))
    assert replaced(workers) == [(min(before), "SIGKILL")]


def test_what_dead_workers_had_open_is_not_counted(workers: Running) -> None:
    """Only the connections of live workers are counted once all were replaced."""
    until(lambda: connections(workers) == 16)
    before = workers_of(workers)
    for process in before:
        kill(process)
    until(lambda: len(set(workers_of(workers)) - set(before)) == 2)

    until(lambda: workers.get("/api/v2/contacts").status_code == 200)
    assert connections(workers) <= 16


def test_their_children_do_not_have_the_port(workers: Running) -> None:
    """The courier, which ends after its worker, does not listen."""
    created = workers.post("/api/herdbook/webhooks", {"url": "http://127.0.0.1:9000/webhooks"})
    assert created.status_code == 201, created.text

    until(lambda: couriers_of(workers))

    assert [each for courier in couriers_of(workers) for each in courier.net_connections() if each.status == "LISTEN"] == []


def test_a_worker_may_take_long_to_answer_first() -> None:
    """One that has not answered yet counts as alive as long as its process runs: a busy machine starts it slowly."""
    worker = Worker(uvicorn.Config("nothing:app"), [])
    worker.start()
    try:
        os.kill(worker.process.pid or 0, signal.SIGSTOP)
        assert worker.is_alive(timeout=0)
    finally:
        worker.kill()
        worker.join()
    assert not worker.is_alive(timeout=0)


def test_they_end_with_their_parent(workers: Running) -> None:
    """No worker keeps the port when the parent is killed."""
    workers.process.kill()
    workers.process.wait()

    until(lambda: not accepts(workers.url))


def connections(server: Running) -> float:
    """Return the open connections to the database by the metrics, which each worker counts when it is asked."""
    lines = metrics(server).splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("herdbook_pool_connections{"))


def metrics(server: Running) -> str:
    """Return the metrics."""
    return requests.get(server.url + "/metrics", timeout=PATIENCE).text


def replaced(server: Running) -> list[tuple[int, str]]:
    """Return the pids and signals of the workers that were replaced, by the whole lines of the log."""
    log = (server.folder / "err.txt").read_text()
    lines = [json.loads(line) for line in log[: log.rfind("\n") + 1].splitlines()]
    return [(line["pid"], line["signal"]) for line in lines if "a worker ended" in line["event"]]


def workers_of(server: Running) -> list[psutil.Process]:
    """Return the worker processes."""
    return [child for child in psutil.Process(server.process.pid).children() if "spawn_main" in command_line(child)]


def couriers_of(server: Running) -> list[psutil.Process]:
    """Return the processes that send webhooks."""
    return [each for each in server.family() if "herdbook.webhooks.process" in command_line(each)]


def test_a_start_right_after_the_parent_was_killed(tmp_path: Path) -> None:
    """The workers of a killed parent release its port at once."""
    with serving(tmp_path, "--workers=2") as server:
        until(lambda: connections(server) == 16)  # both workers serve now
        server.process.kill()
        server.process.wait()
        ready = tmp_path / "again.json"
        command = [str(PROGRAM), "serve", f"--port={server.url.rpartition(':')[2]}", f"--ready-file={ready}"]
        with (tmp_path / "again.txt").open("w") as err:
            again = subprocess.Popen(command, cwd=tmp_path, env=environment({}), stdout=err, stderr=err)
        try:
            until(lambda: ready.exists() or again.poll() is not None)
            status = again.poll()
        finally:
            again.terminate()
            again.wait(PATIENCE)

    assert status is None, (tmp_path / "again.txt").read_text()


def test_a_port_that_is_left_late_is_waited_for(tmp_path: Path) -> None:
    """A server says that its port is in use, and takes it once it is free."""
    ready, said = tmp_path / "ready.json", tmp_path / "err.txt"
    with socket.create_server(("127.0.0.1", 0)) as holder, said.open("w") as err:
        command = [str(PROGRAM), "serve", f"--port={holder.getsockname()[1]}", f"--ready-file={ready}"]
        server = subprocess.Popen(command, cwd=tmp_path, env=environment({}), stdout=err, stderr=err)
        try:
            until(lambda: "is in use. Waiting" in said.read_text())
            holder.close()
            until(lambda: ready.exists() or server.poll() is not None)
            status = server.poll()
        finally:
            server.terminate()
            server.wait(PATIENCE)

    assert status is None, said.read_text()


def test_the_database_takes_the_connections_of_couriers_too(tmp_path: Path) -> None:
    """Each worker and its courier have their own connections, and 50 are left for others."""
    with serving(tmp_path, "--workers=2"):
        dsn = running(tmp_path / "herdbook-data")
        assert dsn is not None

        assert asyncio.run(most_connections(dsn)) == "74"


async def most_connections(dsn: str) -> str:
    connection = await asyncpg.connect(dsn)
    try:
        said: str = await connection.fetchval("show max_connections")
        return said
    finally:
        await connection.close()
