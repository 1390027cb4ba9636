"""Migrations: plain SQL files in order, forward only, under an advisory lock.

An empty database gets in one step what all of them make.

Each runs in a transaction, except those that build an index on a large table concurrently with writes. If a migration needs
Python, its step has the same name and runs in the same transaction.

The lock is held by a transaction of a connection of its own, and ends with that, whatever becomes of the process. A lock of a
session would stay where a pooler keeps sessions.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Final, LiteralString, cast

import asyncpg

from herdbook.db.claims_by_case import claim_by_case
from herdbook.db.distribution import distribute
from herdbook.db.domains_without_www import claim_without_www
from herdbook.db.pool import Connection, Executor, connect, is_distributed
from herdbook.faults import OperatorFault

_log: Final = logging.getLogger("herdbook.db")

# A number that no other program on the same database uses: the letters of `herdbook`.
_LOCK: Final = 0x68657264626F6F6B
_OLDEST: Final = 18
# Building an index concurrently with writes is not possible in a transaction, so such a file holds one statement.
_CONCURRENTLY: Final = "_concurrently"
_INDEX: Final = re.compile(r"create index concurrently if not exists (\w+) on")
_STEPS: Final[dict[str, Callable[[Executor], Awaitable[None]]]] = {
    "0008_claims_by_case": claim_by_case,
    "0011_companies": claim_without_www,
}
# All that migrations enter in an empty database.
_MAKE_ERASURE_KEY: Final = """
    insert into setting (name, value)
    select 'erasure_key', replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')
"""
_NOTE: Final = "insert into migration (name) values ($1)"
# Writes to a table queue behind a migration that waits for its lock, so the migration waits no longer than this.
_WAIT_FOR_LOCKS: Final = "set local lock_timeout = '3s'"
_TRY_AGAIN_SECONDS: Final = 1.0
# A process that waits longer than this for another migration says which one that is, and again after each minute.
_TELL_AFTER_SECONDS: Final = 5.0
_TELL_AGAIN_SECONDS: Final = 60.0
# A pair of quotes or dollars, or a comment, is one piece, whatever is in it. A quote in quotes is written twice: two pieces.
_PIECE: Final = re.compile(r"--[^\n]*|'[^']*'|\"[^\"]*\"|\$(\w*)\$.*?\$\1\$|;|[^;'\"$-]+|.", re.DOTALL)
_COMMENT: Final = re.compile(r"--[^\n]*")


class DatabaseTooOld(OperatorFault):
    """The database is a PostgreSQL older than herdbook supports."""

    def __init__(self, version: str) -> None:
        super().__init__(f"This database is PostgreSQL {version}. herdbook needs {_OLDEST} or newer.")


class SchemaTooNew(OperatorFault):
    """A newer herdbook has already migrated the database."""

    def __init__(self, names: Sequence[str]) -> None:
        # It takes longer to import than this module, and few databases are refused.
        from importlib.metadata import version as installed_version  # noqa: PLC0415

        super().__init__(
            f"This is herdbook {installed_version('herdbook')}, which knows the schema up to `{list(available())[-1]}`. "
            f"A newer herdbook has brought the database to `{names[-1]}`. Start that one. If you mean to go back by one "
            "release, which the schema allows for, start this one with --allow-newer-schema."
        )


def available() -> dict[str, LiteralString]:
    """Return the SQL of each migration by name, in order."""
    files = sorted(resources.files("herdbook.db").joinpath("migrations").iterdir(), key=lambda file: file.name)
    # The cast is safe: the files are part of this program, like its source.
    return {
        file.name.removesuffix(".sql"): cast("LiteralString", file.read_text("utf-8"))
        for file in files
        if file.name.endswith(".sql")
    }


async def migrate(database_url: str, *, allows_newer: bool = False, only: Collection[str] | None = None) -> list[str]:
    """Apply the migrations that the database lacks, or only some; return their names. Several processes may call it at once.

    Refusals: DatabaseTooOld; ClaimedTwice; SchemaTooNew if a newer herdbook has migrated it, unless that is allowed.
    """
    connection = await connect(database_url)
    try:
        version = await connection.fetchval("show server_version")
        if int(version.split(".")[0]) < _OLDEST:
            raise DatabaseTooOld(version)
        async with _alone(database_url):
            await connection.execute(
                "create table if not exists migration (name text primary key, applied_at timestamptz not null default now())"
            )
            newer = await unknown(connection)
            if newer and not allows_newer:
                raise SchemaTooNew(newer)
            lacking = [name for name in await missing(connection) if only is None or name in only]
            has_nodes = await is_distributed(connection)
            if only is None and await _is_empty(connection):
                await _create(connection, lacking, at_once=not has_nodes)
            else:
                for name in lacking:
                    await _apply(connection, name)
            if has_nodes:
                await distribute(connection)
            return lacking
    finally:
        await connection.close()


@asynccontextmanager
async def _alone(database_url: str) -> AsyncGenerator[None]:
    """Let no other process migrate the database while the block lasts; wait for one that does."""
    connection = await connect(database_url)
    try:
        began = time.monotonic()
        tell_at = began + _TELL_AFTER_SECONDS
        while True:
            # Poll for the lock: a process that waits for it inside a statement blocks `create index concurrently`. The
            # transaction of the one that has it does not, because between statements it sees nothing.
            async with connection.transaction():
                if await connection.fetchval("select pg_try_advisory_xact_lock($1)", _LOCK):
                    await connection.execute("set local idle_in_transaction_session_timeout = 0")
                    yield
                    return
                if time.monotonic() > tell_at:
                    tell_at = time.monotonic() + _TELL_AGAIN_SECONDS
                    _log.warning(await _holder(connection))
            await asyncio.sleep(0.02)
    finally:
        await connection.close()


async def _holder(statements: Executor) -> str:
    """Return the sentence about the process that migrates."""
    holder = await statements.fetchrow(
        """
        select a.pid, a.usename, coalesce(nullif(a.application_name, ''), 'a program without a name') as application,
            coalesce(host(a.client_addr), 'this machine') as client, a.state, a.state_change::timestamptz(0) as since
        from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
        where l.locktype = 'advisory' and l.granted and l.objsubid = 1
            and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
            and (l.classid::int8 << 32 | l.objid::int8) = $1
        """,
        _LOCK,
    )
    if holder is None:
        return "Waiting for another migration, which has just ended or is not visible from here."
    return (
        f"Waiting for another migration: that of `{holder['application']}` at {holder['client']}, role `{holder['usename']}`, "
        f"in the database's process {holder['pid']} ({holder['state']} since {holder['since']}). If no such program runs, end "
        f"the process: select pg_terminate_backend({holder['pid']})."
    )


def statements_of(sql: LiteralString) -> Iterator[LiteralString]:
    """Yield the statements of a migration. Each is sent by itself, because a distributed database takes no two at once."""
    statement = ""
    for piece in _PIECE.finditer(sql):
        if piece[0] != ";":
            statement += piece[0]
        elif statement.strip():
            yield cast("LiteralString", statement.strip())
            statement = ""
    if _COMMENT.sub("", statement).strip():
        yield cast("LiteralString", statement.strip())


async def create_schema(connection: Executor) -> None:
    """Create the schema as all migrations make it, in an empty database that no later release will open.

    Its tables are unlogged: they cost no write-ahead log, and are empty after a crash.
    """
    await connection.execute(_schema().replace("create table ", "create unlogged table "))


def _schema() -> LiteralString:
    # The cast is safe: the file is part of this program, like its source.
    return cast("LiteralString", resources.files("herdbook.db").joinpath("schema.sql").read_text("utf-8"))


async def _is_empty(statements: Executor) -> bool:
    """Whether no migration has been applied, also none of those that are no longer noted."""
    empty: bool = await statements.fetchval("select to_regclass('workspace') is null")
    return empty


async def _create(connection: Connection, names: Sequence[str], *, at_once: bool) -> None:
    """Create the schema as all migrations make it, in two thirds of the time that these would take."""
    schema = _schema()
    async with connection.transaction():
        for statements in (schema,) if at_once else statements_of(schema):
            await connection.execute(statements)
        await connection.execute(_MAKE_ERASURE_KEY)
        await connection.execute("insert into migration (name) select unnest($1::text[])", names)


async def unknown(statements: Executor) -> list[str]:
    """Return, in order, the names of the migrations that the database has and this program does not know."""
    if await statements.fetchval("select to_regclass('migration') is null"):
        return []
    return sorted(await applied(statements) - available().keys())


async def missing(statements: Executor) -> list[str]:
    """Return, in order, the names of the migrations that the database lacks; one with an unfinished index counts as lacking."""
    noted = await applied(statements)
    unfinished = {
        record["name"]
        for record in await statements.fetch(
            """
            select c.relname as name from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
            where not i.indisvalid and pg_catalog.pg_table_is_visible(i.indrelid)
            """
        )
    }
    return [name for name, sql in available().items() if name not in noted or not unfinished.isdisjoint(_INDEX.findall(sql))]


async def applied(statements: Executor) -> set[str]:
    """Return the names of the migrations that the database has."""
    return {record["name"] for record in await statements.fetch("select name from migration")}


async def _apply(connection: Connection, name: str) -> None:
    sql = available()[name]
    if name.endswith(_CONCURRENTLY):
        # An interrupted build leaves an index that is maintained and never used, and `if not exists` would skip it.
        for index in _INDEX.findall(sql):
            await connection.execute(cast("LiteralString", f"drop index concurrently if exists {index}"))
        await connection.execute(sql)
        await connection.execute(_NOTE + " on conflict do nothing", name)
        return
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_WAIT_FOR_LOCKS)
                for statement in statements_of(sql):
                    await connection.execute(statement)
                if (step := _STEPS.get(name)) is not None:
                    await step(connection)
                await connection.execute(_NOTE, name)
        except asyncpg.LockNotAvailableError:
            _log.warning("a migration waits for a lock", extra={"migration": name})
            await asyncio.sleep(_TRY_AGAIN_SECONDS)
        else:
            return
