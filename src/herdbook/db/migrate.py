"""Migrations: plain SQL files in order, forward only, under an advisory lock.

Each is a transaction, but for those that build an index on a large table beside those who write there. What no SQL can do of
one is a step of the same name, in the same transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Final, LiteralString, cast

from herdbook.db.claims_by_case import claim_by_case
from herdbook.db.pool import Statements, connect

# Any number that no other program on the same database uses: the letters of `herdbook`.
_LOCK: Final = 0x68657264626F6F6B
_OLDEST: Final = 18
# An index on a large table is built while others write there, which cannot be part of a transaction: one statement a file.
_CONCURRENTLY: Final = "_concurrently"
_STEPS: Final[dict[str, Callable[[Statements], Awaitable[None]]]] = {"0008_claims_by_case": claim_by_case}
_NOTE: Final = "insert into migration (name) values ($1)"


class DatabaseTooOld(Exception):
    """The database is an older PostgreSQL than herdbook is made for."""

    def __init__(self, version: str) -> None:
        super().__init__(f"This database is PostgreSQL {version}. herdbook needs {_OLDEST} or newer.")


def available() -> dict[str, LiteralString]:
    """Return the SQL of each migration by name, in order."""
    files = sorted(resources.files("herdbook.db").joinpath("migrations").iterdir(), key=lambda file: file.name)
    # The files are as much a part of this program as its source.
    return {
        file.name.removesuffix(".sql"): cast("LiteralString", file.read_text("utf-8"))
        for file in files
        if file.name.endswith(".sql")
    }


async def migrate(database_url: str) -> list[str]:
    """Apply the migrations that the database lacks; return their names. Several processes may call it at once.

    Refusals: DatabaseTooOld, ClaimedTwice.
    """
    connection = await connect(database_url)
    try:
        version = await connection.fetchval("show server_version")
        if int(version.split(".")[0]) < _OLDEST:
            raise DatabaseTooOld(version)
        # Asked for again and again: whoever waited in a statement would keep an index from being built beside others.
        while not await connection.fetchval("select pg_try_advisory_lock($1)", _LOCK):  # noqa: ASYNC110  # no event here is the other process's
            await asyncio.sleep(0.02)
        await connection.execute(
            "create table if not exists migration (name text primary key, applied_at timestamptz not null default now())"
        )
        applied: list[str] = []
        for name in await missing(connection):
            if name.endswith(_CONCURRENTLY):
                await connection.execute(available()[name])
                await connection.execute(_NOTE, name)
            else:
                async with connection.transaction():
                    await connection.execute(available()[name])
                    if (step := _STEPS.get(name)) is not None:
                        await step(connection)
                    await connection.execute(_NOTE, name)
            applied.append(name)
        return applied
    finally:
        # The lock is the session's, so it ends with the connection.
        await connection.close()


async def missing(statements: Statements) -> list[str]:
    """Return the names of the migrations that the database lacks, in order."""
    done = {row["name"] for row in await statements.fetch("select name from migration")}
    return [name for name in available() if name not in done]
