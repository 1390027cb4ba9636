"""The files of exports: where their parts come from, and how pages of objects are encoded as tables and lines."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

from herdbook.db.pool import PagePool
from herdbook.exports.model import ExportFormat
from herdbook.feed.store import View
from herdbook.formats.sheets import Workbook, csv_of

_CHUNK_BYTES: Final = 65_536


class Source(NamedTuple):
    """The objects of an export: where they are read, and what is done between two pages of them.

    `breathe` gives others their turn, and `check` refuses to go on once the caller may read no more. `may` tells whether the
    caller has a scope, and `feed` is the part of the feed that an export of changes has.
    """

    pool: PagePool
    workspace_id: UUID
    breathe: Callable[[], Awaitable[None]]
    check: Callable[[], Awaitable[None]]
    may: Callable[[str], bool]
    feed: View


class Exporting(NamedTuple):
    """An export on its way: its title, the pages of its objects, and how one of them becomes a row or a line.

    A page has a limited size, whatever the objects are.
    """

    title: str
    pages: AsyncGenerator[Sequence[Any]]
    header: Sequence[str]
    row: Callable[[Any], Sequence[str]]
    lines: Callable[[Sequence[Any]], bytes]


async def encoded(exporting: Exporting, form: ExportFormat, first: Sequence[Any]) -> AsyncGenerator[bytes]:
    """Yield the parts of a file: a table, or lines of JSON. `first` is the first page, which was read already."""
    match form:
        case "csv":
            yield csv_of([exporting.header])
            async for page in _all(exporting, first):
                yield csv_of(exporting.row(each) for each in page)
        case "xlsx":
            async for part in _workbook(exporting, first):
                yield part
        case _:
            async for page in _all(exporting, first):
                yield exporting.lines(page)


async def _all(exporting: Exporting, first: Sequence[Any]) -> AsyncGenerator[Sequence[Any]]:
    async with contextlib.aclosing(exporting.pages):
        yield first
        async for page in exporting.pages:
            yield page


async def _workbook(exporting: Exporting, first: Sequence[Any]) -> AsyncGenerator[bytes]:
    # A workbook is a compressed archive, so it is written to a file first.
    with tempfile.TemporaryDirectory(prefix="herdbook-export-") as folder:
        path = Path(folder) / "export.xlsx"
        book = Workbook(path, exporting.title, exporting.header)
        async for page in _all(exporting, first):
            await asyncio.to_thread(book.add, [exporting.row(each) for each in page])
        await asyncio.to_thread(book.close)
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                yield chunk
