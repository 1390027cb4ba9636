"""The connections that lists run on: plain ones are planned once, and leave connections to those who write."""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple

import asyncpg
import pytest_asyncio

from herdbook import ids
from herdbook.contacts import store
from herdbook.db.paging import ListRow, PageQuery
from herdbook.db.pool import PagePool, open_pool
from herdbook.db.pool import Pool as LentPool

# As few as a server may have, beside those that plan anew.
_CONNECTIONS = 3


class _Pools(NamedTuple):
    writes: LentPool
    pages: PagePool

    async def page(self, query: PageQuery | None = None) -> list[ListRow]:
        """Read a page of a workspace that is empty."""
        return await store.page(self.pages, ids.new_id(), query or PageQuery())


@pytest_asyncio.fixture
async def pools(database_url: str) -> AsyncGenerator[_Pools]:
    """The connections of a server: one of them plans each statement anew."""
    writes = await open_pool(database_url, _CONNECTIONS)
    pages = await open_pool(database_url, 1, planning_once=writes)
    yield _Pools(writes, pages)
    await pages.close()
    await writes.close()


async def test_a_plain_list_is_planned_once(pools: _Pools) -> None:
    """A list without filters does not wait for a connection that plans anew."""
    async with pools.pages.acquire(), asyncio.timeout(60):
        assert await pools.page() == []


async def test_lists_leave_connections_to_others(pools: _Pools, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """While many lists wait for a table that somebody has locked, somebody else gets a connection."""
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("lock table contact in access exclusive mode")
        lists = [asyncio.create_task(pools.page()) for _ in range(4 * _CONNECTIONS)]
        # Each list has asked for a connection once the others had their turn.
        await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await pools.writes.fetchval("select 1")
        assert not any(each.done() for each in lists)
        await transaction.rollback()
    assert await asyncio.gather(*lists) == [[]] * len(lists)
