"""Files of values that commas, semicolons, tabs or bars separate (RFC 4180, and what programs write in its place)."""

import csv
import io
import re
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Final, TextIO

from msgspec import UNSET

from herdbook.formats.days import form_of, is_day
from herdbook.formats.encodings import encoding_of
from herdbook.formats.guards import unguarded
from herdbook.formats.model import (
    MAX_COLUMNS,
    MAX_RECORD,
    MAX_SAMPLE,
    MAX_SAMPLES,
    SAMPLED,
    Column,
    Layout,
    Pace,
    Record,
    Survey,
    Unreadable,
    place_name,
    size_of,
)

_DELIMITERS: Final = [",", ";", "\t", "|"]
# The beginning of a file from which the dialect is found out.
_SAMPLE_LINES: Final = 100
_SAMPLE_CHARS: Final = 32_768
# The beginning of a long word tells as much as all of it, and the library that looks for addresses of pages in it takes hours.
_LONG_WORD: Final = re.compile(r"""([^\s,;|"'~]{60})[^\s,;|"'~]+""")
# The library knows other ones, which are plain characters in the files of programs.
_QUOTES: Final = ('"', "'")
# Records that are counted before others have their turn.
_STEP: Final = 2000
# Excel writes it as the first line of a file for itself.
_SEPARATOR_LINE: Final = re.compile(r"\ufeff?sep=(.)\r?\n?", re.IGNORECASE)
# A value of this kind does not name a column. A long text is looked at in part, because it is compared with itself.
_IS_VALUE: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|[+(]?\d[\d\s()./:-]*|https?://\S+").fullmatch
_MAX_NAME: Final = 1000
# Unlike the limit of one record, it tells a quote that is never closed from a long note.
_MAX_VALUE: Final = 131_072


def survey(path: Path, layout: Layout | None = None) -> Generator[None, None, Survey]:
    """Read all of a file once, in steps, and return what was found. Refusal: Unreadable.

    `layout` is the form of the file, if it is known.
    """
    if layout is None:
        layout = yield from _layout_of(path)
    header: list[str] = []
    seen: list[dict[str, None]] = []
    days: list[list[str]] = []
    count = 0
    pace = Pace(_STEP)
    for record in _all_records(path, layout):
        values = record.values
        if layout.has_header and not header:
            header = [*values]
            seen, days = [{} for _ in header], [[] for _ in header]
            continue
        if not header and not seen:
            seen, days = [{} for _ in values], [[] for _ in values]
        count += 1
        if count <= SAMPLED:
            for place, written, value in zip(seen, days, values, strict=False):
                text = value.strip()
                if text and len(place) < MAX_SAMPLES:
                    place[text[:MAX_SAMPLE]] = None
                if is_day(text):
                    written.append(text)
        if pace.is_over(size_of(record)):
            yield
    columns = tuple(
        Column(
            name=(unguarded(header[index]).strip()[:MAX_SAMPLE] if header else "") or place_name(index),
            samples=tuple(found),
            days=form_of(days[index]) or UNSET,
        )
        for index, found in enumerate(seen)
    )
    return Survey(layout=layout, columns=columns, records=count)


def records(path: Path, layout: Layout) -> Iterator[Record]:
    """Yield the records of a file without its header. Refusal: Unreadable."""
    found = _all_records(path, layout)
    if layout.has_header:
        next(found, None)
    # Cards have no header, but their table has one.
    return (each._replace(number=each.number - 1) for each in found) if layout.is_of_cards else found


def _has_nul(line: int) -> Unreadable:
    return Unreadable(f"The line {line} has a NUL, which no text has. The file is binary or damaged.")


def _layout_of(path: Path) -> Generator[None, None, Layout]:
    encoding = yield from encoding_of(path)
    with path.open("rb") as raw, _text_of(raw, encoding) as text:
        try:
            lines = [text.readline(_SAMPLE_CHARS) for _ in range(_SAMPLE_LINES)]
        except UnicodeDecodeError:
            raise _not_decoded(encoding, 1) from None
    # The search for the delimiter takes none.
    if (damaged := next((number for number, line in enumerate(lines, start=1) if "\0" in line), None)) is not None:
        raise _has_nul(damaged)
    skipped = 0
    delimiter = ""
    if (separator := _SEPARATOR_LINE.fullmatch(lines[0])) is not None:
        delimiter, skipped = separator[1], 1
    sample = _LONG_WORD.sub(r"\1", "".join(lines[skipped:])[:_SAMPLE_CHARS])
    yield
    # As in `encodings.py`.
    import clevercsv  # noqa: PLC0415

    found = clevercsv.Sniffer().sniff(sample, delimiters=[delimiter] if delimiter else _DELIMITERS)
    dialect = Layout(
        format="csv",
        encoding=encoding,
        delimiter=delimiter or (found and found.delimiter) or ",",
        quote=found.quotechar if found and found.quotechar in _QUOTES else '"',
        # A guess may take another sign for one, such as the @ in a name.
        escape="\\" if found and found.escapechar == "\\" else "",
        skipped_lines=skipped,
    )
    first = next(_all_records(path, dialect), None)
    is_header = first is not None and not any(_IS_VALUE(value.strip()[:_MAX_NAME]) for value in first.values)
    return Layout(
        format="csv",
        encoding=encoding,
        delimiter=dialect.delimiter,
        quote=dialect.quote,
        escape=dialect.escape,
        skipped_lines=skipped,
        has_header=is_header,
    )


def _all_records(path: Path, layout: Layout) -> Iterator[Record]:
    """Yield the records of a file that have any value, with the header."""
    with path.open("rb") as raw, _text_of(raw, layout.encoding) as text:
        for _ in range(layout.skipped_lines):
            text.readline(MAX_RECORD)
        lines = _Lines(text, layout.encoding)
        dialect = partial(csv.reader, delimiter=layout.delimiter, quotechar=layout.quote, escapechar=layout.escape or None)
        reader = dialect(lines)
        number = 0
        last = ""
        while True:
            try:
                values = next(reader)
            except StopIteration:
                break
            except csv.Error:
                raise Unreadable(
                    f"The record {number + 1}, which begins at line {lines.record_began}, has a value of more than "
                    f"{_MAX_VALUE:,} characters. A quote may never be closed there. Correct it."
                ) from None
            number += 1
            last = lines.taken()
            if len(values) > MAX_COLUMNS:
                raise Unreadable(
                    f"The record {number} has {len(values):,} values. {MAX_COLUMNS:,} is the limit. Leave out columns."
                )
            if any(values):
                yield Record(number, values)
        _require_closed(last, partial(dialect, strict=True), number)


def _require_closed(last: str, dialect: "partial[Iterator[list[str]]]", number: int) -> None:
    """Refuse a file whose last record ends within quotes. Refusal: Unreadable."""
    try:
        # Within the reader, the end of the file closes all quotes.
        for _ in dialect(io.StringIO(last, newline="")):
            pass
    except csv.Error as error:
        if "end of data" in str(error):
            raise Unreadable(
                f"The file ends within the quotes of the record {number}. A part of it is missing. Send all of it."
            ) from None


class _Lines:
    """The lines of a file, none of them too long, nor all of a record together."""

    def __init__(self, text: TextIO, encoding: str) -> None:
        self._next = partial(text.readline, MAX_RECORD)
        self._encoding = encoding
        self._record: list[str] = []
        self._chars = 0
        self._number = 0
        self.record_began = 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        try:
            line = self._next()
        except UnicodeDecodeError:
            raise _not_decoded(self._encoding, self._number + 1) from None
        if not line:
            raise StopIteration
        self._number += 1
        self._chars += len(line)
        self._record.append(line)
        if self._chars >= MAX_RECORD:
            raise Unreadable(
                f"The record that begins at line {self.record_began} has more than {MAX_RECORD:,} characters. "
                "Its lines may have no ends, or a quote is never closed. Correct it there."
            )
        if "\0" in line:
            raise _has_nul(self._number)
        return line

    def taken(self) -> str:
        """Return the lines of the record that has ended, and begin the next one."""
        lines = self._record[0] if len(self._record) == 1 else "".join(self._record)
        self._record.clear()
        self._chars = 0
        self.record_began = self._number + 1
        return lines


def _text_of(raw: io.BufferedReader, encoding: str) -> io.TextIOWrapper:
    # Ends of lines within values stay as they are.
    return io.TextIOWrapper(raw, encoding, newline="")


def _not_decoded(encoding: str, line: int) -> Unreadable:
    return Unreadable(
        f"The line {line} or one close behind it has bytes that are no text in the encoding {encoding}, which the file seems "
        "to have. Save it in UTF-8."
    )
