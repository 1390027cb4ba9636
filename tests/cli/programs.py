"""herdbook as a program: started, watched and ended by the tests."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
import requests

from tests.cli.forked import PROGRAM, Fork, can_fork, fork
from tests.waiting import pause

PATIENCE = 90.0


@dataclass(frozen=True)
class Finished:
    """The exit status and output of a command."""

    status: int
    said: str
    complained: str


@dataclass(frozen=True)
class Running:
    """A running server."""

    process: "Fork | subprocess.Popen[bytes]"
    folder: Path
    url: str
    key: str
    first: bool

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, headers={"Authorization": self.key}, timeout=PATIENCE, **options)

    def post(self, path: str, json: object) -> requests.Response:
        return requests.post(self.url + path, json=json, headers={"Authorization": self.key}, timeout=PATIENCE)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def kill_all(self) -> None:
        """Kill the server and all its descendants, including the database."""
        for process in self.family():
            kill(process)
        self.process.wait(PATIENCE)

    def family(self) -> list[psutil.Process]:
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


def herdbook(*arguments: str, folder: Path, **variables: str) -> Finished:
    """Run a command in a folder until it ends."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complained:
        process = started(*arguments, folder=folder, variables=variables, stdout=said, stderr=complained)
        try:
            status = process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                process.terminate()
        for file in (said, complained):
            file.seek(0)
        return Finished(status or 0, said.read().decode(), complained.read().decode())


def started(
    *arguments: str, folder: Path, variables: Mapping[str, str], stdout: IO[Any], stderr: IO[Any] | int
) -> "Fork | subprocess.Popen[bytes]":
    """Start a command in a folder."""
    given = environment(variables)
    if can_fork(given):
        error = stderr if isinstance(stderr, int) else stderr.fileno()
        return fork(*arguments, folder=folder, environment=given, files=(0, stdout.fileno(), error))
    return subprocess.Popen([str(PROGRAM), *arguments], cwd=folder, env=given, stdout=stdout, stderr=stderr)


@contextlib.contextmanager
def serving(
    folder: Path, *options: str, command: str = "serve", stderr: int | None = None, **variables: str
) -> Generator[Running]:
    """Run a server on a folder while the block lasts; leave no process behind."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    arguments = [command, "--port=0", f"--ready-file={ready}", *options]
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        process = started(*arguments, folder=folder, variables=variables, stdout=out, stderr=stderr or err)
    try:
        until(lambda: ready.exists() or process.poll() is not None)
        assert process.poll() is None, (folder / "err.txt").read_text()
        content = json.loads(ready.read_text())
        key_file = folder / "key.txt"
        if "api_key" in content:
            key_file.write_text(content["api_key"])
        key = key_file.read_text() if key_file.exists() else ""
        yield Running(process, folder, content["url"], key, "api_key" in content)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(PATIENCE)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HERDBOOK_")}
    return {**kept, **variables}


def command_line(process: psutil.Process) -> str:
    """Return the command line of a process, empty if it is gone: the database's processes come and go."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def kill(process: psutil.Process) -> None:
    """Kill a process, unless it is already gone, perhaps with its parent."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for a condition; fail if it takes too long."""
    began = asked = time.monotonic()
    while not condition():
        now = time.monotonic()
        assert now < began + seconds, "it did not happen"
        # Files and foreign processes send no notification, so poll.
        time.sleep(pause(now - asked))
        asked = time.monotonic()


def accepts(url: str) -> bool:
    """Whether a server accepts connections there."""
    try:
        requests.get(url + "/healthz", timeout=90)
    except requests.ConnectionError:
        return False
    return True
