"""The time and the randomness of a workspace."""

import os
import random
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Final

from herdbook.sources import System

_SYSTEM: Final = System()
# Later than this no clock goes, so that whatever expires some years after it is a time, too.
LAST_MOMENT: Final = datetime(3000, 1, 1, tzinfo=UTC)
_MOST_STEP: Final = 1 << 64
_MOST_RANDOM: Final = (1 << 80) - 1


class Clock:
    """A clock that stands still, or that runs from a moment. It is only moved ahead."""

    def __init__(self, at: datetime | None = None, *, is_frozen: bool = False) -> None:
        self._began_at = at, is_frozen
        # The time that the clock was moved, which what lasts for some seconds of a process has to notice.
        self._moved = 0.0
        self.restart()

    def restart(self) -> None:
        """Show the time again with which the clock began."""
        at, is_frozen = self._began_at
        now = _SYSTEM.now()
        self.frozen_at = (at or now) if is_frozen else None
        self.ahead = timedelta() if at is None else at - now

    def now(self) -> datetime:
        """Return the time that the clock shows."""
        return self.frozen_at or _SYSTEM.now() + self.ahead

    def seconds(self) -> float:
        """Return the seconds that the clock shows, for what is measured in them."""
        return self.now().timestamp()

    def age(self) -> float:
        """Return seconds that pass while the clock stands still, too, and with each move of it."""
        return _SYSTEM.now().timestamp() + self._moved

    def move_to(self, at: datetime) -> None:
        """Move the clock ahead. Do nothing if it is there or later."""
        by = at - self.now()
        if by <= timedelta():
            return
        self._moved += by.total_seconds()
        if self.frozen_at is None:
            self.ahead += by
        else:
            self.frozen_at = at

    def freeze(self) -> None:
        """Let the clock stand still."""
        self.frozen_at = self.now()

    def run(self) -> None:
        """Let the clock run from the time that it shows."""
        if self.frozen_at is not None:
            self.ahead, self.frozen_at = self.frozen_at - _SYSTEM.now(), None

    @property
    def as_settings(self) -> tuple[str, str]:
        """The time at which the clock stands, or the interval by which it is ahead: one of both is empty."""
        if self.frozen_at is not None:
            return self.frozen_at.isoformat(), ""
        return "", f"{self.ahead.total_seconds():.6f} seconds" if self.ahead else ""


class Surroundings:
    """The sources of a workspace: a clock, and randomness, which a seed makes the same each time."""

    def __init__(self, clock: Clock, random_seed: object = None) -> None:
        self.clock = clock
        self._random_seed = random_seed
        self.restart()

    def restart(self) -> None:
        """Begin the randomness anew."""
        seed = self._random_seed
        self._random = None if seed is None else random.Random(f"herdbook lab {seed}")  # noqa: S311  # the same each time
        self._last = (0, 0)

    def id_bytes(self) -> bytes:
        """Return the bytes of an id that is greater than all before it, even while the clock stands still."""
        milliseconds = int(self.clock.seconds() * 1000)
        last, tail = self._last
        if milliseconds > last:
            tail = int.from_bytes(self.random_bytes(10)) >> 1
        else:
            milliseconds = last
            tail = min(tail + 1 + int.from_bytes(self.random_bytes(8)) % _MOST_STEP, _MOST_RANDOM)
        self._last = milliseconds, tail
        return milliseconds.to_bytes(6) + tail.to_bytes(10)

    def random_bytes(self, count: int) -> bytes:
        """Return random bytes."""
        return os.urandom(count) if self._random is None else self._random.randbytes(count)

    def jitter(self) -> float:
        """Return a number from 0 to 1."""
        return random.random() if self._random is None else self._random.random()  # noqa: S311  # no secret depends on it


_current: Final[ContextVar[Surroundings | None]] = ContextVar("surroundings", default=None)


@contextmanager
def within(surroundings: Surroundings) -> Generator[None]:
    """Take the time and what is random from these surroundings, in this task and those that it begins."""
    token = _current.set(surroundings)
    try:
        yield
    finally:
        _current.reset(token)


class Surrounding:
    """The source of a server with a lab: each workspace of the lab has its own, and all else is the system's."""

    def now(self) -> datetime:
        """Return the time of the workspace."""
        found = _current.get()
        return _SYSTEM.now() if found is None else found.clock.now().astimezone(UTC)

    def id_bytes(self) -> bytes:
        """Return the bytes of an id of the workspace."""
        found = _current.get()
        return _SYSTEM.id_bytes() if found is None else found.id_bytes()

    def random_bytes(self, count: int) -> bytes:
        """Return random bytes for the workspace."""
        found = _current.get()
        return _SYSTEM.random_bytes(count) if found is None else found.random_bytes(count)
