"""API keys and OAuth tokens: `<prefix><id>.<secret>`. Only a hash of the secret is kept."""

import hashlib
import hmac
import string
import zlib
from typing import Final, NamedTuple
from uuid import UUID

from herdbook import ids, sources

PREFIX: Final = "sk-apik_"
ACCESS_TOKEN_PREFIX: Final = "oat_"  # noqa: S105  # the prefix of a token is no secret
CLIENT_PREFIX: Final = "ocl_"
_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH: Final = 32
_CHECKSUM_LENGTH: Final = 6


class NotAKey(ValueError):
    """The text is no key or token, or a mistyped or truncated one; the message says which of these."""


class Token(NamedTuple):
    """A key or a token as its holder has it; its prefix shows its kind."""

    prefix: str
    id: UUID
    secret: str

    def __str__(self) -> str:
        return f"{ids.encoded(self.prefix, self.id)}.{self.secret}"


class ApiKey(NamedTuple):
    """An API key as its holder has it."""

    id: UUID
    secret: str

    def __str__(self) -> str:
        return str(Token(PREFIX, *self))


def new_key() -> ApiKey:
    """Create an API key with a new id and a new secret."""
    return ApiKey(ids.new_id(), new_secret())


def new_token(prefix: str) -> Token:
    """Create a token with a new id and a new secret."""
    return Token(prefix, ids.new_id(), new_secret())


def new_secret() -> str:
    """Create a secret of 190 random bits and a checksum, which distinguishes a mistyped secret from an unknown one."""
    random = _digits(int.from_bytes(sources.random_bytes(32)), _RANDOM_LENGTH)
    return random + _checksum(random)


def derived_secret(secret: str, salt: bytes) -> str:
    """Return the secret that follows from another one and a random salt: only both together reveal it."""
    random = _digits(int.from_bytes(hmac.digest(secret.encode(), salt, "sha256")), _RANDOM_LENGTH)
    return random + _checksum(random)


def read_key(text: str) -> ApiKey:
    """Parse an API key. Raise NotAKey if the text cannot be one."""
    _, key_id, secret = read_token(text, PREFIX, "API key")
    return ApiKey(key_id, secret)


def read_token(text: str, prefix: str, name: str) -> Token:
    """Parse a token with this prefix; messages call it `name`. Raise NotAKey if the text cannot be one."""
    head, dot, secret = text.partition(".")
    token_id = ids.decoded(prefix, head)
    if token_id is None or not dot:
        raise NotAKey(f"This is not an {name}. An {name} looks like `{prefix}<id>.<secret>`. Copy it again.")
    random = secret[:_RANDOM_LENGTH]
    if len(secret) != _RANDOM_LENGTH + _CHECKSUM_LENGTH or secret[_RANDOM_LENGTH:] != _checksum(random):
        raise NotAKey(f"This {name} is mistyped or cut off: its checksum does not match. Copy it again.")
    return Token(prefix, token_id, secret)


def secret_hash(secret: str) -> bytes:
    """Return the hash of a secret that is stored. The secret is so random that a slow hash would not protect it better."""
    return hashlib.sha256(secret.encode()).digest()


def _checksum(random: str) -> str:
    return _digits(zlib.crc32(random.encode()), _CHECKSUM_LENGTH)


def _digits(number: int, count: int) -> str:
    digits = ""
    for _ in range(count):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
