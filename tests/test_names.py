"""Names of people as calendars, mail programs and telephone systems send them."""

import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook import names
from herdbook.names import person_name


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("Ada Lovelace", "Ada", "Lovelace"),
        ("Lovelace, Ada", "Ada", "Lovelace"),
        ("Lovelace,Ada", "Ada", "Lovelace"),
        ('"Ada Lovelace"', "Ada", "Lovelace"),
        ("'Lovelace, Ada'", "Ada", "Lovelace"),
        ("“Lovelace, Ada”", "Ada", "Lovelace"),
        ('"Lovelace, Ada" <ada@x.example>', "Ada", "Lovelace"),
        ("Ada Lovelace (ada@x.example)", "Ada", "Lovelace"),
        ("Ada", "Ada", ""),
        ("Ada King Lovelace", "Ada", "King Lovelace"),
        ("Lovelace, Ada Augusta", "Ada Augusta", "Lovelace"),
        ("O'Brien, Pat", "Pat", "O'Brien"),
        ("Ludwig van Beethoven", "Ludwig", "van Beethoven"),
        ("von der Leyen, Ursula", "Ursula", "von der Leyen"),
        ("de la Cruz, Maria", "Maria", "de la Cruz"),
        ("Dr. Martin Luther King Jr.", "Martin", "Luther King Jr."),
        ("Smith Jr., John", "John", "Smith Jr."),
        ("John Smith III", "John", "Smith III"),
        ("田中 明", "明", "田中"),
        ("Prince", "Prince", ""),
        ("\u200bAda  Lovelace \u3164", "Ada", "Lovelace"),
        # Quotation marks around a part, or sent as they are escaped
        ('"Ada" Lovelace', "Ada", "Lovelace"),
        ("'Lovelace', 'Ada'", "Ada", "Lovelace"),
        ("‹Ada Lovelace›", "Ada", "Lovelace"),
        ("「Ada Lovelace」", "Ada", "Lovelace"),
        ('\\"Ada Lovelace\\"', "Ada", "Lovelace"),
        ("Lovelace\\, Ada", "Ada", "Lovelace"),
        ('Ada "Countess" Lovelace', "Ada", "Lovelace"),
        # Remarks
        ("'Lovelace, Ada' via Support", "Ada", "Lovelace"),
        ("'Ada Lovelace via Google Docs'", "Ada", "Lovelace"),
        ("Maria Via", "Maria", "Via"),
        ('"Ada Lovelace" (Engine)', "Ada", "Lovelace"),
        ("Ada Lovelace [External]", "Ada", "Lovelace"),
        ("[EXT] Lovelace, Ada (she/her)", "Ada", "Lovelace"),
        ("Ada Lovelace <External>", "Ada", "Lovelace"),
        ("Ada Lovelace \uff08外部\uff09", "Ada", "Lovelace"),
        ("(Ada Lovelace)", "Ada", "Lovelace"),
        ("ada@x.example (Ada Lovelace)", "Ada", "Lovelace"),
        ("+44 20 7946 0958 (Ada Lovelace)", "Ada", "Lovelace"),
        # Other commas, and nothing or a company behind them
        ("Lovelace,", "Lovelace", ""),
        (", Ada", "Ada", ""),
        ("Lovelace; Ada", "Ada", "Lovelace"),
        ("Lovelace、Ada", "Ada", "Lovelace"),
        ("Lovelace\uff0cAda", "Ada", "Lovelace"),
        ("Ada Lovelace, Acme Inc.", "Ada", "Lovelace"),
        ("Lovelace, Ada, Acme & Sons", "Ada", "Lovelace"),
        ("Ada Lovelace, Acme GmbH", "Ada", "Lovelace"),
        ("Ada Lovelace, PhD", "Ada", "Lovelace PhD"),
        ("Lovelace, Pty", "Pty", "Lovelace"),
        # The family name last, in scripts that put it first
        ("小龙 李", "小龙", "李"),
        ("李 小龙", "小龙", "李"),
        ("철수 김", "철수", "김"),
        ("欧阳 徐", "徐", "欧阳"),
        ("남궁 민", "민", "남궁"),
        # Titles
        ("Queen Latifah", "Queen", "Latifah"),
        ("Judge Judy", "Judge", "Judy"),
        ("Lord Byron", "Lord", "Byron"),
        ("Judge Judith Sheindlin", "Judith", "Sheindlin"),
        ("Sacha Baron Cohen", "Sacha", "Baron Cohen"),
        ("Mrs Lovelace", "", "Lovelace"),
    ],
)
def test_a_name_has_two_parts(text: str, first: str, last: str) -> None:
    """Family names may come first, with particles, suffixes, quotation marks or an address."""
    assert person_name(text) == (first, last)


@pytest.mark.parametrize(
    "text",
    [
        "ada@x.example",
        "<ada@x.example>",
        '"ada@x.example"',
        "mailto:ada@x.example",
        '"q q"@x.example',
        "+1 415 555 0100",
        "tel:+1-415-555-0100;ext=ada",
        "sip:ada",
        "<sip:ada@pbx.example>",
        "''",
        "()",
        ", ;",
        "[ ( ) ]",
    ],
)
def test_what_is_no_name_has_no_parts(text: str) -> None:
    """An address or a number is no name."""
    assert person_name(text) == ("", "")


@given(
    text=st.text()
    | st.lists(st.sampled_from(["Ada", "Lord", "李", "(", ")", "<", ">", '"', "'", ",", "\\\\", " via ", " "])).map("".join)
)
def test_any_text_may_be_a_name(text: str) -> None:
    """Any text has two parts without spaces around them."""
    assert all(part == part.strip() for part in person_name(text))


_LETTERS = "abcdefghijklmnopqrstuvwxyzßàéèñöøüåç"
_WORD = (
    st.text(_LETTERS, min_size=2, max_size=9)
    | st.sampled_from(sorted(names.words_with_meaning()))
    | st.builds(str.__add__, st.text("abcdeimnor", min_size=1, max_size=5), st.sampled_from(["ovich", "ovna", "oglu", "enko"]))
)


@given(first=_WORD.map(str.capitalize), last=_WORD.map(str.capitalize))
def test_two_plain_words_are_read_as_the_reader_of_names_does(first: str, last: str) -> None:
    """Names that are read without it have the same parts."""
    text = f"{first} {last}"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(names, "_TWO_WORDS", re.compile("(?!)").fullmatch)
        read = names.person_name.__wrapped__(text)

    assert names.person_name.__wrapped__(text) == read


@given(address=st.emails() | st.just('"q \\" q"@x.example'))
def test_an_address_is_never_a_name(address: str) -> None:
    """A participant whose name is the address has no name."""
    assert person_name(address) == ("", "")


def test_the_reader_of_names_is_imported_late() -> None:
    """A server starts without the library that reads names, whose import takes a while."""
    loaded = subprocess.check_output([sys.executable, "-c", "import sys, herdbook.app; print(*sys.modules)"], text=True)

    assert "herdbook.names" in loaded.split()
    assert "nameparser" not in loaded.split()
