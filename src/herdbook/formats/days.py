"""Days as people and spreadsheets write them: with the day first, as in most of the world, or with the month first."""

import re
from collections.abc import Iterable
from datetime import date
from typing import Final, Literal, TypeAlias

DayForm: TypeAlias = Literal["day_first", "month_first"]
# A spreadsheet may write midnight behind a day.
_TIME: Final = r"(?:[ T]0{1,2}:00(?::00)?)?"
_WRITTEN: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})" + _TIME)
_YEAR_FIRST: Final = re.compile(r"(\d{4})([./-])(\d{1,2})\2(\d{1,2})" + _TIME)
_MONTHS: Final = 12
# Outlook writes it for no day.
is_no_day: Final = re.compile(r"0{1,2}([./-])0{1,2}\1(?:00|0000)").fullmatch


class Ambiguous(ValueError):
    """A text may mean two days, because both of its first numbers may be a month."""


def is_day(text: str) -> bool:
    """Whether a text is a day with its year last, in either form."""
    return _WRITTEN.fullmatch(text) is not None


def form_of(texts: Iterable[str]) -> DayForm | None:
    """Return the form in which days are written, or None if they do not tell, or contradict each other."""
    found: set[DayForm] = set()
    has_dots = False
    for text in texts:
        if (match := _WRITTEN.fullmatch(text)) is None:
            continue
        first, second = int(match[1]), int(match[3])
        has_dots |= match[2] == "."
        if first > _MONTHS >= second:
            found.add("day_first")
        elif second > _MONTHS >= first:
            found.add("month_first")
    if not found and has_dots:
        return "day_first"
    return found.pop() if len(found) == 1 else None


def day_of(text: str, form: DayForm | None) -> str | None:
    """Return a day as ISO 8601 writes it, or None if the text is none in this form. Raise Ambiguous if it may mean two days.

    Without a form, dots tell that the day is first, and so does a number that is no month.
    """
    if (match := _YEAR_FIRST.fullmatch(text)) is not None:
        return _shown(match[1], match[3], match[4])
    if (match := _WRITTEN.fullmatch(text)) is None:
        return None
    first, second, year = match[1], match[3], match[4]
    form = form or form_of([text])
    if form is None and first != second:
        if _shown(year, first, second) is not None:
            raise Ambiguous
        return None
    return _shown(year, first, second) if form == "month_first" else _shown(year, second, first)


def _shown(year: str, month: str, day: str) -> str | None:
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return None
