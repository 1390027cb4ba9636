"""Placeholders of a statement's parameters, as literals: the types refuse computed text in SQL."""

from functools import cache
from typing import Final, LiteralString

_DIGITS: Final[LiteralString] = "0123456789"


@cache
def placeholder(number: int) -> LiteralString:
    """Return the placeholder of the parameter with a number; the first is 1."""
    return "$" + "".join(_DIGITS[int(digit)] for digit in str(number))
