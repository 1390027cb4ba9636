"""A distributed database: statements go to the shard of a workspace, follow it when it moves, and wait for no other node."""

import asyncio
import gc
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from herdbook.app import OPERATIONS
from herdbook.auth.store import create_workspace
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.store import find_record_in
from herdbook.db.database import Database, find_in
from herdbook.db.pool import DatabaseAway, PagePool, open_pool
from herdbook.db.shards import Shard
from herdbook.errors import Unavailable
from herdbook.ledger.changes import SAVE_CHANGES
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.retention import trim_ledgers
from herdbook.ledger.unit_of_work import Table
from herdbook.object_types import OBJECT_TYPES
from herdbook.webhooks import store as webhooks_store
from tests.db.conftest import NewDatabase
from tests.db.made_up_shards import MadeUpShards, made_up_shards
from tests.ledger.ledger_client import LedgerClient, contact_of, id_of
from tests.test_one_workspace import NAMED, SPREAD, called
from tests.waiting import until_blocked


@pytest_asyncio.fixture
async def shards(new_database: NewDatabase) -> AsyncGenerator[MadeUpShards]:
    """A distributed database."""
    async with made_up_shards(await new_database()) as shards:
        yield shards


@pytest_asyncio.fixture
async def spread_pool(shards: MadeUpShards) -> AsyncGenerator[PagePool]:
    """The connections of a server to it."""
    pool = await open_pool(shards.url, 3)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def spread_ledger(spread_pool: PagePool) -> AsyncGenerator[Ledger]:
    """A ledger on it."""
    ledger = Ledger(spread_pool, 100)
    ledger.open()
    yield ledger
    await ledger.close()


@pytest_asyncio.fixture
async def writer(spread_ledger: Ledger, shards: MadeUpShards) -> LedgerClient:
    """A writer in a workspace."""
    return LedgerClient(spread_ledger, await create_workspace(shards.plain, "Alice's workspace"))


def ledger_statements() -> set[str]:
    """Return the parts of the statements of the ledger, and the reads of single objects."""
    assert OPERATIONS, "the map has imported all tables"
    tables: list[Table[Any]] = [each for each in gc.get_objects() if isinstance(each, Table)]
    parts = [part for table in tables for part in (table.load, table.load_first, table.save, table.outdated)]
    reads = [*(find_in(each.table.name) for each in OBJECT_TYPES), *(find_record_in(each) for each in ("contact", "company"))]
    return {SAVE_CHANGES, *(part for part in parts if part is not None), *reads}


async def _name_of(pool: PagePool, workspace_id: UUID, contact_id: UUID) -> bytes | None:
    found = await Database(pool, pool).find(find_in(CONTACT.table.name), workspace_id, contact_id)
    return None if found is None else found.body


async def test_what_is_written_is_read(writer: LedgerClient, spread_pool: PagePool) -> None:
    """Objects are created, changed and read in a shard, and one that is not there is missed."""
    ada = id_of(await writer.create("ada@x.test", first_name="Ada"))
    changed = await writer.update(ada, last_name="Lovelace")

    assert contact_of(changed).last_name == "Lovelace"
    assert b"Lovelace" in (await _name_of(spread_pool, writer.workspace_id, ada) or b"")
    assert await _name_of(spread_pool, writer.workspace_id, writer.workspace_id) is None


async def test_statements_go_to_the_tables_of_the_shard(
    writer: LedgerClient, spread_pool: PagePool, shards: MadeUpShards
) -> None:
    """Writes and reads of single objects need no table that stands for the whole."""
    ada = id_of(await writer.create("ada@x.test", first_name="Ada"))
    await shards.plain.execute("drop view contact, contact_email, change cascade")
    await writer.update(ada, last_name="Lovelace")

    assert b"Lovelace" in (await _name_of(spread_pool, writer.workspace_id, ada) or b"")


async def test_a_workspace_that_has_moved_is_followed(
    writer: LedgerClient, spread_pool: PagePool, shards: MadeUpShards
) -> None:
    """Neither a write nor a read fails because a workspace has moved since the last one."""
    ada = id_of(await writer.create("ada@x.test", first_name="Ada"))
    reader = Database(spread_pool, spread_pool)
    find = find_in(CONTACT.table.name)
    await reader.find(find, writer.workspace_id, ada)
    await shards.move()
    await writer.update(ada, last_name="Lovelace")
    found = await reader.find(find, writer.workspace_id, ada)

    assert found is not None
    assert b"Lovelace" in found.body


async def test_a_write_waits_for_the_end_of_a_move(writer: LedgerClient, shards: MadeUpShards) -> None:
    """A write that comes while a shard is being moved is made where the workspace is afterwards, once."""
    ada = id_of(await writer.create("ada@x.test", first_name="Ada"))
    async with shards.plain.transaction():
        await shards.begin_move()
        writing = asyncio.create_task(writer.update(ada, last_name="Lovelace"))
        await until_blocked(shards.plain)
        await shards.move()
    written = await writing
    changes = await shards.plain.fetchval("select count(*) from change where workspace_id = $1", writer.workspace_id)

    assert (written.version, changes) == (2, 2)


async def test_a_node_that_is_away_holds_up_no_other(spread_pool: PagePool, shards: MadeUpShards) -> None:
    """A write to a workspace on a node that is away is refused in the end; one to another workspace does not wait for it."""
    ledger = Ledger(spread_pool, 100, 2.0)
    ledger.open()
    lost, writer = [LedgerClient(ledger, await create_workspace(shards.plain, name)) for name in ("Lost", "Alice's workspace")]
    await shards.put_away(lost.workspace_id)
    # More of them than there are connections.
    waiting = [asyncio.create_task(lost.create(f"ada{number}@x.test")) for number in range(20)]
    await asyncio.wait(waiting, timeout=0.1)
    written = await writer.create("grace@x.test")
    refusals = await asyncio.gather(*waiting, return_exceptions=True)
    await ledger.close()

    assert written.version == 1
    assert {type(each) for each in refusals} == {Unavailable}


async def test_looks_go_on_without_a_node(writer: LedgerClient, spread_pool: PagePool, shards: MadeUpShards) -> None:
    """A look over all workspaces finds those of the nodes that are there."""
    await writer.create("ada@x.test")
    await shards.plain.execute(
        """
        insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position, failing_since)
        select id, id, true, 0, now() from workspace where id = $1
        """,
        writer.workspace_id,
    )

    assert await webhooks_store.totals_at_work(spread_pool) == (1, 1, 0)
    assert await webhooks_store.any_enabled(spread_pool)


async def test_chores_go_on_without_a_node(writer: LedgerClient, spread_pool: PagePool, shards: MadeUpShards) -> None:
    """A chore does its work on the nodes that are there, and then names the one that is away."""
    await writer.create("ada@x.test")
    await shards.plain.execute("update change set at = at - interval '1 year'")
    with pytest.raises(DatabaseAway, match=r"127\.0\.0\.1:1 is away"):
        await trim_ledgers(spread_pool, 90)

    assert await shards.plain.fetchval("select count(*) from change where workspace_id = $1", writer.workspace_id) == 0


def _marked() -> set[str]:
    """Return the statements that say themselves that they are for a shard, as far as they stand where they are executed."""
    return {statement for *_, statement in called() if "/* he" in statement}


@pytest.mark.parametrize("statement", sorted(ledger_statements() | _marked()), ids=lambda sql: " ".join(sql.split())[:60])
def test_all_tables_are_those_of_the_shard(statement: str) -> None:
    """No statement for a shard has a table left that stands for the whole."""
    shard = Shard(None, 7, ("node", 5432), {name: f"{name}_7" for name in SPREAD})

    assert [table for _, table, _ in NAMED.findall(shard.rename(statement))] == []
