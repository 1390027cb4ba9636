"""Prometheus metrics of webhooks."""

import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, create_workspace
from herdbook.first_start import prepare
from herdbook.settings import Settings
from tests.cast import Person
from tests.db.conftest import database_on
from tests.serving import serving
from tests.webhooks.endpoints import WEBHOOKS, DeliveryTables, Endpoint, add_contacts


class Office(NamedTuple):
    """A server on its own database, an administrator there, and the courier's tables."""

    owner: Person
    delivery_tables: DeliveryTables
    database: str

    async def endpoint(self) -> Endpoint:
        """Create an endpoint."""
        return Endpoint(self.owner, await self.owner.post(WEBHOOKS, json={"url": "http://127.0.0.1/"}))

    async def measured(self) -> dict[str, float]:
        """Return the metrics of webhooks, by the end of the name and by label."""
        response = await self.owner.client.get("/metrics")
        assert response.status_code == 200
        return {
            " ".join((sample.name.removeprefix("herdbook_webhook_"), *sample.labels.values())): sample.value
            for family in text_string_to_metric_families(response.text)
            for sample in family.samples
            if sample.name.startswith("herdbook_webhook_")
        }


@pytest_asyncio.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncGenerator[Office]:
    """A new office, because the metrics cover all workspaces."""
    async with database_on(database_url) as url:
        await prepare(url)
        settings = Settings(rate_limit=0, data_dir=tmp_path, database_connections=5)
        async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool, serving(settings, url) as client:
            workspace_id = await create_workspace(pool, "Office")
            owner = Person(client, workspace_id, await create_key(pool, workspace_id, "Owner", [ADMIN]))
            yield Office(owner, DeliveryTables(pool), urlsplit(url).path[1:])


async def test_nothing_is_measured_where_there_is_nothing(office: Office) -> None:
    """Without endpoints every metric exists, at 0."""
    assert await office.measured() == {
        "endpoints enabled": 0,
        "endpoints failing": 0,
        "endpoints disabled": 0,
        "entries_behind": 0,
        "deliveries_waiting": 0,
        "deliveries delivered": 0,
        "deliveries failed": 0,
    }


async def test_endpoints_are_added_up(office: Office) -> None:
    """Endpoints are counted by state; unread changes of disabled ones do not count, nor do deleted endpoints."""
    well, failing, disabled, deleted = [await office.endpoint() for _ in range(4)]
    await disabled.post("disable")
    await office.owner.delete(deleted.url)
    await add_contacts(office.owner, "Ada", "Grace")
    await office.delivery_tables.read_to(well, 7)
    await office.delivery_tables.read_to(failing, 5)
    await office.delivery_tables.note(failing, 7, "waiting")
    await office.delivery_tables.note(failing, 8, "failed")
    await office.delivery_tables.set(failing, failing_since="2026-03-01 12:00:00+00", delivered=2, failed=9)
    await office.delivery_tables.set(disabled, delivered=3)
    await office.delivery_tables.set(deleted, delivered=100)

    assert await office.measured() == {
        "endpoints enabled": 1,
        "endpoints failing": 1,
        "endpoints disabled": 1,
        "entries_behind": 1 + 3,
        "deliveries_waiting": 1,
        "deliveries delivered": 5,
        "deliveries failed": 9,
    }


async def test_very_many_endpoints_are_added_up_once_an_hour(office: Office) -> None:
    """If there are more than a thousand endpoints, an answer adds up those at work, and all of them once an hour."""
    await office.delivery_tables.pool.execute(
        """
        with made as (
            insert into webhook_endpoint (workspace_id, id, version, updated_at, secret, object)
            select $1, gen_random_uuid(), 1, now(), '', '{}' from generate_series(1, 1001) returning id
        )
        insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position) select $1, id, true, 0 from made
        """,
        office.owner.workspace_id,
    )
    before = await office.measured()
    await office.delivery_tables.pool.execute(
        """
        with chosen as (select endpoint_id from webhook_reader order by endpoint_id limit 10)
        update webhook_reader r set failing_since = now(), delivered = 7 from chosen where r.endpoint_id = chosen.endpoint_id
        """
    )
    await office.delivery_tables.pool.execute("update workspace set seq = seq + 5 where id = $1", office.owner.workspace_id)
    after = await office.measured()
    seq = await office.delivery_tables.pool.fetchval("select seq from workspace where id = $1", office.owner.workspace_id)

    assert (before["endpoints enabled"], before["endpoints failing"]) == (1001, 0)
    assert (after["endpoints enabled"], after["endpoints failing"]) == (991, 10)
    assert after["entries_behind"] == 10 * seq
    assert after["deliveries delivered"] == 0


async def test_without_the_database_nobody_knows(office: Office, database_url: str) -> None:
    """Without the database the metrics of webhooks are NaN, and the others are still served."""
    await office.endpoint()
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"alter database {office.database} allow_connections false")
    await connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", office.database)
    measured = await office.measured()
    await connection.execute(f"alter database {office.database} allow_connections true")
    await connection.close()

    assert len(measured) == 7
    assert all(math.isnan(value) for value in measured.values())
