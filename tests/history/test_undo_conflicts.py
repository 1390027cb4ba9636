"""What cannot be undone stays as it is, and what depends on it, too; everything else is undone."""

from collections.abc import AsyncGenerator
from uuid import UUID

import asyncpg
import pytest_asyncio

from herdbook import ids
from tests.cast import Json, Person, Thing
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.history.ways import (
    Register,
    ask_to_undo,
    company_named,
    now,
    person_named,
    restore,
    undo,
)

BULK = "/api/herdbook/contacts/bulk"


@pytest_asyncio.fixture(autouse=True)
async def agreement(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> AsyncGenerator[None]:
    """Whatever a test has done, the tables agree with one another."""
    yield
    await assert_consistent(pool, workspace_id)
    await assert_chained(pool, workspace_id)


def emails(*addresses: str) -> Json:
    """Return addresses as a body has them."""
    return [{"email": address} for address in addresses]


def gives(thing: Thing, *addresses: str) -> Json:
    """Return the operation that gives a contact addresses."""
    return {"action": "update", "id": thing.id, "contact": {"emails": emails(*addresses)}}


async def addresses(person: Person, *things: Thing) -> list[list[str]]:
    """Return the addresses of contacts."""
    shown = [await now(person, thing) for thing in things]
    return [[email["email"] for email in each["emails"]] for each in shown]


async def test_what_was_changed_since_stays(alice: Person, ada: Thing, grace: Thing) -> None:
    """Also where the change has nothing to do with it; the others go back."""
    response = await alice.post(BULK, json={"operations": [gives(ada, "a@x.test"), gives(grace, "g@x.test")]})
    changed = await alice.patch(ada.url, json={"description": "changed"})
    undone = await undo(alice, response)

    assert (undone.reverted, undone.kept) == ({grace.id: "updated"}, {ada.id: "changed_since"})
    assert undone.json["kept"][0]["message"]
    assert (await alice.get(ada.url)).json() == changed.json()


async def test_what_was_deleted_since_stays_deleted(alice: Person, ada: Thing) -> None:
    """To delete is to change."""
    response = await alice.patch(ada.url, json={"first_name": "Augusta"})
    await alice.delete(ada.url)

    assert (await undo(alice, response)).kept == {ada.id: "changed_since"}


async def test_what_others_have_by_now_stays_theirs(alice: Person, dave: Person, ada: Thing) -> None:
    """An address that somebody else has by now is not taken away; whoever may know is told who has it."""
    response = await alice.patch(ada.url, json={"emails": []})
    other = await person_named(alice, "new@x.test", "ADA@engine.test")
    (kept,) = (await undo(alice, response)).json["kept"]
    (told,) = (await undo(dave, response)).json["kept"]

    assert kept == {
        "object": "contact",
        "id": ada.id,
        "reason": "conflict",
        "message": "`emails[0].email` belongs to another active contact by now. Free it there first.",
        "conflict": {"object": "contact", "id": other.id},
    }
    assert told == {name: value for name, value in kept.items() if name != "conflict"}


async def test_addresses_that_went_round_go_back(alice: Person) -> None:
    """What three contacts have passed on to one another in a circle goes back to each, all at once."""
    a, b, c = [await person_named(alice, f"{name}@x.test") for name in "abc"]
    operations = [gives(a), gives(b, "a@x.test"), gives(c, "b@x.test"), gives(a, "c@x.test")]
    undone = await undo(alice, await alice.post(BULK, json={"operations": operations}))

    assert undone.reverted == {each.id: "updated" for each in (a, b, c)}
    assert await addresses(alice, a, b, c) == [["a@x.test"], ["b@x.test"], ["c@x.test"]]


async def test_where_one_stays_those_who_need_it_stay(alice: Person) -> None:
    """One that stays keeps what the next one had, and so on: who has what is free goes back all the same."""
    a, b, c, d = [await person_named(alice, f"{name}@x.test") for name in "abcd"]
    operations = [gives(d), gives(c, "d@x.test"), gives(b, "c@x.test"), gives(a, "b@x.test")]
    response = await alice.post(BULK, json={"operations": operations})
    await alice.patch(a.url, json={"first_name": "changed"})
    undone = await undo(alice, response)
    again = await ask_to_undo(alice, undone.response)

    assert undone.kept == {a.id: "changed_since", b.id: "conflict", c.id: "conflict", d.id: "conflict"}
    assert [each["conflict"]["id"] for each in undone.json["kept"] if "conflict" in each] == [c.id, b.id, a.id]
    assert await addresses(alice, a, b, c, d) == [["b@x.test"], ["c@x.test"], ["d@x.test"], []]
    assert again.status_code == 404


async def test_where_one_stays_the_others_go(alice: Person) -> None:
    """The other way round, each goes whose own address is free."""
    a, b, c = [await person_named(alice, f"{name}@x.test") for name in "abc"]
    operations = [gives(c), gives(b, "c@x.test"), gives(a, "b@x.test")]
    response = await alice.post(BULK, json={"operations": operations})
    await alice.patch(c.url, json={"first_name": "changed"})
    undone = await undo(alice, response)

    assert (undone.reverted, undone.kept) == ({a.id: "updated", b.id: "updated"}, {c.id: "changed_since"})
    assert await addresses(alice, a, b, c) == [["a@x.test"], ["b@x.test"], []]


async def test_two_had_the_same_one_after_the_other(alice: Person, register: Register) -> None:
    """What two contacts had while a request went on goes back to the first of them alone."""
    one, other = await person_named(alice, "same@x.test"), await person_named(alice)
    first = await alice.patch(one.url, json={"emails": []})
    await alice.patch(other.url, json={"emails": emails("same@x.test")})
    second = await alice.patch(other.url, json={"emails": []})
    await register.join(second, first)
    undone = await undo(alice, first)

    assert (undone.reverted, undone.kept) == ({one.id: "updated"}, {other.id: "conflict"})
    assert undone.json["kept"][0]["conflict"]["id"] == one.id


async def test_a_contact_needs_its_company(alice: Person, ada: Thing, engine: Thing) -> None:
    """Where the company that it had is gone, a contact stays as it is; once it is back, it goes."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    response = await alice.patch(ada.url, json={"company_id": None})
    await alice.delete(engine.url)
    undone = await undo(alice, response)
    await restore(alice, engine)

    assert undone.kept == {ada.id: "company_not_found"}
    assert (await undo(alice, response)).reverted == {ada.id: "updated"}
    assert (await now(alice, ada))["company"]["id"] == engine.id


async def test_a_company_that_goes_is_not_there(alice: Person, ada: Thing, register: Register) -> None:
    """Nor does a contact get a company back that the same request has created, should it have had it meanwhile."""
    created = await alice.post("/api/v2/companies", json={"domains": []})
    await alice.patch(ada.url, json={"company_id": created.json()["id"]})
    await register.join(await alice.patch(ada.url, json={"company_id": None}), created)
    undone = await undo(alice, created)

    assert undone.reverted == {created.json()["id"]: "deleted"}
    assert undone.kept == {ada.id: "company_not_found"}


async def test_a_company_that_cannot_come_back_leaves_its_contacts(alice: Person, ada: Thing, engine: Thing) -> None:
    """Where another company has its domain by now, the company stays deleted, and its contacts stay without it."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    response = await alice.delete(engine.url)
    other = await company_named(alice, "engine.test")
    undone = await undo(alice, response)

    assert undone.kept == {engine.id: "conflict", ada.id: "company_not_found"}
    assert undone.json["kept"][0]["conflict"] == {"object": "company", "id": other.id}
    assert undone.reverted == {}


async def test_a_company_with_contacts_stays(alice: Person, ada: Thing) -> None:
    """A company that a request created stays while it has contacts, and goes when they have gone."""
    response = await alice.post("/api/v2/companies", json={"domains": []})
    company_id = response.json()["id"]
    await alice.patch(ada.url, json={"company_id": company_id})
    undone = await undo(alice, response)
    await alice.delete(ada.url)

    assert undone.kept == {company_id: "in_use"}
    assert (await undo(alice, response)).reverted == {company_id: "deleted"}


async def test_who_has_come_meanwhile_keeps_a_company(alice: Person, ada: Thing, grace: Thing, engine: Thing) -> None:
    """To undo the undoing of a deletion is to delete: not where others than those that it had are there by now."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    undone = await undo(alice, await alice.delete(engine.url))
    await alice.patch(grace.url, json={"company_id": engine.id})
    kept = await undo(alice, undone)
    await alice.patch(grace.url, json={"company_id": None})

    assert (kept.kept, kept.reverted) == ({engine.id: "in_use"}, {ada.id: "updated"})
    assert (await now(alice, engine)) is not None


async def test_a_merge_that_went_on_goes_back_in_part(alice: Person, ada: Thing, grace: Thing) -> None:
    """Where the contact was changed since, it keeps what it got, and so the others stay merged."""
    response = await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
    await alice.patch(grace.url, json={"first_name": "Amazing"})
    undone = await undo(alice, response)

    assert undone.kept == {ada.id: "conflict", grace.id: "changed_since"}
    assert (await alice.get(ada.url)).status_code == 308


async def test_users_stay(alice: Person, owner: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """What no operation changes cannot be undone; whoever may not read users is not told of them."""
    request_id: UUID = await pool.fetchval(
        "select request_id from change where workspace_id = $1 and object_id = $2", alice.workspace_id, owner.uuid
    )
    undone = await undo(alice, ids.encoded(ids.REQUEST, request_id))

    assert undone.kept == {owner.id: "not_supported"}
    assert (await now(alice, owner)) is not None
