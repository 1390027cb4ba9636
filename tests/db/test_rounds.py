"""Work that comes again and again: it reads what is due, however many workspaces and endpoints have nothing to do."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, cast

import asyncpg
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.db.migrate import migrate
from herdbook.db.pool import PagePool, Pool, open_pool
from herdbook.db.rounds import once_an_hour
from herdbook.duplicates import store as duplicates
from herdbook.erasure import store as erasure
from herdbook.importing import store as importing
from herdbook.webhooks import delivery_store
from herdbook.webhooks import store as webhooks
from tests.db.conftest import NewDatabase, database_on

# For example the row of what is found, and its workspace.
_FEW: Final = 10
# Workspaces with one endpoint each, and with a search for duplicates, an erasure and an import of long ago. One endpoint that
# is disabled has many deliveries that have been due for a day.
_IDLE: Final = """
    with made as (
        insert into workspace (id, name) select gen_random_uuid(), 'Idle' from generate_series(1, 2000) returning id
    ), readers as (
        insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position) select id, id, true, 0 from made
    ), searches as (
        insert into duplicate_search (workspace_id, object_type, seq, reading) select id, 'contact', 0, '' from made
    ), imports as (
        insert into import_job (workspace_id, id, expires_at, state, progress, content)
        select id, id, now() + interval '1 day', 'done', '{}', '{}' from made
    ), entries as (
        insert into change (workspace_id, seq, at, object_id, request_id, credential_id, kind, action, object)
        select id, 1, now() - interval '1 day', id, '01000000-0000-0000-0000-000000000000', id, 'c', 'c', '{}' from made
    )
    insert into erasure (workspace_id, hash, at, request_id, credential_id, with_engagements)
    select id, 'hash', now() - interval '2 days', id, id, false from made;
    insert into webhook_reader (workspace_id, endpoint_id, is_enabled, position)
    select id, gen_random_uuid(), false, 0 from workspace;
    insert into webhook_delivery
        (workspace_id, endpoint_id, seq, event_type, created_at, state, attempt_count, next_attempt_at, attempts)
    select r.workspace_id, r.endpoint_id, n, '', now(), 'waiting', 1, now() - interval '1 day', '[]'
    from (select * from webhook_reader where not is_enabled limit 1) as r, generate_series(1, 2000) as n;
"""


class Idle(NamedTuple):
    """A database in which very little is due, and a connection whose reads PostgreSQL counts in each transaction."""

    connection: Any

    async def rows_read(self, look: Callable[[Pool], Awaitable[object]]) -> int:
        """Return how many rows of all tables a look reads."""
        async with self.connection.transaction():
            # The counters have what earlier transactions read, too, until PostgreSQL collects them.
            before = await self._counted()
            await look(cast("Pool", self.connection))
            return await self._counted() - before

    async def _counted(self) -> int:
        rows: int = await self.connection.fetchval(
            "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_xact_user_tables"
        )
        return rows


@pytest_asyncio.fixture(scope="module")
async def idle(database_url: str) -> AsyncGenerator[Idle]:
    """A database with many idle workspaces, and a connection as the program has them."""
    async with database_on(database_url) as url:
        await migrate(url)
        plain = await asyncpg.connect(url)
        await plain.execute(_IDLE)
        await plain.close()
        pool: Any = await open_pool(url, 1)
        async with pool.acquire() as connection:
            yield Idle(connection)
        await pool.close()


def _now() -> datetime:
    return datetime.now(UTC)


async def _look_at_what_is_due(pool: Pool) -> object:
    now = _now()
    return await delivery_store.workspaces_to_look_at(
        pool, now - timedelta(minutes=1), now, ids.least_id(now - timedelta(seconds=3))
    )


async def _look_at_a_workspace(pool: Pool) -> object:
    workspace_id = await pool.fetchval("select id from workspace limit 1")
    return await delivery_store.endpoints_with_work(pool, ids.NIL, _now(), [workspace_id])


async def _look_at_a_search(pool: Pool) -> object:
    workspace_id = await pool.fetchval("select id from workspace limit 1")
    return await duplicates.searches_behind(pool, [workspace_id])


_LOOKS: Final[dict[str, Callable[[Pool], Awaitable[object]]]] = {
    "the courier's look, each second": _look_at_what_is_due,
    "the courier's look at a workspace that moved": _look_at_a_workspace,
    "the supervisor's look, twice a second": webhooks.any_enabled,
    "first passes of searches for duplicates": duplicates.first_passes,
    "the search for duplicates in a workspace that moved": _look_at_a_search,
    "erasures for the list": lambda pool: erasure.listed(pool, days=1),
    "imports at work, twice a second": importing.at_work,
}


@pytest.mark.parametrize("name", _LOOKS)
async def test_a_look_reads_only_what_is_due(idle: Idle, name: str) -> None:
    """A look that comes more often than once an hour reads hardly any of thousands of idle workspaces."""
    assert await idle.rows_read(_LOOKS[name]) <= _FEW


async def test_no_endpoint_is_enabled(new_database: NewDatabase) -> None:
    """Whether an endpoint is enabled costs no look at those that are disabled."""
    url = await new_database()
    await migrate(url)
    plain = await asyncpg.connect(url)
    await plain.execute(_IDLE.replace("id, id, true, 0 from made", "id, id, false, 0 from made"))
    await plain.close()
    pool: Any = await open_pool(url, 1)
    async with pool.acquire() as connection:
        idle = Idle(connection)
        assert await idle.rows_read(webhooks.any_enabled) <= _FEW
    await pool.close()


@pytest_asyncio.fixture
async def own_pool(database_url: str) -> AsyncGenerator[PagePool]:
    """Connections."""
    pool = await open_pool(database_url, 2)
    yield pool
    await pool.close()


class _Rounds:
    """Counts rounds."""

    def __init__(self) -> None:
        self.count = 0

    async def make(self) -> None:
        """Make one."""
        self.count += 1

    async def fail(self) -> None:
        """Begin one that fails."""
        self.count += 1
        raise LookupError


async def test_a_round_is_made_once_an_hour(own_pool: PagePool) -> None:
    """However many servers offer to make a round, one makes it in an hour; others have rounds of their own."""
    name, rounds, others = ids.new_id().hex, _Rounds(), _Rounds()
    for _ in range(3):
        await once_an_hour(own_pool, name, rounds.make)
    await once_an_hour(own_pool, f"{name} 7", others.make)

    assert (rounds.count, others.count) == (1, 1)


@pytest.mark.parametrize("began", ["-61 minutes", "2 hours"])
async def test_a_round_comes_again(own_pool: PagePool, began: str) -> None:
    """The next round begins an hour after the last one, and at once if a wrong clock has dated that ahead."""
    name, rounds = ids.new_id().hex, _Rounds()
    await once_an_hour(own_pool, name, rounds.make)
    await own_pool.execute(
        "update setting set value = extract(epoch from now() + $2::text::interval)::bigint::text where name = $1",
        f"round {name}",
        began,
    )
    await once_an_hour(own_pool, name, rounds.make)

    assert rounds.count == 2


async def test_a_round_that_fails_is_made_again(own_pool: PagePool) -> None:
    """A round that fails is not the one of its hour."""
    name, rounds = ids.new_id().hex, _Rounds()
    with pytest.raises(LookupError):
        await once_an_hour(own_pool, name, rounds.fail)
    await once_an_hour(own_pool, name, rounds.make)

    assert rounds.count == 2
