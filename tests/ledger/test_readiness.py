"""`/readyz` succeeds only if the database takes writes."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import asyncpg
import httpx
import pytest_asyncio

from herdbook.first_start import prepare
from herdbook.settings import Settings
from tests.cast import Person
from tests.db.conftest import database_on
from tests.ledger.proxy import Caught, Proxy, proxy_to
from tests.ledger.test_connection_cut import saves
from tests.serving import serving


@pytest_asyncio.fixture
async def empty_database(database_url: str) -> AsyncGenerator[str]:
    """A prepared database of the test."""
    async with database_on(database_url) as url:
        await prepare(url)
        yield url


@pytest_asyncio.fixture
async def proxy(database_url: str, tmp_path: Path) -> AsyncGenerator[Proxy]:
    """A proxy between a server and PostgreSQL."""
    async with proxy_to(database_url, tmp_path) as proxy:
        yield proxy


async def test_it_fails_when_writes_do(alice: Person, proxy: Proxy, tmp_path: Path) -> None:
    """A server whose last write failed is not ready and says why, until a write succeeds."""
    async with serving(Settings(rate_limit=0, data_dir=tmp_path), proxy.url) as client:
        writer = Person(client, alice.workspace_id, alice.key)
        before = await client.get("/readyz")
        trap = proxy.trap(saves)
        failed = await refused(writer, trap)
        during = await client.get("/readyz")
        metrics = (await client.get("/metrics")).text
        written = await writer.post("/api/v2/contacts", json={})
        after = await client.get("/readyz")

    assert (before.status_code, failed.status_code, during.status_code) == (200, 503, 503)
    assert during.json() == {
        "ready": False,
        "missing_migrations": [],
        "writes_fail": "The last write failed, because the database is away or accepts no writes. The log says why.",
    }
    assert "herdbook_ledger_writes_fail 1.0" in metrics
    assert 'herdbook_ledger_failed_batches_total{error="DiskFullError"}' in metrics
    assert "base/" not in failed.text
    assert (written.status_code, after.status_code) == (201, 200)


async def refused(writer: Person, trap: "asyncio.Future[Caught]") -> httpx.Response:
    """Write while the database reports a full disk; return the answer."""
    writing = asyncio.create_task(writer.post("/api/v2/contacts", json={}))
    (await trap).refuse("53100", in_transaction=False)
    return await writing


async def test_it_fails_where_the_database_is_read_only(empty_database: str, tmp_path: Path) -> None:
    """A standby answers all reads, but is not ready, because it takes no writes."""
    connection = await asyncpg.connect(empty_database)
    name = await connection.fetchval("select current_database()")
    await connection.execute(f"alter database {name} set default_transaction_read_only = on")
    await connection.close()
    async with serving(Settings(rate_limit=0, data_dir=tmp_path), empty_database) as client:
        response = await client.get("/readyz")

    assert response.status_code == 503
    assert response.json() == {"ready": False, "database": "It is read-only."}


async def test_it_fails_where_the_schema_is_not_this_programs(empty_database: str, tmp_path: Path) -> None:
    """Missing and unknown migrations are named."""
    connection = await asyncpg.connect(empty_database)
    await connection.execute("update migration set name = '9999_of_a_later_release' where name like '0001%'")
    async with serving(Settings(rate_limit=0, data_dir=tmp_path), empty_database) as client:
        response = await client.get("/readyz")
    await connection.close()

    assert response.status_code == 503
    assert response.json() == {
        "ready": False,
        "missing_migrations": ["0001_ledger_and_contacts"],
        "unknown_migrations": ["9999_of_a_later_release"],
    }


async def test_many_who_ask_cost_one_write_a_second(empty_database: str, tmp_path: Path) -> None:
    """Many requests cost the database one write a second, because a result is reused for that long."""
    connection = await asyncpg.connect(empty_database)
    async with serving(Settings(rate_limit=0, data_dir=tmp_path), empty_database) as client:
        await client.get("/readyz")
        before = await connection.fetchval("select txid_current()")
        statuses = {(await client.get("/readyz")).status_code for _ in range(20)}
        after = await connection.fetchval("select txid_current()")
    await connection.close()

    assert statuses == {200}
    assert after - before <= 3
