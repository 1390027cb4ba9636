"""Files of objects, one in each line."""

from pathlib import Path

import pytest

from herdbook.formats import reading
from herdbook.formats.model import Unreadable
from herdbook.turns import finished


def test_objects_are_read(tmp_path: Path) -> None:
    """Each line has an object; blank lines have none."""
    path = tmp_path / "file"
    path.write_text('\ufeff{"first_name": "Ada"}\n\n{"first_name": "Grace"}')

    found = finished(reading.survey(path))

    assert (found.layout.format, found.records) == ("ndjson", 2)
    assert [(each.number, each.values) for each in reading.records(path, found.layout)] == [
        (1, [{"first_name": "Ada"}]),
        (3, [{"first_name": "Grace"}]),
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"first_name": "Ada"}\n{"first_name": ', "line 2 ends within its object. Send each object whole"),
        (b'{\n  "first_name": "Ada"\n}\n', "line 1 ends within its object. Send each object whole, in a line of its own"),
        (b'{"first_name": "Ada"},\n', "line 1 is no object in JSON. Send one in each line, without a comma"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1 has lists or objects within each other in too many"),
        (b'{"a": 1e999}', "line 1 has a number that is too large"),
        (b'{"first_name": "Ada"}\n[1]\n', "line 2 is no object in JSON"),
        (b"\n".join(b'{"a%d": 1}' % n for n in range(4097)), "up to line 4097 have 4,097 different members"),
        (b'{"a": "' + b"x" * 1_100_000 + b'"}', "line 1 has more than"),
        ('{"first_name": "Jürgen"}\n'.encode("cp1252"), "JSON is in UTF-8"),
    ],
    ids=["half", "several lines", "comma", "deep", "number", "array", "members", "long", "encoding"],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    """A sentence says what is wrong, and where."""
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(Unreadable) as refused:
        finished(reading.survey(path))
    assert told in str(refused.value)
    assert not any(word in str(refused.value) for word in ("recursion", "truncated", "malformed", "Expected"))
