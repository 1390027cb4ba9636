"""The canonical form of a JSON body: the same for requests that say the same in other words.

Spaces, escapes, the order of members, and `1.0` for `1` make no difference.
"""

from collections.abc import Generator, Iterator
from typing import Final, NamedTuple

import msgspec

# A part up to this size is brought into its form at once, in 25 ms at most. A longer one is taken apart.
_MAX_PART: Final = 262_144
# No valid body has more levels. A longer part that lies deeper stays as it is.
_MAX_DEPTH: Final = 16
# Larger whole numbers are not exact in a float.
_MAX_EXACT: Final = 2**53
_encode: Final = msgspec.json.Encoder(order="sorted").encode
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Part(NamedTuple):
    """A part of the form, and the number of bytes that were read for it."""

    form: bytes
    size: int


def canonical(body: bytes) -> Generator[None, None, bytes]:
    """Return the canonical form of a valid body, in steps."""
    forms: list[bytes] = []
    size = 0
    for part in _parts(body.strip(), _MAX_DEPTH):
        forms.append(part.form)
        size += part.size
        if size >= _MAX_PART:
            size = 0
            yield
    return b"".join(forms)


def _parts(text: bytes, depth: int) -> Iterator[_Part]:
    separator = b""
    try:
        if len(text) <= _MAX_PART or not depth or text[:1] not in (b"{", b"["):
            yield _Part(_encode(_decode(text)), len(text))
        elif text[:1] == b"{":
            yield _Part(b"{", len(text))
            for name, value in sorted(_members(text).items()):
                yield _Part(separator + _encode(name) + b":", 0)
                yield from _parts(bytes(value), depth - 1)
                separator = b","
            yield _Part(b"}", 0)
        else:
            yield _Part(b"[", len(text))
            for item in _items(text):
                yield _Part(separator, 0)
                yield from _parts(bytes(item), depth - 1)
                separator = b","
            yield _Part(b"]", 0)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # Operations of a bulk are looked at later, each for itself.
        yield _Part(text, len(text))


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _MAX_EXACT else number


_decode: Final = msgspec.json.Decoder(float_hook=_number).decode
