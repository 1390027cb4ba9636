"""The canonical form of a JSON body: the same for requests that differ only in spaces and in the order of members."""

from collections.abc import Generator, Iterator
from typing import Final

import msgspec

# A part up to this size is brought into its form at once, in 25 ms at most. An item of a list that is larger stays as it is.
_MAX_PART: Final = 262_144
# The body, its members, and theirs.
_MAX_DEPTH: Final = 3
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def canonical(body: bytes) -> Generator[None, None, bytes]:
    """Return the canonical form of a valid body, in steps."""
    parts: list[bytes] = []
    size = 0
    for part in _parts(body.strip(), _MAX_DEPTH):
        parts.append(part)
        size += len(part)
        if size >= _MAX_PART:
            size = 0
            yield
    return b"".join(parts)


def _parts(text: bytes, depth: int) -> Iterator[bytes]:
    if len(text) <= _MAX_PART:
        yield _form(text)
    elif depth and text[:1] == b"{":
        yield b"{"
        for name, value in sorted(_members(text).items()):
            yield _encode(name) + b":"
            yield from _parts(bytes(value), depth - 1)
            yield b","
        yield b"}"
    elif depth and text[:1] == b"[":
        yield b"["
        for item in _items(text):
            yield from _parts(bytes(item), 0)
            yield b","
        yield b"]"
    else:
        yield text


def _form(text: bytes) -> bytes:
    try:
        return _encode(msgspec.json.decode(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Operations of a bulk are looked at later, each for itself.
        return text
