"""The cost of a batch for the database: few distinct statements, whatever it contains."""

import random
from collections.abc import AsyncGenerator
from typing import Any, Final
from uuid import UUID

import pytest_asyncio

from herdbook import ids
from herdbook.companies.model import CompanyCreate
from herdbook.companies.store import COMPANY
from herdbook.db.pool import Connection, Pool, open_pool
from herdbook.ledger.batch import load, save
from herdbook.ledger.commands import Create
from herdbook.ledger.unit_of_work import Command, Need, Origin
from herdbook.tags.model import TagCreate
from herdbook.tags.store import TAG
from tests.ledger.ledger_client import creation
from tests.ledger.test_connection_cut import loads, saves

_BATCHES: Final = 60


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


async def carry_out(connection: Connection, workspace_id: UUID, commands: list[Command], dice: random.Random) -> None:
    """Carry out commands as one batch whose needs come in a given order."""
    needs: list[Need] = [need for command in commands for need in command.needs()]
    dice.shuffle(needs)
    in_order: Any = dict.fromkeys(needs)
    work = (await load(connection, {workspace_id: in_order}))[workspace_id]
    for command in commands:
        work.carry_out(command, Origin(request_id=ids.new_id(), credential_id=ids.new_id()))
    assert await save(connection, [work]) == {workspace_id}
