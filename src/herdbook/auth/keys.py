"""API keys: `sk-apik_<id>.<secret>`. Only a hash of the secret is kept."""

import hashlib
import secrets
import string
import zlib
from typing import Final, NamedTuple
from uuid import UUID

from herdbook import ids

PREFIX: Final = "sk-apik_"
_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH: Final = 32
_CHECKSUM_LENGTH: Final = 6


class NotAKey(ValueError):
    """The text is no key, or a mistyped or truncated one; the message says which."""


class ApiKey(NamedTuple):
    """A key as its holder has it."""

    id: UUID
    secret: str

    def __str__(self) -> str:
        return f"{ids.encoded(PREFIX, self.id)}.{self.secret}"


def new_key() -> ApiKey:
    """Make a key: a new id, 190 random bits, and a checksum that tells a mistyped key from an unknown one."""
    random = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_LENGTH))
    return ApiKey(ids.new_id(), random + _checksum(random))


def read_key(text: str) -> ApiKey:
    """Read a key. NotAKey where it cannot be one."""
    head, dot, secret = text.partition(".")
    key_id = ids.decoded(PREFIX, head)
    if key_id is None or not dot:
        raise NotAKey("This is not an API key. A key looks like `sk-apik_<id>.<secret>`.")
    random = secret[:_RANDOM_LENGTH]
    if len(secret) != _RANDOM_LENGTH + _CHECKSUM_LENGTH or secret[_RANDOM_LENGTH:] != _checksum(random):
        raise NotAKey("This API key is mistyped or cut off: its checksum does not fit. Copy it again.")
    return ApiKey(key_id, secret)


def secret_hash(secret: str) -> bytes:
    """Return what is kept of a secret. It is random enough that a slow hash would protect nothing."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(random: str) -> str:
    number = zlib.crc32(random.encode())
    digits = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
