"""The waits of a neighbour during attacks from another workspace and another address."""

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import trustme

from bench import herdbook, seeding
from bench.attacks import ATTACKS, Target
from bench.processes import Server
from herdbook import ids
from herdbook.oauth.store import create_client

WORKSPACE = UUID(int=2)
CONTACTS = 10_000
USUAL_OPEN_FILES = 1024
"""The open files that most systems allow a program unless it asks for more."""
MAX_REST = 60.0
"""Seconds after which the next attack begins, even if the server is still busy with the last one."""


@dataclass(frozen=True)
class Wait:
    """A neighbour's waits for one kind of request. Times are in milliseconds.

    `longest_unqueued` leaves out the time in which the server or the neighbour could run and others had the processors.
    """

    requests: int
    failed: int
    longest: float
    longest_unqueued: float

    def __str__(self) -> str:
        failed = f", {self.failed:,} failed" if self.failed else ""
        return f"{self.longest:,.0f} ({self.longest_unqueued:,.0f}){failed}"


@dataclass(frozen=True)
class Attacked:
    """One attack: the neighbour's waits, the attacker's answers, and the server's peak memory in megabytes."""

    name: str
    get: Wait
    patch: Wait
    answers: dict[str, int]
    memory: float

    @property
    def shown_answers(self) -> str:
        return ", ".join(f"{count:,} x {answer}" for answer, count in sorted(self.answers.items()))

    def __str__(self) -> str:
        """Return the line that reports this attack."""
        waits = f"GET {self.get!s:<24} PATCH {self.patch!s:<24}"
        return f"{self.name:<62}{waits}{self.memory:6,.0f} MB  {self.shown_answers}"


def measure_attacks(scratch: Path) -> list[Attacked]:
    """Run one attack after the other on one server."""
    folder = scratch / "attacked"
    authority, certificate = trustme.CA(), scratch / "recordings.pem"
    authority.cert_pem.write_to_path(str(scratch / "authority.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    environment = {
        "SSL_CERT_FILE": str(scratch / "authority.pem"),
        "HERDBOOK_ALLOWED_TARGETS": "127.0.0.1",
        # Seeded entries have arbitrary dates, so trimming is off.
        "HERDBOOK_HISTORY_DAYS": "0",
    }
    herd = herdbook.prepare(folder, CONTACTS)
    with few_open_files(), herdbook.serving(folder, environment) as (server, _):
        target = asyncio.run(prepare_target(server, certificate))
        found: list[Attacked] = []
        for number, name in enumerate(ATTACKS, start=2):
            found.append(measure(name, server, target._replace(source=f"127.0.0.{number}"), herd.contacts))
            print(found[-1], flush=True)
    return found


@contextlib.contextmanager
def few_open_files() -> Generator[None]:
    """Start programs with the usual limit of open files while the block runs; they may raise it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(USUAL_OPEN_FILES, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def prepare_target(server: Server, certificate: Path) -> Target:
    """Create the attacker's workspace, and give all its contacts one request id."""
    await seeding.fill(server.folder, [WORKSPACE], CONTACTS)
    (key,) = await seeding.make_keys(server.folder, [WORKSPACE])
    request_id = ids.new_id()
    connection = await seeding.connect(server.folder)
    try:
        client = await create_client(connection, WORKSPACE, "bench", ["contacts:read"], [])
        await connection.execute("update change set request_id = $2 where workspace_id = $1", WORKSPACE, request_id)
    finally:
        await connection.close()
    url = urlsplit(server.url)
    assert url.hostname is not None
    assert url.port is not None
    return Target(
        host=url.hostname,
        port=url.port,
        source=url.hostname,
        key=key,
        client_id=client.client_id,
        request_id=ids.encoded(ids.REQUEST, request_id),
        certificate=str(certificate),
    )


def measure(name: str, server: Server, target: Target, paths: Path) -> Attacked:
    with Program("bench.attacks", name) as attacker:
        attacker.tell(json.dumps(target))
        attacker.expect("ready")
        await_rest(server)
        forget_peak(server)
        known = (f"{target.host}:{target.port}", str(paths), server.token, str(server.process.pid))
        with (
            Program("bench.neighbour", "GET", *known) as getting,
            Program("bench.neighbour", "PATCH", *known) as patching,
        ):
            getting.expect("ready")
            patching.expect("ready")
            attacker.tell("go")
            answers = attacker.read()
            # The after-effects of an attack count, too.
            time.sleep(0.5)
            getting.tell("stop")
            patching.tell("stop")
            get, patch = Wait(**getting.read()), Wait(**patching.read())
    return Attacked(name, get, patch, answers, peak_memory(server))


class Program:
    """A program of the benchmark, which reads lines and prints JSON."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def expect(self, line: str) -> None:
        assert self._process.stdout is not None
        said = self._process.stdout.readline().strip()
        if said != line:
            raise RuntimeError(f"{self._process.args}: expected {line}, not {said or 'nothing'}")

    def read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def await_rest(server: Server) -> None:
    """Wait until the server has been idle for a while, so that no attack is blamed for the one before."""
    deadline = time.monotonic() + MAX_REST
    rested = 0
    while rested < 20 and time.monotonic() < deadline:
        rested = 0 if any(map(is_busy, server.family())) else rested + 1
        time.sleep(0.02)


def is_busy(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
    return False


def forget_peak(server: Server) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")


def peak_memory(server: Server) -> float:
    """Return the peak megabytes of the server's own process since the peak was reset, without its database."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    with contextlib.suppress(psutil.NoSuchProcess):
        return server.process.memory_info().rss / 2**20
    return 0.0
