"""Identifiers: the 128 bits of a ULID, as a UUID inside and as a prefix and 26 characters of Crockford base32 outside.

The layout follows https://github.com/ulid/spec: 48 bits of milliseconds, then 80 random bits, so identifiers sort by age.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

# Its UUID is a subclass in C, which the database driver returns, too.
from asyncpg.pgproto import pgproto

from herdbook import sources

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PYTHON_BASE_32: Final = b"0123456789abcdefghijklmnopqrstuv"
_PAIRS: Final = [high + low for high in _CROCKFORD for low in _CROCKFORD]
# Lower case and the letters that Crockford leaves out map to a character that `int` refuses, so each id has only one spelling.
_TO_PYTHON: Final = bytes(
    _PYTHON_BASE_32[_CROCKFORD.index(chr(code))] if chr(code) in _CROCKFORD else ord("!") for code in range(256)
)
_LENGTH: Final = 26
_LOW_60_BITS: Final = (1 << 60) - 1

CONTACT: Final = "cnt_"
COMPANY: Final = "cmp_"
USER: Final = "usr_"
TAG: Final = "tag_"
FIELD: Final = "fld_"
ENGAGEMENT: Final = "ngmt_"
TRANSCRIPT_TIMELINE: Final = "tt_"
TRANSCRIPT_COMMENT: Final = "tano_"
NOTE: Final = "note_"
CARD: Final = "card_"
VIEW: Final = "view_"
IMPORT: Final = "imp_"
WORKSPACE: Final = "wrks_"
REQUEST: Final = "rid_"
CREDENTIAL: Final = "apik_"
WEBHOOK_ENDPOINT: Final = "whep_"
EVENT: Final = "evt_"
SIGN_IN_LINK: Final = "link_"


def example(prefix: str, text: str = "01HQXVB4Y9Y0Q6P0QH5GX2CT7T") -> str:
    """Return an identifier for examples."""
    return prefix + text


def form(prefix: str) -> str:
    """Return the form of identifiers of a kind, for messages."""
    return f"`{prefix}` and {_LENGTH} digits and capital letters, as the API returned it"


def new_id() -> UUID:
    """Return a new ULID as a UUID: the current millisecond, then 80 random bits."""
    return pgproto.UUID(sources.id_bytes())


def least_id(time: datetime) -> UUID:
    """Return the least id that can have been made at a time. Ids that were made before it are less."""
    return UUID(int=int(time.timestamp() * 1000) << 80)


def encoded(prefix: str, identifier: UUID) -> str:
    """Return the external form of an identifier, such as `cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T`."""
    number, pairs = identifier.int, _PAIRS
    high, low = number >> 60, number & _LOW_60_BITS
    # A loop would take twice as long, and every request has an id to show.
    return (
        f"{prefix}{pairs[high >> 60]}{pairs[high >> 50 & 1023]}{pairs[high >> 40 & 1023]}{pairs[high >> 30 & 1023]}"
        f"{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}{pairs[high & 1023]}{pairs[low >> 50]}{pairs[low >> 40 & 1023]}"
        f"{pairs[low >> 30 & 1023]}{pairs[low >> 20 & 1023]}{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )


def decoded(prefix: str, text: str) -> UUID | None:
    """Return the identifier in `text`, or None if it has another prefix or is not well-formed."""
    body = text[len(prefix) :]
    if not text.startswith(prefix) or len(body) != _LENGTH or not body.isascii() or body[0] > "7":
        return None
    try:
        return pgproto.UUID(int(body.encode().translate(_TO_PYTHON), 32).to_bytes(16))
    except ValueError:
        return None


def decoded_all(prefix: str, texts: Iterable[str]) -> list[UUID]:
    """Return the identifiers in the texts; skip malformed ones."""
    return [found for text in texts if (found := decoded(prefix, text)) is not None]


# The nil UUID (RFC 9562, section 5.9), which nothing has. A malformed id is looked up as this one and gets the 404 of an
# unknown id. A change that no credential asked for names it as its credential.
NIL: Final = UUID(int=0)
