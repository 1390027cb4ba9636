"""How tests wait."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg


async def until(is_so: Callable[[], bool], seconds: float = 90.0) -> None:
    """Return once the condition holds; raise TimeoutError if it never does."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110  # files and processes set no event
            await asyncio.sleep(0.01)


async def until_so(is_so: Callable[[], Awaitable[bool]], seconds: float = 90.0) -> None:
    """Return once an answer says that the condition holds; raise TimeoutError if none ever does."""
    async with asyncio.timeout(seconds):
        while not await is_so():  # noqa: ASYNC110  # an application in this process may answer without ever waiting
            await asyncio.sleep(0)


async def until_blocked(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Return once a statement waits for another transaction."""
    async with asyncio.timeout(20):
        while not await pool.fetchval("select count(*) from pg_stat_activity where wait_event_type = 'Lock'"):
            pass
