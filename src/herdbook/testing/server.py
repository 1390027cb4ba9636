"""The server of a test session: started by the first of its processes that needs it, stopped by the last."""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final, NamedTuple

_START: Final = "from herdbook.cli.main import run; run()"
_PATIENCE_SECONDS: Final = 60.0
_LOOK_EVERY_SECONDS: Final = 0.01


class LabServer(NamedTuple):
    """A running server: its address, and the token that commands its lab."""

    url: str
    token: str


@contextlib.contextmanager
def joined(folder: Path) -> Generator[LabServer]:
    """Use the server of a session, which starts if it does not run. The last process that leaves it stops it."""
    folder.mkdir(exist_ok=True)
    mine = folder / f"user-{os.getpid()}"
    with _alone(folder):
        server = _running(folder) or _started(folder)
        mine.touch()
    try:
        yield server
    finally:
        with _alone(folder):
            mine.unlink()
            if not any(_runs(int(each.name.partition("-")[2])) for each in folder.glob("user-*")):
                _stop(folder)


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep the other processes of the session out meanwhile."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _running(folder: Path) -> LabServer | None:
    ready = _read(folder / "ready.json")
    return None if ready is None else LabServer(ready["url"], ready["lab_token"])


def _started(folder: Path) -> LabServer:
    ready, log = folder / "ready.json", folder / "log.txt"
    command = [sys.executable, "-c", _START, "lab", "--port=0", f"--ready-file={ready}"]
    # Settings of the server that somebody works with are none of this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HERDBOOK_")}
    with log.open("wb") as output:
        # It goes on if the process that has started it ends before others.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    (folder / "pid").write_text(str(process.pid))
    late_at = time.monotonic() + _PATIENCE_SECONDS
    while (server := _running(folder)) is None:
        if process.poll() is not None or time.monotonic() > late_at:
            process.kill()
            raise RuntimeError(f"The lab did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(_LOOK_EVERY_SECONDS)
    return server


def _stop(folder: Path) -> None:
    pid = int((folder / "pid").read_text())
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    late_at = time.monotonic() + _PATIENCE_SECONDS
    while _runs(pid) and time.monotonic() < late_at:
        time.sleep(_LOOK_EVERY_SECONDS)
    (folder / "ready.json").unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    """Whether a process has not ended. One that waits for its parent to notice has."""
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    state = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return state != "" and not state.startswith("Z")


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return None
