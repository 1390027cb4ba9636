"""The sources of time and of randomness: the system, unless the program is composed with another source."""

import os
import time
from datetime import UTC, datetime
from typing import Protocol


class Source(Protocol):
    """Tells the time, and makes what nobody can guess."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        ...

    def id_bytes(self) -> bytes:
        """Return 16 bytes for an id: the millisecond in six, then ten random ones."""
        ...

    def random_bytes(self, count: int) -> bytes:
        """Return random bytes, for a secret."""
        ...


class System:
    """The clock and the randomness of the system."""

    def now(self) -> datetime:
        """Return the time of the system's clock."""
        return datetime.now(UTC)

    def id_bytes(self) -> bytes:
        """Return the millisecond of the system's clock, and random bytes."""
        return (time.time_ns() // 1_000_000).to_bytes(6) + os.urandom(10)

    def random_bytes(self, count: int) -> bytes:
        """Return random bytes of the system."""
        return os.urandom(count)


class _Chosen:
    source: Source = System()


def use(source: Source) -> None:
    """Take the time and what is random from this source, in the whole process."""
    _Chosen.source = source


def now() -> datetime:
    """Return the time, in UTC."""
    return _Chosen.source.now()


def id_bytes() -> bytes:
    """Return 16 bytes for an id: the millisecond in six, then ten random ones."""
    return _Chosen.source.id_bytes()


def random_bytes(count: int) -> bytes:
    """Return random bytes, for a secret."""
    return _Chosen.source.random_bytes(count)
