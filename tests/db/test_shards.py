"""A distributed database: statements go to the shard of a workspace, follow it when it moves, and wait for no other node."""

import asyncio
import gc
import re
import weakref
from collections.abc import AsyncGenerator, Collection
from pathlib import Path
from typing import Any, Final, LiteralString
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from herdbook import ids
from herdbook.app import OPERATIONS
from herdbook.archives.archiving import ArchiveRefused, take
from herdbook.archives.file import writing_archive
from herdbook.auth.store import create_workspace
from herdbook.cli.progress import step
from herdbook.contacts.store import CONTACT
from herdbook.custom_fields.store import find_record_in
from herdbook.db import distribution
from herdbook.db.database import Database, find_in
from herdbook.db.distribution import each_part, each_part_of, fetch_everywhere, fetch_of
from herdbook.db.pool import DatabaseAway, Executor, PagePool, connect, open_pool
from herdbook.db.shards import Shard
from herdbook.engagements.store import needing_recordings
from herdbook.errors import Unavailable
from herdbook.faults import OperatorFault
from herdbook.first_start import prepare
from herdbook.http.request_log import AnsweredRequest, RequestLog
from herdbook.ledger.changes import SAVE_CHANGES
from herdbook.ledger.commands import Create
from herdbook.ledger.idempotency import IdempotencyKey, forget_old_records
from herdbook.ledger.ledger import Ledger, Written
from herdbook.ledger.retention import trim_ledgers
from herdbook.ledger.unit_of_work import Table
from herdbook.object_types import OBJECT_TYPES
from herdbook.outgoing import Targets
from herdbook.request_log.commands import write
from herdbook.tags.model import TagCreate
from herdbook.tags.store import TAG
from herdbook.webhook_endpoints.model import EndpointKey
from herdbook.webhooks import delivery_store
from herdbook.webhooks import store as webhooks_store
from herdbook.webhooks.courier import Courier
from herdbook.webhooks.delivery import DeliveryContext
from herdbook.webhooks.delivery_store import WELL, Progress
from herdbook.webhooks.sender import Sender
from tests.cli.programs import herdbook
from tests.db.conftest import NewDatabase
from tests.db.made_up_shards import MadeUpShards, made_up_shards
from tests.ledger.ledger_client import LedgerClient, contact_of, id_of
from tests.test_one_workspace import NAMED, SPREAD, called
from tests.waiting import until, until_blocked, until_so

_HEADS: Final = "select id, seq from workspace where id = any($1)"
_TAKES_TOO_LONG: Final = "do $$ begin raise exception using errcode = 'query_canceled'; end $$"


@pytest_asyncio.fixture
async def shards(new_plain_database: NewDatabase) -> AsyncGenerator[MadeUpShards]:
    """A distributed database."""
    async with made_up_shards(await new_plain_database()) as shards:
        yield shards


@pytest_asyncio.fixture
async def spread_pool(shards: MadeUpShards) -> AsyncGenerator[PagePool]:
    """The connections of a server to it."""
    pool = await open_pool(shards.url, 3)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def moving(shards: MadeUpShards) -> tuple[str, UUID]:
    """The address of its database, and a workspace."""
    return shards.url, await create_workspace(shards.plain, "Alice's workspace")


@pytest_asyncio.fixture
async def spread_pages(spread_pool: PagePool, shards: MadeUpShards) -> AsyncGenerator[PagePool]:
    """Those for lists."""
    pages = await open_pool(shards.url, 2, planning_once=spread_pool)
    yield pages
    await pages.close()


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


async def test_a_table_that_is_missing_is_the_fault_of_its_command(writer: LedgerClient, shards: MadeUpShards) -> None:
    """A command that meets a missing table has that error, and the others of its batch are carried out."""
    await writer.create("ada@x.test")
    await shards.lose("tag")
    written = await asyncio.gather(
        writer.create("grace@x.test"),
        writer.write(Create(TAG, TagCreate(name="Herd"))),
        writer.create("joan@x.test"),
        return_exceptions=True,
    )

    assert [type(each) for each in written] == [Written, asyncpg.UndefinedTableError, Written]


async def test_a_shard_that_has_left_costs_the_others_of_its_node_nothing(
    writer: LedgerClient, spread_pool: PagePool, shards: MadeUpShards
) -> None:
    """Objects are read together with those of other shards of the node, also once nothing is left there of one of these."""
    ada = id_of(await writer.create("ada@x.test", first_name="Ada"))
    other = await create_workspace(shards.plain, "Other")
    await shards.put_away(other)
    await shards.bring_back()
    await _name_of(spread_pool, other, ada)
    await shards.take_away()

    assert b"Ada" in (await _name_of(spread_pool, writer.workspace_id, ada) or b"")


async def test_a_write_finds_its_workspace_when_a_node_is_gone_for_good(spread_ledger: Ledger, shards: MadeUpShards) -> None:
    """A write that began while a node was away is made where the workspace is by now."""
    lost = LedgerClient(spread_ledger, await create_workspace(shards.plain, "Lost"))
    await shards.put_away(lost.workspace_id)
    writing = asyncio.create_task(lost.create("ada@x.test"))
    await until(lambda: spread_ledger.trouble is not None)
    await shards.bring_back()

    assert (await writing).version == 1


async def test_all_pools_of_a_process_know_of_a_move(
    writer: LedgerClient, spread_pages: PagePool, shards: MadeUpShards
) -> None:
    """Once a write has followed a workspace, lists do not look for it in its former shard."""
    assert spread_pages.shards is not None
    await writer.create("ada@x.test")
    before = await spread_pages.shards.of(writer.workspace_id)
    await shards.move()
    await writer.create("grace@x.test")

    assert spread_pages.shards.known(writer.workspace_id) not in (before, None)


async def test_readers_leave_a_node_that_takes_no_writes(
    writer: LedgerClient, spread_pool: PagePool, spread_pages: PagePool
) -> None:
    """Nothing that lists do is refused on a former primary, so their connections to that node go once a write is."""
    session = "select pg_backend_pid() from workspace where id = $1 /* here */"
    before = {await spread_pages.fetchval(session, writer.workspace_id) for _ in range(3)}
    assert spread_pool.shards is not None
    shard = await spread_pool.shards.of(writer.workspace_id)
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await shard.execute("begin read only; create table herd (name text)")
    after = {await spread_pages.fetchval(session, writer.workspace_id) for _ in range(3)}

    assert before.isdisjoint(after)


async def test_a_statement_that_takes_too_long_costs_its_shard_alone(spread_pool: PagePool, shards: MadeUpShards) -> None:
    """A chore goes on with the other shards of a node, which is not taken for away, and has the error in the end."""
    await shards.bring_back()
    acted: list[Executor] = []

    async def act(part: Executor) -> None:
        acted.append(part)
        if len(acted) == 1:
            await part.execute(_TAKES_TOO_LONG)

    with pytest.raises(asyncpg.QueryCanceledError):
        await each_part(spread_pool, act)

    assert len(acted) == 2


async def test_a_look_that_takes_too_long_says_so(
    spread_pool: PagePool, shards: MadeUpShards, caplog: pytest.LogCaptureFixture
) -> None:
    """A node on which a look was ended in time is not taken for away."""
    await shards.bring_back()
    await shards.plain.execute(
        """
        create function take_too_long() returns bigint language plpgsql as
        $$ begin raise exception using errcode = 'query_canceled'; end $$
        """
    )
    with pytest.raises(asyncpg.QueryCanceledError):
        await fetch_everywhere(spread_pool, "select take_too_long() from generate_series(1, 1)")

    assert [record.msg for record in caplog.records if "away" in record.msg] == []


async def test_chores_follow_a_shard_that_moves(spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards) -> None:
    """A chore acts where a shard is that has moved since it began."""
    acted: list[Executor] = []

    async def act(part: Executor) -> None:
        acted.append(part)
        if len(acted) == 1:
            await shards.move()
        await part.execute("update workspace set name = 'Seen' where true /* held */")

    with pytest.raises(DatabaseAway) as raised:
        await each_part(spread_pool, act)

    assert str(raised.value).count("is away") == 1
    assert await shards.plain.fetchval("select name from workspace where id = $1", writer.workspace_id) == "Seen"


async def test_a_chore_comes_back_to_a_shard_for_a_workspace_that_had_no_place(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """A workspace that gets its place only in a later look is acted on, also in a shard where others were before."""
    late = await create_workspace(shards.plain, "Late")
    await shards.misplace(late)
    acted: list[set[UUID]] = []

    async def act(_: Executor, workspace_ids: Collection[UUID]) -> None:
        acted.append(set(workspace_ids))
        await shards.place(late)

    await each_part_of(spread_pool, [writer.workspace_id, late], act)

    assert acted == [{writer.workspace_id}, {late}]


async def test_looks_wait_for_a_shard_that_is_being_copied(spread_pool: PagePool, shards: MadeUpShards) -> None:
    """A look over all shards leaves out none that has two places just now."""
    await shards.bring_back()
    await shards.copy_until_looked_for()
    found = await fetch_everywhere(spread_pool, "select count(*) from workspace")

    assert (len(found.records), found.is_all) == (2, True)


async def test_chores_wait_for_a_shard_that_is_being_copied(spread_pool: PagePool, shards: MadeUpShards) -> None:
    """A chore leaves out no shard that has two places just now."""
    await shards.bring_back()
    await shards.copy_until_looked_for()
    acted: list[Executor] = []

    async def act(part: Executor) -> None:
        acted.append(part)

    await each_part(spread_pool, act)

    assert len(acted) == 2


async def test_a_chore_names_the_node_that_is_away_though_a_shard_moves_without_end(
    spread_pool: PagePool, shards: MadeUpShards, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chore that loses its patience with a shard tells nevertheless which node was away."""
    monkeypatch.setattr(distribution, "PATIENCE_SECONDS", 0.0)
    await shards.disagree()
    with pytest.raises(DatabaseAway, match=r"127\.0\.0\.1:1 is away"):
        await each_part(spread_pool, lambda part: part.execute("update workspace set name = 'Seen' where true /* held */"))


async def test_a_look_at_several_shards_is_made_again_if_one_has_moved_meanwhile(
    spread_pool: PagePool, shards: MadeUpShards
) -> None:
    """Nothing is taken from the tables of a shard that are there still when the shard has left."""
    await shards.bring_back()
    await shards.move_during_look()
    found = await fetch_everywhere(spread_pool, "select move_away() as look from generate_series(1, 1)")

    assert [record["look"] for record in found.records] == [3, 4]


async def test_looks_follow_a_workspace_that_has_moved(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """A look at some workspaces does not stay with a shard whose tables are there still."""
    assert spread_pool.shards is not None
    before = await spread_pool.shards.of(writer.workspace_id)
    await shards.move()
    found = await fetch_of(spread_pool, [writer.workspace_id], _HEADS)

    assert (len(found.records), found.is_all) == (1, True)
    assert spread_pool.shards.known(writer.workspace_id) not in (before, None)


async def test_a_workspace_without_a_shard_costs_itself_alone(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """A look at some workspaces finds those that have a place."""
    nowhere = await create_workspace(shards.plain, "Nowhere")
    await shards.misplace(nowhere)
    found = await fetch_of(spread_pool, [writer.workspace_id, nowhere], _HEADS)

    assert ([record["id"] for record in found.records], found.is_all) == ([writer.workspace_id], False)


async def test_what_a_round_delivered_is_counted_once(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """The counters of an endpoint are written once, also if its workspace moves right after that."""
    place, holder = EndpointKey(writer.workspace_id, ids.new_id()), ids.new_id()
    await shards.plain.execute(
        """
        insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position, lease_holder)
        values ($1, $2, false, 0, $3)
        """,
        *place,
        holder,
    )
    await shards.move_with("webhook_reader")
    progress = Progress(1, 1, 0, WELL, None, 1, sends=False)
    version = await delivery_store.store(spread_pool, place, holder, progress, gives_back=False)

    assert version is None
    assert await shards.plain.fetchval("select delivered from webhook_reader") == 1


async def test_a_write_that_finds_nothing_has_looked_where_the_workspace_is(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """A statement that writes looks whether its shard has moved even if it finds no row there."""
    assert spread_pool.shards is not None
    before = await spread_pool.shards.of(writer.workspace_id)
    await shards.move()
    leased = await delivery_store.lease(spread_pool, EndpointKey(writer.workspace_id, ids.new_id()), ids.new_id())

    assert leased is None
    assert spread_pool.shards.known(writer.workspace_id) not in (before, None)


async def test_records_are_forgotten_on_the_nodes_that_are_there(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """A node that is away holds up neither the old records of the others, nor those that a wrong clock has dated ahead."""
    await writer.create("ada@x.test", key=IdempotencyKey("one", ""))
    await shards.plain.execute("update idempotency_record set at = now() + interval '1 year'")
    with pytest.raises(DatabaseAway):
        await forget_old_records(spread_pool)

    assert await shards.plain.fetchval("select count(*) from idempotency_record") == 0


async def test_no_writers_stay_for_shards_that_are_no_more(writer: LedgerClient, shards: MadeUpShards) -> None:
    """Once a shard is another one, its writers end."""
    await writer.create("ada@x.test")
    before = len(_writers())
    await shards.move()
    await writer.create("grace@x.test")
    await until(lambda: len(_writers()) == before)


def _writers() -> list["asyncio.Task[Any]"]:
    return [each for each in asyncio.all_tasks() if each.get_name().startswith("ledger writer")]


async def test_nothing_stays_of_a_shard_that_is_no_more(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """The statements of a shard go with it."""
    assert spread_pool.shards is not None
    await spread_pool.fetchval("select seq from workspace where id = $1 /* here */", writer.workspace_id)
    before = weakref.ref(await spread_pool.shards.of(writer.workspace_id))
    await shards.move()
    await spread_pool.fetchval("select seq from workspace where id = $1 /* here */", writer.workspace_id)
    gc.collect()

    assert before() is None


async def test_a_database_without_shards_has_no_endpoints(spread_pool: PagePool, shards: MadeUpShards) -> None:
    """Metrics are those of nothing while no table is distributed."""
    await shards.plain.execute("delete from pg_dist_shard")

    assert await webhooks_store.totals(spread_pool) == (0,) * 7
    assert await webhooks_store.totals_at_work(spread_pool) == (0, 0, 0)


async def test_a_first_start_that_was_cut_is_made_up_for(shards: MadeUpShards) -> None:
    """A workspace whose start ended before it had a key gets one from the next start, which shows it."""
    workspace_id = await shards.plain.fetchval("select id from workspace")
    await shards.plain.execute("delete from credential; delete from setting")
    prepared = await prepare(shards.url)

    assert prepared.workspace_id == workspace_id
    assert prepared.api_key is not None
    assert (await prepare(shards.url)).lacks_key


async def test_a_recording_is_needed_as_long_as_nobody_knows(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """While a node is away, none of its recordings is taken for one without an engagement."""
    lost, recording = await create_workspace(shards.plain, "Lost"), ids.new_id()
    await shards.put_away(lost)
    with pytest.raises(DatabaseAway):
        await needing_recordings(spread_pool, [lost, writer.workspace_id], [recording] * 2)


async def test_a_workspace_that_moves_has_no_archive(shards: MadeUpShards, moving: tuple[str, UUID], tmp_path: Path) -> None:
    """Statements follow it to its new place, and read another moment there, so the archive is refused."""
    url, workspace_id = moving
    connection = await connect(url)

    async def archive() -> None:
        with (tmp_path / "herd").open("xb") as file, writing_archive(file, None) as writer:
            await take(writer, connection, workspace_id, tmp_path, step, with_secrets=False)

    async with shards.plain.transaction():
        await shards.plain.execute("lock table oauth_client in access exclusive mode")
        archiving = asyncio.create_task(archive())
        await until_blocked(shards.plain)
        await shards.move_to_and_fro()
    with pytest.raises(ArchiveRefused, match="has moved to another node meanwhile"):
        await archiving
    await connection.close()


async def test_a_scrub_rewrites_the_tables_of_shards(shards: MadeUpShards, tmp_path: Path) -> None:
    """Erased rows were in the tables of shards, so these are rewritten, on each node."""
    await shards.plain.execute("delete from pg_dist_node where groupid = 2")
    files = (
        "select c.relname, pg_relation_filenode(c.oid) from pg_class c where c.relname ~ '^contact_(word_)?[0-9]+$' order by 1"
    )
    before = await shards.plain.fetch(files)
    done = await asyncio.to_thread(herdbook, "erasures", "scrub", "--database-url", shards.url, folder=tmp_path)
    after = await shards.plain.fetch(files)

    assert done.status == 0, done.complained
    assert [name for name, _ in before] == [name for name, _ in after]
    assert len({file for _, file in (*before, *after)}) == 4


async def test_a_scrub_begins_with_no_node_if_one_is_away(shards: MadeUpShards, tmp_path: Path) -> None:
    """While a node is away, nothing is rewritten, and nobody is told that the bytes are gone."""
    done = await asyncio.to_thread(herdbook, "erasures", "scrub", "--database-url", shards.url, folder=tmp_path)

    assert (done.status, done.said) == (1, "")
    assert "The database cannot be reached" in done.complained


def _requests(*workspace_ids: UUID) -> RequestLog:
    """Return a log that has a request of each of these workspaces."""
    log = RequestLog()
    for each in workspace_ids:
        request = AnsweredRequest(each, ids.new_id(), each, "", "GET", "/v2/contacts", (), b"", None, 200, 0.1)
        log.add(str(each), request)
    return log


def _not_logged() -> float:
    return REGISTRY.get_sample_value("herdbook_request_log_dropped_total") or 0.0


async def test_requests_that_are_not_logged_are_counted(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """The request log has the requests of the nodes that are there, and counts the others."""
    lost, nowhere = [await create_workspace(shards.plain, name) for name in ("Lost", "Nowhere")]
    await shards.put_away(lost)
    await shards.misplace(nowhere)
    before = _not_logged()
    await write(spread_pool, _requests(lost, nowhere, writer.workspace_id))

    assert _not_logged() - before == 2
    assert await shards.plain.fetchval("select count(*) from request_log") == 1


async def test_requests_are_counted_while_no_place_is_known(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """The request log counts what it could not write because nobody can tell where it belongs."""
    await shards.plain.execute("drop function get_shard_id_for_distribution_column")
    before = _not_logged()
    await write(spread_pool, _requests(writer.workspace_id, writer.workspace_id))

    assert _not_logged() - before == 2


async def test_requests_follow_a_workspace_that_has_moved(
    spread_pool: PagePool, writer: LedgerClient, shards: MadeUpShards
) -> None:
    """The request log loses nothing when a workspace moves."""
    assert spread_pool.shards is not None
    await spread_pool.shards.of(writer.workspace_id)
    await shards.move()
    before = _not_logged()
    await write(spread_pool, _requests(writer.workspace_id))

    assert _not_logged() == before
    assert await shards.plain.fetchval("select count(*) from request_log") == 1


async def test_a_courier_looks_again_at_what_it_could_not_see(
    spread_pool: PagePool, spread_ledger: Ledger, shards: MadeUpShards
) -> None:
    """A workspace that moved while its node was away is looked at once the node is back, however long ago its change is."""
    workspace_id = await create_workspace(shards.plain, "Lost")
    await shards.plain.execute(
        "insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position) values ($1, $1, true, -1)", workspace_id
    )
    await shards.plain.execute(
        """
        insert into webhook_endpoint (workspace_id, id, version, updated_at, secret, object)
        values ($1, $1, 1, now(), 'whsec_', '{"id":"","url":"https://x.test","created_at":"","updated_at":""}')
        """,
        workspace_id,
    )
    courier = Courier(DeliveryContext(spread_pool, spread_ledger, Sender(Targets([])), ids.new_id()))
    await shards.put_away(workspace_id)
    courier.moved([workspace_id])
    await courier.settled()
    await shards.bring_back()
    await courier.look_at_some()
    await until_so(
        lambda: shards.plain.fetchval(
            "select lease_holder is not null from webhook_reader where endpoint_id = $1", workspace_id
        ),
        10,
    )
    await courier.stop()


@pytest.mark.parametrize(
    ("change", "node", "said"),
    [
        (
            "insert into pg_dist_node values (9, '127.0.0.1', 2, 'primary', 9)",
            "127.0.0.1",
            "`127.0.0.1` names no node, or several, that take workspaces. Choose one of ",
        ),
        (
            "create or replace function citus_is_coordinator() returns boolean language sql as 'select false'",
            "x",
            "leads to another",
        ),
        ("truncate pg_dist_partition", "x", "not spread over the nodes yet. Run `herdbook migrate` first."),
    ],
)
async def test_a_move_that_cannot_be_is_refused(shards: MadeUpShards, change: LiteralString, node: str, said: str) -> None:
    """A name of several nodes, a node in place of the coordinator, and a database that is not spread yet."""
    workspace_id = await create_workspace(shards.plain, "Alice's workspace")
    await shards.plain.execute(change)
    connection = await connect(shards.url)
    with pytest.raises(OperatorFault, match=re.escape(said)):
        await distribution.move(connection, workspace_id, node, print)
    await connection.close()


def test_a_move_is_woken_and_tried_again(moving: tuple[str, UUID], tmp_path: Path) -> None:
    """A move that meets a lock begins again, and its session is notified while it goes on, so that it need not sleep."""
    url, workspace_id = moving
    shown_id = ids.encoded(ids.WORKSPACE, workspace_id)
    moved = herdbook("workspaces", "move", shown_id, "127.0.0.1:1", folder=tmp_path, HERDBOOK_DATABASE_URL=url)

    assert "trying again" in moved.said
    assert moved.said.endswith("Moved to 127.0.0.1:1.\n"), moved.complained


def _marked() -> set[str]:
    """Return the statements that say themselves that they are for a shard, as far as they stand where they are executed."""
    return {statement for *_, statement in called() if "/* he" in statement}


@pytest.mark.parametrize("statement", sorted(ledger_statements() | _marked()), ids=lambda sql: " ".join(sql.split())[:60])
def test_all_tables_are_those_of_the_shard(statement: str) -> None:
    """No statement for a shard has a table left that stands for the whole."""
    shard = Shard(None, 7, ("node", 5432), {name: f"{name}_7" for name in SPREAD})

    assert [table for _, table, _ in NAMED.findall(shard.rename(statement))] == []
