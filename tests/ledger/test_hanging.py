"""A database that hangs, and locked rows: every caller is answered in time, and others continue."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook.app import Herdbook
from herdbook.contacts.commands import UpsertContact
from herdbook.contacts.model import ContactUpsert
from herdbook.db.pool import open_pool
from herdbook.errors import OutcomeUnknown, Unavailable
from herdbook.ledger.ledger import Ledger, Trouble, Written
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.ledger.unit_of_work import LongCommand, Need, Result, UnitOfWork
from herdbook.settings import Settings
from tests.cast import Person, Thing
from tests.ledger.frozen import frozen, only_embedded
from tests.ledger.ledger_client import LedgerClient, id_of, items, ledger_on
from tests.ledger.promises import Pool, kept_promises
from tests.ledger.proxy import Proxy, proxy_to
from tests.ledger.test_connection_cut import loads, saves, together
from tests.nodes import create_neighbour, home_of, of_asyncpg
from tests.waiting import until, until_blocked


@pytest_asyncio.fixture
async def proxy(database_url: str, tmp_path: Path) -> AsyncGenerator[Proxy]:
    """A proxy between a ledger and PostgreSQL."""
    async with proxy_to(database_url, tmp_path) as proxy:
        yield proxy
        proxy.disarm()


async def outcomes_of(*writes: Awaitable[Written]) -> list[type]:
    """Return the types of the outcomes of writes."""
    return [type(each) for each in await asyncio.gather(*writes, return_exceptions=True)]


# A database that hangs as a whole


@only_embedded
async def test_whoever_asks_a_database_that_hangs_is_told(
    alice: Person, ada: Thing, client: httpx.AsyncClient, database_url: str, pool: Pool
) -> None:
    """Reads, writes and sign-ins get 503 within the documented time, and work again once the database does."""
    stranger = {"Authorization": f"Bearer {alice.key}x"}
    with frozen(database_url):
        async with asyncio.timeout(30):
            answers = await asyncio.gather(
                alice.get(ada.url),
                alice.get("/api/v2/contacts"),
                client.get(ada.url, headers=stranger),
                *(alice.patch(ada.url, json={"first_name": f"Ada {number}"}) for number in range(200)),
            )
    later = await alice.patch(ada.url, json={"first_name": "Augusta"})
    (contact,) = (await alice.get("/api/v2/contacts")).json()["data"]

    assert {answer.status_code for answer in answers} <= {503, 401}
    assert [answer.status_code for answer in answers[:2]] == [503, 503]
    assert {answer.status_code for answer in answers[3:]} == {503}
    assert later.status_code == 200
    assert contact["first_name"] == "Augusta"
    # Writes that were refused as not written were not written.
    assert len(await kept_promises(pool, alice.workspace_id)) == 2


@only_embedded
async def test_readyz_tells_of_a_database_that_hangs(client: httpx.AsyncClient, database_url: str) -> None:
    """`/readyz` answers soon, and is well again once the database is."""
    with frozen(database_url):
        async with asyncio.timeout(60):
            hanging = await client.get("/readyz")
    async with asyncio.timeout(60):
        while (await client.get("/readyz")).status_code != 200:
            pass

    assert hanging.status_code == 503
    assert hanging.json() == {"ready": False, "database": "It cannot be reached."}


@pytest.mark.parametrize(("matches", "expected"), [(loads, Unavailable), (saves, OutcomeUnknown)])
async def test_only_what_was_sent_is_in_doubt(proxy: Proxy, workspace_id: UUID, matches: Any, expected: type) -> None:
    """A write whose save hangs may have happened; one that hangs earlier has not."""
    async with ledger_on(proxy.url, patience_seconds=0.4) as ledger:
        ledger_client = LedgerClient(ledger, workspace_id)
        trap = proxy.trap(matches)
        writes = together(*(ledger_client.create() for _ in range(20)))
        await trap
        async with asyncio.timeout(60):
            answers = await writes

    assert [type(each) for each in answers] == [expected] * 20


async def test_what_was_called_unwritten_is_not_written(proxy: Proxy, workspace_id: UUID, pool: Pool) -> None:
    """A batch that continues after its commands were given up skips them."""
    async with ledger_on(proxy.url, patience_seconds=0.4) as ledger:
        ledger_client = LedgerClient(ledger, workspace_id)
        trap = proxy.trap(loads)
        given_up = asyncio.create_task(outcomes_of(ledger_client.create("a@x.test")))
        caught = await trap
        answers = await given_up
        caught.let_go()
        await asyncio.sleep(0)
        written = await ledger_client.create("b@x.test")

    assert answers == [Unavailable]
    assert written.version == 1
    assert len(await kept_promises(pool, workspace_id)) == 1


async def test_what_hangs_between_two_loads_is_not_written(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """A batch that hangs while it loads further rows has sent nothing, so none of its commands is in doubt or written later."""
    await ledger_client.create("ada@engine.test")
    neighbour_id = await create_neighbour(pool, ledger_client.workspace_id)
    async with ledger_on(proxy.url, patience_seconds=0.4) as ledger:
        client, neighbour = LedgerClient(ledger, ledger_client.workspace_id), LedgerClient(ledger, neighbour_id)
        first = proxy.trap(loads)
        given_up = asyncio.create_task(
            outcomes_of(
                neighbour.create("a@x.test"),
                client.create("b@x.test"),
                client.write(UpsertContact(ContactUpsert(emails=items("ada@engine.test"), first_name="Ada"))),
            )
        )
        caught = await first
        second = proxy.trap(loads)
        caught.let_go()
        caught = await second
        answers = await given_up
        caught.let_go()
        written = [(await one.create("c@x.test")).version for one in (neighbour, client)]

    assert answers == [Unavailable] * 3
    assert written == [1, 2]
    assert [len(await kept_promises(pool, each)) for each in (neighbour_id, ledger_client.workspace_id)] == [1, 2]


async def test_only_the_workspaces_of_a_save_are_in_doubt(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """While a save hangs, commands of workspaces that it leaves out are not in doubt: overtaken ones, and refused ones."""
    await ledger_client.create("ada@engine.test")
    saved_id, refused_id = [await create_neighbour(pool, ledger_client.workspace_id) for _ in range(2)]
    async with ledger_on(proxy.url, patience_seconds=0.4) as ledger:
        overtaken, saved, refused = [
            LedgerClient(ledger, workspace_id) for workspace_id in (ledger_client.workspace_id, saved_id, refused_id)
        ]
        first = proxy.trap(loads)
        given_up = asyncio.create_task(
            outcomes_of(
                overtaken.create("b@x.test"),
                overtaken.write(UpsertContact(ContactUpsert(emails=items("ada@engine.test"), first_name="Ada"))),
                refused.delete(ledger_client.workspace_id),
                saved.create("a@x.test"),
            )
        )
        caught = await first
        second = proxy.trap(loads)
        caught.let_go()
        caught = await second
        await ledger_client.create("c@x.test")
        save = proxy.trap(saves)
        caught.let_go()
        await save
        async with asyncio.timeout(60):
            answers = await given_up

    assert answers == [Unavailable, Unavailable, Unavailable, OutcomeUnknown]


async def test_a_caller_that_leaves_between_two_loads_leaves_nothing(
    proxy: Proxy, ledger_client: LedgerClient, pool: Pool
) -> None:
    """A command whose caller goes away while its batch loads further rows is not written; the others are."""
    await ledger_client.create("ada@engine.test")
    neighbour_id = await create_neighbour(pool, ledger_client.workspace_id)
    async with ledger_on(proxy.url) as ledger:
        client, neighbour = LedgerClient(ledger, ledger_client.workspace_id), LedgerClient(ledger, neighbour_id)
        first = proxy.trap(loads)
        leaving, staying = [asyncio.create_task(neighbour.create(address)) for address in ("a@x.test", "b@x.test")]
        upserted = asyncio.create_task(client.write(UpsertContact(ContactUpsert(emails=items("ada@engine.test")))))
        caught = await first
        second = proxy.trap(loads)
        caught.let_go()
        caught = await second
        leaving.cancel()
        await asyncio.wait([leaving])
        caught.let_go()
        written = [(await each).version for each in (staying, upserted)]

    assert written == [1, 1]
    assert [len(await kept_promises(pool, each)) for each in (neighbour_id, ledger_client.workspace_id)] == [1, 1]


async def test_close_tries_nothing_that_nobody_waits_for(proxy: Proxy, workspace_id: UUID, pool: Pool) -> None:
    """Closing skips commands whose callers have left, so a server ends even if its database is away."""
    connections = await open_pool(proxy.url, 3)
    ledger = Ledger(connections, 10_000)
    ledger.open()
    trap = proxy.trap(loads)
    ledger_client = LedgerClient(ledger, workspace_id)
    waiting = [asyncio.create_task(ledger_client.create()) for _ in range(700)]
    await trap
    for task in waiting:
        task.cancel()
    async with asyncio.timeout(60):
        await ledger.close()
        await connections.close()

    assert await kept_promises(pool, workspace_id) == {}


class Think(LongCommand, frozen=True):
    """A command that takes step after step, and tells when it begins."""

    begins: Any

    def needs(self) -> Iterator[Need]:
        yield from ()

    def steps(self, work: UnitOfWork) -> Generator[None, None, Result]:
        assert work, "it changes nothing"
        self.begins.set()
        while True:
            yield


async def test_callers_are_answered_after_a_batch_was_cut(proxy: Proxy, ledger_client: LedgerClient, pool: Pool) -> None:
    """While a batch goes on after it was cut, callers of others are answered in time, and the ledger closes."""
    neighbour_id = await create_neighbour(pool, ledger_client.workspace_id)
    connections = await open_pool(proxy.url, 2)
    ended, begins = asyncio.Event(), asyncio.Event()

    def note(_: Any) -> None:
        ended.set()

    home = await home_of(connections, ledger_client.workspace_id)
    async with home.acquire() as one, home.acquire() as another:
        for each in (one, another):
            of_asyncpg(each).add_termination_listener(note)
    ledger = Ledger(connections, 100, 0.4)
    ledger.open()
    thinking = asyncio.create_task(LedgerClient(ledger, ledger_client.workspace_id).write(Think(begins)))
    async with asyncio.timeout(60):
        await begins.wait()
        thinking.cancel()
        await ended.wait()
        trap = proxy.trap(loads)
        answered = await outcomes_of(LedgerClient(ledger, neighbour_id).create())
        await trap
        await ledger.close()
    await connections.close()

    assert answered == [Unavailable]


async def test_a_batch_whose_connection_has_ended_is_given_up(proxy: Proxy, ledger_client: LedgerClient) -> None:
    """The ledger closes while a command without a caller still runs, although the database has ended its session."""
    connections = await open_pool(proxy.url, 2)
    begins = asyncio.Event()
    ledger = Ledger(connections, 100)
    ledger.open()
    thinking = asyncio.create_task(LedgerClient(ledger, ledger_client.workspace_id).write(Think(begins)))
    async with asyncio.timeout(60):
        await begins.wait()
        await proxy.close()
        thinking.cancel()
        await ledger.close()
    connections.terminate()

    assert thinking.cancelled()


class Unnameable(Exception):
    """An error that cannot be described."""

    def __repr__(self) -> str:
        raise ValueError


async def test_callers_are_answered_after_an_unexpected_error(
    proxy: Proxy, workspace_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """An error while late callers are answered is logged, and they are answered afterwards."""
    async with ledger_on(proxy.url, patience_seconds=0.4) as ledger:
        trap = proxy.trap(loads)
        ledger.trouble = Trouble(0, 0, Unnameable())
        answers = asyncio.create_task(outcomes_of(LedgerClient(ledger, workspace_id).create()))
        await trap
        async with asyncio.timeout(60):
            await until(lambda: any("unexpected error" in record.message for record in caplog.records))
            ledger.trouble = None
            answered = await answers

    assert answered == [Unavailable]


@only_embedded
async def test_every_closing_happens(database_url: str, tmp_path: Path) -> None:
    """A server whose database hangs still stops, and returns all its connections."""
    stopping = Herdbook(Settings(rate_limit=0, data_dir=tmp_path), database_url).running()
    await stopping.__aenter__()
    connection = await asyncpg.connect(database_url)
    before = await connection.fetchval("select count(*) from pg_stat_activity where application_name = 'herdbook'")
    with frozen(database_url):
        async with asyncio.timeout(60):
            await stopping.__aexit__(None, None, None)
    async with asyncio.timeout(60):
        while await connection.fetchval("select count(*) from pg_stat_activity where application_name = 'herdbook'") == before:
            pass
    await connection.close()


# Locked rows


async def test_locked_workspaces_do_not_stop_others(ledger: Ledger, pool: Pool, workspace_id: UUID) -> None:
    """Locked rows of more workspaces than there are writers do not stop writes in others."""
    held = [await create_neighbour(pool, workspace_id) for _ in range(3)]
    neighbour = LedgerClient(ledger, workspace_id)
    async with pool.acquire() as connection, connection.transaction():
        for each in held:
            await connection.execute("select from workspace where id = $1 for update", each)
        stuck: list[asyncio.Task[Written]] = []
        for each in held:
            stuck.append(asyncio.create_task(LedgerClient(ledger, each).create()))
            await until_blocked(pool)
        async with asyncio.timeout(60):
            written = [await neighbour.create() for _ in range(50)]
        assert not any(task.done() for task in stuck)

    assert [each.version for each in written] == list(range(1, 51))
    assert [each.version for each in await asyncio.gather(*stuck)] == [1, 1, 1]


async def test_a_locked_workspace_is_told(database_url: str, pool: Pool, workspace_id: UUID) -> None:
    """A write in a locked workspace is refused in time with the reason, and is not done later."""
    async with ledger_on(database_url, patience_seconds=2) as ledger:
        ledger_client = LedgerClient(ledger, workspace_id)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("select from workspace where id = $1 for update", workspace_id)
            async with asyncio.timeout(60):
                with pytest.raises(Unavailable, match="Rows of this workspace are locked in the database"):
                    await ledger_client.create("a@x.test")
        written = await ledger_client.create("b@x.test")

    assert written.version == 1


async def test_the_lock_locks(proxy: Proxy, workspace_id: UUID, other_ledger: Ledger, pool: Pool) -> None:
    """After a late batch, the next attempt locks the workspace, and another process waits."""
    async with ledger_on(proxy.url) as ledger:
        ledger_client, other = LedgerClient(ledger, workspace_id), LedgerClient(other_ledger, workspace_id)
        first = proxy.trap(saves)
        write = asyncio.create_task(ledger_client.create())
        late = await first
        await other.create()
        second = proxy.trap(loads)
        late.let_go()
        behind_the_lock = await second
        waiting = asyncio.create_task(other.create())
        await until_blocked(pool)
        behind_the_lock.let_go()
        versions = [(await write).version, (await waiting).version]

    assert versions == [2, 3]


# Sessions that were ended, as asyncpg reports them


async def test_a_write_on_a_session_that_was_ended_is_done_on_another(proxy: Proxy, workspace_id: UUID) -> None:
    """A session that ended just before its use costs nothing: nothing was sent, so the write is done on another."""
    async with ledger_on(proxy.url) as ledger:
        ledger_client = LedgerClient(ledger, workspace_id)
        await ledger_client.create()
        for turns in range(25):
            proxy.end_sessions()
            for _ in range(turns):
                await asyncio.sleep(0)
            await ledger_client.create()

    assert (await other_version(proxy, workspace_id)) == 26


async def other_version(proxy: Proxy, workspace_id: UUID) -> int:
    """Return the number of a workspace's last change."""
    connection = await asyncpg.connect(proxy.url)
    try:
        return await connection.fetchval("select seq from workspace where id = $1", workspace_id)
    finally:
        await connection.close()


async def test_followers_are_told_after_sessions_were_ended(
    proxy: Proxy, other_ledger: Ledger, workspace_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """Polling for other processes' commits logs any error and continues."""
    connections = await open_pool(proxy.url, 1)
    heads = ChangeNotifier(connections)
    looking = asyncio.create_task(heads.poll())
    with heads.subscribed(workspace_id) as follower:
        async with asyncio.timeout(60):
            await follower.wait()
            while not any("could not be read" in record.message for record in caplog.records):
                proxy.end_sessions()
                await asyncio.sleep(0)
            follower.clear()
            await LedgerClient(other_ledger, workspace_id).create()
            await follower.wait()
    looking.cancel()
    await connections.close()


@pytest.mark.parametrize("code", ["40P01", "40001", "25P03"])
async def test_a_batch_begins_again_for_so_long_and_not_without_a_pause(proxy: Proxy, workspace_id: UUID, code: str) -> None:
    """A batch that the database asks to restart is retried a few times with pauses, and then refused."""
    attempts = 0

    async def refuse() -> None:
        nonlocal attempts
        matches = saves
        while True:
            caught = await proxy.trap(matches)
            attempts += 1
            caught.refuse(code, in_transaction=attempts > 1)

    async with ledger_on(proxy.url, patience_seconds=1) as ledger:
        refusing = asyncio.create_task(refuse())
        async with asyncio.timeout(60):
            answers = await outcomes_of(LedgerClient(ledger, workspace_id).create())
        refusing.cancel()

    assert answers == [Unavailable]
    assert 2 <= attempts <= 25


async def test_held_rows_of_some_workspaces_do_not_stop_others(ledger: Ledger, pool: Pool, workspace_id: UUID) -> None:
    """Somebody holds a contact in each of as many workspaces as there are writers, and one more; others are written in."""
    held = [LedgerClient(ledger, await create_neighbour(pool, workspace_id)) for _ in range(3)]
    contacts = [id_of(await ledger_client.create()) for ledger_client in held]
    neighbour = LedgerClient(ledger, workspace_id)
    async with pool.acquire() as connection, connection.transaction():
        for ledger_client, contact_id in zip(held, contacts, strict=True):
            row = "select from contact where workspace_id = $1 and id = $2 for update"
            await connection.execute(row, ledger_client.workspace_id, contact_id)
        stuck: list[asyncio.Task[Written]] = []
        for ledger_client, contact_id in zip(held, contacts, strict=True):
            stuck.append(asyncio.create_task(ledger_client.update(contact_id, first_name="Grace")))
            await until_blocked(pool)
        async with asyncio.timeout(60):
            written = [await neighbour.create() for _ in range(50)]
        assert not any(task.done() for task in stuck)

    assert [each.version for each in written] == list(range(1, 51))
    assert [each.version for each in await asyncio.gather(*stuck)] == [2, 2, 2]
