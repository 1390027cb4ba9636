"""The encoding of a text file, found out from its bytes."""

import codecs
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO, Final

from herdbook.formats.model import Unreadable

# Bytes that are looked at before others have their turn.
STEP_BYTES: Final = 262_144
_HEAD_BYTES: Final = 4096
# Lines with other characters than those of ASCII, from which the encoding is guessed.
_SAMPLE_BYTES: Final = 65_536
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_OTHER_FILES: Final = (
    (b"PK\x03\x04", "a ZIP archive, as Excel and LibreOffice write workbooks"),
    (b"\xd0\xcf\x11\xe0", "a workbook of an old Excel"),
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"SQLite format 3", "a database"),
)


def encoding_of(path: Path) -> Generator[None, None, str]:
    """Return the encoding of a text file, in steps of which each reads a limited number of bytes. Refusal: Unreadable."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if not head.strip():
            raise Unreadable("The file is empty. Send one with at least one record.")
        for beginning, what in _OTHER_FILES:
            if head.startswith(beginning):
                raise Unreadable(f"The file is {what}, not text. Save it as CSV, and send that.")
        for mark, encoding in _MARKS:
            if head.startswith(mark):
                return encoding
        if (wide := _wide(head)) is not None:
            return wide
        file.seek(0)
        fault = yield from _fault_in_utf_8(file)
        if fault is None:
            return "utf-8"
        file.seek(0)
        return (yield from _guessed(file, fault))


def _wide(head: bytes) -> str | None:
    """Return UTF-16 with its byte order if every second byte of nearly all characters is zero, or None."""
    pairs = len(head) // 2
    for encoding, zeros, others in (("utf-16-le", head[1::2], head[::2]), ("utf-16-be", head[::2], head[1::2])):
        # A file whose bytes are zero throughout is no text.
        if pairs and zeros.count(0) > 0.7 * pairs and others.count(0) < 0.1 * pairs:
            return encoding
    return None


def _fault_in_utf_8(file: BinaryIO) -> Generator[None, None, int | None]:
    """Return the place of the first byte that is not UTF-8, or None. Refusal: Unreadable, at a zero or an incomplete end."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    place = 0
    while chunk := file.read(STEP_BYTES):
        if (zero := chunk.find(0)) >= 0:
            raise Unreadable(
                f"The byte {place + zero} is zero, which no text has. The file is binary or damaged. Save it as CSV in UTF-8."
            )
        begun, _ = decoder.getstate()
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            return place - len(begun) + error.start
        place += len(chunk)
        yield
    begun, _ = decoder.getstate()
    if begun:
        raise Unreadable(
            f"The file ends in the middle of a character, at byte {place}. A part of it is missing. Send all of it."
        )
    return None


def _guessed(file: BinaryIO, fault: int) -> Generator[None, None, str]:
    # The libraries that find out forms take a while to import, and most servers never need them.
    import chardet  # noqa: PLC0415

    sample = bytearray()
    for lines in _lines_beyond_ascii(file):
        sample += lines
        if len(sample) > _SAMPLE_BYTES:
            break
        yield
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken * 10 <= sum(char > "\x7f" for char in text) - broken:
        raise Unreadable(
            f"The byte {fault} is not UTF-8, although the rest of the file is. Save the file in UTF-8, or correct it there."
        )
    found = chardet.detect(bytes(sample))["encoding"]
    if found is None:
        raise Unreadable(f"The byte {fault} is not UTF-8, and no other encoding fits the file. Save it in UTF-8.")
    return codecs.lookup(found).name


def _lines_beyond_ascii(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines with other characters than those of ASCII, some at a time."""
    while chunk := file.read(STEP_BYTES):
        yield b"".join(line for line in chunk.splitlines(keepends=True) if not line.isascii())
