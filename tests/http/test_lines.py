"""The thread that writes the log."""

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from herdbook.logs import Lines
from tests.cli.programs import PATIENCE, serving

_CAPACITY = 10_000


def test_lines_that_nobody_takes_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging never blocks: lines that nobody reads are dropped, and the log says how many once it is read again."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as stderr, os.fdopen(reading, "rb") as reader:
        monkeypatch.setattr(sys, "stderr", stderr)
        dropped: list[None] = []
        lines = Lines()
        lines.count_dropped = lambda: dropped.append(None)
        # One line exceeds the pipe's capacity, and so does a single write.
        lines.add(msgspec.Raw(b"x" * 2_000_000))
        for _ in range(3 * _CAPACITY):
            lines.add(msgspec.Raw(b"line"))

        assert len(dropped) >= _CAPACITY
        taken: list[bytes] = []
        told = threading.Event()

        def take() -> None:
            for line in reader:
                taken.append(line)
                if b'"lines":' in line:
                    told.set()
                    return

        threading.Thread(target=take, daemon=True).start()
        assert told.wait(PATIENCE)

    assert f'"lines":{len(dropped)}}}'.encode() in taken[-1]


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    """Requests are answered although the log's pipe is full, and a signal still stops the server."""
    reading, writing = os.pipe()
    with serving(tmp_path, stderr=writing) as server:
        statuses = [server.get("/api/v2/contacts").status_code for _ in range(600)]
        status = server.end(signal.SIGTERM)
    os.close(writing)
    os.close(reading)

    assert statuses == [200] * 600
    assert status == 0


def test_a_log_that_is_closed_stops_nothing(tmp_path: Path) -> None:
    """Requests are answered although the log's reader is gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with serving(tmp_path, stderr=writing) as server:
        os.close(writing)
        assert server.get("/api/v2/contacts").status_code == 200
        assert server.end(signal.SIGTERM) == 0
