"""Chores: work that a server repeats in the background."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

_log: Final = logging.getLogger("herdbook.app")


class Chore(NamedTuple):
    """Work that is done again a number of seconds after it ended, whether it succeeded or failed.

    The first run comes within `first_within_seconds`, so that it also happens if the server is restarted often.
    """

    every_seconds: float
    act: Callable[[], Awaitable[object]]
    first_within_seconds: float = 30.0

    async def repeat(self) -> None:
        """Do the chore until the task is cancelled."""
        # The delay is random, so that not all chores begin at once.
        first_within = min(self.every_seconds, self.first_within_seconds)
        await asyncio.sleep(random.uniform(0, first_within))  # noqa: S311  # no secret depends on it
        while True:
            await tried(self.act)
            await asyncio.sleep(self.every_seconds)


async def tried(act: Callable[[], Awaitable[object]]) -> None:
    """Act, and log a failure."""
    try:
        await act()
    except Exception:
        _log.exception("a background task failed; it will run again")
