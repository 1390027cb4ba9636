"""The people of the tests of fields."""

import asyncpg
import httpx
import pytest_asyncio

from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from tests.cast import Person


@pytest_asyncio.fixture
async def owner(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person) -> Person:
    """The administrator of Alice's workspace."""
    return Person(client, alice.workspace_id, await create_key(pool, alice.workspace_id, "Owner", [ADMIN]))
