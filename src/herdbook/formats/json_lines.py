"""Files of JSON objects, one in each line (NDJSON): the records of herdbook's own operations."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from herdbook.formats.encodings import encoding_of
from herdbook.formats.model import MAX_RECORD, Layout, Record, Survey, Unreadable

_STEP: Final = 2000
_MARK: Final = b"\xef\xbb\xbf"
_objects: Final[msgspec.json.Decoder[dict[str, Any]]] = msgspec.json.Decoder(dict[str, Any])


def is_json_lines(path: Path) -> bool:
    """Whether a file begins like an object in JSON."""
    with path.open("rb") as file:
        return file.read(4096).removeprefix(_MARK).lstrip().startswith(b"{")


def survey(path: Path) -> Generator[None, None, Survey]:
    """Read all of a file once, in steps, and return what was found. Refusal: Unreadable."""
    # It refuses a text that ends in the middle of a character by its own words.
    encoding = yield from encoding_of(path)
    if encoding not in ("utf-8", "utf-8-sig"):
        raise Unreadable(f"The file is JSON in the encoding {encoding}. JSON is in UTF-8 (RFC 8259). Save it so.")
    count = 0
    for _ in records(path):
        count += 1
        if count % _STEP == 0:
            yield
    return Survey(layout=Layout(format="ndjson"), columns=(), records=count)


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a file. Refusal: Unreadable, at a line that is no object in JSON."""
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_RECORD):
            number += 1
            if len(line) == MAX_RECORD and not line.endswith(b"\n"):
                raise Unreadable(f"The line {number} has more than {MAX_RECORD:,} bytes. Send one object in each line.")
            text = line.removeprefix(_MARK).strip() if number == 1 else line.strip()
            if not text:
                continue
            try:
                yield Record(number, [_objects.decode(text)])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise Unreadable(f"The line {number} is no object in JSON: {error}. Correct it.") from None
