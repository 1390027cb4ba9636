"""Comparison without case: only case and normal form are ignored."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.letter_case import without_case

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("Groß", "GROẞ"),
        ("ÄDÄ", "a\u0308da\u0308"),
        ("ΝΊΚΟΣ", "νίκος"),
        ("ΝΙΚΟΣ.ΝΙΚΟΣ", "νικος.νικος"),
        ("νικοσ", "νικος"),
        ("\u0130", "i\u0307"),
        ("\u0390", "\u0399\u0308\u0301"),
        ("\u1fbc\u0342", "\u1fb7"),
        ("\u212a", "k"),
        ("\ua64a", "\ua64b"),
    ],
)
def test_case_and_normal_form_are_nothing(text: str, other: str) -> None:
    """Capitals, and the ways to write a letter with a mark, compare as equal."""
    assert without_case(text) == without_case(other)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("groß", "gross"),
        ("ﬁne", "fine"),
        ("ŉ", "ʼn"),
        ("ﬆ", "st"),
        ("ſ", "s"),
        ("µ", "μ"),
        ("ı", "i"),
        ("\u0130", "i"),
        ("և", "եւ"),
        ("ᾳ", "αι"),
        ("ä", "a"),
        ("ａ", "a"),
    ],
)
def test_all_else_is_something(text: str, other: str) -> None:
    """A letter that looks like another one, or that replaces two of them, is a different letter."""
    assert without_case(text) != without_case(other)


@given(text=texts)
def test_doing_it_twice_changes_nothing(text: str) -> None:
    """A key is its own key."""
    assert without_case(without_case(text)) == without_case(text)


@given(text=texts, form=st.sampled_from(["NFC", "NFD"]))
def test_each_form_has_the_same_key(text: str, form: str) -> None:
    """All normal forms of a text have the same key."""
    assert without_case(unicodedata.normalize(form, text)) == without_case(text)  # type: ignore[arg-type]


@given(first=texts, second=texts)
def test_no_place_changes_a_letter(first: str, second: str) -> None:
    """The key of a text is the keys of its parts joined: a letter at the end of a word has no other key."""
    assert without_case(first + second) == without_case(without_case(first) + without_case(second))
