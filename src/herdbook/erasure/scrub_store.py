"""Statements that remove the bytes of erased rows from the files of the database.

PostgreSQL leaves the bytes of a removed row where they were until others need the place, in tables, indexes, statistics and the
write-ahead log. A rewritten table has only living rows.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Final, LiteralString

import asyncpg

from herdbook.db.pool import Connection, is_distributed
from herdbook.erasure.places import TABLES

_TRIES: Final = 20
# A rewrite keeps the rows that were removed after the moment which another transaction reads, in this database or prepared.
_READS_EARLIER: Final = """
    select exists (
        select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
            and greatest(age(backend_xmin), age(backend_xid)) > age($1::text::xid8::xid)
        union all
        select from pg_prepared_xacts where database = current_database() and age(transaction) > age($1::text::xid8::xid)
    )
"""
# The statistics hold values of the columns. A table that has become empty would keep those of its former rows.
_STATISTICS: Final = "pg_catalog.pg_statistic"
_CLEAR: Final = """
    select pg_clear_attribute_stats(n.nspname, c.relname, a.attname, false)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid
    where c.oid = any($1::text[]::regclass[]) and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
"""


class EarlierMomentRead(Exception):
    """Another program reads a moment before the scrub, for so long that nothing was rewritten."""


async def scrubbed_tables(connection: Connection) -> AsyncGenerator[tuple[str, float]]:
    """Rewrite each table of a node and its indexes. Yield its name and how many seconds that took.

    Nobody reads or writes a table meanwhile. A rewrite waits for others for two seconds at a time. Refusal: EarlierMomentRead.
    """
    await _wait_for_earlier_readers(connection)
    await connection.execute("set lock_timeout = '2s'")
    tables = await _tables(connection)
    await connection.execute(_CLEAR, [*TABLES, *tables])
    for table in (*tables, _STATISTICS):
        yield table, await _rewritten(connection, table)


async def _tables(connection: Connection) -> Sequence[LiteralString]:
    """Return the tables that have rows on this node: on a distributed database, those of its shards."""
    if not await is_distributed(connection):
        return TABLES
    # Otherwise the catalog hides them.
    await connection.execute("set citus.override_table_visibility = off")
    records = await connection.fetch(
        """
        select c.oid::regclass::text as name from pg_catalog.pg_class c
        where c.relkind = 'r' and c.relnamespace = 'public'::regnamespace
            and c.relname ~ ('^(' || array_to_string($1::text[], '|') || ')_[0-9]+$')
        order by c.relname
        """,
        TABLES,
    )
    return [record["name"] for record in records]


async def _wait_for_earlier_readers(connection: Connection) -> None:
    """Wait until no transaction needs rows that were removed before now. Refusal: EarlierMomentRead."""
    now = await connection.fetchval("select pg_current_xact_id()::text")
    for left in reversed(range(_TRIES)):
        if not await connection.fetchval(_READS_EARLIER, now):
            return
        if left:
            await asyncio.sleep(1)
    raise EarlierMomentRead


async def _rewritten(connection: Connection, table: LiteralString) -> float:
    for left in reversed(range(_TRIES)):
        began = time.monotonic()
        try:
            await connection.execute("vacuum (full, analyze) " + table)
        except asyncpg.LockNotAvailableError:
            if not left:
                raise
            await asyncio.sleep(1)
        else:
            return time.monotonic() - began
    raise AssertionError("the last try returns or raises")


async def scrub_log(connection: Connection) -> None:
    """Let the write-ahead log begin anew, without files that hold old bytes. It needs a superuser."""
    await connection.execute("alter system set wal_recycle = off")
    try:
        await connection.execute("select pg_reload_conf()")
        await connection.execute("checkpoint")
        # Files that were prepared from old ones come next. Each is passed once, and removed by the next checkpoint.
        for _ in range(await connection.fetchval("select count(*) + 2 from pg_ls_waldir()")):
            await connection.execute("select pg_logical_emit_message(false, 'herdbook', '')")
            await connection.execute("select pg_switch_wal()")
        await connection.execute("checkpoint")
    finally:
        await end_scrub(connection)


async def end_scrub(connection: Connection) -> None:
    """Let the write-ahead log reuse its files again, if a scrub does not. It needs a superuser."""
    if await connection.fetchval("select setting = 'off' from pg_settings where name = 'wal_recycle'"):
        await connection.execute("alter system reset wal_recycle")
        await connection.execute("select pg_reload_conf()")
