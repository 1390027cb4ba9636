"""Erasures in slices: a person with much history and many engagements, and a process that dies between slices."""

import asyncio
from typing import Any, LiteralString

import asyncpg
import msgspec
import pytest

from herdbook import ids
from herdbook.db.pool import Executor, Pool
from herdbook.engagements.commands import CreateEngagement
from herdbook.engagements.model import EngagementCreate, Participant
from herdbook.erasure.commands import EraseSlice
from herdbook.erasure.erasing import command_for, finished
from herdbook.erasure.steps import MAX_ENGAGEMENTS, MAX_ENTRIES
from herdbook.erasure.store import contacts_known_by
from herdbook.erasure_list import ErasureList
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import SliceDone
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Person, Thing
from tests.custom_fields.definitions import define
from tests.erasure.test_erase_contact import ADDRESS, MARKER, erase, everything, feed, marked
from tests.history.consistency import assert_consistent


async def engage(ledger: Ledger, person: Person, first: int, many: int, others: tuple[Participant, ...] = ()) -> None:
    """Create engagements with the marked person and another one among the participants, and further ones."""
    participants = (Participant(email=ADDRESS, name=MARKER), Participant(email="bob@x.test", name="Bob"), *others)
    for number in range(first, first + many):
        fields = EngagementCreate(
            type="CALL", title="A call", source_system="dialer", external_id=f"call-{number}", participants=participants
        )
        command = CreateEngagement(engagement_id=ids.new_id(), fields=fields, created_by=ids.NIL, owner_user_id=None)
        await ledger.write(person.workspace_id, command, Origin(ids.new_id(), ids.NIL))


@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_a_slice_may_be_full(
    alice: Person, admin: Person, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]", more: int
) -> None:
    """Engagements and entries that fill a slice, or are one fewer or more, are all emptied, and the feed has no gap."""
    ada = await marked(alice)
    await engage(ledger, alice, 0, 2 * MAX_ENGAGEMENTS + more)
    for number in range(MAX_ENTRIES + more):
        await alice.patch(ada.url, json={"last_name": f"{MARKER} {number}"})

    response = await erase(admin, ada)

    assert response.json()["finished"]
    assert response.json()["rows"]["engagement"] == 2 * MAX_ENGAGEMENTS + more
    assert await everything(pool, alice.workspace_id) == {}
    assert [each["position"] for each in await feed(admin)] == list(range(1, len(await feed(admin)) + 1))
    left = await pool.fetch("select details ->> 'participants' from engagement where workspace_id = $1", alice.workspace_id)
    assert {record[0] for record in left} == {'[{"name":"Bob","email":"bob@x.test"}]'}
    await assert_consistent(pool, alice.workspace_id)


async def test_a_crash_is_made_good(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Any) -> None:
    """A later round finishes an erasure from whatever slice the process died after, under the same request."""
    ada = await marked(alice)
    await engage(ledger, alice, 0, MAX_ENGAGEMENTS + 10)
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=False)
    await ledger.write(alice.workspace_id, command, origin)
    for _ in range(2):
        await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), origin)
    assert await everything(pool, alice.workspace_id)

    erasures = ErasureList(tmp_path / "erasures.jsonl")
    await finished(own_pool, ledger, erasures)

    assert await everything(pool, alice.workspace_id) == {}
    requests = "select distinct request_id from change where workspace_id = $1 and kind = 'e' and action = 'u'"
    assert [record[0] for record in await pool.fetch(requests, alice.workspace_id)] == [origin.request_id]
    assert not await pool.fetch("select from unfinished where workspace_id = $1", alice.workspace_id)
    assert not await pool.fetch("select from erasure_task where workspace_id = $1", alice.workspace_id)
    assert {each.request_id for each in erasures.read() if each.workspace_id == alice.workspace_id} == {origin.request_id}


async def test_it_is_gone_with_the_first_slice(alice: Person, ledger: Ledger, own_pool: Pool) -> None:
    """Between the slices the contact is already gone, its address is free, and a new contact with it stays."""
    ada = await marked(alice)
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=False)
    await ledger.write(alice.workspace_id, command, origin)

    gone = await alice.get(ada.url)
    restored = await alice.post(f"/api/herdbook/contacts/{ada.id}/restore")
    other = Thing(await alice.post("/api/v2/contacts", json={"emails": [{"email": ADDRESS}]}))

    assert (gone.status_code, restored.status_code) == (404, 404)
    await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), origin)
    assert (await alice.get(other.url)).json() == other.json


async def test_it_ends_while_others_write(alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """An erasure is finished after some slices, although something of each kind is written between any two of them."""
    ada = await marked(alice)
    await define(admin, "said", "text")
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=False)
    await ledger.write(alice.workspace_id, command, origin)

    is_finished = False
    for number in range(2, 60):
        headers = {"Idempotency-Key": f"{number:03}"}
        body = {"first_name": "Bob", "fields": {"said": "Tea"}}
        assert (await admin.post("/api/herdbook/contacts", json=body, headers=headers)).status_code == 201
        await alice.post("/api/v2/companies", json={"name": "Engine"})
        await engage(ledger, alice, 100 * number, 1)
        written = await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), origin)
        if is_finished := msgspec.json.decode(written.body, type=SliceDone).all:
            break

    assert is_finished
    assert not await pool.fetch("select from erasure_task where workspace_id = $1", alice.workspace_id)


async def test_a_count_ends_while_others_write(alice: Person, ledger: Ledger, own_pool: Pool) -> None:
    """Nobody who writes between any two statements keeps those who look for a person from their end."""
    ada = await marked(alice)
    statements = _Disturbed(own_pool, alice, ledger)

    async with asyncio.timeout(90):
        await command_for(statements, alice.workspace_id, ada.uuid, with_engagements=False)
        assert await contacts_known_by(statements, alice.workspace_id, ADDRESS) == {ada.uuid}

    assert statements.many


class _Disturbed:
    """Statements, before each of which others write something of each kind."""

    def __init__(self, statements: Executor, person: Person, ledger: Ledger) -> None:
        self._statements = statements
        self._person = person
        self._ledger = ledger
        self.many = 0

    async def execute(self, query: LiteralString, *args: Any) -> str:
        await self._write()
        return await self._statements.execute(query, *args)

    async def fetch(self, query: LiteralString, *args: Any) -> list[asyncpg.Record]:
        await self._write()
        return await self._statements.fetch(query, *args)

    async def fetchrow(self, query: LiteralString, *args: Any) -> asyncpg.Record | None:
        await self._write()
        return await self._statements.fetchrow(query, *args)

    async def fetchval(self, query: LiteralString, *args: Any) -> Any:
        await self._write()
        return await self._statements.fetchval(query, *args)

    async def _write(self) -> None:
        self.many += 1
        headers = {"Idempotency-Key": f"{self.many:05}"}
        await self._person.post("/api/v2/contacts", json={"first_name": "Bob"}, headers=headers)
        await self._person.post("/api/v2/companies", json={"name": "Engine"})
        await engage(self._ledger, self._person, 1000 + self.many, 1)
