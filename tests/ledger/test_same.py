"""The comparison of values by which the ledger knows a change."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import msgspec
import pytest
from msgspec import UNSET

from herdbook.ledger.changes import same


class _Held(msgspec.Struct):
    value: Any
    other: Any = UNSET


# Each pair is equal in Python, and is kept as other JSON.
_PAIRS: Final[list[tuple[Any, Any]]] = [
    *[(1, True), (0, False), (1, 1.0), (0, -0.0), (0.0, -0.0), (True, 1.0)],
    (Decimal("1.0"), Decimal("1.00")),
]

_HOLDING: Final[list[Callable[[Any], Any]]] = [
    lambda each: each,
    lambda each: [each],
    lambda each: {"a": each},
    _Held,
    lambda each: (_Held([{"a": each}]),),
]


@pytest.mark.parametrize("pair", _PAIRS, ids=repr)
def test_equal_values_of_other_forms_differ(pair: tuple[Any, Any]) -> None:
    """Values that Python takes for equal differ if they are kept as other JSON, also inside of lists, objects and structs."""
    one, other = pair
    assert one == other
    for held in _HOLDING:
        assert not same(held(one), held(other))
        assert same(held(one), held(one))


def test_the_same_values() -> None:
    """The order of the members of an object means nothing, that of a list does; a member that is not set is no value."""
    assert same({"a": 1, "b": [2]}, {"b": [2], "a": 1})
    assert not same([1, 2], [2, 1])
    assert same(UNSET, UNSET)
    assert not same(UNSET, None)
    assert same(_Held("x"), _Held("x", UNSET))
