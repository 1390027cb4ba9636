"""Files of JSON whose objects are not in a line each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from herdbook.formats.json_values import is_json, write_lines
from herdbook.formats.model import Unreadable

Lines = Callable[[bytes], list[Any]]

_ADA: Final = {"first_name": "Ada", "tags": ["one", {"a": "[}"}], "note": "a\nb\\"}
_ALL: Final[list[Any]] = [_ADA, {"first_name": "Ängström"}, {}]
_ANSWER: Final = {"object": "list", "data": _ALL, "has_more": True, "next_cursor": "abc"}


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """Return the objects of the lines that a file of JSON becomes."""

    def written(content: bytes) -> list[Any]:
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_bytes(content)
        assert is_json(content[:4096])
        for _ in write_lines(source, target):
            pass
        return [json.loads(line) for line in target.read_bytes().splitlines()]

    return written


@pytest.mark.parametrize(
    ("content", "objects"),
    [
        (json.dumps(_ALL).encode(), _ALL),
        (json.dumps(_ALL, indent=2, ensure_ascii=False).encode(), _ALL),
        (b"\xef\xbb\xbf" + json.dumps(_ALL, indent="\t").replace("\n", "\r\n").encode() + b"\r\n", _ALL),
        (json.dumps(_ANSWER).encode(), _ALL),
        (json.dumps(_ANSWER, indent=4).encode(), _ALL),
        (json.dumps(_ANSWER).encode() + b"\n" + json.dumps({**_ANSWER, "data": [_ADA]}).encode(), [*_ALL, _ADA]),
        (json.dumps(_ALL).encode() * 2, _ALL * 2),
        (b"\n".join(json.dumps(each, indent=2).encode() for each in (_ADA, _ADA)), [_ADA, _ADA]),
        (
            b'[{"note": "' + b"x" * 200_000 + b'"}, {"a": "' + b"y" * 65_536 + b'"}]',
            [{"note": "x" * 200_000}, {"a": "y" * 65_536}],
        ),
        (b"[" + b" " * 200_000 + b"{}" + b"\n" * 200_000 + b"]", [_ALL[2]]),
    ],
    ids=["list", "indented", "marked", "answer", "indented answer", "answers", "lists", "objects", "long", "spaces"],
)
def test_each_object_becomes_a_line(lines: Lines, content: bytes, objects: list[Any]) -> None:
    """No object is lost, wherever it begins and ends."""
    assert lines(content) == objects


@pytest.mark.parametrize("head", range(0, 40, 3))
def test_an_answer_is_told_wherever_it_begins(lines: Lines, head: int) -> None:
    """The file is read in parts, and the beginning of an answer may be in two of them."""
    first = json.dumps({**_ANSWER, "data": [{"a": ""}]})
    padded = json.dumps({**_ANSWER, "data": [{"a": "x" * (65_536 - len(first) - head)}]})

    found = lines(padded.encode() + json.dumps(_ANSWER).encode())

    assert found[1:] == _ALL


def test_a_number_stays_as_it_is(tmp_path: Path) -> None:
    """The text of an object is taken over, not its values."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b'[{"a": 1.10000000000000000001, "b": 12345678901234567890123}]')

    for _ in write_lines(source, target):
        pass

    assert target.read_bytes() == b'{"a": 1.10000000000000000001, "b": 12345678901234567890123}\n'


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'[{"a": 1}', "behind object 1, in line 1"),
        (b'[{"a": 1},\n', "The list is cut off behind object 1"),
        (b"[", "The list is cut off behind object 0"),
        (b'[{"a": NaN}]', "Object 1 is no JSON in line 1"),
        (b'[{"a": 1},' + b" " * 1_200_000 + b"{}]", "spaces behind line 1"),
        (b'[{"a": "' + "é".encode() * 700_000 + b'"}]', "Object 1 has more than 1,048,576 bytes"),
        (b'[{"a": 1},\n{"b": "c', "Object 2 is no JSON in line 2, does not end"),
        (b'[{"a": 1}\n{"b": 2}]', "without a comma"),
        (b'[{"a": 1}, 2]', "Object 2, in line 1, is none"),
        (b'[["a", "b"]]', "Object 1, in line 1, is none"),
        (b'["a"]', "Object 1, in line 1, is none"),
        (b'[{"a":\n nul}]', "Object 1 is no JSON in line 2"),
        (b'[{"a": "\t"}]', "Object 1 is no JSON"),
        (b"[" + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]", "too deeply"),
        (b'[{"a": "' + b"x" * 1_200_000 + b'"}]', "more than 1,048,576"),
        (b'[{"a": ' + b"1" * 5000 + b"}]", "Object 1 is no JSON"),
        (b'{"object": "list", "data": [{}]', "does not end in line 1"),
        (b'{"object": "list", "data": [{}], "has_more"', "The end of the answer is no JSON"),
        ('[{"a": "ä"}]'.encode("utf-16"), "in the encoding utf-16"),
        ('[{"a": "ä"}]'.encode("utf-16-le"), "in the encoding utf-16"),
        ('[{"a": "äöü, eine Straße"}]'.encode("latin-1"), "JSON is in UTF-8"),
        (b'{\n"object": "list", "data": []}', "The file has no object"),
        (b"[]", "The file has no object"),
        (b"[1, 2]", "Object 1, in line 1, is none"),
        (b'[{"a": 1}] and so on', "Object 2, in line 1, is none"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_what_is_no_json_is_refused(lines: Lines, content: bytes, told: str) -> None:
    """A sentence says what is wrong, and where."""
    with pytest.raises(Unreadable) as refused:
        lines(content)

    assert told in str(refused.value)


@pytest.mark.parametrize(
    "content", [b'{"a": 1}\n{"b": 2}\n', b'{"a": 1},\n{"b": 2}', b'{"a": 1}', b'{"a": 1', b"Name,E-mail\n", b"[Name],b\n", b""]
)
def test_what_is_in_lines_or_no_json_stays(content: bytes) -> None:
    """NDJSON and other files are read as they are."""
    assert not is_json(content)
