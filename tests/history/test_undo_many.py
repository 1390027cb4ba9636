"""Undoing a request that changed more objects than one command takes: the work is done in slices."""

from uuid import uuid4

import asyncpg
import pytest

from herdbook.history import undoing
from herdbook.history.undoing import MAX_CHANGES
from tests.cast import Person, Thing
from tests.engagements.calls import Made, call
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.history.requests import Register, ask_to_undo, now, person_named, undo

MANY = MAX_CHANGES + 100


async def hire(person: Person, company: Thing, many: int) -> None:
    """Create a number of contacts of a company."""
    created = {"action": "create", "contact": {"company_id": company.id}}
    for start in range(0, many, 1000):
        body = {"operations": [created] * min(1000, many - start), "atomic": True}
        response = await person.post("/api/herdbook/contacts/bulk", json=body)
        assert response.status_code == 200, response.text


async def staff(pool: "asyncpg.Pool[asyncpg.Record]", company: Thing) -> int:
    """Return how many contacts a company has."""
    return await pool.fetchval("select count(*) from company_contact where company_id = $1", company.uuid)


async def test_the_deletion_of_a_large_company(
    alice: Person, engine: Thing, register: Register, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """The company is restored before its contacts and deleted after them; a dry run predicts the same."""
    await hire(alice, engine, MANY)
    shown = await now(alice, engine)
    deleted = await alice.delete(engine.url)
    entries = await register.entries()
    tried = await undo(alice, deleted, params={"dry_run": "true"})
    undone = await undo(alice, deleted)
    back = (await now(alice, engine), await staff(pool, engine))
    tried_again = await undo(alice, undone, params={"dry_run": "true"})
    redone = await undo(alice, undone)

    assert tried.json == {**undone.json, "dry_run": True}
    assert (len(undone.reverted), undone.kept) == (MANY + 1, {})
    assert back == (shown, MANY)
    assert tried_again.json == {**redone.json, "dry_run": True}
    assert (len(redone.reverted), redone.kept) == (MANY + 1, {})
    assert (await now(alice, engine), await staff(pool, engine)) == (None, 0)
    assert await register.entries() == entries + 2 * (MANY + 1)
    await assert_consistent(pool, alice.workspace_id)
    await assert_chained(pool, alice.workspace_id)


async def test_a_retry_goes_on_where_it_was(
    alice: Person, engine: Thing, register: Register, pool: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry with the same Idempotency-Key gets the same answer; without a key, all is reported as undone already."""
    monkeypatch.setattr(undoing, "MAX_CHANGES", 5)
    monkeypatch.setattr(undoing, "SLICE", 3)
    await hire(alice, engine, 10)
    deleted = await alice.delete(engine.url)
    key = {"Idempotency-Key": str(uuid4())}
    first = await ask_to_undo(alice, deleted, headers=key)
    entries = await register.entries()
    second = await ask_to_undo(alice, deleted, headers=key)
    again = await undo(alice, deleted)

    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert set(again.kept.values()) == {"already_undone"}
    assert len(again.kept) == 11
    assert await register.entries() == entries
    assert await staff(pool, engine) == 10


async def test_a_merge_with_many_engagements(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Merged contacts are restored first and together, and merged again together."""
    monkeypatch.setattr(undoing, "MAX_CHANGES", 5)
    monkeypatch.setattr(undoing, "SLICE", 3)
    contacts = [await person_named(alice, f"{name}@x.test", first_name=name) for name in "abc"]
    made = [Made(await alice.post("/api/v2/engagements", json=call(f"call {number}"))) for number in range(5)]
    for engagement in made:
        await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [each.id for each in contacts[1:]]})
    before = [await now(alice, each) for each in contacts]
    url = f"/api/herdbook/contacts/{contacts[0].id}/merge"
    merged = await alice.post(url, json={"from": [each.id for each in contacts[1:]]})
    after = [await now(alice, each) for each in contacts]
    undone = await undo(alice, merged)
    back = [await now(alice, each) for each in contacts]
    tried = await undo(alice, undone, params={"dry_run": "true"})
    redone = await undo(alice, undone)

    assert (len(undone.reverted), undone.kept, back) == (8, {}, before)
    assert (len(redone.reverted), redone.kept) == (8, {})
    assert tried.json == {**redone.json, "dry_run": True}
    assert [await now(alice, each) for each in contacts] == after
    await assert_consistent(pool, alice.workspace_id)
    await assert_chained(pool, alice.workspace_id)
