"""How tests wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def until(is_so: Callable[[], bool], seconds: float = 90.0) -> None:
    """Return once the condition holds; raise TimeoutError if it never does."""
    async with asyncio.timeout(seconds):
        asked = time.monotonic()
        while not is_so():  # files and processes set no event
            await asyncio.sleep(pause(time.monotonic() - asked))
            asked = time.monotonic()


def pause(took: float) -> float:
    """Return how long to wait before a question that took so long is asked again: the answerer needs the processor, too."""
    return min(max(0.01, 4 * took), 0.1)


async def until_so(is_so: Callable[[], Awaitable[bool]], seconds: float = 90.0) -> None:
    """Return once an answer says that the condition holds; raise TimeoutError if none ever does."""
    async with asyncio.timeout(seconds):
        asked = time.monotonic()
        while not await is_so():  # as above
            await asyncio.sleep(pause(time.monotonic() - asked))
            asked = time.monotonic()


async def blocked(statements: Any, part: str = "") -> list[int]:
    """Return the processes of the database whose statements wait for another transaction, and have this part.

    It is asked here alone, because a database of several nodes has to be asked in its own way.
    """
    # In a transaction, what the sessions do would else be as it was at the first look.
    await statements.execute("select pg_stat_clear_snapshot()")
    records = await statements.fetch(
        """
        select pid from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and position($1 in query) > 0
        """,
        part,
    )
    return [record["pid"] for record in records]


async def until_blocked(statements: Any, part: str = "") -> None:
    """Return once a statement that has this part waits for another transaction."""
    async with asyncio.timeout(60):
        while not await blocked(statements, part):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)
