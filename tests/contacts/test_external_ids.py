"""Ids of the caller's own: what keeps them, who sees them, and how they find a contact."""

from typing import Final

import asyncpg
import pytest

from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.bulks import both_forms, create, delete, result, results, update, upsert, verdicts, write
from tests.contacts.records import change, ids_of, known_as, read, record_of
from tests.feed.feed import read as feed
from tests.history.consistency import assert_consistent
from tests.history.requests import restore, told, undo
from tests.merging.merges import merge

CONTACTS: Final = "/api/v2/contacts"
LINK: Final = {"object_type": "contact", "crm_object_id": "17", "source": "hubspot"}


def upsert_by_id(*external_ids: str, **members: Json) -> Json:
    """Return an operation that upserts the contact with the first of these ids."""
    return {"action": "upsert", "contact": {"match_by": "external_ids", "external_ids": external_ids, **members}}


# Changes that keep them


async def test_vendor_writes_leave_them_alone(alice: Person, engine: Thing) -> None:
    """An update, a link, its removal and the end of the company keep the ids, which no vendor's answer shows."""
    ada = await known_as(alice, "1", "2", company_id=engine.id)
    answers = [
        await alice.patch(ada.url, json={"first_name": "Ada", "emails": [{"email": "ada@engine.test"}]}),
        await alice.put(f"{ada.url}/crm_association", json=LINK),
        await alice.delete(f"{ada.url}/crm_association"),
        await alice.delete(engine.url),
        await alice.get(ada.url),
        await alice.get(CONTACTS),
    ]
    record = await read(alice, ada)

    assert [answer.status_code for answer in answers] == [200] * 6
    assert not any("external_ids" in answer.text for answer in answers)
    assert record == {**answers[4].json(), "external_ids": ["1", "2"]}
    assert "company" not in record


async def test_a_contact_without_them_is_stored_as_before(ada: Thing, stored: Stored) -> None:
    """A contact without members of herdbook's own has no such column, and its entry is the contact."""
    row, (entry,) = await stored.row(ada), await stored.changes()

    assert row["own"] is None
    assert entry.object == ada.json


async def test_the_row_and_the_entry_are_the_same_bytes(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """The row has the contact and the own members; joined, they are the entry, byte for byte."""
    ada = await known_as(alice, "1", 'q"uo — te', first_name="Ada")
    statement = """
        select c.object, own, e.object from contact c
        join change e on e.workspace_id = c.workspace_id and e.object_id = c.id where c.id = $1
    """
    ((shown, own, entry),) = await pool.fetch(statement, ada.uuid)

    assert shown[:-1] + "," + own[1:] == entry


async def test_a_deletion_frees_them_and_restoring_brings_them_back(alice: Person, pool: asyncpg.Pool) -> None:
    """The ids of a deleted contact are free; restoring takes them back, or is refused if another contact has one by now."""
    ada = await known_as(alice, "1", "2")
    await alice.delete(ada.url)
    other = await known_as(alice, "2")
    refused = await restore(alice, ada)
    await alice.delete(other.url)
    restored = await restore(alice, ada)

    assert (refused.status_code, faults(refused)) == (409, [("external_ids[1]", "already_in_use")])
    assert refused.json()["conflict"] == {"object": "contact", "id": other.id}
    assert restored.json() == await read(alice, ada)
    assert restored.json()["external_ids"] == ["1", "2"]
    await assert_consistent(pool, alice.workspace_id)


async def test_undo_takes_them_back(alice: Person, ada: Thing, grace: Thing) -> None:
    """An undo gives back the former ids, and is refused for a contact whose former id another one has."""
    await change(alice, ada, external_ids=["1"])
    moved = await change(alice, ada, external_ids=["2"])
    taken = await change(alice, grace, external_ids=["1"])
    kept = await undo(alice, moved)
    await undo(alice, taken)
    undone = await undo(alice, moved)

    assert kept.kept == {ada.id: "conflict"}
    assert kept.json["kept"][0]["conflict"] == {"object": "contact", "id": grace.id}
    assert "`external_ids[0]`" in kept.json["kept"][0]["message"]
    assert undone.reverted == {ada.id: "updated"}
    assert (await ids_of(alice, ada), await ids_of(alice, grace)) == (["1"], [])


# Places that show them


async def test_history_tells_them(alice: Person, ada: Thing) -> None:
    """The history shows the old and the new ids, and `at` the whole of the contact as it was."""
    first = await change(alice, ada, external_ids=["1"])
    second = await change(alice, ada, external_ids=["2"], last_name=None)
    url = record_of(ada).replace("record", "history")
    then = await alice.get(url, params={"at": first.json()["updated_at"]})
    now = await alice.get(url, params={"at": second.json()["updated_at"]})

    assert (await told(alice, ada))[:2] == [
        ("updated", {"external_ids": (["1"], ["2"]), "last_name": ("Lovelace", None)}),
        ("updated", {"external_ids": (None, ["1"])}),
    ]
    assert (then.json(), now.json()) == (first.json(), second.json())
    assert then.headers["ETag"] == first.headers["ETag"]


async def test_the_feed_tells_them(alice: Person, ada: Thing) -> None:
    """The feed shows the whole of the contact, and the former ids."""
    await change(alice, ada, external_ids=["1"])
    changed = await change(alice, ada, external_ids=["2"])
    last = (await feed(alice))["data"][-1]

    assert last["data"] == {"object": changed.json(), "previous_attributes": {"external_ids": ["1"]}}


# Finding a contact by them


async def test_a_filter_finds_the_one_that_has_an_id(alice: Person, bob: Person, charlie: Person) -> None:
    """`filter[external_id][eq]` finds the active contact with exactly this id, commas and spaces included."""
    ada = await known_as(alice, "a,b", " c ")
    gone = await known_as(alice, "d")
    await alice.delete(gone.url)
    found = {
        text: [each["id"] for each in (await bob.get(CONTACTS, params={"filter[external_id][eq]": text})).json()["data"]]
        for text in ("a,b", " c ", "a", "c", "A,B", "d")
    }

    assert found == {"a,b": [ada.id], " c ": [ada.id], "a": [], "c": [], "A,B": [], "d": []}
    assert (await charlie.get(CONTACTS, params={"filter[external_id][eq]": "a,b"})).json()["data"] == []


@pytest.mark.parametrize("text", ["", " ", "a\x00", "x" * 256])
async def test_a_filter_refuses_what_is_no_id(bob: Person, text: str) -> None:
    """A filter by a text that can be no external id is refused by name."""
    response = await bob.get(CONTACTS, params={"filter[external_id][eq]": text})

    assert response.status_code == 400
    assert [field for field, _ in faults(response)] == ["filter[external_id][eq]"]


async def test_an_id_is_of_one_contact_of_a_workspace(alice: Person, charlie: Person) -> None:
    """A creation with an id of another contact is refused by name; in another workspace it is free."""
    ada = await known_as(alice, "1")
    response = await alice.post(CONTACTS, json={"external_ids": ["2", "1"]})

    assert (response.status_code, faults(response)) == (409, [("external_ids[1]", "already_in_use")])
    assert response.json()["conflict"] == {"object": "contact", "id": ada.id}
    assert (await known_as(charlie, "1")).id != ada.id


async def test_all_keys_that_are_taken_are_named_together(alice: Person, ada: Thing, grace: Thing) -> None:
    """An address and an id of two other contacts are named in one refusal, with the holder of the first."""
    await change(alice, grace, external_ids=["1"])
    emails = [{"email": ada.json["emails"][0]["email"]}]
    response = await alice.post(CONTACTS, json={"emails": emails, "external_ids": ["1"]})

    assert response.status_code == 409
    assert faults(response) == [("emails[0].email", "already_in_use"), ("external_ids[0]", "already_in_use")]
    assert response.json()["conflict"] == {"object": "contact", "id": ada.id}


@both_forms
async def test_an_id_is_looked_up(alice: Person, *, atomic: bool) -> None:
    """An upsert updates the contact with the first of the ids, and adds the others; without one it creates a contact."""
    found = await results(
        alice,
        upsert_by_id("1", first_name="Ada"),
        upsert_by_id("1", "2", last_name="King"),
        upsert_by_id("2"),
        upsert_by_id("3", "4"),
        atomic=atomic,
    )
    contacts = [each["contact"] for each in found]

    assert verdicts(found) == ["created", "updated", "unchanged", "created"]
    assert [each["external_ids"] for each in contacts] == [["1"], ["1", "2"], ["1", "2"], ["3", "4"]]
    assert (contacts[2]["first_name"], contacts[2]["last_name"]) == ("Ada", "King")
    assert contacts[0]["id"] == contacts[1]["id"] == contacts[2]["id"] != contacts[3]["id"]


@both_forms
async def test_an_upsert_takes_nothing_from_others(alice: Person, stored: Stored, *, atomic: bool) -> None:
    """An upsert with ids of different contacts is refused by the place of the other's id, and so is one by address."""
    ada = await known_as(alice, "1", emails=[{"email": "ada@engine.test"}])
    grace = await known_as(alice, "2")
    operations = [upsert_by_id("3", "2"), upsert_by_id("1", "2"), upsert("ada@engine.test", external_ids=["2"])]
    response = await write(alice, *operations, atomic=atomic)
    places = [f"operations[{index}].contact.external_ids[{place}]" for index, place in ((0, 1), (1, 1), (2, 0))]

    if atomic:
        assert (response.status_code, faults(response)) == (422, [(place, "already_in_use") for place in places])
    else:
        problems = [each["problem"] for each in response.json()["results"]]
        assert [each["errors"][0]["field"] for each in problems] == places
        assert [each["conflict"]["id"] for each in problems] == [grace.id] * 3
    assert (await ids_of(alice, ada), await ids_of(alice, grace)) == (["1"], ["2"])
    assert len(await stored.changes()) == 2


@both_forms
async def test_a_deleted_contact_comes_back_by_an_id(alice: Person, *, atomic: bool) -> None:
    """An upsert restores the contact that was deleted last with the id, without what others have by now."""
    ada = await known_as(alice, "1", "2", emails=[{"email": "ada@engine.test"}, {"email": "ada@home.test"}])
    earlier = await known_as(alice, "5")
    await alice.delete(earlier.url)
    found = await results(
        alice,
        update(ada.id, first_name="Ada"),
        delete(ada.id),
        create("ada@engine.test", external_ids=["2"]),
        upsert_by_id("1", "5"),
        atomic=atomic,
    )
    contact = found[3]["contact"]

    assert verdicts(found) == ["updated", "deleted", "created", "restored"]
    assert (contact["id"], contact["external_ids"]) == (ada.id, ["1", "5"])
    assert contact["emails"] == [{"email": "ada@home.test", "is_primary": True}]
    assert contact == await read(alice, ada)


async def test_the_contact_deleted_last_comes_back(alice: Person) -> None:
    """If several deleted contacts had an id, the one that was deleted last comes back."""
    contacts: list[Thing] = []
    for _ in range(2):
        contacts.append(await known_as(alice, "1"))
        await alice.delete(contacts[-1].url)

    assert (await result(alice, upsert_by_id("1")))["contact"]["id"] == contacts[1].id


async def test_there_are_a_hundred_at_most(alice: Person) -> None:
    """An upsert that would give a contact more than a hundred ids is refused."""
    ada = await known_as(alice, *map(str, range(99)))
    response = await write(alice, upsert_by_id("0", "a", "b"), atomic=True)

    assert faults(response) == [("operations[0].contact.external_ids", "too_long")]
    assert len(await ids_of(alice, ada)) == 99


async def test_all_ids_of_a_bulk_are_counted(alice: Person) -> None:
    """External ids count towards the limit of addresses and numbers in a bulk."""
    operations = [upsert_by_id(*(f"{number} {index}" for index in range(100))) for number in range(51)]
    response = await write(alice, *operations)

    assert (response.status_code, faults(response)) == (422, [("operations", "too_long")])


# Merging


async def test_a_merge_unites_them(alice: Person, pool: asyncpg.Pool) -> None:
    """The survivor has all ids, its own first; the preview shows it, and an upsert by a merged contact's id finds it."""
    ada, grace, mary = await known_as(alice, "1", "2"), await known_as(alice, "3"), await known_as(alice, "4")
    preview = (await merge(alice, ada, mary, grace, params={"dry_run": "true"})).json()["contact"]
    before = await ids_of(alice, ada)
    merged = (await merge(alice, ada, mary, grace)).json()["contact"]
    found = await result(alice, upsert_by_id("3", first_name="Ada"))

    assert preview["external_ids"] == merged["external_ids"] == ["1", "2", "4", "3"]
    assert before == ["1", "2"]
    assert (found["result"], found["contact"]["id"]) == ("updated", ada.id)
    await assert_consistent(pool, alice.workspace_id)


async def test_undoing_a_merge_gives_them_back(alice: Person, pool: asyncpg.Pool) -> None:
    """Undoing a merge gives each contact its ids back."""
    ada, grace = await known_as(alice, "1"), await known_as(alice, "2", "3")
    undone = await undo(alice, await merge(alice, ada, grace))

    assert undone.reverted == {ada.id: "updated", grace.id: "restored"}
    assert (await ids_of(alice, ada), await ids_of(alice, grace)) == (["1"], ["2", "3"])
    await assert_consistent(pool, alice.workspace_id)


@pytest.mark.parametrize(("many", "status"), [(50, 200), (51, 422)])
async def test_a_merge_has_a_hundred_at_most(alice: Person, many: int, status: int) -> None:
    """Contacts that have more than a hundred ids together are not merged."""
    ada = await known_as(alice, *(f"a {index}" for index in range(50)))
    grace = await known_as(alice, *(f"g {index}" for index in range(many)))

    assert (await merge(alice, ada, grace)).status_code == status
