"""Logs: one line of JSON for each event, on standard error."""

import logging
import sys
from typing import Any

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
