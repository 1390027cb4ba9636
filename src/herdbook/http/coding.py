"""Content codings of bodies (RFC 9110, section 8.4): gzip and deflate, unpacked in steps and up to a limit."""

import zlib
from collections.abc import Callable, Generator
from typing import Any, Final

from herdbook.errors import TooLarge, UnsupportedCoding

CODINGS: Final = "gzip, deflate, identity"
# Each step unpacks this much, which takes a millisecond.
_STEP_BYTES: Final = 262_144
_READ_BYTES: Final = 16_384
_GZIP: Final = 16 + zlib.MAX_WBITS


def coding_of(header: bytes) -> str | None:
    """Return the coding to undo, `gzip` or `deflate`, or None if there is none. Refusal: UnsupportedCoding."""
    declared = header.decode("latin-1")
    named = [name for part in declared.split(",") if (name := part.strip().lower()) not in ("", "identity")]
    if not named:
        return None
    if named in (["gzip"], ["x-gzip"]):
        return "gzip"
    if named == ["deflate"]:
        return "deflate"
    raise UnsupportedCoding(declared)


def unpacked(coding: str, body: bytes, limit: int, count: Callable[[int], None]) -> Generator[None, None, bytes]:
    """Unpack a body in steps, and count the bytes of each. Refusals: TooLarge, UnsupportedCoding, and those of the count."""
    parts: list[bytes] = []
    size = place = 0
    unread = b""
    unpacker = _unpacker(coding, body)
    while not unpacker.eof:
        if not unread:
            unread = body[place : place + _READ_BYTES]
            place += _READ_BYTES
        try:
            part = unpacker.decompress(unread, _STEP_BYTES)
        except zlib.error:
            raise UnsupportedCoding(coding, is_broken=True) from None
        unread = unpacker.unconsumed_tail
        if not (part or unread or unpacker.eof or place < len(body)):
            raise UnsupportedCoding(coding, is_broken=True)
        size += len(part)
        if size > limit:
            raise TooLarge(limit)
        count(len(part))
        parts.append(part)
        if unpacker.eof and (unpacker.unused_data or place < len(body)):
            # Several gzip files in a row are one (RFC 1952, section 2.2), and zeros may fill the last block of a tape.
            unread, place = (unpacker.unused_data + body[place:]).lstrip(b"\0"), len(body)
            if unread:
                unpacker = _unpacker(coding, body)
        yield
    return b"".join(parts)


def _unpacker(coding: str, body: bytes) -> Any:
    if coding == "gzip":
        return zlib.decompressobj(_GZIP)
    # Some clients leave out the frame of zlib around what is deflated.
    is_framed = len(body) > 1 and body[0] & 15 == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if is_framed else -zlib.MAX_WBITS)
