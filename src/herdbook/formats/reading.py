"""The formats that are read, and how a file is told to be in one of them."""

from collections.abc import Generator, Iterator
from pathlib import Path

from herdbook.formats import delimited, json_lines
from herdbook.formats.model import Layout, Record, Survey, Unreadable


def survey(path: Path, layout: Layout | None = None) -> Generator[None, None, Survey]:
    """Read all of a file once, in steps, and return its layout, unless that is known, and its columns. Refusal: Unreadable."""
    if json_lines.is_json_lines(path):
        found = yield from json_lines.survey(path)
    else:
        found = yield from delimited.survey(path, layout)
    if not found.records:
        raise Unreadable("The file has no record behind its header. Send one with at least one.")
    return found


def records(path: Path, layout: Layout) -> Iterator[Record]:
    """Yield the records of a file. Refusal: Unreadable."""
    return json_lines.records(path) if layout.format == "ndjson" else delimited.records(path, layout)
