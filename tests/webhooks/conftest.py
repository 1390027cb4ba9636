"""Fixtures: Alice as her workspace's administrator, and endpoints there. No courier runs beside the application of these tests.

The `office` fixture has an application and a database of its own, and a courier that the test drives.
"""

from collections.abc import AsyncGenerator
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.auth.store import create_key
from tests.cast import Person
from tests.db.conftest import database_on
from tests.webhooks.endpoints import WEBHOOKS, DeliveryTables, Endpoint
from tests.webhooks.receiver import Receiver, receiving
from tests.webhooks.webhook_app import WebhookApp, webhook_app_on


@pytest_asyncio.fixture
async def alice(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Person:
    """Alice, the administrator of her workspace."""
    return Person(client, workspace_id, await create_key(pool, workspace_id, "Alice", [ADMIN]))


@pytest_asyncio.fixture
async def bob(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Person:
    """Bob, who may do everything in Alice's workspace that does not require an administrator."""
    return Person(client, workspace_id, await create_key(pool, workspace_id, "Bob", sorted(SCOPES.keys() - {ADMIN})))


@pytest_asyncio.fixture
async def endpoint(alice: Person) -> Endpoint:
    """An endpoint in Alice's workspace that receives all event types."""
    return Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1:9000/webhooks"}))


@pytest.fixture
def delivery_tables(pool: "asyncpg.Pool[asyncpg.Record]") -> DeliveryTables:
    """The courier's tables, for tests that write them."""
    return DeliveryTables(pool)


@pytest_asyncio.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    """A server that receives events."""
    async with receiving() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module")
async def office(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[WebhookApp]:
    """An office for the tests of a file."""
    async with database_on(database_url) as url, webhook_app_on(url, tmp_path_factory.mktemp("office")) as office:
        yield office


@pytest_asyncio.fixture
async def post(office: WebhookApp) -> AsyncGenerator[WebhookApp]:
    """The office with a new courier, and without endpoints of other tests."""
    office.courier = office.new_courier()
    yield office
    await office.close_all()


@pytest_asyncio.fixture
async def owner(post: WebhookApp) -> Person:
    """The administrator of a new workspace."""
    return await post.open_workspace()
