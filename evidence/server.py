"""The server under test: started, broken, and started again on the same folder and port."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import psutil

from bench.herdbook import PROGRAM
from bench.processes import free_port

COURIER = "herdbook.webhooks.process"
# A start takes a second or two. Sixty were once too few on a machine whose load was nine times its cores.
START_SECONDS = 180.0
STEP = 0.005
"""Seconds between two looks at a file or a process, which tell nobody that they have changed."""


class NotStarted(Exception):
    """The server ended before it was ready. The message is the last that it said."""


class Herdbook:
    """herdbook on the data folder `folder/data`, as a process with descendants."""

    def __init__(
        self, folder: Path, *options: str, environment: dict[str, str], program: Sequence[str] = (str(PROGRAM),)
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = ""
        self.workspace_id = ""
        self._ready = folder / "ready.json"
        arguments = [f"--data-dir={self.data}", f"--port={self.port}", f"--ready-file={self._ready}", "--log-level=warning"]
        self.program = program
        self._arguments = ["serve", *arguments, "--rate-limit=0", *options]
        self.environment = environment
        self._process: psutil.Popen | None = None

    async def start(self) -> float:
        """Start it; return the seconds until it is ready."""
        if self._process is not None:
            self._process.wait()
        self._ready.unlink(missing_ok=True)
        started = time.monotonic()
        with (self.folder / "log.txt").open("ab") as log:
            self._process = psutil.Popen(
                [*self.program, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                cwd=self.folder,
            )
        await until(lambda: self._ready.exists() or not self.is_running, START_SECONDS)
        if not self.is_running:
            lines = (self.folder / "log.txt").read_text(errors="replace").splitlines()
            # A line of JSON is of the log; the reason is said in plain words.
            raise NotStarted("\n".join([line for line in lines if not line.startswith("{")][-3:]))
        content = json.loads(self._ready.read_text())
        self.workspace_id = content["workspace_id"]
        self.key = content.get("api_key", self.key)
        return time.monotonic() - started

    @property
    def process(self) -> psutil.Popen:
        assert self._process is not None, "it was started"
        return self._process

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def family(self) -> list[psutil.Process]:
        """Return the server's process and its descendants; none if it has ended."""
        return family_of(self.process)

    def couriers(self) -> list[psutil.Process]:
        return [each for each in self.family() if COURIER in command_line(each)]

    def backends(self) -> list[psutil.Process]:
        """Return the processes of PostgreSQL that serve a connection."""
        return [each for each in self.family() if "postgres herdbook" in command_line(each)]

    def workers(self) -> list[psutil.Process]:
        """Return the processes that answer requests, if there are several."""
        return [each for each in self.process.children() if "spawn_main" in command_line(each)]

    def postmaster(self) -> psutil.Process:
        return psutil.Process(int((self.data / "postgres" / "postmaster.pid").read_text().split()[0]))

    async def ended(self, processes: Iterable[psutil.Process]) -> None:
        """Wait until the processes have ended."""
        await until(lambda: not any(map(is_alive, processes)))

    async def stop(self) -> None:
        """End it and all its descendants, however they are."""
        if self._process is None:
            return
        family = self.family()
        for each in family:
            tell(each, signal.SIGCONT)
        tell(self.process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await self.ended(family)
        for each in family:
            tell(each, signal.SIGKILL)
        self.process.wait()
        # A courier, a worker or a guard of a killed server may outlive it for a moment.
        with contextlib.suppress(OSError, IndexError, ValueError, psutil.NoSuchProcess):
            postmaster = self.postmaster()
            if str(self.data) in command_line(postmaster):
                tell(postmaster, signal.SIGINT)
                await self.ended([postmaster])


def family_of(process: psutil.Popen) -> list[psutil.Process]:
    """Return a process and its descendants; none if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [psutil.Process(process.pid), *process.children(recursive=True)]
    return []


def changed_by(statement: str) -> Sequence[str]:
    """Return the program, changed by a statement before it begins."""
    return [sys.executable, "-c", f"{statement}; from herdbook.cli.main import run; run()"]


def tell(process: psutil.Process, number: signal.Signals) -> None:
    """Send a signal, unless the process is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def command_line(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition; raise TimeoutError if it takes too long."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(STEP)
