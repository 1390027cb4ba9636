"""Tables that people take away: CSV (RFC 4180) that spreadsheets open safely, and workbooks (Office Open XML)."""

# XlsxWriter has no types.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from herdbook.formats.guards import guarded

# The rows of a sheet, of which one is the header.
MAX_SHEET_ROWS: Final = 1_048_576
# The characters of a cell.
MAX_CELL: Final = 32_767


def csv_of(rows: Iterable[Sequence[str]]) -> bytes:
    """Return rows as CSV in UTF-8, each cell guarded."""
    text = io.StringIO()
    csv.writer(text).writerows([guarded(cell) for cell in row] for row in rows)
    return text.getvalue().encode()


class Workbook:
    """A workbook that is written row by row to a file, in constant memory. It goes on in another sheet when one is full.

    Cells are texts, so that no number, day or formula is made of them. One of more than 32,767 characters is cut, and says so.
    """

    def __init__(self, path: Path, title: str, header: Sequence[str]) -> None:
        import xlsxwriter  # noqa: PLC0415  # few servers write workbooks, and it takes a twentieth of a start to import

        self._book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "tmpdir": str(path.parent)})
        self._title = title
        self._header = header
        self._sheets = 0
        self._begin_sheet()

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Write some rows behind the others."""
        for row in rows:
            if self._next == MAX_SHEET_ROWS:
                self._begin_sheet()
            self._write(row)

    def close(self) -> None:
        """Complete the file."""
        self._book.close()

    def _begin_sheet(self) -> None:
        self._sheets += 1
        self._sheet = self._book.add_worksheet(self._title if self._sheets == 1 else f"{self._title} {self._sheets}")
        self._sheet.freeze_panes(1, 0)
        self._next = 0
        self._write(self._header)

    def _write(self, row: Sequence[str]) -> None:
        for column, cell in enumerate(row):
            if cell:
                self._sheet.write_string(self._next, column, _shortened(cell))
        self._next += 1


def _shortened(cell: str) -> str:
    """Return a text that fits into a cell: one that is longer ends with a note of its length."""
    if len(cell) <= MAX_CELL:
        return cell
    note = f" [... a cell has no room for all {len(cell):,} characters; CSV and NDJSON have them]"
    return cell[: MAX_CELL - len(note)] + note
