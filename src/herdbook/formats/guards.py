"""The signs around a cell that keep its text as it is. Exports put them there, and imports take them away.

An apostrophe in front keeps spreadsheets from running a cell of CSV. Quotation marks keep the spaces around a text.
"""

import re
from typing import Final

# A cell that begins so is a formula for a spreadsheet (OWASP, "CSV Injection"), however many apostrophes are before it.
_IS_FORMULA: Final = re.compile(r"'*[=+\-@\t\r＝＋－＠]").match  # noqa: RUF001  # spreadsheets take these for formulas, too
_IS_GUARDED: Final = re.compile(r"'+[=+\-@\t\r＝＋－＠]").match  # noqa: RUF001


def guarded(text: str) -> str:
    """Return a cell that no spreadsheet runs: one that may be a formula gets an apostrophe in front."""
    return f"'{text}" if _IS_FORMULA(text) else text


def unguarded(text: str) -> str:
    """Return a cell without the apostrophe that `guarded` has put in front of it."""
    return text[1:] if _IS_GUARDED(text) else text


def as_it_is(cell: str) -> str:
    """Return a cell, of a table in which none is guarded, that `unguarded` leaves as it is."""
    return cell if unguarded(cell) == cell else f"'{cell}"


def kept(text: str) -> str:
    """Return a cell that is read as this text: one with spaces around it, or that looks so, is between quotation marks."""
    return f'"{text}"' if text != text.strip() or _is_wrapped(text) else text


def text_of(cell: str) -> str:
    """Return the text of a cell, without what `guarded` and `kept` have put there, and without spaces that nobody has kept."""
    text = unguarded(cell).strip()
    return text[1:-1] if _is_wrapped(text) else text


def _is_wrapped(text: str) -> bool:
    """Whether there are quotation marks around a text with spaces around it, or around one that is so itself."""
    marks = min(len(text) - len(text.lstrip('"')), len(text) - len(text.rstrip('"')))
    within = text[marks:-marks] if marks else ""
    return within != within.strip()
