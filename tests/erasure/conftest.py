"""Fixtures: Alice's workspace with engagements, and an administrator."""

from collections.abc import AsyncGenerator

import pytest_asyncio

from herdbook.auth.scopes import ADMIN
from herdbook.db.pool import Pool, open_pool
from tests.cast import Person
from tests.engagements.conftest import Keys, alice, bob, charlie_keys, keys, workspace_id

__all__ = ["alice", "bob", "charlie_keys", "keys", "workspace_id"]


@pytest_asyncio.fixture
async def admin(keys: Keys) -> Person:
    """An administrator of Alice's workspace."""
    return await keys.holder(ADMIN)


@pytest_asyncio.fixture
async def own_pool(database_url: str) -> AsyncGenerator[Pool]:
    """Connections as the application has them."""
    pool = await open_pool(database_url, 2)
    yield pool
    await pool.close()
