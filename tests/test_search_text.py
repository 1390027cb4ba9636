"""The text that a search compares."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.addresses import addresses_in, forms
from herdbook.contacts.model import Contact, ContactObject, ContactPhoneNumber, search_entry
from herdbook.search_text import (
    END,
    WORD_START,
    folded,
    indexed,
    lookups,
    pattern,
    readings,
    searchable,
    searchable_name,
    words,
)

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
        ("Þórsson Ŋuyen Ɖeɖe Əliyev Żółć", "thorsson nuyen dede eliyev zolc"),
        ("O’Brien OʼBrien O´Brien", "o'brien o'brien o'brien"),
        ("Al‑Amin", "al-amin"),
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
    """Spellings that people type for one another are equal."""
    assert folded(text) == expected


@given(text=texts)
def test_folding_twice_changes_nothing(text: str) -> None:
    """Folding twice changes nothing, so queries and stored text meet."""
    assert folded(folded(text)) == folded(text)


@given(text=texts, form=st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_unicode_has_no_forms(text: str, form: str) -> None:
    """A text is found in any normal form."""
    assert folded(unicodedata.normalize(form, text)) == folded(text)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ada Lovelace", ["ada", "lovelace"]),
        ("ada.king@engine.test", ["ada", "king", "engine", "test"]),
        ("O'Neil-Smith", ["o", "neil", "smith"]),
        ("snake_case", ["snake", "case"]),
        ("№5 №5", ["no5", "no5"]),
        ("山田 太郎", ["山田", "田", "太郎", "郎"]),
        ("a\x1fb", ["a", "b"]),
        ("Love\u00adlace Ada\u200bKing\ufeff", ["lovelace", "adaking"]),
        ("... !", []),
        ("", []),
    ],
)
async def test_the_words_of_a_text(text: str, expected: list[str]) -> None:
    """Letters and digits make words, and everything else separates them."""
    assert words(searchable(text)) == expected


@given(text=texts)
def test_only_words_are_marked(text: str) -> None:
    """Each word has a mark before it. There are no other marks, even if the text contains the mark itself."""
    assert searchable(text).count(WORD_START) == len(words(searchable(text)))


@given(text=texts)
def test_marks_are_all_that_is_added(text: str) -> None:
    """A searchable text without its marks is the folded text."""
    assert searchable(text).replace(WORD_START, "") == folded(text).replace(WORD_START, " ").replace(END, " ")


def finds(text: str, query: str) -> bool:
    """Whether a search finds a stored text: by a word of each reading in the index, and then by all of its terms."""
    indexed_words = indexed(text)
    return any(
        all(re.search((pattern(term) or re.escape(term)).replace("[:space:]", "\\s"), text) for term in reading)
        and all(
            any(each.startswith(word) for each in indexed_words for word in some) for term in reading for some in lookups(term)
        )
        for reading in readings(query)
    )


@given(texts=st.lists(texts, min_size=1, max_size=2), handles=texts)
def test_a_name_finds_itself(texts: list[str], handles: str) -> None:
    """Any name, title or address is found by itself if it has a word. Without one, it is stored all the same."""
    stored = searchable_name(*texts) + END + searchable(handles) + END

    for text in (*texts, handles):
        assert finds(stored, text) == any(char.isalnum() for char in folded(text)), text


@given(text=texts, domain=texts)
def test_any_text_may_be_a_number_or_an_address(text: str, domain: str) -> None:
    """Any text can be stored as a phone number, and sought, also if it looks like an address."""
    number = ContactPhoneNumber(text, is_primary=True)
    contact = Contact(object=ContactObject.CONTACT, id="", phone_numbers=(number,), created_at="", updated_at="")
    address = f"{text}@{domain}"

    assert search_entry(contact).text.endswith(END)
    assert forms(address)[0] == address
    assert all("@" in found for found in addresses_in(address))
    assert all(map(all, readings(address)))
