"""Connections that are lent one by one: the same ones again and again, while nothing happens to them."""

import asyncio
from collections.abc import AsyncGenerator

import asyncpg
import pytest
import pytest_asyncio

from herdbook.db.pool import PagePool, open_pool
from herdbook.db.pool import Pool as LentPool


@pytest_asyncio.fixture
async def lent(database_url: str) -> AsyncGenerator[PagePool]:
    """A pool of two connections."""
    pool = await open_pool(database_url, 2)
    yield pool
    await pool.close()


async def session_of(pool: LentPool) -> int:
    """Return the number of the session that runs the next statement."""
    return await pool.fetchval("select pg_backend_pid()")


async def test_those_who_wait_get_their_connection(lent: PagePool) -> None:
    """More callers than connections all get one."""
    sessions = await asyncio.gather(*(session_of(lent) for _ in range(20)))

    assert len(sessions) == 20
    assert lent.get_idle_size() == lent.get_size() == 2


async def test_a_connection_that_was_cut_is_not_lent(lent: PagePool, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Once it is known that the server has ended a session, another one is opened."""
    cut = await session_of(lent)
    await pool.execute("select pg_terminate_backend($1::int, 5000)", cut)
    # The end has arrived when another round trip is over.
    await pool.execute("select 1")

    assert await session_of(lent) != cut


async def test_no_connection_to_a_demoted_server_is_lent(lent: PagePool) -> None:
    """Once a server takes no writes, the connections that others had meanwhile are not lent again either."""
    async with lent.acquire() as reading:
        session = await reading.fetchval("select pg_backend_pid()")
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            async with lent.acquire() as writing:
                await writing.execute("begin read only; create table herd (name text)")

    sessions = await asyncio.gather(*(session_of(lent) for _ in range(4)))

    assert session not in sessions
    assert lent.get_idle_size() == lent.get_size() == 2


async def test_lists_leave_a_demoted_server(lent: PagePool, database_url: str) -> None:
    """Nothing that lists do is refused there, so their connections go once a write is: free ones, and those in use."""
    pages = await open_pool(database_url, 2, planning_once=lent)
    try:
        former = {*await asyncio.gather(*(session_of(pages) for _ in range(4)))}
        async with pages.acquire():
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await lent.execute("begin read only; create table herd (name text)")
        sessions = {*await asyncio.gather(*(session_of(pages) for _ in range(4)))}
    finally:
        await pages.close()

    assert len(former) == len(sessions) == 2
    assert former.isdisjoint(sessions)
