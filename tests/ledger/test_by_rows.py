"""Saves row by row, as on a database with several nodes, write what the save of a batch does."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Final, LiteralString
from uuid import UUID

import asyncpg
import pytest_asyncio

from herdbook import ids
from herdbook.auth.store import create_workspace
from herdbook.companies.model import CompanyCreate, CompanyDomainRequest
from herdbook.companies.store import COMPANY
from herdbook.contacts.commands import UpdateContact
from herdbook.contacts.model import ContactUpdate
from herdbook.contacts.store import CONTACT
from herdbook.db.pool import Connection, Pool, open_pool
from herdbook.ledger.batch import load, lock_all, save
from herdbook.ledger.commands import Create, Delete
from herdbook.ledger.unit_of_work import Command, NotLoaded, Origin
from tests.ledger.ledger_client import creation, items

_STORED: Final[Sequence[LiteralString]] = (
    "select seq from workspace where id = $1",
    "select seq, kind::text, action::text, previous::text from change where workspace_id = $1 order by seq",
    """
    select version, deleted_at is null, search, phone_numbers_e164, own::text, object ->> 'last_name'
    from contact where workspace_id = $1 order by version
    """,
    "select address from contact_email where workspace_id = $1 order by 1",
    "select word from contact_word where workspace_id = $1 order by 1",
    "select domain from company_domain where workspace_id = $1 order by 1",
)


@pytest_asyncio.fixture
async def one_pool(database_url: str) -> AsyncGenerator[Pool]:
    """A pool with a single connection."""
    pool = await open_pool(database_url, 1)
    yield pool
    await pool.close()


async def carry_out(connection: Connection, workspace_id: UUID, command: Command, *, is_distributed: bool) -> None:
    """Carry out a command as a batch of its own, and load what it misses."""
    needs = {*command.needs()}
    while True:
        work = (await load(connection, {workspace_id: needs}, is_distributed=is_distributed))[workspace_id]
        try:
            work.carry_out(command, Origin(request_id=ids.new_id(), credential_id=ids.new_id()))
        except NotLoaded as missed:
            needs |= missed.needs
        else:
            break
    assert await save(connection, [work], is_distributed=is_distributed) == {workspace_id}


async def written(pool: Pool, workspace_id: UUID, *, is_distributed: bool) -> list[Any]:
    """Create, change and delete objects, and return what is stored of them."""
    async with pool.acquire() as connection:
        commands: list[Command] = [
            creation("ada@x.test", first_name="Ada", last_name="King", phone_numbers=()),
            creation("grace@x.test", first_name="Grace"),
            Create(COMPANY, CompanyCreate(name="Engine", domains=(CompanyDomainRequest("engine.test"),))),
        ]
        for command in commands:
            await carry_out(connection, workspace_id, command, is_distributed=is_distributed)
        ada, grace = await connection.fetch("select id from contact where workspace_id = $1 order by version", workspace_id)
        changed = ContactUpdate(last_name="Lovelace", emails=items("lovelace@x.test", "ada@x.test"))
        await carry_out(connection, workspace_id, UpdateContact(ada["id"], changed, None), is_distributed=is_distributed)
        await carry_out(connection, workspace_id, Delete(CONTACT, grace["id"]), is_distributed=is_distributed)
        return [[tuple(row) for row in await connection.fetch(sql, workspace_id)] for sql in _STORED]


async def test_both_saves_write_the_same(one_pool: Pool, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Commands leave the same rows, whichever way they are saved."""
    other_id = await create_workspace(pool, "Other")

    assert await written(one_pool, other_id, is_distributed=True) == await written(one_pool, workspace_id, is_distributed=False)


async def test_a_batch_that_comes_too_late_writes_nothing(one_pool: Pool, workspace_id: UUID) -> None:
    """A save row by row compares the head before it writes, behind a lock as without one."""
    command = creation("ada@x.test")
    async with one_pool.acquire() as connection:
        late, first = [
            (await load(connection, {workspace_id: {*command.needs()}}, is_distributed=True))[workspace_id] for _ in range(2)
        ]
        for work in (late, first):
            work.carry_out(command, Origin(request_id=ids.new_id(), credential_id=ids.new_id()))
        async with connection.transaction():
            await lock_all(connection, [workspace_id], is_distributed=True)
            saved = await save(connection, [first], is_distributed=True)
        too_late = await save(connection, [late], is_distributed=True)
        changes = await connection.fetchval("select count(*) from change where workspace_id = $1", workspace_id)

    assert (saved, too_late, changes) == ({workspace_id}, set(), 1)
