"""A hanging database, as on a disk that does not answer: all its processes are stopped."""

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import pytest

only_embedded: Final = pytest.mark.skipif(
    bool(os.environ.get("HERDBOOK_TEST_DATABASE_URL")), reason="others need an external server, so it is not stopped"
)


@contextmanager
def frozen(database_url: str) -> Generator[None]:
    """Stop all processes of an embedded database while the block runs."""
    folder = Path(parse_qs(urlsplit(database_url).query)["host"][0])
    server = int((folder / "postmaster.pid").read_text("utf-8").split()[0])
    stopped = [server]
    # The parent goes first, because it starts others.
    os.kill(server, signal.SIGSTOP)
    try:
        for pid in _children(server):
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        yield
    finally:
        for pid in reversed(stopped):
            os.kill(pid, signal.SIGCONT)


def _children(parent: int) -> list[int]:
    found: list[int] = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text("utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found
