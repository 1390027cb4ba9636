"""PgBouncer in transaction mode, between the server and its database: each transaction has a session that others had before.

Such sessions take no settings from their clients, so they have those of their role.
"""

from typing import Final, LiteralString

import asyncpg

from herdbook.db.pool import SESSION_OF_ROLE, connect, connect_plainly
from herdbook.faults import OperatorFault

# A statement that was prepared in one session is missing in another one, or is there already.
_STATEMENT_ASTRAY: Final = (
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
    asyncpg.ProtocolViolationError,
)
# PgBouncer gives the statements that it carries from session to session names of its own.
_LOOK: Final[LiteralString] = """
    select pg_backend_pid(), exists (select from pg_prepared_statements where name like 'PGBOUNCER%')
"""
# No two clusters of PostgreSQL have one number, unless one is a copy of the other.
_IDENTITY: Final[LiteralString] = "select (select system_identifier from pg_control_system()), current_database()"
_SET: Final[LiteralString] = """
    do $$ begin
        execute format(
            'alter role %I in database %I set %I = %L',
            current_setting('herdbook.role'), current_database(),
            current_setting('herdbook.name'), current_setting('herdbook.value')
        );
    end $$
"""


class PoolerUnfit(OperatorFault):
    """A pooler cannot be used as it is."""


_CARRIES_NO_STATEMENTS: Final = (
    "The pooler before the database does not carry prepared statements from session to session. herdbook needs PgBouncer 1.21 "
    "or newer in transaction mode, with `max_prepared_statements = 500`. Change that, or connect directly: --database-url "
    "without a pooler, and no --database-direct-url."
)
_HAS_NO_DIRECT_URL: Final = (
    "--database-url leads through a pooler in transaction mode, where nobody can listen or migrate. Give the database's own "
    "address, too: --database-direct-url."
)


async def require_fit(database_url: str, direct_url: str | None) -> None:
    """Require that what is between here and the database carries what herdbook needs. Refusal: PoolerUnfit.

    Both addresses must lead to one database: migrations of one and the data of the other would be mixed up.
    """
    first = await connect_plainly(database_url)
    second: asyncpg.Connection[asyncpg.Record] | None = None
    try:
        backend, is_carried = await first.fetchrow(_LOOK) or (0, False)
        is_pooled = backend != first.get_server_pid()
        if is_pooled and not is_carried:
            # Two that have one session at once have it by turns. In session mode, each has its own.
            second = await connect_plainly(database_url)
            if direct_url is not None or (await second.fetchrow(_LOOK) or (0, False))[0] == backend:
                raise PoolerUnfit(_CARRIES_NO_STATEMENTS)
        if is_carried and direct_url is None:
            raise PoolerUnfit(_HAS_NO_DIRECT_URL)
        if direct_url is not None:
            await require_same(database_url, direct_url)
            await _require_settings(first)
    except _STATEMENT_ASTRAY:
        raise PoolerUnfit(_CARRIES_NO_STATEMENTS) from None
    finally:
        for connection in (first, second):
            if connection is not None:
                await connection.close()


async def require_same(database_url: str, direct_url: str) -> None:
    """Require that both addresses lead to one database. Refusal: PoolerUnfit."""
    found: list[asyncpg.Record | None] = []
    for url in (database_url, direct_url):
        connection = await connect_plainly(url)
        try:
            found.append(await connection.fetchrow(_IDENTITY))
        finally:
            await connection.close()
    if found[0] != found[1]:
        raise PoolerUnfit(
            "--database-url and --database-direct-url lead to different databases. Nothing was changed. Correct one of them."
        )


async def _require_settings(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    lacking = await connection.fetch(
        """
        select name from unnest($1::text[], $2::text[]) as asked(name, value)
        where current_setting(name) <> value order by name
        """,
        [*SESSION_OF_ROLE],
        [*SESSION_OF_ROLE.values()],
    )
    if lacking:
        names = ", ".join(record["name"] for record in lacking)
        raise PoolerUnfit(
            f"Sessions through the pooler lack settings of herdbook: {names}. Run `herdbook migrate --set-role`, which gives "
            "them to the role of --database-url in this database, and have PgBouncer open its sessions anew (`RECONNECT`)."
        )


async def set_role(database_url: str, direct_url: str | None) -> str:
    """Give the settings of the server's sessions to the role of the database's URL, in this database; return its name."""
    asking = await connect_plainly(database_url)
    try:
        role: str = await asking.fetchval("select current_user::text")
    finally:
        await asking.close()
    connection = await connect(direct_url or database_url)
    try:
        async with connection.transaction():
            await connection.fetchval("select set_config('herdbook.role', $1, true)", role)
            for name, value in SESSION_OF_ROLE.items():
                await connection.fetchval(
                    "select set_config('herdbook.name', $1, true), set_config('herdbook.value', $2, true)", name, value
                )
                await connection.execute(_SET)
    finally:
        await connection.close()
    return role
