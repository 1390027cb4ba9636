"""The servers under test: started, awaited, measured, and stopped by their process ids."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import psutil

# The cores that other programs may take before figures mean less.
QUIET: Final = 0.1


@dataclass(frozen=True)
class Server:
    """A running server with its folder, and the token for requests to it."""

    url: str
    folder: Path
    process: psutil.Process
    token: str = ""

    def family(self) -> list[psutil.Process]:
        """Return the server's process and all its descendants, such as its PostgreSQL with a process for each connection."""
        return [self.process, *self.process.children(recursive=True)]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def running(command: list[str], folder: Path, environment: Mapping[str, str] | None = None) -> Generator[psutil.Popen]:
    """Run a server while the block runs, and leave nothing behind that it started."""
    with (folder / "log.txt").open("ab") as log:
        process = psutil.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
    try:
        yield process
    finally:
        family = Server("", folder, process).family() if process.poll() is None else []
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs([process, *family], timeout=20)
        for straggler in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                straggler.kill()
        psutil.wait_procs(alive, timeout=5)


def call(url: str, method: str = "GET", body: object = None, token: str = "") -> Any:
    """Make one request with JSON both ways; raise if it does not succeed."""
    request = urllib.request.Request(url, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if body is not None:
        request.add_header("Content-Type", "application/json")
        request.data = json.dumps(body).encode()
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {url}: {error.code} {error.read().decode(errors='replace')}") from error


def wait_until_answers(url: str, process: psutil.Popen, token: str = "") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            call(url, token=token)
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.002)
        else:
            return


def memory(server: Server) -> float:
    """Return the megabytes of all processes. PSS divides shared pages among them; RSS would count these for each."""
    total = 0
    for process in server.family():
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def processor_seconds(server: Server) -> float:
    """Return the processor time of all processes so far. A parent's count of children includes those that have ended."""
    total = 0.0
    for process in server.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


@dataclass
class Meter:
    """The users of the processors while a block ran: the server under load, this program's tools, and strangers."""

    server: Server
    server_seconds: float = 0.0
    strangers_cores: float = 0.0

    def __enter__(self) -> Self:
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        clock, server, machine, ours = (after - before for after, before in zip(self._now(), self._before, strict=True))
        self.server_seconds = server
        self.strangers_cores = max(0.0, machine - server - ours) / clock

    def _now(self) -> tuple[float, float, float, float]:
        return time.monotonic(), processor_seconds(self.server), _busy(), sum(os.times()[:4])


class Strangers:
    """The cores that other programs have taken since this began: `quiet` or `noisy`.

    A process that has ended counts for the one that waited for it, and at last for this program. Read it once all have ended.
    """

    def __init__(self) -> None:
        self._began = self._now()

    def __str__(self) -> str:
        clock, machine, ours = (now - began for now, began in zip(self._now(), self._began, strict=True))
        cores = max(0.0, machine - ours) / clock
        return f"{'quiet' if cores < QUIET else 'noisy'}: other programs took {cores:.2f} cores"

    @staticmethod
    def _now() -> tuple[float, float, float]:
        return time.monotonic(), _busy(), sum(os.times()[:4])


def _busy() -> float:
    machine = psutil.cpu_times()
    return sum(machine) - machine.idle - getattr(machine, "iowait", 0.0)
