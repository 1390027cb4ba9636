"""Files of JSON objects, one in each line (NDJSON): the records of herdbook's own operations."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from herdbook.formats.encodings import encoding_of
from herdbook.formats.model import MAX_COLUMNS, MAX_RECORD, MAX_SAMPLE, Layout, Pace, Record, Survey, Unreadable

_STEP: Final = 2000
_MARK: Final = b"\xef\xbb\xbf"
_MARKS: Final = (_MARK, b"\xff\xfe", b"\xfe\xff")
_objects: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])


def is_json_lines(path: Path) -> bool:
    """Whether a file begins like an object in JSON."""
    with path.open("rb") as file:
        return beginning(file.read(4096)).startswith(b"{")


def beginning(head: bytes) -> bytes:
    """Return what tells JSON among the first bytes of a file, in any encoding that has the letters of ASCII."""
    for mark in _MARKS:
        head = head.removeprefix(mark)
    return head.replace(b"\0", b"").lstrip()


def require_utf_8(path: Path) -> Generator[None, None, None]:
    """Read all of a file once, in steps, to see that it is in UTF-8. Refusal: Unreadable."""
    # It refuses a text that ends in the middle of a character by its own words.
    encoding = yield from encoding_of(path)
    if encoding not in ("utf-8", "utf-8-sig"):
        raise Unreadable(f"The file is JSON in the encoding {encoding}. JSON is in UTF-8 (RFC 8259). Save it so.")


def survey(path: Path) -> Generator[None, None, Survey]:
    """Read all of a file once, in steps, and return what was found. Refusal: Unreadable."""
    yield from require_utf_8(path)
    count = 0
    members: dict[str, None] = {}
    pace = Pace(_STEP)
    for number, text in _lines(path):
        count += 1
        members |= dict.fromkeys(_shown(name) for name, value in _decoded(number, text).items() if value)
        if len(members) > MAX_COLUMNS:
            raise Unreadable(
                f"The objects up to line {number} have {len(members):,} different members. {MAX_COLUMNS:,} is the limit."
            )
        if pace.is_over(len(text)):
            yield
    return Survey(layout=Layout(format="ndjson"), columns=(), records=count, members=tuple(members))


def _shown(name: str) -> str:
    """Return the name of a member as it is told of. PostgreSQL has no NUL in a text."""
    return name[:MAX_SAMPLE].replace("\0", "")


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a file. Refusal: Unreadable, at a line that is no object in JSON."""
    for number, text in _lines(path):
        yield Record(number, [_decoded(number, text)])


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file that have anything, with their numbers. Refusal: Unreadable, at one that is too long."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_RECORD):
            number += 1
            if len(line) == MAX_RECORD and not line.endswith(b"\n"):
                raise Unreadable(f"The line {number} has more than {MAX_RECORD:,} bytes. Send one object in each line.")
            text = line.removeprefix(_MARK).strip() if number == 1 else line.strip()
            if text:
                yield number, text


def _decoded(number: int, text: bytes) -> dict[str, Any]:
    """Return the object of a line. Refusal: Unreadable."""
    is_object = text.startswith(b"{")
    try:
        return _objects.decode(text)
    except RecursionError:
        reason = "has lists or objects within each other in too many levels. A contact or a company has few"
    except msgspec.ValidationError:
        reason = "has a number that is too large" if is_object else "is no object in JSON. Send `{...}` in each line"
    except (msgspec.DecodeError, UnicodeDecodeError):
        if is_object and not text.endswith((b"}", b"},")):
            reason = "ends within its object. Send each object whole, in a line of its own, as `jq -c .` writes it"
        else:
            reason = "is no object in JSON. Send one in each line, without a comma behind it, as `jq -c .` writes it"
    raise Unreadable(f"The line {number} {reason}.")
