"""Several values in one cell, with quotation marks around those that have what stands between two values."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

# Google joins several values by it, others by a semicolon, a comma or a line break.
_SEPARATORS: Final = re.compile(r":::|[;,\n]")
_QUOTED: Final = re.compile(r'"((?:[^"]|"")*)"')


def quoted(value: str) -> str:
    """Return a value for a cell that may have several ones."""
    if _SEPARATORS.search(value) is None and not value.startswith('"'):
        return value
    doubled = value.replace('"', '""')
    return f'"{doubled}"'


def joined(values: Iterable[str]) -> str:
    """Return several values as a cell."""
    return "; ".join(map(quoted, values))


def values_in(text: str, between: re.Pattern[str]) -> Iterator[str]:
    """Yield the values of a cell, without what is between them. Some of them may be empty."""
    if '"' not in text:
        yield from between.split(text)
        return
    place = 0
    while True:
        match = _QUOTED.match(text, place)
        # Quotation marks within a value are part of it.
        is_whole = match is not None and (match.end() == len(text) or between.match(text, match.end()) is not None)
        separator = between.search(text, match.end() if match is not None and is_whole else place)
        end = len(text) if separator is None else separator.start()
        yield match[1].replace('""', '"') if match is not None and is_whole else text[place:end]
        if separator is None:
            return
        place = separator.end()
