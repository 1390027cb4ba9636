"""`take_from`: values that only one contact or company can have go from one to another, in one change of both."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from herdbook import ids
from herdbook.custom_fields.commands import UpdateField
from herdbook.custom_fields.model import FieldKind, FieldUpdate
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Json, Person, Thing, faults
from tests.contacts.bulks import update, write
from tests.contacts.records import change, known_as, read, record_of
from tests.custom_fields.claims import assert_claimed, convert
from tests.custom_fields.definitions import define
from tests.history.consistency import assert_consistent
from tests.history.requests import restore, told, undo


async def test_address_goes_over_with_one_change_of_each(
    alice: Person, ada: Thing, grace: Thing, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID
) -> None:
    """The other contact gives up the address in the same request, and one undo takes both changes back."""
    addresses = [{"email": "ada@engine.test"}, {"email": "GRACE@navy.test"}]

    taken = await alice.patch(record_of(ada), json={"emails": addresses, "take_from": grace.id})

    assert taken.status_code == 200, taken.text
    assert [each["email"] for each in taken.json()["emails"]] == ["ada@engine.test", "GRACE@navy.test"]
    assert (await read(alice, grace))["emails"] == []
    assert [[action for action, _ in await told(alice, each)] for each in (ada, grace)] == [["updated", "created"]] * 2
    await assert_consistent(pool, workspace_id)
    undone = await undo(alice, taken.headers["X-Request-Id"])
    assert {each["id"] for each in undone.json["reverted"]} == {ada.id, grace.id}
    assert [(await alice.get(each.url)).json()["emails"] for each in (ada, grace)] == [ada.json["emails"], grace.json["emails"]]
    await assert_consistent(pool, workspace_id)


async def test_only_what_is_named_goes_over(alice: Person, grace: Thing) -> None:
    """The other contact keeps its further addresses with their labels, and its further external ids."""
    members: Json = {
        "emails": [{"email": "grace@navy.test", "label": "work"}, {"email": "hopper@home.test", "label": "home"}],
        "external_ids": ["1", "2"],
    }
    await change(alice, grace, **members)

    created = await alice.post(
        "/api/v2/contacts",
        json={"emails": [{"email": "grace@navy.test"}], "external_ids": ["2"], "take_from": grace.id},
    )

    assert created.status_code == 201, created.text
    left = await read(alice, grace)
    assert left["emails"] == [{"email": "hopper@home.test", "is_primary": True, "label": "home"}]
    assert left["external_ids"] == ["1"]
    undone = await undo(alice, created.headers["X-Request-Id"])
    assert {each["action"] for each in undone.json["reverted"]} == {"updated", "deleted"}
    assert (await read(alice, grace))["external_ids"] == ["1", "2"]


async def test_nothing_goes_over_if_the_change_is_refused(alice: Person, ada: Thing, grace: Thing) -> None:
    """A value that a third contact has refuses all, and the other contact is as it was."""
    await known_as(alice, "9")

    refused = await alice.patch(
        record_of(ada), json={"emails": [{"email": "grace@navy.test"}], "external_ids": ["9"], "take_from": grace.id}
    )

    assert refused.status_code == 409
    assert faults(refused) == [("external_ids[0]", "already_in_use")]
    assert [(await alice.get(each.url)).headers["ETag"] for each in (ada, grace)] == [ada.etag, grace.etag]


@pytest.mark.parametrize("whose", ["nobody's", "its own", "a company's"])
async def test_there_must_be_another_one_to_take_from(alice: Person, ada: Thing, engine: Thing, whose: str) -> None:
    """An id of no contact, of another kind, and the contact's own are refused by name."""
    asked = {"nobody's": "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "its own": ada.id, "a company's": engine.id}[whose]

    refused = await alice.patch(record_of(ada), json={"first_name": "A", "take_from": asked})

    assert refused.status_code == 422
    assert faults(refused) == [("take_from", "invalid_format" if whose == "a company's" else "not_found")]


async def test_contact_of_another_workspace_gives_nothing(alice: Person, charlie: Person, grace: Thing) -> None:
    """Charlie cannot take an address from Alice's contact."""
    theirs = Thing(await charlie.post("/api/v2/contacts", json={"first_name": "Eve"}))

    refused = await charlie.patch(record_of(theirs), json={"emails": [{"email": "grace@navy.test"}], "take_from": grace.id})

    assert faults(refused) == [("take_from", "not_found")]
    assert (await alice.get(grace.url)).headers["ETag"] == grace.etag


@pytest.mark.parametrize("plural", ["contacts", "companies"])
async def test_unique_value_goes_over(
    alice: Person, frank: Person, plural: str, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID
) -> None:
    """A value of a unique field, and the domain of a company, go over as an address does."""
    await define(frank, "code", "text", "contact" if plural == "contacts" else "company", unique=True)
    domains: Any = {} if plural == "contacts" else {"domains": []}
    one, other = [Thing(await alice.post(f"/api/v2/{plural}", json=domains)) for _ in range(2)]
    values: Json = {"fields": {"code": "A-1"}} | ({"domains": [{"domain": "a.test"}]} if domains else {})
    path = f"/api/herdbook/{plural}/"
    assert (await alice.patch(f"{path}{one.id}/record", json=values)).status_code == 200
    assert (await alice.patch(f"{path}{other.id}/record", json=values)).status_code == 409

    taken = await alice.patch(f"{path}{other.id}/record", json={**values, "take_from": one.id})

    assert taken.status_code == 200, taken.text
    assert taken.json()["fields"] == {"code": "A-1"}
    left = (await alice.get(f"{path}{one.id}/record")).json()
    assert "fields" not in left
    assert left.get("domains", []) == []
    await assert_claimed(pool, workspace_id)
    await assert_consistent(pool, workspace_id)
    await undo(alice, taken.headers["X-Request-Id"])
    assert (await alice.get(f"{path}{one.id}/record")).json()["fields"] == {"code": "A-1"}


@pytest.mark.parametrize("way", ["change", "creation", "undo"])
async def test_value_goes_over_before_it_is_converted(  # noqa: PLR0917
    ledger: Ledger, alice: Person, frank: Person, grace: Thing, engine: Thing, way: str, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """While a field becomes a unique number, or is made unique by an undo, a value goes over that is not converted yet."""
    values = {"contact": "7", "company": "8"}
    for kind, giver, path in (("contact", grace, "contacts"), ("company", engine, "companies")):
        field = await define(frank, f"of_{kind}", "text", kind, unique=way == "undo")
        url, key = f"/api/herdbook/{path}", field.json["key"]
        domains: Json = {} if kind == "contact" else {"domains": []}
        assert (await alice.patch(f"{url}/{giver.id}/record", json={"fields": {key: values[kind]}})).status_code == 200
        field_id, origin = ids.decoded(ids.FIELD, field.json["id"]) or ids.NIL, Origin(ids.new_id(), ids.NIL)
        if way == "undo":
            loose = await frank.patch(field.url, json={"unique": False})
            await undo(frank, loose)
        else:
            await ledger.write(
                alice.workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.INTEGER, unique=True)), origin
            )
        sent: Json = {"fields": {key: values[kind] if way == "undo" else int(values[kind])}}
        other = Thing(await alice.post(f"/api/v2/{path}", json=domains))
        refused = await alice.patch(f"{url}/{other.id}/record", json=sent)
        body = {**sent, "take_from": giver.id}
        taken = (
            await alice.post(url, json={**domains, **body})
            if way == "creation"
            else await alice.patch(f"{url}/{other.id}/record", json=body)
        )
        await convert(pool, ledger)

        assert (refused.status_code, refused.json()["conflict"]["id"]) == (409, giver.id)
        assert taken.is_success, taken.text
        assert taken.json()["unique_values"] == [f"{key}={values[kind]}"]
        assert "fields" not in (await alice.get(f"{url}/{giver.id}/record")).json()
    await assert_claimed(pool, alice.workspace_id)
    await assert_consistent(pool, alice.workspace_id)


@pytest.mark.parametrize("bulk", [False, True])
async def test_value_that_the_taker_has_without_a_claim_goes_over(
    alice: Person, frank: Person, ada: Thing, grace: Thing, *, bulk: bool, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A contact that came back with a value which another one holds takes it, though it has that value already."""
    field = await define(frank, "code", unique=True)
    await change(alice, ada, fields={"code": "7"})
    await alice.delete(ada.url)
    await change(alice, grace, fields={"code": "7"})
    await frank.patch(field.url, json={"archived": True})
    await restore(alice, ada)
    await frank.patch(field.url, json={"archived": False})
    before = await read(alice, ada)
    again = await change(alice, ada, fields={"code": "7"})
    sent: Json = {"fields": {"code": "7"}, "take_from": grace.id}
    if bulk:
        taken = await alice.post("/api/herdbook/contacts/bulk", json={"operations": [update(ada.id, **sent)]})
    else:
        taken = await alice.patch(record_of(ada), json=sent)

    assert taken.status_code == 200, taken.text
    assert again.json().get("unique_values") is before.get("unique_values") is None
    assert (await read(alice, ada))["unique_values"] == ["code=7"]
    assert "fields" not in await read(alice, grace)
    await assert_claimed(pool, alice.workspace_id)


async def test_required_value_is_not_taken(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A contact is not left without the value of a required field."""
    await define(frank, "code", "text", unique=True, required=True)
    await change(alice, grace, fields={"code": "A-1"})

    refused = await alice.patch(record_of(ada), json={"fields": {"code": "A-1"}, "take_from": grace.id})

    assert faults(refused) == [("fields.code", "required")]
    assert (await read(alice, grace))["fields"] == {"code": "A-1"}


async def test_bulk_takes_values_over(alice: Person, ada: Thing, grace: Thing) -> None:
    """An operation of a bulk may take values, too, and its result is about its own contact."""
    taking = update(ada.id, emails=[{"email": "grace@navy.test"}], take_from=grace.id)

    (written,) = (await write(alice, taking, atomic=True)).json()["results"]

    assert (written["result"], written["contact"]["id"]) == ("updated", ada.id)
    assert (await read(alice, grace))["emails"] == []
