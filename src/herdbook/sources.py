"""The sources of time and of randomness: the system, unless the program is composed with another source."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Protocol


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


_SYSTEM: Final = System()
# Callers find these three in the module at each call, so that a server without another source has no further step.
now: Callable[[], datetime] = _SYSTEM.now
"""Return the time, in UTC."""
id_bytes: Callable[[], bytes] = _SYSTEM.id_bytes
"""Return 16 bytes for an id: the millisecond in six, then ten random ones."""
random_bytes: Callable[[int], bytes] = _SYSTEM.random_bytes
"""Return random bytes, for a secret."""


def use(source: Source) -> None:
    """Take the time and what is random from this source, in the whole process."""
    global now, id_bytes, random_bytes  # a process has one source
    now, id_bytes, random_bytes = source.now, source.id_bytes, source.random_bytes
