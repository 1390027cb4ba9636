"""The forms of values, whatever is sent."""

from decimal import Decimal
from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from herdbook import ids
from herdbook.custom_fields.model import LISTS, FieldKind, FieldOption, blank
from herdbook.custom_fields.values import MAX_INDEXED, Conversion, index_texts, normal_value, unique_value
from herdbook.errors import FieldError
from herdbook.shared_schemas import patched
from tests.cast import Json

_OPTIONS: Final = tuple(FieldOption(id=each, label=each.title()) for each in ("gold", "silver"))
# Texts that are values of some kind, beside any text.
_TEXTS: Final = st.sampled_from(
    [
        *("gold", "Silver, gold", "12.50", "-0", "007", "12.50 EUR", "yes", "2026-03-01", "2026-03-01T12:00:00+01:00", "24:00"),
        *("https://example.com/é", "http://[", "ada@example.com", "+44 20 7946 0958", ids.example(ids.CONTACT), "\u0660", ""),
    ]
) | st.text(max_size=300)
_JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["amount", "currency", "street", "city", "x"]), inner, max_size=3)
    ),
    max_leaves=5,
)
_NUMBERS: Final = st.decimals(min_value=-(10**15) + 1, max_value=10**15 - 1, places=10).map(lambda number: format(number, "f"))


def field_of(kind: FieldKind) -> Any:
    """Return a definition of a kind."""
    return patched(blank("", ""), blank("", ""), {"key": "own", "kind": kind, "options": _OPTIONS if kind in LISTS else ()})


@given(st.sampled_from(FieldKind), _JSON.filter(lambda value: value is not None))
def test_a_value_has_one_form(kind: FieldKind, value: Json) -> None:
    """Any value is refused with errors of its path, or kept in a form that is its own form, and that indexes take."""
    errors: list[FieldError] = []
    kept = normal_value(field_of(kind), value, "fields.own", errors)

    assert all(error.field.startswith("fields.own") for error in errors)
    if errors or kept is None:
        return
    assert normal_value(field_of(kind), kept, "fields.own", errors) == kept
    assert unique_value(field_of(kind), kept).startswith("own=")
    texts = [*index_texts(kept)]
    assert texts
    assert all(text[0] in "=#" and len(text) <= MAX_INDEXED + 1 for text in texts)


@given(st.sampled_from(FieldKind), st.sampled_from(FieldKind), _JSON.filter(lambda value: value is not None))
def test_a_value_of_any_kind_is_converted_or_not(kind: FieldKind, new_kind: FieldKind, value: Json) -> None:
    """A value of one kind is converted to a value of another kind, which then stays the same, or it is not."""
    errors: list[FieldError] = []
    kept = normal_value(field_of(kind), value, "", errors)
    converted = None if errors or kept is None else Conversion(field_of(new_kind)).of(kept, 0)

    assert converted is None or Conversion(field_of(new_kind)).of(converted, 0) == converted


@given(_NUMBERS, _NUMBERS)
def test_numbers_are_in_order(one: str, other: str) -> None:
    """The texts of numbers in an index are in the order of the numbers, and equal for equal ones."""
    first, second = ([*index_texts(each)][-1] for each in (one, other))

    assert (first < second, first == second) == (Decimal(one) < Decimal(other), Decimal(one) == Decimal(other))
