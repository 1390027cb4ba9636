"""The rows of a person: all of them, at one moment, and without a write."""

from collections import Counter
from typing import Any

import asyncpg
import pytest

from herdbook.auth.store import create_workspace
from herdbook.db.pool import Pool
from herdbook.erasure.places import PLACES
from herdbook.erasure.store import parameters
from herdbook.subject_access.store import rows_of, snapshot, subject_with_address
from tests.cast import Person
from tests.engagements.calls import create
from tests.erasure.test_erase_contact import ADDRESS, marked


async def test_slices_lose_nothing(alice: Person, own_pool: Pool) -> None:
    """Engagements are read in slices, and each row of each place is still found, once."""
    await marked(alice)
    await create(alice, *map(str, range(45)), participants=[{"email": ADDRESS}])
    subject = await subject_with_address(own_pool, alice.workspace_id, ADDRESS)
    sliced = Counter([(place.table, row) async for place, row in rows_of(own_pool, alice.workspace_id, subject)])

    whole: Counter[tuple[str, bytes]] = Counter()
    for place in PLACES:
        records = await own_pool.fetch(place.rows, *parameters(alice.workspace_id, subject))
        whole.update((place.table, record[0]) for record in records)

    assert sliced == whole
    assert len(subject.engagement_ids) == 45
    assert max(sliced.values()) == 1


async def test_one_moment(own_pool: Pool, pool: Any) -> None:
    """Reads within a snapshot see one moment, whatever others write meanwhile."""
    count = "select count(*) from workspace"
    async with own_pool.acquire() as connection, snapshot(connection):
        before = await connection.fetchval(count)
        await create_workspace(pool, "Later")

        assert await connection.fetchval(count) == before


async def test_no_writes(own_pool: Pool) -> None:
    """A write within a snapshot is refused."""
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with own_pool.acquire() as connection, snapshot(connection):
            await create_workspace(connection, "Never")
