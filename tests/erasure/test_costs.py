"""The work of a slice is bounded, however much there is of a person."""

from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest

from herdbook import ids
from herdbook.contacts.store import CONTACT
from herdbook.db.pool import Pool
from herdbook.engagements.model import Participant
from herdbook.erasure import store
from herdbook.erasure.commands import MAX_EXPIRED_ENTRIES, EraseSlice
from herdbook.erasure.erasing import command_for, expire
from herdbook.erasure.model import Chain
from herdbook.erasure.steps import MAX_ENGAGEMENTS, MAX_ENTRIES, MAX_FIRST_ENTRIES, MAX_LINKS, range_of
from herdbook.erasure.store import CHAIN_RANGES, MENTIONING_ANSWERS, MENTIONS
from herdbook.ledger.batch import load
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Need, Origin, Table
from tests.cast import Person
from tests.erasure.test_erase_contact import MARKER, erase, everything, marked
from tests.erasure.test_slices import engage
from tests.merging.merges import contact
from tests.nodes import home_of

_NOBODY = Origin(ids.new_id(), ids.NIL)
_EMPTIED = "select count(*) from change where workspace_id = $1 and object ->> 'erased' = 'true'"


async def _lengthen(pool: Any, workspace_id: UUID, kind: str, many: int) -> None:
    """Give each object of a kind this many further entries."""
    table = {"c": "contact", "e": "engagement"}[kind]
    await pool.execute(
        f"""
        with head as (select seq from workspace where id = $1), last as (
            select e.*, row_number() over () - 1 as place from {table} o
            join change e on e.workspace_id = o.workspace_id and e.seq = o.version where o.workspace_id = $1
        )
        insert into change (
            workspace_id, seq, at, kind, object_id, action, request_id, credential_id, previous, object, previous_version
        )
        select l.workspace_id, head.seq + l.place * $2 + n, l.at, l.kind, l.object_id, 'u', l.request_id, l.credential_id,
            '{{}}', l.object, case when n = 1 then l.seq else head.seq + l.place * $2 + n - 1 end
        from last l cross join head cross join generate_series(1, $2) as n
        """,
        workspace_id,
        many,
    )
    await pool.execute(
        f"update {table} o set version = (select max(seq) from change e where e.workspace_id = $1 and e.object_id = o.id) "
        "where workspace_id = $1",
        workspace_id,
    )
    await pool.execute(
        "update workspace set seq = (select max(seq) from change where workspace_id = $1) where id = $1", workspace_id
    )


async def _loaded(own_pool: Pool, workspace_id: UUID, table: Table[Any], key: Any) -> Any:
    home = await home_of(own_pool, workspace_id)
    async with home.acquire() as connection:
        units = await load(connection, {workspace_id: [Need(table, key)]})
    return units[workspace_id].get(table, key)


async def _range(own_pool: Pool, workspace_id: UUID, chain: Chain, most: int) -> Any:
    return await _loaded(own_pool, workspace_id, CHAIN_RANGES, range_of(chain, most))


@pytest.mark.parametrize(("many", "is_cut"), [(3, False), (4, True), (50, True)])
async def test_a_range_has_few_entries(alice: Person, pool: Any, own_pool: Pool, many: int, is_cut: bool) -> None:  # noqa: FBT001
    """A range has as many entries as were asked for, and says whether there may be more."""
    ada = await contact(alice, first_name="Ada")
    await _lengthen(pool, alice.workspace_id, "c", many)
    version = await pool.fetchval("select version from contact where id = $1", ada.uuid)

    found = await _range(own_pool, alice.workspace_id, Chain.of(CONTACT, ada.uuid, version), 5)

    assert len(found.entries) == min(many + 1, 5)
    assert found.is_cut is is_cut


async def test_a_range_has_few_bytes(alice: Person, pool: Any, own_pool: Pool) -> None:
    """Large entries fill a range earlier, but never to less than two; entries that are not read are not loaded."""
    ada = await contact(alice, first_name="Ada", description="€" * 2000)
    await _lengthen(pool, alice.workspace_id, "c", 50)
    version = await pool.fetchval("select version from contact where id = $1", ada.uuid)
    read = Chain.of(CONTACT, ada.uuid, version)
    unread = Chain(CONTACT.kind, CONTACT.prefix, ada.uuid, version, is_expired=True)

    some, two, all_ = [
        await _range(own_pool, alice.workspace_id, chain, most) for chain, most in ((read, 10), (read, 2), (unread, 100))
    ]

    assert (len(some.entries), some.is_cut) == (7, True)
    assert (len(two.entries), two.is_cut) == (2, True)
    assert (len(all_.entries), all_.is_cut) == (51, False)
    assert {bytes(entry.object) for entry in all_.entries} == {b"null"}


@pytest.mark.parametrize("with_engagements", [False, True])
async def test_a_slice_empties_few_entries(
    alice: Person,
    ledger: Ledger,
    pool: Any,
    own_pool: Pool,
    with_engagements: bool,  # noqa: FBT001
) -> None:
    """No slice of an erasure changes more than its limit of entries, and all of them together empty everything."""
    ada = await marked(alice)
    await engage(ledger, alice, 0, 2 * MAX_ENGAGEMENTS)
    await _lengthen(pool, alice.workspace_id, "e", 30)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=with_engagements)
    await ledger.write(alice.workspace_id, command, _NOBODY)
    mentions = f"select count(*) from change where workspace_id = $1 and object::text like '%{MARKER}%'"
    left = [await pool.fetchval(mentions, alice.workspace_id)]
    while await pool.fetch("select from erasure_task where workspace_id = $1", alice.workspace_id):
        await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)
        left.append(await pool.fetchval(mentions, alice.workspace_id))

    emptied = [before - after for before, after in pairwise(left)]
    assert max(emptied) <= max(MAX_ENTRIES, MAX_ENGAGEMENTS * MAX_FIRST_ENTRIES)
    assert await everything(pool, alice.workspace_id) == {}


@pytest.mark.parametrize("with_engagements", [False, True])
async def test_a_slice_takes_few_links(
    alice: Person,
    ledger: Ledger,
    pool: Any,
    own_pool: Pool,
    with_engagements: bool,  # noqa: FBT001
) -> None:
    """A slice takes fewer engagements if they have many participants, and all of them lose the person in the end."""
    ada = await marked(alice)
    others = tuple(Participant(name=f"Guest {number}") for number in range(90))
    for number in range(15):
        await engage(ledger, alice, number, 1, others)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=with_engagements)
    await ledger.write(alice.workspace_id, command, _NOBODY)
    linked = "select count(*) from engagement_contact where workspace_id = $1 and contact_id = $2"
    left = [await pool.fetchval(linked, alice.workspace_id, ada.uuid)]
    while await pool.fetch("select from erasure_task where workspace_id = $1", alice.workspace_id):
        await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)
        left.append(await pool.fetchval(linked, alice.workspace_id, ada.uuid))

    assert (left[0], left[-1]) == (15, 0)
    assert max(before - after for before, after in pairwise(left)) == MAX_LINKS // 95
    assert await everything(pool, alice.workspace_id) == {}


async def test_a_scan_reads_few_bytes(alice: Person, ledger: Ledger, own_pool: Pool) -> None:
    """A statement looks through fewer engagements, or kept answers, if these are large, and all are looked through."""
    said = [Participant(name=f"Guest {ids.new_id()} {ids.new_id()}") for _ in range(90)]
    await engage(ledger, alice, 0, 60, tuple(said))
    operations = [{"action": "create", "contact": {"first_name": str(ids.new_id())}} for _ in range(100)]
    for number in range(8):
        headers = {"Idempotency-Key": f"k{number}"}
        await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations}, headers=headers)

    engagements: list[int] = []
    after = ids.NIL
    while after is not None:
        read = await _loaded(own_pool, alice.workspace_id, MENTIONS, (after, ("guest",), ()))
        engagements.append(len(read.found))
        after = read.last
    answers: list[int] = []
    place = (ids.NIL, "")
    while place is not None:
        found = await _loaded(own_pool, alice.workspace_id, MENTIONING_ANSWERS, (*place, ("first_name",), ()))
        answers.append(len(found.found))
        place = found.last

    assert sum(engagements) == 60
    assert max(engagements) < 40
    assert sum(answers) == 800
    assert max(answers) < 500


async def test_the_state_does_not_grow(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """The state that each slice loads and saves is as large for a person in many engagements as for one in few."""
    ada = await marked(alice)
    await engage(ledger, alice, 0, 3 * MAX_ENGAGEMENTS)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=True)
    assert len(command.found.engagement_ids) == 3 * MAX_ENGAGEMENTS
    await ledger.write(alice.workspace_id, command, _NOBODY)
    states = "select max(octet_length(state::text)) from erasure_task where workspace_id = $1"
    sizes = [await pool.fetchval(states, alice.workspace_id)]
    for _ in range(4):
        await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)
        sizes.append(await pool.fetchval(states, alice.workspace_id))

    assert max(sizes) < 1000


async def test_a_removal_empties_few_entries(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """Old deleted objects go with their last entries, and the others follow in slices."""
    contacts = [await contact(alice, first_name=f"{MARKER} {number}") for number in range(3)]
    await _lengthen(pool, alice.workspace_id, "c", 50)
    await pool.execute("update contact set deleted_at = now() - interval '91 days' where workspace_id = $1", alice.workspace_id)

    await expire(own_pool, ledger, [CONTACT], 90)

    emptied = await pool.fetchval(_EMPTIED, alice.workspace_id)
    assert emptied == len(contacts) * MAX_EXPIRED_ENTRIES
    for each in contacts:
        await ledger.write(alice.workspace_id, EraseSlice(each.uuid), _NOBODY)
    assert await everything(pool, alice.workspace_id) == {}


async def test_the_search_for_old_objects_goes_on(
    alice: Person, pool: Any, own_pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old deleted objects are looked for a slice of the table at a time, each after the one before."""
    contacts = [await contact(alice, first_name=f"{number}") for number in range(9)]
    old = {each.uuid for each in contacts[::4]}
    await pool.execute("update contact set deleted_at = now() - interval '91 days' where id = any($1)", list(old))
    monkeypatch.setattr(store, "_LOOKED_AT", 2)
    monkeypatch.setattr(store, "MAX_EXPIRED", 1)
    found: list[UUID] = []
    place = (alice.workspace_id, ids.NIL)
    while place is not None and place[0] == alice.workspace_id:
        objects, place = await store.expirable(await home_of(own_pool, alice.workspace_id), "contact", 90, place)
        assert sum(map(len, objects.values())) <= 1
        found += [object_id for object_id, _ in objects.get(alice.workspace_id, [])]

    assert found == sorted(old)


async def test_counting_goes_by_slices(alice: Person, admin: Person, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept answers and the rows of engagements are counted in slices, and all of them are counted."""
    ada = await marked(alice)
    await engage(ledger, alice, 0, 7)
    for number in range(7):
        headers = {"Idempotency-Key": f"k{number}"}
        await alice.patch(ada.url, json={"last_name": f"{MARKER} {number}"}, headers=headers)
    whole = (await erase(admin, ada, dry_run="true")).json()
    monkeypatch.setattr(store, "_COUNTED_ENGAGEMENTS", 3)

    sliced = (await erase(admin, ada, dry_run="true")).json()

    assert (sliced["rows"], sliced["kept"]) == (whole["rows"], whole["kept"])
    assert sliced["rows"]["idempotency_record"] == sliced["rows"]["engagement"] == 7
    assert sliced["rows"]["change"] == 8 + 7
