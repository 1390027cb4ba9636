"""How old entries are trimmed: from the beginning, none that is young, and none that is still needed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from datetime import timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.auth.store import create_workspace
from herdbook.db.pool import Connection, Pool, open_pool
from herdbook.ledger.retention import KEPT_FOR_DISABLED_DAYS, trim_ledgers, trim_slice
from tests.ledger.ledger_client import LedgerClient, id_of
from tests.waiting import blocked

Connections: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
DAYS = 90


class Register:
    """The stored ledger of the test's workspace."""

    def __init__(self, pool: Connections, workspace_id: UUID) -> None:
        self._pool = pool
        self._workspace_id = workspace_id

    async def age(self, last: int, days: int = DAYS) -> None:
        """Make the entries up to one older by some days."""
        entries = await self._pool.fetch(
            "select seq, at from change where workspace_id = $1 and seq <= $2", self._workspace_id, last
        )
        await self._pool.executemany(
            "update change set at = $3 where workspace_id = $1 and seq = $2",
            [(self._workspace_id, seq, at - timedelta(days=days)) for seq, at in entries],
        )

    async def age_marks(self, days: int) -> None:
        """Make the recorded positions of the ledger older by some days."""
        marks = await self._pool.fetch(
            "select seq, at from change_mark where workspace_id = $1 order by at", self._workspace_id
        )
        await self._pool.executemany(
            "update change_mark set at = $3 where workspace_id = $1 and seq = $2",
            [(self._workspace_id, seq, at - timedelta(days=days)) for seq, at in marks],
        )

    async def fill(self, entries: int) -> None:
        """Insert a number of old entries directly."""
        await self._pool.execute(
            """
            insert into change (workspace_id, seq, at, object_id, request_id, credential_id, kind, action, object)
            select $1, n, now() - interval '1 year', $1, $1, $1, 'c', 'u', '{}' from generate_series(1, $2::int) as n
            """,
            *(self._workspace_id, entries),
        )
        await self._pool.execute("update workspace set seq = $2 where id = $1", self._workspace_id, entries)

    async def entries(self) -> list[int]:
        """Return the numbers of the existing entries."""
        records = await self._pool.fetch("select seq from change where workspace_id = $1 order by seq", self._workspace_id)
        return [record["seq"] for record in records]

    async def trimmed(self) -> int | None:
        """Return the recorded position up to which the ledger is trimmed."""
        return await self._pool.fetchval("select seq from change_trimmed where workspace_id = $1", self._workspace_id)

    async def read_by_webhook(self, position: int, *, is_enabled: bool = True, **deliveries: int) -> None:
        """Set an endpoint's position, with a delivery in each state about an entry."""
        endpoint_id = ids.new_id()
        await self._pool.execute(
            "insert into webhook_endpoint (workspace_id, id, version, updated_at, secret, object)"
            " values ($1, $2, 1, now(), '', '{}')",
            *(self._workspace_id, endpoint_id),
        )
        await self._pool.execute(
            "insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position) values ($1, $2, $3, $4)",
            *(self._workspace_id, endpoint_id, is_enabled, position),
        )
        for state, seq in deliveries.items():
            await self._pool.execute(
                """
                insert into webhook_delivery
                    (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, attempts)
                values ($1, $2, $3, 'v1.contact.created', now(), $4, 1, '[]')
                """,
                *(self._workspace_id, endpoint_id, seq, state),
            )


@pytest_asyncio.fixture
async def register(pool: Connections, workspace_id: UUID) -> Register:
    """The stored ledger of the test's workspace."""
    return Register(pool, workspace_id)


@pytest_asyncio.fixture
async def connections(database_url: str) -> AsyncGenerator[Pool]:
    """A pool like that of a server process."""
    pool = await open_pool(database_url, 4)
    yield pool
    await pool.close()


async def create(ledger_client: LedgerClient, count: int) -> None:
    """Create a number of contacts one after the other."""
    for _ in range(count):
        await ledger_client.create(first_name="Ada")


async def statements_of(connection: Connection, act: Awaitable[None]) -> int:
    """Return how many statements an act takes on its connection."""
    seen: list[str] = []
    logged: Any = connection

    def note(record: Any) -> None:
        seen.append(record.query)

    with logged.query_logger(note):
        await act
    return len(seen)


async def test_what_is_old_is_forgotten(ledger_client: LedgerClient, register: Register, connections: Pool) -> None:
    """Old entries are deleted, the others stay, and the position is recorded."""
    await create(ledger_client, 5)
    await register.age(3)
    await trim_ledgers(connections, DAYS)

    assert await register.entries() == [4, 5]
    assert await register.trimmed() == 3


async def test_what_is_young_stays(ledger_client: LedgerClient, register: Register, connections: Pool) -> None:
    """Without old entries nothing is deleted and nothing recorded."""
    await create(ledger_client, 3)
    await register.age(2, DAYS - 1)
    await trim_ledgers(connections, DAYS)

    assert await register.entries() == [1, 2, 3]
    assert await register.trimmed() is None


async def test_what_a_wrong_clock_has_dated_is_forgotten_in_the_end(
    ledger_client: LedgerClient, register: Register, connections: Pool
) -> None:
    """Entries dated years ahead are as old as the recorded position behind them; correct dates count as they are."""
    await create(ledger_client, 6)
    await register.age(2)
    await register.age(4, -3650)
    await register.age(2, 3650)
    await trim_ledgers(connections, DAYS)
    unmarked = await register.entries()
    await register.age_marks(DAYS + 1)
    await trim_ledgers(connections, DAYS)

    assert unmarked == [3, 4, 5, 6]
    assert await register.entries() == [5, 6]


async def test_ledgers_without_old_entries_cost_nothing_each(database_url: str) -> None:
    """A run takes as many statements for many workspaces as for few, if nothing is old."""
    single = await open_pool(database_url, 1)
    async with single.acquire() as connection:
        counts: list[int] = []
        for _ in range(2):
            await trim_ledgers(connection, DAYS)
            counts.append(await statements_of(connection, trim_ledgers(connection, DAYS)))
            for number in range(20):
                await create_workspace(connection, f"Workspace {number}")
    await single.close()

    assert counts[0] == counts[1]


async def test_it_goes_on_where_it_ended(ledger_client: LedgerClient, register: Register, connections: Pool) -> None:
    """The next round trims the entries that have become old since."""
    await create(ledger_client, 5)
    for last in (2, 2, 4):
        await register.age(last)
        await trim_ledgers(connections, DAYS)

    assert await register.entries() == [5]
    assert await register.trimmed() == 4


async def test_a_ledger_goes_on_that_was_forgotten_whole(
    ledger_client: LedgerClient, register: Register, connections: Pool
) -> None:
    """Numbers of trimmed entries are never reused, and the objects stay as they are."""
    created = await ledger_client.create(first_name="Ada")
    await register.age(1)
    await trim_ledgers(connections, DAYS)
    written = await ledger_client.update(id_of(created), if_version=created.version, first_name="Augusta")

    assert (written.version, await register.entries(), await register.trimmed()) == (2, [2], 1)


async def test_other_workspaces_are_left_alone(
    ledger_client: LedgerClient, register: Register, connections: Pool, pool: Connections
) -> None:
    """Trimming one workspace leaves others alone."""
    elsewhere = await create_workspace(pool, "Neighbour")
    neighbour = Register(pool, elsewhere)
    await create(LedgerClient(ledger_client.ledger, elsewhere), 2)
    await create(ledger_client, 2)
    await register.age(2)
    await trim_ledgers(connections, DAYS)

    assert (await register.entries(), await neighbour.entries()) == ([], [1, 2])


async def test_much_is_forgotten_in_slices(register: Register, connections: Pool, ledger_client: LedgerClient) -> None:
    """A long ledger is trimmed in slices."""
    await register.fill(7001)
    await ledger_client.create(first_name="Ada")
    await trim_ledgers(connections, DAYS)

    assert (await register.entries(), await register.trimmed()) == ([7002], 7001)


async def test_several_processes_forget_at_once(register: Register, connections: Pool, ledger_client: LedgerClient) -> None:
    """Concurrent trimming never fails, never blocks writers, and never moves the recorded position back."""
    await register.fill(20_000)
    await create(ledger_client, 1)
    written = asyncio.create_task(create(ledger_client, 49))
    noted = [0]

    async def watch() -> None:
        while noted[-1] < 20_000:
            noted.append(await register.trimmed() or 0)
            entries = await register.entries()
            assert entries[0] > noted[-1], "all entries up to the recorded position are gone"
            assert entries == list(range(entries[0], entries[-1] + 1)), "nothing else is gone"

    await asyncio.gather(watch(), *(trim_ledgers(connections, DAYS) for _ in range(3)))
    await written

    assert noted == sorted(noted)
    assert await register.entries() == list(range(20_001, 20_051))


async def test_what_is_noted_never_goes_back(
    ledger_client: LedgerClient, workspace_id: UUID, register: Register, connections: Pool, pool: Connections
) -> None:
    """A process that starts earlier with an older position and finishes later does not move it back."""
    await create(ledger_client, 5)
    await register.age(2, 100)
    await register.age(4, 10)
    async with connections.acquire() as connection, connection.transaction():
        await trim_slice(connection, workspace_id, 5)
        other = asyncio.create_task(trim_slice(connections, workspace_id, 50))
        while not await blocked(pool):
            assert not other.done(), "the second waits for the rows of the first"
    await other

    assert (await register.trimmed(), await register.entries()) == (4, [5])


async def test_what_a_webhook_has_not_read_is_kept(ledger_client: LedgerClient, register: Register, connections: Pool) -> None:
    """Entries stay until the endpoint farthest behind has read them."""
    await create(ledger_client, 6)
    await register.age(6, 1000)
    await register.read_by_webhook(5)
    await register.read_by_webhook(3)
    await trim_ledgers(connections, DAYS)

    assert await register.entries() == [4, 5, 6]


async def test_what_waits_for_its_next_attempt_is_kept(
    ledger_client: LedgerClient, register: Register, connections: Pool
) -> None:
    """The entry of a waiting delivery stays until it is delivered or given up."""
    await create(ledger_client, 6)
    await register.age(6, 1000)
    await register.read_by_webhook(6, delivered=1, failed=2, skipped=3, waiting=4)
    await trim_ledgers(connections, DAYS)

    assert await register.entries() == [4, 5, 6]


@pytest.mark.parametrize(("position", "waiting"), [(2, 6), (6, 3)])
async def test_a_disabled_webhook_is_waited_for_a_while(
    ledger_client: LedgerClient, register: Register, connections: Pool, workspace_id: UUID, position: int, waiting: int
) -> None:
    """Unread entries of a disabled endpoint are kept for 30 more days; then they go, and the gap is recorded."""
    await create(ledger_client, 6)
    await register.age(6)
    await register.read_by_webhook(position, is_enabled=False, waiting=waiting)
    await trim_ledgers(connections, DAYS)
    kept = await register.entries()
    await register.age(5, KEPT_FOR_DISABLED_DAYS)
    await trim_ledgers(connections, DAYS)

    reader = await connections.fetchrow(
        "select missed_from, missed_to from webhook_reader where workspace_id = $1", workspace_id
    )
    state = await connections.fetchval("select state from webhook_delivery where workspace_id = $1", workspace_id)
    assert kept == [3, 4, 5, 6]
    assert await register.entries() == [6]
    assert reader is not None
    assert tuple(reader) == (3, 5)
    assert state == ("expired" if waiting <= 5 else "waiting")


async def test_a_webhook_that_is_far_behind_takes_nothing_back(
    ledger_client: LedgerClient, register: Register, connections: Pool
) -> None:
    """An endpoint that needs trimmed entries does not move the recorded position back."""
    await create(ledger_client, 4)
    await register.age(3)
    await trim_ledgers(connections, DAYS)
    await register.read_by_webhook(1)
    await register.age(4)
    await trim_ledgers(connections, DAYS)

    assert (await register.entries(), await register.trimmed()) == ([4], 3)
