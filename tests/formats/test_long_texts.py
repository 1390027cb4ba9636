"""Texts that are made to take long: the time to read one grows with its length, and not with the square of that."""

import io
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from herdbook.formats import card_table, reading
from herdbook.formats.card_content import content_of
from herdbook.formats.cards import Card, read_cards
from herdbook.formats.guards import text_of
from herdbook.formats.model import Layout, Record
from herdbook.importing.model import MappedColumn, Mapping
from herdbook.importing.preparing import Preparer
from herdbook.turns import finished

# A file that takes a second where the time grows with the length takes hours otherwise.
_SECONDS: Final = 90
_CELL: Final = 131_000
_CARD: Final = 4_000_000


def _prepare(target: str, text: str, rows: int = 30) -> None:
    preparer = Preparer(Mapping(columns=(MappedColumn(to=target),)), {}, "GB")
    for number in range(rows):
        preparer.prepared(Record(number, [text]))


def _spaces_between_tags(_: Path) -> None:
    _prepare("tags", "a" + " " * _CELL + "b")


def _spaces_between_quoted_tags(_: Path) -> None:
    _prepare("tags", '"a"' + " " * _CELL + "b")


def _spaces_between_addresses(_: Path) -> None:
    _prepare("email", "a" + " " * _CELL + "b")


def _spaces_between_domains(_: Path) -> None:
    _prepare("domain", "a" + " " * _CELL + "b")


def _brackets_in_a_name(_: Path) -> None:
    _prepare("full_name", "(" * (_CELL // 2) + ")" * (_CELL // 2))


def _quotation_marks(_: Path) -> None:
    for _number in range(300):
        text_of('"' * _CELL)


def _dots_in_a_header(folder: Path) -> None:
    path = folder / "file"
    path.write_text("a@" + ".a" * (_CELL // 2 - 10) + " \n1\n")
    finished(reading.survey(path))


def _card(line: str, version: str = "3.0") -> None:
    content = f"BEGIN:VCARD\nVERSION:{version}\nFN:Ada\n{line}\nEND:VCARD\n".encode()
    for each in read_cards(io.BufferedReader(io.BytesIO(content))):  # type: ignore[arg-type]  # it is raw enough
        if isinstance(each, Card):
            content_of(each.properties)


def _parameter(_: Path) -> None:
    _card(f'X-A;B="{"x" * _CARD}":1')


def _parameters(_: Path) -> None:
    _card(f"X-A{';B' * (_CARD // 2)}:1")


def _lines_of_a_property(_: Path) -> None:
    _card("NOTE" + "x" * (_CARD // 2) + "\n =" * (_CARD // 6), "2.1")


def _link(_: Path) -> None:
    _card("URL:https://a" + ".a" * (_CARD // 2 - 20) + " ")


def _spaces_in_a_card(folder: Path) -> None:
    path = folder / "file"
    path.write_text("BEGIN:VCARD\nVERSION:3.0\nFN:Ada\nX-A:a" + " " * 500_000 + "b\nEND:VCARD\n")
    finished(card_table.write_table(path, folder / "table"))


@pytest.mark.parametrize(
    "read",
    [
        _spaces_between_tags,
        _spaces_between_quoted_tags,
        _spaces_between_addresses,
        _spaces_between_domains,
        _brackets_in_a_name,
        _quotation_marks,
        _dots_in_a_header,
        _parameter,
        _parameters,
        _lines_of_a_property,
        _link,
        _spaces_in_a_card,
    ],
)
def test_a_long_text_does_not_take_long(tmp_path: Path, read: Callable[[Path], None]) -> None:
    """It is read, or refused, before somebody notices."""
    process = multiprocessing.get_context("spawn").Process(target=read, args=(tmp_path,))
    process.start()
    process.join(_SECONDS)
    process.kill()
    process.join()

    assert process.exitcode == 0


def test_spaces_of_a_card_are_kept(tmp_path: Path) -> None:
    """A card that is cut into cells between two spaces comes out of them as it was."""
    text = "a" + " " * 250_000 + "b "
    path = tmp_path / "file"
    path.write_text(f"BEGIN:VCARD\nVERSION:3.0\nFN:Ada\nX-A:{text}\nEND:VCARD\n")
    finished(card_table.write_table(path, tmp_path / "table"))
    found = finished(reading.survey(tmp_path / "table", card_table.LAYOUT))
    columns = tuple(MappedColumn(to="card" if each.name.startswith("card") else "ignore") for each in found.columns)
    preparer = Preparer(Mapping(columns=(MappedColumn(to="first_name"), *columns[1:])), {}, None)

    (row,) = map(preparer.prepared, reading.records(tmp_path / "table", found.layout))

    assert [(each.name, each.value) for each in row.card] == [("FN", "Ada"), ("X-A", text)]


_LONG: Final = "x" * 100_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("csv", "a,b\n" + f"1,{_LONG}\n" * 50),
        ("ndjson", f'{{"a":"{_LONG}"}}\n' * 50),
        ("vcard", f"BEGIN:VCARD\nVERSION:3.0\nFN:Ada\nX-A:{_LONG}\nEND:VCARD\n" * 50),
    ],
)
def test_others_have_their_turn_between_long_records(tmp_path: Path, name: str, content: str) -> None:
    """A step reads few records if they are long."""
    path = tmp_path / "file"
    path.write_text(content)
    if name == "vcard":
        steps = sum(1 for _ in card_table.write_table(path, tmp_path / "table"))
    else:
        # All of the file is looked at once for its encoding.
        layout = Layout(format="csv") if name == "csv" else None
        steps = sum(1 for _ in reading.survey(path, layout)) - (0 if layout else len(content) // 262_144 + 1)

    assert steps >= 10
