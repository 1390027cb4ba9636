"""Workbooks of spreadsheets (XLSX, ODS, XLS): one sheet of them as CSV.

The program that reads them takes the whole sheet into memory, so it runs in a process of its own, with limits that a file made
to exhaust the server meets.
"""

import csv
import json
import mmap
import re
import resource
import sys
import zipfile
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from herdbook.counts import number_of
from herdbook.formats.guards import as_it_is
from herdbook.formats.model import Unreadable

_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LOCKED: Final = "The workbook is locked by a password. Save it without one."
# The stream of a compound file that has a workbook under a password ([MS-OFFCRYPTO] 2.3.4.4), and the bytes of an entry in the
# directory of streams ([MS-CFB] 2.6.1), which begins with its name.
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_ENTRY: Final = 128
# The parts of a workbook, unpacked. Names and numbers take some hundred bytes in each row.
MAX_UNPACKED: Final = 2 * 1024**3
_MAX_PARTS: Final = 10_000
_MEMORY: Final = 3 * 1024**3
_SECONDS: Final = 120
UNREADABLE: Final = 3
"""The exit status of a process that has said on its standard output why the workbook cannot be read."""
TOO_LARGE: Final = "The workbook takes too much memory or time to read. Save it as CSV."


class Sheets(NamedTuple):
    """The sheets of a workbook, and the one that was read."""

    names: tuple[str, ...]
    read: str

    @classmethod
    def told(cls, said: bytes) -> "Sheets":
        """Return what a process has said that has read a workbook."""
        names, read = json.loads(said)
        return cls(tuple(names), read)


def is_workbook(head: bytes) -> bool:
    """Whether a file with these first bytes may be a workbook."""
    return head.startswith((_ZIP, _OLE))


def command(source: Path, target: Path, sheet: str) -> list[str]:
    """Return the command that writes a sheet as CSV; without a name, the first one that has values."""
    return [sys.executable, "-m", __name__, str(source), str(target), sheet]


def _write(source: Path, target: Path, sheet: str) -> Sheets:
    """Write a sheet as CSV. Refusal: Unreadable."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError  # noqa: PLC0415  # for this process alone

    # The libraries tell in words of their own what they stumble over.
    damaged = "The file begins like a workbook, and cannot be read as one: it is damaged, or another kind of file."
    try:
        _require_open(source)
        # Its stub leaves a parameter of `PathLike` open.
        book: Any = CalamineWorkbook.from_path(str(source))  # pyright: ignore[reportUnknownMemberType]
        names = book.sheet_names
        if sheet and sheet not in names:
            raise Unreadable(f"The workbook has no sheet `{sheet}`. It has {', '.join(f'`{name}`' for name in names)}.")
        for name in [sheet] if sheet else names:
            damaged = f"The sheet `{name}` of the workbook is damaged, and cannot be read."
            rows = book.get_sheet_by_name(name).iter_rows()
            with target.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                has_values = False
                for row in rows:
                    cells = [as_it_is(_text(cell)) for cell in row]
                    has_values = has_values or any(cells)
                    writer.writerow(cells)
            if has_values:
                return Sheets(tuple(names), name)
        raise Unreadable("The workbook has no sheet with values. Send one with a header and at least one row.")
    except PasswordError:
        raise Unreadable(_LOCKED) from None
    except MemoryError:
        raise Unreadable(TOO_LARGE) from None
    except (CalamineError, zipfile.BadZipFile, OSError, ValueError):
        raise Unreadable(f"{damaged} Open it in a spreadsheet program, and save it again, or as CSV.") from None


def _require_open(source: Path) -> None:
    """Refuse a workbook under a password, and one whose parts are too large once they are unpacked. Refusal: Unreadable."""
    with source.open("rb") as file:
        if not file.read(len(_ZIP)).startswith(_ZIP):
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                if any(not found.start() % _ENTRY for found in re.finditer(_ENCRYPTED, content)):
                    raise Unreadable(_LOCKED)
            return
    with zipfile.ZipFile(source) as parts:
        found = parts.infolist()
        size = sum(part.file_size for part in found)
    if len(found) > _MAX_PARTS or size > MAX_UNPACKED:
        raise Unreadable(
            f"The workbook has {size:,} bytes once it is unpacked, in {number_of(len(found), 'part')}. "
            f"{MAX_UNPACKED:,} bytes in {_MAX_PARTS:,} parts are the limit. Save it as CSV."
        )


def _text(cell: Any) -> str:
    """Return a cell as people see it: whole numbers without a point, days and times as ISO 8601 writes them."""
    match cell:
        case bool():
            return "true" if cell else "false"
        case float():
            return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)  # digits of a float
        case datetime():
            return (cell.date() if cell.time() == time() else cell).isoformat()
        case date() | time():
            return cell.isoformat()
        case timedelta():
            return str(cell)
        case _:
            return str(cell)


def main() -> int:
    """Write the sheet that the arguments name. Return the exit status."""
    source, target, sheet = sys.argv[1:]
    for what, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_CPU, _SECONDS)):
        resource.setrlimit(what, (most, most))
    try:
        sheets = _write(Path(source), Path(target), sheet)
    except Unreadable as error:
        sys.stdout.write(" ".join(str(error).split()))
        return UNREADABLE
    sys.stdout.write(json.dumps(sheets))
    return 0


if __name__ == "__main__":
    sys.exit(main())
