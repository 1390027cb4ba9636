"""SQL about the whole content of a database, whatever its schema."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from herdbook.db.pool import Connection

# How rows are spelled, and that no time limit of the database ends a long transaction.
SPELLING: Final = """
    set local statement_timeout = 0;
    set local idle_in_transaction_session_timeout = 0;
    set local timezone = 'UTC';
    set local datestyle = 'ISO';
    set local intervalstyle = 'postgres';
    set local extra_float_digits = 1;
    set local bytea_output = 'hex';
"""
# Reads are of one moment.
_SNAPSHOT: Final = "begin isolation level repeatable read, read only;" + SPELLING

# The names of the tables are those of the database itself. A sum does not depend on the order of the rows.
_COUNT_TABLES: Final = """
do $$
declare
    name text;
    counted json;
    tables jsonb := '{}';
begin
    for name in
        select format('%I.%I', s.nspname, c.relname)
        from pg_catalog.pg_class c join pg_catalog.pg_namespace s on s.oid = c.relnamespace
        where c.relkind in ('r', 'p') and s.nspname !~ '^pg_' and s.nspname <> 'information_schema'
            and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype = 'e')
    loop
        execute format(
            $count$
            select json_build_object(
                'rows', count(*), 'checksum', coalesce(sum(crc32c(convert_to(entire_row::text, 'UTF8'))), 0)::text
            )
            from %s entire_row
            $count$,
            name
        ) into counted;
        tables := tables || jsonb_build_object(name, counted);
    end loop;
    perform set_config('herdbook.tables', tables::text, true);
end $$
"""


class TableContent(msgspec.Struct, frozen=True):
    """The number of a table's rows, and the sum of their CRC-32C."""

    rows: int
    checksum: str


class Head(msgspec.Struct, frozen=True):
    """The number and the time of a workspace's last change."""

    seq: int
    at: str


class Content(msgspec.Struct, frozen=True):
    """The content of a database: its migrations, each table, and the head of each workspace's ledger."""

    migrations: list[str]
    tables: dict[str, TableContent]
    heads: dict[str, Head]

    @property
    def changes(self) -> int:
        """The number of changes in all workspaces since their beginning."""
        return sum(head.seq for head in self.heads.values())


async def begin_snapshot(connection: Connection) -> str:
    """Begin a transaction that reads one moment; return the name under which other connections can read it, too."""
    await connection.execute(_SNAPSHOT)
    return await connection.fetchval("select pg_export_snapshot()")


async def snapshot_time(connection: Connection) -> datetime:
    """Return the time of the moment of `begin_snapshot`, by the database's clock."""
    return await connection.fetchval("select now()")


async def is_prepared(connection: Connection) -> bool:
    """Whether a server has ever prepared this database."""
    return await connection.fetchval("select to_regclass('migration') is not null")


async def is_empty(connection: Connection) -> bool:
    """Whether a database has no tables, views or sequences, except those of extensions."""
    return await connection.fetchval(
        """
        select not exists (
            select from pg_catalog.pg_class c join pg_catalog.pg_namespace s on s.oid = c.relnamespace
            where s.nspname !~ '^pg_' and s.nspname <> 'information_schema'
                and not exists (select from pg_catalog.pg_depend d where d.objid = c.oid and d.deptype = 'e')
        )
        """
    )


async def content(connection: Connection) -> Content:
    """Return the content of the moment of `begin_snapshot`."""
    await connection.execute(_COUNT_TABLES)
    heads = await connection.fetch("select id, seq, last_at from workspace")
    return Content(
        [record["name"] for record in await connection.fetch("select name from migration order by name")],
        msgspec.json.decode(
            await connection.fetchval("select current_setting('herdbook.tables')"), type=dict[str, TableContent]
        ),
        {record["id"].hex: Head(record["seq"], record["last_at"].isoformat()) for record in heads},
    )


async def recordings(connection: Connection, workspace_id: UUID | None = None) -> set[tuple[UUID, UUID]]:
    """Return the workspace and the id of each engagement that shows a recording, in one workspace or in all."""
    records = await connection.fetch(
        """
        select workspace_id, id from engagement
        where ($1::uuid is null or workspace_id = $1) and deleted_at is null and details ->> 'media' is not null
        """,
        workspace_id,
    )
    return {(record["workspace_id"], record["id"]) for record in records}
