"""The server of a test session: started by the first of its processes that needs it, and gone after the last."""

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from herdbook.testing.client import LabGone, LabServer

_START: Final = (
    "import sys; from herdbook.testing.server import end_after; end_after(sys.argv.pop(1)); "
    "from herdbook.cli.main import run; run()"
)
_PATIENCE_SECONDS: Final = 60.0
_LOOK_EVERY_SECONDS: Final = 0.005
_MOST_SHOWN: Final = 2000


class LabNotStarted(Exception):
    """The server of the session did not start. The text is what it said."""


@contextlib.contextmanager
def joined(folder: Path) -> Generator[LabServer]:
    """Use the server of a session, which starts if it does not run, and ends by itself after the last process that uses it.

    Refusal: LabNotStarted.
    """
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("w") as users:
        with _alone(folder):
            # All users share this lock. A server that ends has it for itself until it is gone.
            fcntl.flock(users, fcntl.LOCK_SH)
            server = _running(folder) or _started(folder)
        try:
            yield server
        finally:
            server.close()
            # A process that a test has forked and left behind does not keep the server.
            fcntl.flock(users, fcntl.LOCK_UN)


def end_after(users: str) -> None:
    """Let this process end after the users of a lock have ended, however they do."""

    def wait() -> None:
        with Path(users).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.kill(os.getpid(), signal.SIGTERM)
            # The lock ends with the process, so that nobody joins a server that ends.
            threading.Event().wait()

    threading.Thread(target=wait, daemon=True).start()


@contextlib.contextmanager
def _alone(folder: Path) -> Generator[None]:
    """Keep the other processes of the session out meanwhile."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _running(folder: Path) -> LabServer | None:
    """Return the server that runs. Refusal: LabNotStarted, if another process of the session could not start it."""
    failure = folder / "failure.txt"
    if failure.exists():
        raise LabNotStarted(failure.read_text())
    server = _told(folder)
    if server is None:
        return None
    try:
        server.command("GET", "/state")
    except LabGone:
        # It was killed, and has left its file.
        (folder / "ready.json").unlink()
        return None
    return server


def _told(folder: Path) -> LabServer | None:
    """Return the server that the ready file is of."""
    try:
        ready: dict[str, Any] = json.loads((folder / "ready.json").read_text())
    except FileNotFoundError:
        return None
    return LabServer(ready["url"], ready["lab_token"], folder / "log.txt")


def _started(folder: Path) -> LabServer:
    log = folder / "log.txt"
    process_id = _launched(folder, log)
    late_at = time.monotonic() + _PATIENCE_SECONDS
    while (server := _told(folder)) is None:
        ended, status = os.waitpid(process_id, os.WNOHANG)
        if ended or time.monotonic() > late_at:
            why = f"and ended with status {os.waitstatus_to_exitcode(status)}"
            if not ended:
                os.kill(process_id, signal.SIGKILL)
                os.waitpid(process_id, 0)
                why = f"within {_PATIENCE_SECONDS:.0f} seconds"
            said = log.read_text(errors="replace").strip()[-_MOST_SHOWN:]
            text = f"The lab did not start {why}. It said:\n{said or 'nothing'}\n(all of it: {log})"
            # Each worker would otherwise try again, and take as long.
            (folder / "failure.txt").write_text(text)
            raise LabNotStarted(text)
        time.sleep(_LOOK_EVERY_SECONDS)
    return server


def _launched(folder: Path, log: Path) -> int:
    """Begin a server, and return the id of its process. It goes on if this process ends before others."""
    users, ready = folder / "users", folder / "ready.json"
    command = [
        sys.executable,
        "-P",
        "-c",
        _START,
        str(users),
        "lab",
        "--port=0",
        f"--ready-file={ready}",
        "--log-level=warning",
    ]
    # Settings of the server that somebody works with are none of this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HERDBOOK_")}
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    # The module `subprocess` warns of a process that nobody waits for, and tests may take warnings for errors.
    return os.posix_spawn(sys.executable, command, environment, file_actions=files, setsid=True)
