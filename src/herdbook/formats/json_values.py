"""Files of JSON (RFC 8259) whose objects are not in a line each: lists, answers of the API, and objects over several lines.

They become NDJSON, so that an import reads, shows and counts them like any other file.
"""

import json
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final, TextIO

from herdbook.formats.json_lines import beginning, require_utf_8
from herdbook.formats.model import MAX_RECORD, Layout, Pace, Unreadable

LAYOUT: Final = Layout(format="ndjson")
_STEP: Final = 2000
_READ: Final = 65_536
# As much of the beginning of an answer is looked at as of that of a file.
_HEAD: Final = 4096
# A column of CSV may have a name in brackets, such as `[1]`, which is no list.
_is_list: Final = re.compile(rb'\[\s*(?:[\[\]{"]|-?\d[\d.]*\s*,|(?:true|false|null)\b|\Z)').match
# The members that a list of the API begins with.
_is_answer: Final = re.compile(rb'\{\s*"object"\s*:\s*"list"\s*,\s*"data"\s*:\s*\[').match
_answer: Final = re.compile(r'\{\s*"object"\s*:\s*"list"\s*,\s*"data"\s*:\s*(?=\[)').match
_space: Final = re.compile(r"\s*").match


def _refuse(constant: str) -> None:
    """Refuse a value such as NaN, which Python writes and JSON does not have."""
    raise ValueError(constant)


_decode: Final = json.JSONDecoder(parse_constant=_refuse).raw_decode


def is_json(head: bytes) -> bool:
    """Whether a file with these first bytes has objects in JSON that are not in a line each."""
    head = beginning(head)
    if not head.startswith(b"{"):
        return _is_list(head) is not None
    line, _, rest = head.partition(b"\n")
    return _is_answer(head) is not None or (bool(rest) and not line.rstrip().endswith((b"}", b"},")))


def write_lines(source: Path, target: Path) -> Generator[None, None, None]:
    """Write each object of a file into a line of its own, in steps. Refusal: Unreadable, which names the object at fault."""
    yield from require_utf_8(source)
    pace = Pace(_STEP)
    with source.open(encoding="utf-8-sig", newline="") as read, target.open("wb") as written:
        for number, text in enumerate(_objects(_Text(read)), 1):
            # No string has a line break of its own: JSON writes it as `\n`.
            line = text.replace("\r", " ").replace("\n", " ").encode() + b"\n"
            if len(line) > MAX_RECORD:
                raise Unreadable(f"Object {number:,} has more than {MAX_RECORD:,} bytes. Shorten it, or leave it out.")
            written.write(line)
            if pace.is_over(len(line)):
                yield
        if not written.tell():
            raise Unreadable("The file has no object. Send one with at least one contact or company.")


class _Text:
    """The text of a file, of which little more than one object is in memory."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._line = 1
        self._is_whole = False
        self._more()

    def sign(self) -> str:
        """Return the first character that is no space, and go there; at the end, an empty one. Refusal: Unreadable."""
        # Nobody else has a turn meanwhile.
        for _ in range(MAX_RECORD // _READ):
            self._go_to(_space(self._text, self._at).end())  # pyright: ignore[reportOptionalMemberAccess]  # it matches anything
            if self._at < len(self._text) or self._is_whole:
                return self._text[self._at : self._at + 1]
            self._more()
        raise Unreadable(f"The file has about {MAX_RECORD:,} spaces behind line {self._line:,}. Leave them out.")

    def skip(self) -> None:
        """Go behind one character."""
        self._at += 1

    def is_in_answer(self) -> bool:
        """Go to the list of an answer of the API, if one begins here."""
        while len(self._text) - self._at < _HEAD and not self._is_whole:
            self._more()
        found = _answer(self._text, self._at)
        if found is not None:
            self._go_to(found.end())
        return found is not None

    def skip_rest(self) -> None:
        """Go behind the members of an answer that follow its list."""
        if self.sign() == ",":
            self._text = f"{{{self._text[self._at + 1 :]}"
            self._at = 0
            self.object_text("The end of the answer")
        elif self.sign() == "}":
            self.skip()
        else:
            raise Unreadable(f"An answer of the API does not end in line {self._line:,}. Send the whole answer.")

    def object_text(self, name: str) -> str:
        """Return the text of the object that begins here, and go behind it. Refusal: Unreadable, with this name."""
        if self.sign() != "{":
            raise Unreadable(f"{name}, in line {self._line:,}, is none. Send objects, such as contacts or companies.")
        while True:
            try:
                _, end = _decode(self._text, self._at)
            except RecursionError:
                raise Unreadable(f"{name}, in line {self._line:,}, nests lists and objects too deeply. Send it flat.") from None
            except ValueError as error:
                if not self._is_whole and len(self._text) - self._at <= MAX_RECORD:
                    self._more()
                    continue
                place = error.pos if isinstance(error, json.JSONDecodeError) else self._at
                line = self._line + self._text.count("\n", self._at, place)
                raise Unreadable(
                    f"{name} is no JSON in line {line:,}, does not end, or has more than {MAX_RECORD:,} characters. "
                    "Correct it, or send the whole file."
                ) from None
            text = self._text[self._at : end]
            self._go_to(end)
            return text

    def require(self, number: int) -> None:
        """Go behind the comma after an object of a list, or to the end of the list. Refusal: Unreadable."""
        sign = self.sign()
        if sign == ",":
            self.skip()
        elif sign != "]":
            raise Unreadable(
                f"The list goes on without a comma, or is cut off, behind object {number:,}, in line {self._line:,}. "
                "Correct it, or send the whole file."
            )

    def _go_to(self, place: int) -> None:
        self._line += self._text.count("\n", self._at, place)
        self._at = place

    def _more(self) -> None:
        # An object that goes on is decoded from its beginning again, so each reading is as long as all before it.
        read = self._file.read(max(_READ, len(self._text) - self._at))
        self._text = self._text[self._at :] + read
        self._at = 0
        self._is_whole = not read


def _objects(text: _Text) -> Iterator[str]:
    number = 0
    while text.sign():
        is_answer = text.is_in_answer()
        if text.sign() != "[":
            number += 1
            yield text.object_text(f"Object {number:,}")
            continue
        text.skip()
        while (sign := text.sign()) != "]":
            if not sign:
                raise Unreadable(f"The list is cut off behind object {number:,}. Send the whole file.")
            number += 1
            yield text.object_text(f"Object {number:,}")
            text.require(number)
        text.skip()
        if is_answer:
            text.skip_rest()
