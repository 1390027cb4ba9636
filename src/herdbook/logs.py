"""Logs: one line of JSON for each event, on standard error.

A thread writes the lines, because their reader may be slow or gone, and the event loop must not wait for it.
"""

import atexit
import contextlib
import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

_MAX_WAITING: Final = 10_000
_FLUSH_SECONDS: Final = 1.0
# Each wake-up takes the interpreter from the event loop, and costs it as much time as a hundred lines.
_GATHER_SECONDS: Final = 0.1
_encoder: Final = msgspec.json.Encoder()
# The attributes of every record; all others come from the event's `extra`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message"}


class JsonLines(logging.Formatter):
    """Formats a record as a line of JSON: time, level, event, logger, and the members of its `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class Lines:
    """Lines on their way to standard error. While 10,000 lines wait, further ones are dropped and counted."""

    def __init__(self) -> None:
        self.count_dropped: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        # Adding to it and taking from it need no lock.
        self._waiting: deque[msgspec.Struct | msgspec.Raw] = deque()
        self._flushes: list[threading.Event] = []
        # The number of lines that are being written.
        self._in_hand = 0
        self._dropped = 0
        self._has_work = threading.Event()
        self._is_flushing = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, line: msgspec.Struct | msgspec.Raw) -> None:
        """Queue a line for writing. The writing thread encodes it, so that no request waits for that."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()
            atexit.register(self.flush)
        if len(self._waiting) + self._in_hand >= _MAX_WAITING:
            with self._lock:
                self._dropped += 1
            self.count_dropped()
            return
        self._waiting.append(line)
        if not self._has_work.is_set():
            self._has_work.set()

    def flush(self) -> None:
        """Wait until all added lines are written, for a second at most."""
        if self._thread is not None:
            written = threading.Event()
            with self._lock:
                self._flushes.append(written)
            self._has_work.set()
            self._is_flushing.set()
            written.wait(_FLUSH_SECONDS)

    def _write(self) -> None:
        while True:
            self._has_work.wait()
            self._is_flushing.wait(_GATHER_SECONDS)
            self._has_work.clear()
            self._is_flushing.clear()
            with self._lock:
                flushes, self._flushes = self._flushes, []
                dropped, self._dropped = self._dropped, 0
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._in_hand = len(lines)
            if dropped:
                lines.append(_Dropped(timestamp=datetime.now(UTC), lines=dropped))
            if lines:
                # Standard error may be closed, or its reader gone.
                with contextlib.suppress(OSError, ValueError):
                    _write_all(_encoder.encode_lines(lines))
            self._in_hand = 0
            for flush in flushes:
                flush.set()


LINES: Final = Lines()


class _Handler(logging.Handler):
    """Passes records to the writing thread."""

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a record for writing."""
        LINES.add(msgspec.Raw(self.format(record)))


def configure_logs(level: str, count_dropped: Callable[[], object] = lambda: None) -> None:
    """Log our own events from this level on, and those of libraries from warnings on."""
    LINES.count_dropped = count_dropped
    handler = _Handler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("herdbook").setLevel(level.upper())


class _Dropped(msgspec.Struct, frozen=True, kw_only=True):
    timestamp: datetime
    level: str = "warning"
    event: str = "log lines were dropped, because standard error was not read fast enough"
    lines: int


class RequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """The log line of a request. It never holds a secret, a body, a query or the text of a path, because these may name people.

    `path` is the operation's path, with the names of its parameters; None if there is no such operation.
    """

    timestamp: datetime
    level: str = "info"
    event: str = "request"
    request_id: str
    operation: str
    method: str
    path: str | None
    status: int
    milliseconds: float
    workspace_id: str | None
    credential_id: str | None


def _write_all(text: bytes) -> None:
    try:
        file = sys.stderr.fileno()
    except (OSError, ValueError):
        # Standard error was replaced by an object that is no file.
        sys.stderr.buffer.write(text)
        return
    while text:
        try:
            text = text[os.write(file, text) :]
        except BlockingIOError:
            select.select([], [file], [])
