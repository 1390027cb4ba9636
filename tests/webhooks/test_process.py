"""The courier's process beside a server: it starts when needed, restarts when it dies, and ends with the server."""

import json
import os
import signal
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cli.programs import PATIENCE, Running, command_line, kill, serving, until

MODULE = "herdbook.webhooks.process"


class Inbox(ThreadingHTTPServer):
    """An endpoint that accepts everything; `names` has the names of the contacts received."""

    names: list[str]
    url: str


@pytest.fixture
def inbox() -> Generator[Inbox]:
    """A new endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.names.append(event["data"]["object"]["first_name"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002  # the library's name

    server = Inbox(("127.0.0.1", 0), Handler)
    server.names = []
    server.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def couriers(server: Running) -> list[psutil.Process]:
    """Return the courier processes of a server."""
    return [process for process in server.family() if MODULE in command_line(process)]


def write(server: Running, name: str) -> None:
    """Create a contact."""
    assert server.post("/api/v2/contacts", {"first_name": name}).status_code == 201


def test_it_comes_and_comes_back_and_goes(tmp_path: Path, inbox: Inbox) -> None:
    """A courier starts with the first endpoint, restarts after a kill without losing events, and ends with the server."""
    with serving(tmp_path, "--log-level=error") as server:
        write(server, "Nobody")
        assert couriers(server) == []
        assert server.post("/api/herdbook/webhooks", {"url": inbox.url}).status_code == 201
        write(server, "Ada")
        until(lambda: inbox.names == ["Ada"])
        (first,) = couriers(server)
        kill(first)
        write(server, "Grace")
        until(lambda: "Grace" in inbox.names)
        (second,) = couriers(server)

        assert second != first
        # Ctrl-C in a terminal reaches a group of processes.
        assert os.getpgid(second.pid) != os.getpgid(server.process.pid)
        assert server.end() == 0
        assert not psutil.wait_procs([second], timeout=90)[1]


def test_it_does_not_outlive_its_server(tmp_path: Path, inbox: Inbox) -> None:
    """A killed server's courier ends, too; the next server continues where it stopped."""
    with serving(tmp_path, "--log-level=error") as server:
        server.post("/api/herdbook/webhooks", {"url": inbox.url})
        write(server, "Ada")
        until(lambda: inbox.names == ["Ada"])
        (courier,) = couriers(server)
        write(server, "Grace")
        server.end(signal.SIGKILL)
        courier.wait(PATIENCE)
    with serving(tmp_path, "--log-level=error") as server:
        write(server, "Hedy")
        until(lambda: {"Ada", "Grace", "Hedy"} <= set(inbox.names))


def test_each_worker_has_one(tmp_path: Path, inbox: Inbox) -> None:
    """Two workers have two couriers that share the work, so nothing arrives twice."""
    with serving(tmp_path, "--workers=2", "--log-level=error") as server:
        server.post("/api/herdbook/webhooks", {"url": inbox.url})
        until(lambda: len(couriers(server)) == 2)
        names = [f"N{number}" for number in range(20)]
        for name in names:
            write(server, name)
        until(lambda: set(names) <= set(inbox.names))

        assert len(inbox.names) == 20
