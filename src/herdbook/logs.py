"""Logs: one line of JSON for each event, on standard error.

Lines are written by a thread: whoever reads them may be slow, or gone, and the event loop must not wait for that.
"""

import atexit
import contextlib
import logging
import os
import queue
import select
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

_MAX_WAITING: Final = 10_000
_MAX_AT_ONCE: Final = 1000
_FLUSH_SECONDS: Final = 1.0
_encode: Final = msgspec.json.Encoder().encode
# What every record has; the rest is what the event's own `extra` says.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message"}


class JsonLines(logging.Formatter):
    """Formats a record as a line of JSON: when, how bad, what, and what more its `extra` says."""

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
    """Lines on their way to standard error. Beyond 10,000 that wait, a line is dropped and counted."""

    def __init__(self) -> None:
        self.count_dropped: Callable[[], object] = lambda: None
        self._waiting: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def add(self, line: bytes) -> None:
        """Have a line written, without waiting for it."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()
            atexit.register(self.flush)
        if self._waiting.qsize() < _MAX_WAITING:
            self._waiting.put(line)
        else:
            self._dropped += 1
            self.count_dropped()

    def flush(self) -> None:
        """Wait until what was added is written, for a second at most."""
        if self._thread is not None:
            written = threading.Event()
            self._waiting.put(written)
            written.wait(_FLUSH_SECONDS)

    def _write(self) -> None:
        while True:
            lines: list[bytes] = []
            flushes: list[threading.Event] = []
            item: bytes | threading.Event | None = self._waiting.get()
            while item is not None:
                if isinstance(item, bytes):
                    lines.append(item)
                else:
                    flushes.append(item)
                item = self._next() if len(lines) < _MAX_AT_ONCE else None
            if dropped := self._dropped:
                self._dropped = 0
                lines.append(_encode(_Dropped(timestamp=datetime.now(UTC), lines=dropped)))
            # Standard error may be closed, or its reader gone.
            with contextlib.suppress(OSError, ValueError):
                _write_all(b"".join(line + b"\n" for line in lines))
            for flush in flushes:
                flush.set()

    def _next(self) -> bytes | threading.Event | None:
        try:
            return self._waiting.get_nowait()
        except queue.Empty:
            return None


LINES: Final = Lines()


class _Handler(logging.Handler):
    """Hands records over to the thread."""

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written."""
        LINES.add(self.format(record).encode())


def configure_logs(level: str, count_dropped: Callable[[], object] = lambda: None) -> None:
    """Log from this level on: our own events, and those of the libraries below us that are warnings or worse."""
    LINES.count_dropped = count_dropped
    handler = _Handler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("herdbook").setLevel(level.upper())


class _Dropped(msgspec.Struct, frozen=True, kw_only=True):
    timestamp: datetime
    level: str = "warning"
    event: str = "lines of this log were dropped, because nobody took those before them"
    lines: int


class RequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged of a request: never a secret, a body, a query or the text of a path, which may name people.

    `path` is the operation's, with the names of its parameters; None where there is no such operation.
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


class RequestLog:
    """The lines of the requests."""

    def add(self, line: RequestLine) -> None:
        """Log a request."""
        LINES.add(_encode(line))


def _write_all(text: bytes) -> None:
    try:
        file = sys.stderr.fileno()
    except (OSError, ValueError):
        # It was replaced by something that is no file.
        sys.stderr.buffer.write(text)
        return
    while text:
        try:
            text = text[os.write(file, text) :]
        except BlockingIOError:
            select.select([], [file], [])
