"""Several values in one cell, with quotation marks around those that have what stands between two values."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

# Google joins several values by it, others by a semicolon, a comma or a line break.
SEPARATORS: Final = re.compile(r":::|[;,\n]")
# Labels that programs write with a capital letter, too.
USUAL_LABELS: Final = frozenset({"work", "home", "mobile", "other", "fax"})
_QUOTED: Final = re.compile(r'"((?:[^"]|"")*)"')
# A line break may be what is between two values.
_spaces: Final = re.compile(r"[^\S\n]*").match


def quoted(value: str) -> str:
    """Return a value for a cell that may have several ones."""
    if SEPARATORS.search(value) is None and not value.startswith('"') and value == value.strip():
        return value
    doubled = value.replace('"', '""')
    return f'"{doubled}"'


def joined(values: Iterable[str]) -> str:
    """Return several values as a cell."""
    return "; ".join(map(quoted, values))


def values_in(text: str, between: re.Pattern[str]) -> Iterator[str]:
    """Yield the values of a cell, without what is between them and the spaces around it. Some of them may be empty."""
    if '"' not in text:
        yield from map(str.strip, between.split(text))
        return
    place = 0
    while True:
        # Spaces are skipped apart from what is between two values: to look for both at once takes time for each pair of spaces.
        place = _behind_spaces(text, place)
        match = _QUOTED.match(text, place)
        behind = 0 if match is None else _behind_spaces(text, match.end())
        # Quotation marks within a value are part of it.
        is_whole = match is not None and (behind == len(text) or between.match(text, behind) is not None)
        separator = between.search(text, match.end() if match is not None and is_whole else place)
        end = len(text) if separator is None else separator.start()
        yield match[1].replace('""', '"') if match is not None and is_whole else text[place:end].strip()
        if separator is None:
            return
        place = separator.end()


def _behind_spaces(text: str, place: int) -> int:
    found = _spaces(text, place)
    assert found is not None, "no space is enough"
    return found.end()


def labelled(label: str, *, is_primary: bool) -> str:
    """Return the label of an address or a number as a cell, with the mark of the primary one that Google uses, too.

    A label that an import would read as another one is between quotation marks.
    """
    is_plain = label == label.strip() and not label.startswith(("*", '"'))
    is_plain = is_plain and (label.lower() not in USUAL_LABELS or label == label.lower())
    return " ".join(filter(None, ("*" if is_primary else "", label if is_plain else f'"{label}"')))


def label_in(text: str) -> tuple[str, bool]:
    """Return the label in a cell, and whether it is that of the primary address or number."""
    told = text.removeprefix("*").strip() if text.startswith("*") else text
    if len(told) > 2 and told[0] == told[-1] == '"':
        label = told[1:-1]
    else:
        label = told.lower() if told.lower() in USUAL_LABELS else told
    return label, text.startswith("*")
