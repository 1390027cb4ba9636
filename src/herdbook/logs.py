"""Logs: one line of JSON for each event, on standard error."""

import asyncio
import logging
import sys
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import Processor


def _encoded(event: dict[str, Any], **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=str)


def _encoded_text(event: dict[str, Any], **_: object) -> str:
    return _encoded(event).decode()


def configure_logs(level: str) -> None:
    """Log from this level on: our own events, and those of the libraries below us."""
    number = logging.getLevelNamesMapping()[level.upper()]
    ours: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*ours, structlog.processors.JSONRenderer(serializer=_encoded)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=ours,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_encoded_text),
            ],
        )
    )
    # Of the libraries, only what is wrong; uvicorn's own lines about each request would be a second log of the same.
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)


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
