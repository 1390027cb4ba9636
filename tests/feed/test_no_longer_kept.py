"""Positions older than the oldest entry kept are refused, with the way to continue."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import httpx
import pytest_asyncio

from herdbook.db.pool import Pool, open_pool
from herdbook.ledger.retention import trim_ledgers
from tests.cast import Json, Person, Thing
from tests.cli.programs import Running
from tests.feed.feed import URL, read, told, walked
from tests.feed.streams import opened

Connections: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


@pytest_asyncio.fixture
async def connections(database_url: str) -> AsyncGenerator[Pool]:
    """A pool like that of a server process."""
    pool = await open_pool(database_url, 1)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def oldest(alice: Person, ada: Thing, grace: Thing, pool: Connections, connections: Pool) -> int:
    """The position up to which Alice's workspace is trimmed: Ada was created there, Grace after it."""
    position = int(ada.etag.strip('"'))
    assert grace.id
    statement = "update change set at = $3 where workspace_id = $1 and seq <= $2"
    await pool.execute(statement, alice.workspace_id, position, datetime.now(UTC) - timedelta(days=365))
    await trim_ledgers(connections, 90)
    return position


def is_refusal(response: httpx.Response, oldest: int) -> bool:
    """Whether a response says that a position is too old, which one is the oldest, and what to do."""
    problem: Json = response.json()
    return (
        response.status_code == 410
        and problem["type"].endswith("/no_longer_kept")
        and (problem["oldest"], problem["head"]) == (oldest, oldest + 1)
        and "`after=now`" in problem["detail"]
    )


async def test_what_is_no_longer_kept_is_refused(alice: Person, oldest: int) -> None:
    """A trimmed position is refused instead of answered with a gap; that includes the beginning."""
    for params in ({}, {"after": 0}, {"after": oldest - 1}, {"after": oldest - 1, "types": "tag", "wait": 30}):
        assert is_refusal(await alice.get(URL, params=params), oldest)


async def test_the_oldest_position_will_do(alice: Person, oldest: int) -> None:
    """The oldest position returns everything after it."""
    assert await told(alice, after=oldest) == ["contact.created"]
    assert await told(alice, after="now") == []


async def test_a_stream_does_not_begin_there(server: Running, alice: Person, oldest: int) -> None:
    """A stream from a trimmed position is refused; it does not begin with a gap."""
    async with opened(server.url, alice, str(oldest - 1)) as stream:
        assert is_refusal(stream.response, oldest)


async def test_what_the_refusal_says_works(alice: Person, oldest: int, ada: Thing) -> None:
    """The documented recovery misses nothing: remember the end, list everything, follow from there."""
    refusal = await alice.get(URL)
    position = (await read(alice, after="now"))["position"]
    copy = {contact["id"]: contact for contact in (await alice.get("/api/v2/contacts")).json()["data"]}
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    for change in await walked(alice, after=position, types="contact"):
        copy[change["data"]["object"]["id"]] = change["data"]["object"]

    assert is_refusal(refusal, oldest)
    assert copy == {contact["id"]: contact for contact in (await alice.get("/api/v2/contacts")).json()["data"]}
