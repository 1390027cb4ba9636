"""Notifications of moved ledgers to other processes."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest_asyncio

from herdbook import ids
from herdbook.db.pool import open_pool
from herdbook.ledger.notifier import CHANNEL, ChangeNotifier
from tests.ledger.proxy import Proxy, proxy_to


class Heard:
    """Those that were heard of."""

    def __init__(self) -> None:
        self.workspace_ids: set[UUID] = set()
        self.moves = asyncio.Event()

    def __call__(self, *told: object) -> None:
        """Hear a notification."""
        payload = str(told[-1])
        self.workspace_ids |= {UUID(hex=payload[place : place + 32]) for place in range(0, len(payload), 32)}
        self.moves.set()

    async def wait_for(self, workspace_ids: set[UUID]) -> None:
        """Wait until all of these have been heard of."""
        async with asyncio.timeout(60):
            while not workspace_ids <= self.workspace_ids:
                self.moves.clear()
                await self.moves.wait()


@pytest_asyncio.fixture
async def heard(database_url: str) -> AsyncGenerator[Heard]:
    """Listen as a courier does."""
    heard = Heard()
    connection = await asyncpg.connect(database_url)
    await connection.add_listener(CHANNEL, heard)
    yield heard
    await connection.close()


@pytest_asyncio.fixture
async def proxy(database_url: str, tmp_path: Path) -> AsyncGenerator[Proxy]:
    """A proxy between a notifier and PostgreSQL."""
    async with proxy_to(database_url, tmp_path) as proxy:
        yield proxy
        proxy.disarm()


async def test_all_workspaces_are_told_however_many(database_url: str, heard: Heard) -> None:
    """If more workspaces move at once than one notification holds, several tell them all."""
    moved = {ids.new_id() for _ in range(450)}
    pool = await open_pool(database_url, 1)
    notifier = ChangeNotifier(pool)
    notifier.publishes = True
    notifier.notify(moved)
    await heard.wait_for(moved)
    await pool.close()


async def test_a_notification_that_fails_is_sent_again(proxy: Proxy, heard: Heard) -> None:
    """If the connection breaks before a notification is sent, the workspaces are told by the next one."""
    moved = {ids.new_id()}
    pool = await open_pool(proxy.url, 1)
    notifier = ChangeNotifier(pool)
    notifier.publishes = True
    trap = proxy.trap(lambda sql: "pg_notify" in sql)
    polling = asyncio.create_task(notifier.poll())
    notifier.notify(moved)
    caught = await trap
    caught.cut()
    await heard.wait_for(moved)
    polling.cancel()
    await pool.close()
