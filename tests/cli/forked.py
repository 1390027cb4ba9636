"""herdbook as a fork of a process that has already imported it, because its imports are most of what a command costs.

To the system, a fork is what the program would be: a child of the tests, with its own arguments, variables, folder, files,
signals and status. Only its command line is another. Entry points, and the order of imports, are left to the tests that
start the program itself.
"""

import atexit
import ctypes
import functools
import gc
import json
import os
import pkgutil
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psutil

PROGRAM: Final = Path(sys.executable).with_name("herdbook")
_MOST_BYTES: Final = 200_000
# linux/prctl.h: a process becomes the parent of those below it whose parent has ended.
_PR_SET_CHILD_SUBREAPER: Final = 36
# Libraries that few commands need, and import late.
_LATE: Final = (
    *("argon2", "chardet", "clevercsv", "email_validator", "httpx", "importlib.metadata", "markdown_it", "nameparser", "nh3"),
    *("phonenumbers", "python_calamine", "rapidfuzz", "rich.progress", "tinytag", "uvicorn.lifespan.on"),
    *("webauthn", "xlsxwriter"),
)
# The status that the program ends with, once it is known.
_STATUS: Final[list[int]] = []


class Fork(psutil.Process):
    """A fork, which is a child of this process."""

    def poll(self) -> int | None:
        """Return its status, or None while it runs."""
        try:
            return self.wait(0)
        except psutil.TimeoutExpired:
            return None


def can_fork(environment: Mapping[str, str]) -> bool:
    """Whether a fork is like the program with these variables: an interpreter reads some of them only when it starts."""
    names = {name for name in {*environment, *os.environ} if name.startswith(("PYTHON", "LD_", "LC_", "LANG", "TZ"))}
    return sys.platform == "linux" and all(environment.get(name) == os.environ.get(name) for name in names)


def fork(*arguments: str, folder: Path, environment: Mapping[str, str], files: tuple[int, int, int]) -> Fork:
    """Start a command in a folder with these variables, and with these standard files."""
    parent, libc = _parent(), ctypes.CDLL(None)
    request = json.dumps({"arguments": arguments, "folder": str(folder), "environment": dict(environment)}).encode()
    # The parent of the fork ends at once, so that the fork becomes a child of this process, which alone can wait for it.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        socket.send_fds(parent, [request], files)
        return Fork(int(parent.recv(_MOST_BYTES)))
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


@functools.cache
def _parent() -> socket.socket:
    """Start the process that has imported herdbook. It ends with this one, which holds the other end of its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-P", __file__]
        os.posix_spawn(sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)])
    atexit.register(ours.close)
    return ours


def _import_herdbook() -> None:
    """Import all modules of herdbook, and the libraries that it imports late."""
    import herdbook  # noqa: PLC0415  # the tests import this file, too, and need none of it

    for module in pkgutil.walk_packages(herdbook.__path__, "herdbook."):
        if not module.name.startswith(("herdbook.testing", "herdbook.__")):
            __import__(module.name)
    for name in _LATE:
        __import__(name)


def _fork_on_requests() -> list[str]:
    """Fork for each request; end when nobody can ask. Return the arguments in a fork, which then is as the program would be."""
    requests = socket.socket(fileno=0)
    while True:
        request, files, _, _ = socket.recv_fds(requests, _MOST_BYTES, 3)
        if not request:
            os._exit(0)
        told, tells = os.pipe()
        if (between := os.fork()) == 0:
            if process := os.fork():
                os.write(tells, str(process).encode())
                os._exit(0)
            requests.detach()
            for place, file in enumerate(files):
                os.dup2(file, place)
        else:
            os.waitpid(between, 0)
            requests.send(os.read(told, 100))
        for file in (told, tells, *files):
            os.close(file)
        if between == 0:
            return _prepared(**json.loads(request))


def _prepared(arguments: list[str], folder: str, environment: dict[str, str]) -> list[str]:
    """Give the program its folder, variables and arguments. Return these."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(PROGRAM), *arguments]
    # Workers of a server are new interpreters, which run this file first.
    sys.modules["__main__"].__file__ = sys.argv[0]
    sys.path.insert(0, str(PROGRAM.parent))
    return arguments


def _run() -> None:
    """Run the program. Threads and exit handlers end as usual; the system, which is quicker, takes the rest apart."""
    from herdbook.cli.main import run  # noqa: PLC0415  # as above

    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, int):
            _STATUS.append(end.code)
        raise


def _end() -> None:
    if _STATUS:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_STATUS[0])


if __name__ == "__main__":
    # It runs last, because it is registered first.
    atexit.register(_end)
    _import_herdbook()
    gc.collect()
    gc.freeze()
    _fork_on_requests()
    _run()
