"""Files of separated values: how they are found out, and which are refused."""

import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from herdbook.formats import reading
from herdbook.formats.delimited import records
from herdbook.formats.model import MAX_COLUMNS, Layout, Survey, Unreadable
from herdbook.turns import finished

PEOPLE: Final = "Vorname;Nachname;Ort\nJürgen;Groß;Köln\nAndré;Weiß;Zürich\n"


@pytest.fixture
def surveyed(tmp_path: Path) -> Callable[[bytes | str], Survey]:
    """Return the function that writes a file and surveys it."""

    def survey(content: bytes | str) -> Survey:
        path = tmp_path / "file"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return finished(reading.survey(path))

    return survey


@pytest.mark.parametrize(
    ("encoded", "encoding"),
    [
        (PEOPLE.encode(), "utf-8"),
        (PEOPLE.encode("utf-8-sig"), "utf-8-sig"),
        (PEOPLE.encode("utf-16"), "utf-16"),
        (PEOPLE.encode("utf-16-le"), "utf-16-le"),
        (PEOPLE.encode("utf-16-be"), "utf-16-be"),
        (PEOPLE.encode("utf-32"), "utf-32"),
        (PEOPLE.encode("cp1252"), "cp1252"),
        ("Imię;Nazwisko\nŁukasz;Żółć\nJiří;Dvořák\n".encode("cp1250"), "cp1250"),
        ("Имя;Фамилия\nИван;Петров\n".encode("cp1251"), "cp1251"),
        ("名前;会社\n山田太郎;株式会社\n".encode("cp932"), "cp932"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_the_encoding_is_found_out(surveyed: Callable[[bytes], Survey], encoded: bytes, encoding: str) -> None:
    """The encoding is known by a mark, by its zeros, or guessed from the text, and the text is read by it."""
    found = surveyed(encoded)

    assert found.layout.encoding == encoding
    assert "\ufffd" not in "".join(sample for column in found.columns for sample in column.samples)


@pytest.mark.parametrize(
    ("text", "delimiter", "names"),
    [
        ("a,b\n1,2\n", ",", ["a", "b"]),
        ('a;b\n"1,5";2\n"2,75";3\n', ";", ["a", "b"]),
        ("a\tb c\n1\tx, y\n", "\t", ["a", "b c"]),
        ("a|b\n1|2\n", "|", ["a", "b"]),
        ("sep=;\r\na;b\r\n1;2\r\n", ";", ["a", "b"]),
        ("E-Mail\nada@engine.test\n", ",", ["E-Mail"]),
        ("name,company\nO'Brien,Bob's\nD'Arcy,'tis\n", ",", ["name", "company"]),
        ("Ada,ada@engine.test\nGrace,grace@navy.test\n", ",", ["Column 1", "Column 2"]),
    ],
)
def test_the_dialect_is_found_out(surveyed: Callable[[str], Survey], text: str, delimiter: str, names: Sequence[str]) -> None:
    """Delimiter, header and names of columns are found out."""
    found = surveyed(text)

    assert (found.layout.delimiter, [column.name for column in found.columns]) == (delimiter, names)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"Name,E-Mail\n", "no record"),
        (b"PK\x03\x04" + b"x" * 100, "ZIP archive"),
        (b"%PDF-1.7 and so on", "a PDF"),
        (b"Name,Note\nAda,\0\n", "byte 14 is zero"),
        (b"\0" * 5000, "byte 0 is zero"),
        (b"\0" * 8, "byte 0 is zero"),
        (b"PK\x05\x06" + b"\0" * 18, "byte 4 is zero"),
        ("Name,Note\nAda,\0\n".encode("utf-16-le"), "line 2 has a NUL"),
        (b'Name,Note\nAda,"and so', "within the quotes of the record 2"),
        ("Name,Note\nAda,ü".encode()[:-1], "middle of a character, at byte 15"),
        (("Jürgen,ä\n" * 50).encode() + b"J\xfcrgen,a\n", "byte 551 is not UTF-8, although the rest"),
        (",".join(f"c{n}" for n in range(MAX_COLUMNS + 1)).encode() + b"\n", f"record 1 has {MAX_COLUMNS + 1:,} values"),
        (b"a,b\n1,2\n" + b'"' + b"x,\n" * 60_000, "record 3, which begins at line 3"),
        (b"a,b\n1," + b"x" * 1_100_000, "begins at line 2"),
        ("a,b\n1,ü\n".encode("utf-16")[:-1], "no text in the encoding utf-16"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_cannot_be_read_is_refused(surveyed: Callable[[bytes], Survey], content: bytes, told: str) -> None:
    """A sentence says what is wrong, and where."""
    with pytest.raises(Unreadable) as refused:
        surveyed(content)

    assert told in str(refused.value)


def test_no_sign_but_a_backslash_escapes(surveyed: Callable[[bytes], Survey]) -> None:
    """A sign before a delimiter is part of the value."""
    content = 'id,name,last,text\n1,\u011e3;;=\u013f@[\u010e<\u010e*;W&$C&,* x,"\u00cd,\u00e7\'"\n2,"1,5",".@,",a; b\n'

    assert surveyed(content.encode()).layout.escape == ""
    assert surveyed(b'a,b\n"x \\"quoted\\" y",1\n"z \\", w",2\n').layout.escape == "\\"


def test_random_bytes_are_refused(surveyed: Callable[[bytes], Survey]) -> None:
    """Bytes of no file are no text."""
    with pytest.raises(Unreadable):
        surveyed(os.urandom(10_000))


def test_a_long_line_takes_no_memory(tmp_path: Path) -> None:
    """A large file without a line break is refused, and never read into memory."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        for _ in range(300):
            file.write(b"a" * 1_000_000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(Unreadable):
        finished(reading.survey(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_short_and_blank_rows_are_read(tmp_path: Path) -> None:
    """A row may lack its last values, blank lines count as rows that nothing comes of, and values keep their line breaks."""
    path = tmp_path / "file"
    path.write_text('a,b\n1\n\n"x\ny","say ""hi"""\n')

    found = [*records(path, finished(reading.survey(path)).layout)]

    assert [(record.number, record.values) for record in found] == [(2, ["1"]), (4, ["x\ny", 'say "hi"'])]


def test_other_marks_are_no_quotation_marks(surveyed: Callable[[str], Survey]) -> None:
    """Tildes around a value are a part of it, although no other quotation marks are in the file."""
    assert surveyed("a;b\n~x~;y\n").columns[0].samples == ("~x~",)


def test_other_ends_of_lines_within_the_last_record_end_nothing(surveyed: Callable[[str], Survey]) -> None:
    """A quotation mark behind a line separator of Unicode is a plain one within a value."""
    assert surveyed('a,b\nx\u2028"y,z\n').records == 1


_TEXTS: Final = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), max_size=20)


@given(
    rows=st.lists(st.lists(_TEXTS, min_size=2, max_size=5).filter(any), min_size=1, max_size=5),
    delimiter=st.sampled_from(",;\t|"),
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], delimiter: str) -> None:
    """All values come back from a file that quotes them."""
    path = tmp_path_factory.mktemp("written") / "file"
    lines = (delimiter.join('"' + value.replace('"', '""') + '"' for value in row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="")

    layout = Layout(format="csv", delimiter=delimiter, has_header=False)

    assert [record.values for record in records(path, layout)] == rows
