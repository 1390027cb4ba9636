"""What a search compares."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.search_text import WORD_START, folded, searchable, words

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Lovelace", "lovelace"),
        ("Ångström", "angstrom"),
        ("A\u030angstro\u0308m", "angstrom"),
        ("Straße", "strasse"),
        ("STRASSE", "strasse"),
        ("STRAẞE", "strasse"),
        ("Łukasz Ørsted Đorđe Æsir Œuvre", "lukasz orsted dorde aesir oeuvre"),
        ("ΝΊΚΟΣ", "νικοσ"),
        ("νίκος", "νικοσ"),
        ("İstanbul ısı", "istanbul isi"),
        ("𝐀𝐝𝐚", "ada"),
        ("Ａｄａ", "ada"),
        ("№ 5 ℡", "no 5 tel"),
        ("ﬁne", "fine"),
        ("Ⅷ", "viii"),
        ("山田", "山田"),
        ("", ""),
    ],
)
async def test_case_and_accents_are_folded(text: str, expected: str) -> None:
    """What people would type for one another is the same."""
    assert folded(text) == expected


@given(text=texts)
def test_folding_twice_changes_nothing(text: str) -> None:
    """What is folded stays so: what is asked and what is stored meet."""
    assert folded(folded(text)) == folded(text)


@given(text=texts, form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_unicode_has_no_forms(text: str, form: str) -> None:
    """In whatever normal form a text comes, it is found."""
    assert folded(unicodedata.normalize(form, text)) == folded(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada Lovelace", ["ada", "lovelace"]),
        ("ada.king@engine.test", ["ada", "king", "engine", "test"]),
        ("O'Neil-Smith", ["o", "neil", "smith"]),
        ("snake_case", ["snake", "case"]),
        ("№5 №5", ["no5", "no5"]),
        ("山田 太郎", ["山田", "太郎"]),
        ("a\x1fb", ["a", "b"]),
        ("Love\u00adlace Ada\u200bKing\ufeff", ["lovelace", "adaking"]),
        ("... !", []),
        ("", []),
    ],
)
async def test_the_words_of_a_text(text: str, expected: list[str]) -> None:
    """Letters and digits make words, and all else stands between them."""
    assert words(searchable(text)) == expected


@given(text=texts)
def test_only_words_are_marked(text: str) -> None:
    """Each word has a mark before it, and there are no other marks, not even where a text brings its own."""
    assert searchable(text).count(WORD_START) == len(words(searchable(text)))


@given(text=texts)
def test_marks_are_all_that_is_added(text: str) -> None:
    """Without its marks, a searchable text is the folded one."""
    assert searchable(text).replace(WORD_START, "") == folded(text).replace(WORD_START, " ")
