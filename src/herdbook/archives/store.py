"""Every SQL statement about archives: the rows of a workspace out of the tables, and into them."""

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook.archives.places import OF_PEOPLE, Place
from herdbook.backups.store import SPELLING
from herdbook.db.pool import OwnConnection
from herdbook.webhook_endpoints.signing import new_secret

# A view takes the place of a computed statement. Rows come in the order of their keys, and texts in that of their bytes, so
# that the same rows are the same bytes, whatever the locale of a database.
_SHOW: Final = """
do $$
declare
    asked json := current_setting('herdbook.asked')::json;
    named oid := to_regclass(format('public.%I', asked ->> 'table'));
begin
    drop view if exists pg_temp.archived_rows;
    execute format(
        'create temp view archived_rows as select %s from public.%I t where %s %s',
        (
            select string_agg(
                coalesce(asked -> 'instead' ->> attname || format(' as %I', attname), format('t.%I', attname)), ', '
                order by attnum
            )
            from pg_catalog.pg_attribute
            where attrelid = named and attnum > 0 and not attisdropped and attgenerated = ''
                and attname is distinct from asked ->> 'workspace_column'
        ),
        asked ->> 'table',
        replace(asked ->> 'belongs', '$workspace', format('%L::uuid', asked ->> 'workspace')),
        coalesce('order by ' || (
            select string_agg(format('t.%I', attname) || case when attcollation <> 0 then ' collate "C"' else '' end, ', '
                order by array_position(indkey::int2[], attnum))
            from pg_catalog.pg_index join pg_catalog.pg_attribute on attrelid = indrelid and attnum = any(indkey)
            where indrelid = named and indisprimary and attname is distinct from asked ->> 'workspace_column'
        ), '')
    );
end $$
"""


class Head(NamedTuple):
    """The name of a workspace, and the number of its last change."""

    name: str
    seq: int


class _Asked(msgspec.Struct):
    """The question of `_SHOW`."""

    workspace: UUID
    table: str
    belongs: str
    workspace_column: str | None
    instead: dict[LiteralString, LiteralString]


async def begin_moment(connection: OwnConnection) -> None:
    """Begin a transaction that reads one moment, of a workspace on any node and of the tables that all nodes have."""
    await connection.execute("begin isolation level repeatable read; set local client_min_messages = 'warning';" + SPELLING)
    # A second connection to the node of the workspace would read another moment.
    await connection.execute("set local citus.max_adaptive_executor_pool_size = 1")


async def begin_bringing(connection: OwnConnection, workspace_id: UUID) -> None:
    """Begin a transaction that brings a workspace, completely or not at all. Wait for others that bring the same one."""
    await connection.execute("begin; set local client_min_messages = 'warning';" + SPELLING)
    # Otherwise the second of two would remove the recordings of the first, as those of a try that was killed.
    await connection.execute("select pg_advisory_xact_lock(hashtextextended('unarchive ' || $1, 0))", str(workspace_id))


async def end(connection: OwnConnection) -> None:
    """Commit the transaction."""
    await connection.execute("commit")


async def head(connection: OwnConnection, workspace_id: UUID) -> Head | None:
    """Return the name and the head of a workspace, or None if it does not exist."""
    record = await connection.fetchrow("select name, seq from workspace where id = $1", workspace_id)
    return None if record is None else Head(*record)


async def tables(connection: OwnConnection) -> set[str]:
    """Return the names of the tables that the database has."""
    records = await connection.fetch("select relname from pg_catalog.pg_class where relnamespace = 'public'::regnamespace")
    return {record["relname"] for record in records}


async def show(connection: OwnConnection, workspace_id: UUID, place: Place, *, with_secrets: bool) -> list[str]:
    """Show the rows of a workspace in a table, as an archive has them, in a view; return its columns."""
    instead = place.columns_instead(with_secrets=with_secrets)
    asked = _Asked(workspace_id, place.table, place.belongs, place.workspace_column, instead)
    await connection.execute("select set_config('herdbook.asked', $1, true)", msgspec.json.encode(asked).decode())
    await connection.execute(_SHOW)
    records = await connection.fetch(
        "select attname from pg_catalog.pg_attribute where attrelid = 'pg_temp.archived_rows'::regclass and attnum > 0 "
        "order by attnum"
    )
    return [record["attname"] for record in records]


async def copy_shown(connection: OwnConnection, write: Callable[[bytes], Awaitable[None]]) -> int:
    """Write the rows that are shown, in the form that PostgreSQL copies as text; return their number."""
    done = await connection.copy_from_query("select * from archived_rows", output=write)
    return int(done.removeprefix("COPY "))


async def copy_in(connection: OwnConnection, place: Place, columns: Sequence[str], rows: AsyncIterable[bytes]) -> None:
    """Add rows to a table; those of people are kept for `add_people`."""
    table = "archived_" + place.table if place in OF_PEOPLE else place.table
    await connection.copy_to_table(table, columns=columns, source=rows)


# The people of an archive who are not on the server yet, with what belongs to them.
_ADDED: Final[dict[LiteralString, LiteralString]] = {
    "person": "insert into person select * from archived_person",
    "person_user": """
        insert into person_user
        select m.* from archived_person_user m
        join archived_person p on p.id = m.person_id
        join credential c on c.id = m.credential_id and c.workspace_id = $1
    """,
    "passkey": """
        insert into passkey
        select k.* from archived_passkey k join archived_person p on p.id = k.person_id on conflict do nothing
    """,
    "person_openid": """
        insert into person_openid
        select o.* from archived_person_openid o join archived_person p on p.id = o.person_id on conflict do nothing
    """,
}


async def prepare_people(connection: OwnConnection, places: Sequence[Place]) -> None:
    """Make tables for the people of an archive, before it is known who is on the server already."""
    for place in places:
        prepared: LiteralString = "create temp table archived_$table (like $table including defaults) on commit drop"
        await connection.execute(prepared.replace("$table", place.table))


async def add_people(connection: OwnConnection, workspace_id: UUID, places: Sequence[Place]) -> int:
    """Add the people who are not on the server yet, by their ids and addresses. Return how many are there.

    Nobody comes into an account by what an archive says of an address.
    """
    # Two statements, because a distributed database deletes from no temporary table by what is in other tables.
    there = await connection.fetch(
        "select a.id from archived_person a where exists (select from person p where p.id = a.id or p.address = a.address)"
    )
    await connection.execute("delete from archived_person where id = any($1)", [record["id"] for record in there])
    for place in places:
        added = _ADDED[place.table]
        await connection.execute(added, *((workspace_id,) if "$1" in added else ()))
    return len(there)


async def new_secrets(connection: OwnConnection, workspace_id: UUID) -> int:
    """Give each webhook endpoint a new secret; return how many active endpoints are enabled, and are sent nothing."""
    for record in await connection.fetch("select id from webhook_endpoint where workspace_id = $1", workspace_id):
        await connection.execute(
            "update webhook_endpoint set secret = $3 where workspace_id = $1 and id = $2",
            workspace_id,
            record["id"],
            new_secret(),
        )
    count: int = await connection.fetchval(
        """
        select count(*) from webhook_endpoint
        where workspace_id = $1 and deleted_at is null and (object ->> 'is_enabled')::boolean
        """,
        workspace_id,
    )
    return count


async def take_erasure_key(connection: OwnConnection, key: str, workspace_id: UUID) -> None:
    """Hash as the server of the archive did, so that it is known who was erased, unless others were erased here."""
    # Two statements, because no node of a distributed database has both the workspaces and the setting.
    if not await connection.fetchval(
        """
        select exists (select workspace_id from erasure where workspace_id <> $1)
            or exists (select workspace_id from erasure_task where workspace_id <> $1)
        """,
        workspace_id,
    ):
        await connection.execute(
            """
            insert into setting (name, value) values ('erasure_key', $1)
            on conflict (name) do update set value = excluded.value
            """,
            key,
        )
