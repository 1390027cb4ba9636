"""Logs: one line of JSON for each event, on standard error."""

import asyncio
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

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


def configure_logs(level: str) -> None:
    """Log from this level on: our own events, and those of the libraries below us that are warnings or worse."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("herdbook").setLevel(level.upper())


class RequestLine(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged of a request: never a secret, a body, or a query, which may name people."""

    timestamp: datetime
    level: str = "info"
    event: str = "request"
    request_id: str
    operation: str
    method: str
    path: str
    status: int
    milliseconds: float
    workspace_id: str | None
    credential_id: str | None


class RequestLog:
    """The lines of the requests. Those of one turn of the event loop are written together, right after it."""

    def __init__(self) -> None:
        self._encode: Final = msgspec.json.Encoder().encode
        self._lines: list[bytes] = []

    def add(self, line: RequestLine) -> None:
        """Log a request."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._write)
        self._lines.append(self._encode(line))

    def _write(self) -> None:
        lines, self._lines = self._lines, []
        lines.append(b"")
        sys.stderr.buffer.write(b"\n".join(lines))
        sys.stderr.buffer.flush()
