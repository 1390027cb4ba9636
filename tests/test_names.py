"""Names of people as calendars, mail programs and telephone systems send them."""

import subprocess
import sys

import pytest

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
    ],
)
def test_a_name_has_two_parts(text: str, first: str, last: str) -> None:
    """Family names may come first, with particles, suffixes, quotation marks or an address."""
    assert person_name(text) == (first, last)


@pytest.mark.parametrize(
    "text", ["ada@x.example", "<ada@x.example>", '"ada@x.example"', "mailto:ada@x.example", "+1 415 555 0100", "''"]
)
def test_what_is_no_name_has_no_parts(text: str) -> None:
    """An address or a number is no name."""
    assert person_name(text) == ("", "")


def test_the_reader_of_names_is_imported_late() -> None:
    """A server starts without the library that reads names, whose import takes a while."""
    loaded = subprocess.check_output([sys.executable, "-c", "import sys, herdbook.app; print(*sys.modules)"], text=True)

    assert "herdbook.names" in loaded.split()
    assert "nameparser" not in loaded.split()
