"""Requests that race in the database."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, LiteralString

import httpx

from tests.oauth.conftest import Connections
from tests.waiting import blocked


async def while_locked(
    pool: Connections,
    locking: tuple[LiteralString, *tuple[Any, ...]],
    waiting: str,
    request: Callable[[], Awaitable[httpx.Response]],
) -> list[httpx.Response]:
    """Make a request twice at once, so that both read a row before either writes it; return the answers.

    `locking` is the statement that blocks both, and `waiting` is a part of the statements that wait.
    """
    async with pool.acquire() as connection, asyncio.timeout(60):
        async with connection.transaction():
            await connection.execute(*locking)
            requests = [asyncio.ensure_future(request()) for _ in range(2)]
            while len(await blocked(pool, waiting)) < 2:
                assert not any(each.done() for each in requests)
        return await asyncio.gather(*requests)
