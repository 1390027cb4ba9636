"""An office for delivery tests: an application on its own database, and a courier whose clock the test sets."""

import asyncio
import random
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx

from herdbook import ids
from herdbook.app import Herdbook
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, create_workspace
from herdbook.db.pool import Pool, open_pool
from herdbook.first_start import prepare
from herdbook.ledger.ledger import Ledger
from herdbook.outgoing import Targets
from herdbook.settings import Settings
from herdbook.webhooks.courier import Courier
from herdbook.webhooks.delivery import DeliveryContext
from herdbook.webhooks.sender import Sender
from tests.cast import Json, Person

WEBHOOKS = "/api/herdbook/webhooks"


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2030, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def go(self, time: timedelta) -> None:
        """Advance the clock."""
        self.now += time


class WebhookApp:
    """The office: a database, a client of the application, and a courier."""

    def __init__(self, pool: Pool, ledger: Ledger, client: httpx.AsyncClient) -> None:
        self.pool = pool
        self.client = client
        self.clock = Clock()
        self._ledger = ledger
        self.courier = self.new_courier()

    def new_courier(self, sender: Sender | None = None, store_seconds: float = 0.05) -> Courier:
        """Return another courier, as another process would have it."""
        context = DeliveryContext(
            self.pool,
            self._ledger,
            sender or Sender(Targets(("127.0.0.0/8",)), 60.0),
            ids.new_id(),
            self.clock,
            jitter=lambda: 0.0,
            linger_seconds=0.0,
            store_seconds=store_seconds,
        )
        return Courier(context)

    async def deliver(self) -> None:
        """Deliver everything that is due now."""
        await self.courier.look()
        await self.courier.settled()

    async def heard(self, person: Person, request: Coroutine[Any, Any, httpx.Response]) -> httpx.Response:
        """Make a request that must succeed, while the courier sees new entries; return the response."""
        asked = asyncio.create_task(request)
        while not asked.done():
            self.courier.moved([person.workspace_id])
            await self.pool.fetchval("select 1")
        response = await asked
        assert response.is_success, response.text
        self.courier.moved([person.workspace_id])
        return response

    async def open_workspace(self) -> Person:
        """Return the administrator of a new workspace."""
        workspace_id = await create_workspace(self.pool, "Somebody's workspace")
        return Person(self.client, workspace_id, await create_key(self.pool, workspace_id, "Administrator", [ADMIN]))

    async def reader(self, endpoint: Json) -> asyncpg.Record:
        """Return the row with an endpoint's position."""
        row = await self.pool.fetchrow("select * from webhook_reader where endpoint_id = $1", uuid_of(endpoint))
        assert row is not None
        return row

    async def deliveries(self, endpoint: Json) -> list[asyncpg.Record]:
        """Return an endpoint's stored deliveries."""
        return await self.pool.fetch("select * from webhook_delivery where endpoint_id = $1 order by seq", uuid_of(endpoint))

    async def close_all(self) -> None:
        """Disable all endpoints, so that other tests send them nothing."""
        await self.courier.settled()
        await self.pool.execute("update webhook_reader set is_enabled = false, lease_holder = null")


@asynccontextmanager
async def webhook_app_on(database_url: str, folder: Path) -> AsyncGenerator[WebhookApp]:
    """Run an office on an empty database."""
    await prepare(database_url)
    app = Herdbook(Settings(rate_limit=0, data_dir=folder), database_url)
    pool = await open_pool(database_url, 4)
    ledger = Ledger(pool, 1000)
    ledger.open()
    async with app.running(), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://herdbook.test") as client:
        yield WebhookApp(pool, ledger, client)
    await ledger.close()
    await pool.close()


def uuid_of(endpoint: Json) -> UUID:
    """Return an endpoint's id in the form that the database stores."""
    found = ids.decoded(ids.WEBHOOK_ENDPOINT, endpoint["id"])
    assert found is not None
    return found


async def subscribe(person: Person, url: str, **members: Any) -> Json:
    """Create an endpoint."""
    response = await person.post(WEBHOOKS, json={"url": url, **members})
    assert response.status_code == 201, response.text
    return response.json()


async def write_contact(person: Person, **members: Any) -> Json:
    """Create a contact."""
    response = await person.post("/api/v2/contacts", json=members or {"first_name": random.choice("ABCDEF")})  # noqa: S311
    assert response.status_code == 201, response.text
    return response.json()
