"""Values of an earlier time: they come back by a restore, an undo or an upsert, as the definitions of fields are by then."""

from typing import Final

import asyncpg
import pytest

from herdbook import ids
from herdbook.custom_fields.commands import UpdateField
from herdbook.custom_fields.model import FieldKind, FieldUpdate
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Json, Person, Thing, faults
from tests.contacts.records import change, read, record_of
from tests.custom_fields.claims import assert_claimed, convert
from tests.custom_fields.definitions import define
from tests.history.requests import ask_to_undo, person_named, restore, undo

UPSERT: Final = "/api/herdbook/contacts/bulk"


async def upsert(person: Person, address: str) -> Json:
    """Upsert a contact by an address, and return the result."""
    operation = {"action": "upsert", "contact": {"match_by": "emails", "emails": [{"email": address}]}}
    response = await person.post(UPSERT, json={"operations": [operation]})
    return response.json()["results"][0]


@pytest.mark.parametrize("way", ["restore", "undo", "upsert", "unmerge"])
async def test_a_value_comes_back_in_its_present_form(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, ada: Thing, grace: Thing, way: str
) -> None:
    """An object that was deleted while its field got another kind comes back with its value in that form, and claimed."""
    field = await define(frank, "own")
    if way == "unmerge":
        ada = await person_named(alice)
    await change(alice, ada, fields={"own": " 12 "})
    if way == "unmerge":
        gone = await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
        await change(alice, grace, fields={"own": None})
    else:
        gone = await alice.delete(ada.url)
    changed = await frank.patch(field.url, json={"kind": "integer", "unique": True})
    if way == "undo":
        await ask_to_undo(alice, gone)
    elif way == "upsert":
        await upsert(alice, "ada@engine.test")
    else:
        await restore(alice, ada)

    assert changed.status_code == 200, changed.text
    assert (await read(alice, ada))["fields"] == {"own": 12}
    assert (await alice.patch(record_of(grace), json={"fields": {"own": 12}})).status_code == 409
    await assert_claimed(pool, alice.workspace_id)


@pytest.mark.parametrize("way", ["restore", "undo"])
async def test_a_claim_of_an_earlier_time_is_forgotten(
    alice: Person, frank: Person, ada: Thing, grace: Thing, way: str
) -> None:
    """An object that was deleted while its field was unique comes back beside one with the same value, if it no longer is."""
    field = await define(frank, "own", unique=True)
    await change(alice, ada, fields={"own": "1"})
    gone = await alice.delete(ada.url)
    await change(alice, grace, fields={"own": "1"})
    await frank.patch(field.url, json={"unique": False})
    back = await (restore(alice, ada) if way == "restore" else ask_to_undo(alice, gone))

    assert (back.status_code, back.json().get("kept", [])) == (200, [])
    record = await read(alice, ada)
    assert (record["fields"], "unique_values" in record) == ({"own": "1"}, False)


async def test_a_restored_value_that_another_holds_is_refused(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """If a field became unique while an object was deleted, a restore is refused that would give a value a second holder."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "1"})
    await alice.delete(ada.url)
    await change(alice, grace, fields={"own": "1"})
    await frank.patch(field.url, json={"unique": True})
    refused = await restore(alice, ada)

    assert (refused.status_code, faults(refused)) == (409, [("fields.own", "already_in_use")])
    assert refused.json()["conflict"] == {"object": "contact", "id": grace.id}


async def test_an_upsert_leaves_out_a_value_that_another_holds(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """An upsert that restores a contact leaves out its value of a field which became unique, if another one holds that."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "1"})
    await alice.delete(ada.url)
    await change(alice, grace, fields={"own": "1"})
    await frank.patch(field.url, json={"unique": True})
    result = await upsert(alice, "ada@engine.test")

    assert (result["result"], result["contact"]["id"]) == ("restored", ada.id)
    assert "fields" not in await read(alice, ada)


async def test_an_undo_gives_no_value_a_second_holder(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """An undo of a change is kept if another object holds the former value of a field that became unique since."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": "1"})
    changed = await change(alice, ada, fields={"own": None})
    await change(alice, grace, fields={"own": "1"})
    await frank.patch(field.url, json={"unique": True})
    undone = (await undo(alice, changed)).json

    assert "fields" not in await read(alice, ada)
    (kept,) = undone["kept"]
    assert (kept["reason"], kept["conflict"]) == ("conflict", {"object": "contact", "id": grace.id})
    assert "`fields.own`" in kept["message"]


@pytest.mark.parametrize("dry_run", ["false", "true"])
async def test_an_undo_makes_no_field_unique_that_has_equal_values(
    alice: Person, frank: Person, ada: Thing, grace: Thing, dry_run: str
) -> None:
    """An undo of a definition is kept if two objects have the same value, and says which."""
    field = await define(frank, "own", unique=True)
    changed = await frank.patch(field.url, json={"unique": False})
    await change(alice, ada, fields={"own": "same"})
    await change(alice, grace, fields={"own": "same"})
    undone = (await undo(frank, changed, params={"dry_run": dry_run})).json

    assert (undone["reverted"], (await frank.get(field.url)).json()["unique"]) == ([], False)
    (kept,) = undone["kept"]
    assert (kept["id"], kept["reason"]) == (field.json["id"], "values_in_use")
    assert kept["conflict"] == {"object": "contact", "id": max(ada.id, grace.id)}
    assert "`fields.own`" in kept["message"]


async def test_an_undo_compares_the_values_that_it_gives_back(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """An undo of a conversion that made two values alike gives back both, and the unique field."""
    field = await define(frank, "own", unique=True)
    await change(alice, ada, fields={"own": "1.0"})
    await change(alice, grace, fields={"own": "1"})
    changed = await frank.patch(field.url, json={"kind": "decimal", "unique": False})
    converted = [(await read(alice, each))["fields"] for each in (ada, grace)]
    undone = await undo(frank, changed)
    await convert(pool, ledger)

    assert converted == [{"own": "1.0"}, {"own": "1"}]
    assert undone.kept == {}
    assert [(await read(alice, each))["fields"] for each in (ada, grace)] == [{"own": "1.0"}, {"own": "1"}]
    await assert_claimed(pool, alice.workspace_id)


async def test_an_undo_gives_no_kind_that_values_do_not_fit(alice: Person, frank: Person, ada: Thing) -> None:
    """An undo of a definition is kept if a value that was set since has no form of the former kind."""
    field = await define(frank, "own", "integer")
    changed = await frank.patch(field.url, json={"kind": "text"})
    await change(alice, ada, fields={"own": "a dozen"})
    undone = await undo(frank, changed)

    assert undone.kept == {field.json["id"]: "values_in_use"}
    assert (await read(alice, ada))["fields"] == {"own": "a dozen"}


async def test_a_value_without_a_present_form_stays_and_is_not_claimed(
    pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, alice: Person, frank: Person, ada: Thing
) -> None:
    """A value of a deleted object that has no form of its field's new kind comes back as it was, without a claim."""
    field = await define(frank, "own", unique=True)
    await change(alice, ada, fields={"own": "a dozen"})
    await alice.delete(ada.url)
    await frank.patch(field.url, json={"kind": "integer"})
    restored = await restore(alice, ada)
    await convert(pool, ledger)
    record = await read(alice, ada)

    assert restored.status_code == 200
    assert (record["fields"], "unique_values" in record) == ({"own": "a dozen"}, False)
    await assert_claimed(pool, alice.workspace_id)


@pytest.mark.parametrize("when", ["meanwhile", "afterwards"])
@pytest.mark.parametrize("way", ["restore", "undo", "upsert"])
async def test_a_value_that_was_deleted_before_its_slice_is_converted(  # noqa: PLR0917
    pool: "asyncpg.Pool[asyncpg.Record]",
    ledger: Ledger,
    alice: Person,
    frank: Person,
    ada: Thing,
    grace: Thing,
    way: str,
    when: str,
) -> None:
    """A value of an object that is deleted while a conversion runs comes back converted and claimed, at any time."""
    field = await define(frank, "own")
    await change(alice, ada, fields={"own": " 07 "})
    await change(alice, grace, fields={"own": "8"})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    patch = FieldUpdate(kind=FieldKind.INTEGER, unique=True)
    await ledger.write(alice.workspace_id, UpdateField(field_id, patch), Origin(ids.new_id(), ids.NIL))
    gone = await alice.delete(ada.url)
    if when == "afterwards":
        await convert(pool, ledger)
    if way == "restore":
        await restore(alice, ada)
    elif way == "undo":
        await ask_to_undo(alice, gone)
    else:
        await upsert(alice, "ada@engine.test")
    back = await read(alice, ada)
    await convert(pool, ledger)

    assert (back["fields"], back["unique_values"]) == ({"own": 7}, ["own=7"])
    assert (await read(alice, ada)) == back
    await assert_claimed(pool, alice.workspace_id)


async def test_a_merge_converts_a_value_that_a_conversion_has_not_reached(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, ada: Thing, grace: Thing
) -> None:
    """The target of a merge gets a value in its present form, even if the source still has the old one."""
    await define(frank, "own", "integer", unique=True)
    await pool.execute(
        """update contact set own = '{"fields":{"own":"12"}}' where workspace_id = $1 and id = $2""",
        alice.workspace_id,
        ada.uuid,
    )
    await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})

    assert (await read(alice, grace))["fields"] == {"own": 12}
    await assert_claimed(pool, alice.workspace_id)


@pytest.mark.parametrize("way", ["restore", "undo", "upsert"])
async def test_a_value_of_an_archived_field_keeps_nothing_deleted(
    pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, frank: Person, ada: Thing, grace: Thing, way: str
) -> None:
    """An object comes back although another one has its value of an archived unique field: it has that without a claim."""
    field = await define(frank, "own", unique=True)
    await change(alice, ada, fields={"own": "1"})
    gone = await alice.delete(ada.url)
    await change(alice, grace, fields={"own": "1"})
    await frank.patch(field.url, json={"archived": True})
    if way == "restore":
        back = await restore(alice, ada)
        assert back.status_code == 200, back.text
    elif way == "undo":
        assert (await undo(alice, gone)).kept == {}
    else:
        assert (await upsert(alice, "ada@engine.test"))["result"] == "restored"
    hidden = (await frank.get(f"{field.url}/conversion")).json()
    await frank.patch(field.url, json={"archived": False})
    record = await read(alice, ada)
    told = (await frank.get(f"{field.url}/conversion")).json()
    effect = (await frank.patch(f"{field.url}?dry_run=true", json={"unique": True})).json()

    assert (hidden["unclaimed"], told["unclaimed"]) == (0, 1)
    assert told["examples"] == [{"id": ada.id, "value": "1", "holder": grace.id}]
    assert (effect["kept"], effect["refused"]) == (1, 1)
    assert effect["examples"] == [{"id": ada.id, "value": "1", "same_as": grace.id}]
    assert (record["fields"], "unique_values" in record) == ({"own": "1"}, False)
    assert (await read(alice, grace))["unique_values"] == ["own=1"]
    claims = "select contact_id from contact_field_value where workspace_id = $1"
    assert [each[0] for each in await pool.fetch(claims, alice.workspace_id)] == [grace.uuid]


@pytest.mark.parametrize("way", ["restore", "undo", "upsert", "merge"])
@pytest.mark.parametrize("value", ["option", "text"])
async def test_an_option_that_no_slice_has_converted_is_told_by_its_label(  # noqa: PLR0917
    ledger: Ledger, alice: Person, frank: Person, ada: Thing, grace: Thing, way: str, value: str
) -> None:
    """Another change after a list became texts, such as a deletion, does not make a typed text of an option.

    A text that was typed since stays as it is, though it is the id of an option.
    """
    field = await define(frank, "tier", "one_of", options=[{"id": "gold", "label": "Gold tier"}])
    await change(alice, ada, fields={"tier": "gold"})
    field_id = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL
    await ledger.write(
        alice.workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.TEXT)), Origin(ids.new_id(), ids.NIL)
    )
    if value == "text":
        await change(alice, ada, fields={"tier": "silver"})
        await change(alice, ada, fields={"tier": "gold"})
    changed = await change(alice, ada, description="Changed since.")
    if way == "merge":
        await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
        ada = grace
    else:
        gone = await alice.delete(ada.url)
        if way == "restore":
            await restore(alice, ada)
        elif way == "undo":
            await ask_to_undo(alice, gone)
        else:
            await upsert(alice, "ada@engine.test")

    assert changed.status_code == 200
    assert (await read(alice, ada))["fields"] == {"tier": "Gold tier" if value == "option" else "gold"}
