"""Rows that are not kept for ever are deleted by an index, in slices, however many there are."""

from collections.abc import AsyncGenerator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio

from herdbook.db.distribution import connection_of
from herdbook.db.pool import Connection, Pool, connect, open_pool
from herdbook.db.shards import ShardConnection
from herdbook.db.slices import SLICE
from herdbook.first_start import prepare
from herdbook.ledger.idempotency import forget_old_records
from herdbook.oauth.store import forget_old_tokens
from tests.db.conftest import database_on
from tests.nodes import of_asyncpg

_OLD = 2 * SLICE + 500


@pytest_asyncio.fixture
async def database(database_url: str) -> AsyncGenerator[str]:
    """A database of the test."""
    async with database_on(database_url) as url:
        await prepare(url)
        yield url


@pytest_asyncio.fixture
async def connection(database: str) -> AsyncGenerator[Connection]:
    """A connection that fills and inspects tables."""
    connection = await connect(database)
    yield connection
    await connection.close()


@pytest_asyncio.fixture
async def server(database: str) -> AsyncGenerator[Pool]:
    """A pool like that of a server."""
    pool = await open_pool(database, 1)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def watching(database: str, connection: Connection) -> AsyncGenerator[Connection]:
    """A connection to the node of the workspace, because triggers are those of one node."""
    async with connection_of(database, connection, await workspace_of(connection)) as watching:
        yield watching


async def workspace_of(connection: Connection) -> UUID:
    """Return the workspace of the database."""
    return await connection.fetchval("select id from workspace")


async def watch_deletions(watching: Connection, table: str) -> None:
    """Record how many rows each statement deletes from a table."""
    if isinstance(watching, ShardConnection):
        table = watching.shard.rename(f"from {table}").removeprefix("from ")
        await watching.execute("set citus.enable_ddl_propagation = off")
    await of_asyncpg(watching).execute(
        f"""
        create table if not exists deletion (at serial, count integer);
        create or replace function note_deletion() returns trigger language plpgsql as $$
            begin
                insert into deletion (count) select count(*) from gone;
                return null;
            end
        $$;
        create trigger watched after delete on {table} referencing old table as gone
        for each statement execute function note_deletion();
        """
    )


async def deletions(watching: Connection) -> list[int]:
    """Return how many rows each statement deleted, without those that deleted none."""
    return [record["count"] for record in await watching.fetch("select count from deletion where count > 0 order by at")]


async def keep_records(connection: Connection, count: int, age: str) -> None:
    """Store a number of idempotency records of an age."""
    workspace_id = await workspace_of(connection)
    await connection.execute(
        """
        insert into idempotency_record (workspace_id, credential_id, key, fingerprint, at, version, answer)
        select $1, $1, $3 || n::text, '', now() - $3::text::interval, 1, '{}' from generate_series(1, $2::int) as n
        """,
        workspace_id,
        count,
        age,
    )


async def test_old_idempotency_records_go_in_slices(connection: Connection, watching: Connection, server: Pool) -> None:
    """No statement deletes more than a slice, and records younger than a day stay."""
    await keep_records(connection, _OLD, "25 hours")
    await keep_records(connection, 7, "23 hours")
    await keep_records(connection, 5, "-23 hours")
    await watch_deletions(watching, "idempotency_record")
    await forget_old_records(server)

    assert await deletions(watching) == [SLICE, SLICE, 500]
    assert await connection.fetchval("select count(*) from idempotency_record") == 12


async def test_records_that_a_wrong_clock_has_dated_go(connection: Connection, server: Pool) -> None:
    """A record dated years ahead is not kept for years."""
    await keep_records(connection, 3, "-10 years")
    await keep_records(connection, 4, "0 hours")
    await forget_old_records(server)

    assert await connection.fetchval("select count(*) from idempotency_record") == 4


@pytest.mark.parametrize("table", ["oauth_access_token", "oauth_refresh_token", "oauth_grant"])
async def test_old_tokens_go_in_slices(connection: Connection, watching: Connection, server: Pool, table: str) -> None:
    """No statement deletes more than a slice of tokens or grants; unexpired ones stay."""
    await connection.execute(
        """
        insert into oauth_access_token (id, client_id, scopes, secret_hash, expires_at)
        select gen_random_uuid(), gen_random_uuid(), '{}', '', now() - make_interval(mins => 60 * n - 630)
        from generate_series(1, $1::int) as n
        """,
        _OLD + 10,
    )
    await connection.execute(
        """
        insert into oauth_refresh_token (id, grant_id, secret_hash, expires_at)
        select id, client_id, secret_hash, expires_at from oauth_access_token
        """
    )
    await connection.execute(
        """
        insert into oauth_grant (id, client_id, user_id, scopes, redirect_uri, code_challenge, secret_hash, ends_at)
        select id, client_id, id, '{}', '', '', secret_hash, expires_at from oauth_access_token
        """
    )
    await watch_deletions(watching, table)
    await forget_old_tokens(server)

    assert await deletions(watching) == [SLICE, SLICE, 500]
    left: asyncpg.Connection[asyncpg.Record] = connection  # type: ignore[assignment]
    assert await left.fetchval(f"select count(*) from {table}") == 10  # one of the three tables
