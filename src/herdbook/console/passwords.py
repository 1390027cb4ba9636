"""Passwords of people: argon2id, in threads, and few at a time, because each takes 19 MiB and 20 ms."""

import asyncio
import functools
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MIN_LENGTH: Final = 10
# A longer text is no better password, and anybody may send one.
MAX_LENGTH: Final = 200
# The parameters are the least that OWASP recommends.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_AT_ONCE: Final = asyncio.Semaphore(2)


async def password_hash(password: str) -> str:
    """Return the hash of a password that is stored."""
    async with _AT_ONCE:
        return await asyncio.to_thread(_HASHER.hash, password)


async def is_right(password: str, stored: str | None) -> bool:
    """Whether a password is the one of a stored hash. Without a hash, it takes as long, so that nobody learns who has one."""
    async with _AT_ONCE:
        return await asyncio.to_thread(_verified, password, stored)


def _verified(password: str, stored: str | None) -> bool:
    try:
        return _HASHER.verify(stored or _hash_of_nobody(), password) and stored is not None
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def _hash_of_nobody() -> str:
    return _HASHER.hash("")
