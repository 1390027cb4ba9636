"""The cost of a batch for the database: few distinct statements, whatever it contains."""

import random
from collections.abc import AsyncGenerator
from typing import Any, Final, LiteralString, cast
from uuid import UUID

import msgspec
import pytest_asyncio

from herdbook import ids
from herdbook.companies.model import CompanyCreate
from herdbook.companies.store import COMPANY
from herdbook.db.pool import Connection, Pool, open_pool
from herdbook.ledger.batch import load, save
from herdbook.ledger.commands import Create
from herdbook.ledger.unit_of_work import Command, Need, Origin, Table
from herdbook.tags.model import TagCreate
from herdbook.tags.store import TAG
from tests.ledger.ledger_client import creation
from tests.ledger.test_connection_cut import loads, saves

_BATCHES: Final = 60
_MANY_TABLES: Final = 120


@pytest_asyncio.fixture
async def statements_pool(database_url: str) -> AsyncGenerator[Pool]:
    """A pool with a single connection."""
    pool = await open_pool(database_url, 1)
    yield pool
    await pool.close()


async def test_the_same_tables_are_the_same_statement(statements_pool: Pool, workspace_id: UUID) -> None:
    """Batches that touch the same tables use the same two statements, however their commands are mixed."""
    dice = random.Random(1)  # noqa: S311  # repeatable on purpose
    async with statements_pool.acquire() as connection:
        seen: set[str] = set()
        logged: Any = connection

        def note(record: Any) -> None:
            seen.add(record.query)

        logged.add_query_logger(note)
        for number in range(_BATCHES):
            commands: list[Command] = [
                creation(f"ada{number}@x.test", first_name="Ada"),
                Create(COMPANY, CompanyCreate(name=f"Company {number}", domains=())),
                Create(TAG, TagCreate(name=f"Tag {number}")),
            ]
            dice.shuffle(commands)
            await carry_out(connection, workspace_id, commands, dice)

    assert (len([sql for sql in seen if loads(sql)]), len([sql for sql in seen if saves(sql)])) == (1, 1)


async def test_a_batch_may_touch_any_number_of_tables(statements_pool: Pool, workspace_id: UUID) -> None:
    """A batch loads and saves rows of more tables than there are now."""
    rows = [_Extra(workspace_id, number) for number in range(_MANY_TABLES)]
    tables = [Table(row=_Extra, key=lambda row: row.number, load=_LOAD, save=_save(number)) for number in range(_MANY_TABLES)]
    async with statements_pool.acquire() as connection:
        await connection.execute("create temporary table extra (workspace_id uuid, number int)")
        loading = {workspace_id: [Need(table, row.number) for table, row in zip(tables, rows, strict=True)]}
        work = (await load(connection, loading))[workspace_id]
        for table, row in zip(tables, rows, strict=True):
            work.put(table, row)
        await save(connection, [work])
        saved = await connection.fetch("select workspace_id, number from extra order by number")
        again = (await load(connection, loading))[workspace_id]

    assert [_Extra(*record) for record in saved] == rows
    assert [again.get(table, row.number) for table, row in zip(tables, rows, strict=True)] == rows


class _Extra(msgspec.Struct, frozen=True):
    workspace_id: UUID
    number: int


_LOAD: Final[LiteralString] = """
    select e.workspace_id, e.number
    from json_to_recordset($rows) as asked(workspace_id uuid, key int)
    join extra e on e.workspace_id = asked.workspace_id and e.number = asked.key
"""


def _save(number: int) -> LiteralString:
    sql = f"""
        extra_{number} as (
            insert into extra (workspace_id, number)
            select r.workspace_id, r.number from json_to_recordset($rows) as r(workspace_id uuid, number int)
            join held on held.id = r.workspace_id
        )
    """
    return cast("LiteralString", sql)


async def carry_out(connection: Connection, workspace_id: UUID, commands: list[Command], dice: random.Random) -> None:
    """Carry out commands as one batch whose needs come in a given order."""
    needs: list[Need] = [need for command in commands for need in command.needs()]
    dice.shuffle(needs)
    in_order: Any = dict.fromkeys(needs)
    work = (await load(connection, {workspace_id: in_order}))[workspace_id]
    for command in commands:
        work.carry_out(command, Origin(request_id=ids.new_id(), credential_id=ids.new_id()))
    assert await save(connection, [work]) == {workspace_id}
