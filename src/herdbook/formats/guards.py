"""The apostrophe before a cell of CSV that keeps spreadsheets from running it. Exports put it there, imports take it away."""

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
