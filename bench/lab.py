"""The lab measured, as one caller on one connection sees it: how long a test waits for its workspace, and for its time."""

import http.client
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.herdbook import PROGRAM
from bench.processes import Server, processor_seconds, running

NEW_YEAR = "2026-01-01T00:00:00Z"
HOUR = 3600
WORKERS = 16
ROUNDS_OF_WORKERS = 10
_ABOUT = """One caller on one connection, one request after the other. CPU is the processor time of the server for each, its
database included, which other programs affect less."""


class Caller:
    """A connection to a lab."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self._token = token
        self._connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=120)

    def ask(self, method: str, path: str, body: object = None, key: str = "") -> Any:
        """Make a request, with the lab's token unless there is a key."""
        headers = {"Authorization": key or f"Bearer {self._token}", "Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{method} {path}: {response.status} {content.decode()}")
        return json.loads(content)

    def create(self, **members: object) -> Any:
        return self.ask("POST", "/api/herdbook/lab/workspaces", members)

    def command(self, workspace: Any, method: str, path: str, body: object = None) -> Any:
        return self.ask(method, f"/api/herdbook/lab/workspaces/{workspace['id']}{path}", body)


def _row(name: str, caller: Caller, act: Callable[[], object], times: int, before: Callable[[], object] = lambda: None) -> str:
    """Return a row of the table: an act that is measured so many times, each after something that is not."""
    found: list[float] = []
    processor = 0.0
    for _ in range(times):
        before()
        used, began = processor_seconds(caller.server), time.perf_counter()
        act()
        found.append((time.perf_counter() - began) * 1000)
        processor += processor_seconds(caller.server) - used
    found.sort()
    middle = statistics.median(found)
    return f"| {name} | {middle:.1f} | {found[0]:.1f} | {found[int(times * 0.95)]:.1f} | {processor / times * 1000:.1f} |"


def _schedule(caller: Caller) -> None:
    """Let a delivery fail for 31 hours, and an endpoint for five days."""
    workspace = caller.create(clock=NEW_YEAR)
    caller.command(workspace, "PUT", "/inbox", {"statuses": [500] * 1000})
    key = workspace["api_key"]
    caller.ask("POST", "/api/herdbook/webhooks", {"url": workspace["inbox_url"]}, key)
    for _ in range(14):
        caller.ask("POST", "/api/v2/contacts", {"first_name": "Ada"}, key)
        caller.command(workspace, "PATCH", "/clock", {"advance_seconds": 10 * HOUR})
    (endpoint,) = caller.ask("GET", "/api/herdbook/webhooks", key=key)["data"]
    assert not endpoint["is_enabled"], "five days of failures disable it"
    caller.command(workspace, "DELETE", "")


def _at_once(server: Server, token: str) -> None:
    """Let many workers use a workspace each; fail if one sees anything of another."""

    def work(number: int) -> None:
        caller = Caller(server, token)
        for _ in range(ROUNDS_OF_WORKERS):
            workspace = caller.create(seed="crm-small", clock=NEW_YEAR, random_seed=7)
            key, name = workspace["api_key"], f"Worker {number}"
            caller.ask("PATCH", f"/api/v2/contacts/{workspace['objects']['ada']}", {"last_name": name}, key)
            caller.command(workspace, "PATCH", "/clock", {"advance_seconds": HOUR})
            ada = caller.ask("GET", f"/api/v2/contacts/{workspace['objects']['ada']}", key=key)
            assert ada["last_name"] == name, "nobody else has changed it"
            caller.command(workspace, "POST", "/reset")
            caller.command(workspace, "DELETE", "")

    with ThreadPoolExecutor(WORKERS) as workers:
        list(workers.map(work, range(WORKERS)))


def measure(scratch: Path, rounds: int) -> str:
    """Return the page."""
    ready = scratch / "ready.json"
    began = time.perf_counter()
    command = [str(PROGRAM), "lab", "--port=0", f"--ready-file={ready}", "--log-level=warning"]
    with running(command, scratch) as process:
        while not ready.exists():
            time.sleep(0.005)
        start = time.perf_counter() - began
        content = json.loads(ready.read_text())
        caller = Caller(Server(content["url"], scratch, process), content["lab_token"])
        caller.create(seed="crm-small")
        changed = caller.create(seed="crm-small")
        contact = f"/api/v2/contacts/{changed['objects']['ada']}"

        def change() -> None:
            caller.ask("PATCH", contact, {"first_name": "Augusta"}, changed["api_key"])

        same = {"seed": "crm-small", "clock": NEW_YEAR, "random_seed": 7}
        rows = [
            _row("a workspace from `crm-small`", caller, lambda: caller.create(seed="crm-small"), rounds),
            _row("the same with a random seed", caller, lambda: caller.create(**same), rounds),
            _row("a reset after a change", caller, lambda: caller.command(changed, "POST", "/reset"), rounds, change),
            _row("the first workspace from `crm-large`", caller, lambda: caller.create(seed="crm-large"), 1),
            _row("another one", caller, lambda: caller.create(seed="crm-large"), 3, lambda: time.sleep(3)),
            _row(
                f"{WORKERS} workers at once, {ROUNDS_OF_WORKERS} tests each, as one figure",
                *(caller, lambda: _at_once(caller.server, content["lab_token"]), 3),
            ),
            _row("140 hours of retries, and an endpoint disabled after five days", caller, lambda: _schedule(caller), 3),
        ]
    table = "\n".join(rows)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, shared by the server and its caller"
    return (
        f"# The lab\n\n"
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine}; the load of the machine was {os.getloadavg()[0]:.1f}.\n\n"
        f"{_ABOUT}\n\nFrom nothing to ready: {start:.1f} s.\n\n"
        f"| what | median ms | least ms | p95 ms | CPU ms |\n|---|---:|---:|---:|---:|\n{table}\n"
    )


def measured_page(scratch: Path, rounds: int, folder: Path) -> str:
    """Measure, and write the page."""
    page = measure(scratch, rounds)
    (folder / "lab.md").write_text(page)
    return page
