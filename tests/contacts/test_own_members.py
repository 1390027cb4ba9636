"""The members of herdbook's own: all operations that write contacts take them alike."""

from typing import Any, Final

import pytest

from tests.cast import Json, Person, Thing, faults
from tests.contacts.bulks import both_forms, update, write
from tests.contacts.records import change, read
from tests.custom_fields.definitions import define

_LINK: Final = {"object_type": "contact", "crm_object_id": "17", "source": "hubspot"}
ADDRESS: Final = "ada@example.com"


def whole(tag: Thing) -> dict[str, Any]:
    """Return members of a contact, with all that are herdbook's own."""
    return {
        "last_name": "King",
        "emails": [{"email": ADDRESS, "label": "work"}],
        "phone_numbers": [{"phone_number": "+44 20 7946 0958", "label": "mobile"}],
        "external_ids": ["crm-1842"],
        "crm_association": _LINK,
        "fields": {"tier": "gold"},
        "tag_ids": [tag.id],
    }


def shown(tag: Thing) -> dict[str, Any]:
    """Return the same members as the record of the contact shows them."""
    members = whole(tag)
    for name in ("emails", "phone_numbers"):
        members[name] = [{**item, "is_primary": True} for item in members[name]]
    return members


async def created(person: Person, members: Json) -> Json:
    """Create a contact; return its record."""
    return await read(person, Thing(await person.post("/api/v2/contacts", json=members)))


async def in_bulk(person: Person, action: str, members: Json, **others: str) -> Json:
    """Write a contact by an operation of a bulk; return its record."""
    [result] = (await write(person, {"action": action, "contact": members, **others})).json()["results"]
    assert "problem" not in result, result
    return (await person.get(f"/api/herdbook/contacts/{result['contact']['id']}/record")).json()


@pytest.mark.parametrize("operation", ["create", "record", "bulk create", "bulk update", "bulk upsert"])
async def test_each_operation_takes_them(alice: Person, frank: Person, ada: Thing, renewal: Thing, operation: str) -> None:
    """Creations, changes of a record, and all operations of a bulk take each own member in the same form."""
    await define(frank, "tier")
    sent = whole(renewal)
    match operation:
        case "create":
            record = await created(alice, sent)
        case "record":
            record = (await change(alice, ada, **sent)).json()
        case "bulk update":
            record = await in_bulk(alice, "update", sent, id=ada.id)
        case _:
            record = await in_bulk(alice, operation.removeprefix("bulk "), sent)

    assert {name: record[name] for name in sent} == shown(renewal)


@both_forms
async def test_an_update_in_a_bulk_leaves_the_rest(
    alice: Person, frank: Person, ada: Thing, renewal: Thing, *, atomic: bool
) -> None:
    """An update in a bulk leaves members alone that it does not name, and null clears them, as in the record."""
    await define(frank, "tier")
    await define(frank, "region")
    before = (await change(alice, ada, **whole(renewal), first_name="Ada")).json()
    named = (await write(alice, update(ada.id, fields={"region": "North"}), atomic=atomic)).json()["results"][0]
    after = await read(alice, ada)
    cleared = {"fields": {"tier": None, "region": None}, "tag_ids": None, "external_ids": None, "crm_association": None}
    await write(alice, update(ada.id, **cleared), atomic=atomic)
    last = await read(alice, ada)

    assert (named["result"], named["contact"]["fields"]) == ("updated", {"tier": "gold", "region": "North"})
    assert after == {**before, "fields": {"tier": "gold", "region": "North"}, "updated_at": after["updated_at"]}
    assert not last.keys() & cleared.keys()


async def test_a_bad_value_in_an_update_is_named_by_its_place(alice: Person, frank: Person, ada: Thing, grace: Thing) -> None:
    """A value in a bulk that does not fit its field, or that another contact has, is refused by its whole path."""
    await define(frank, "seats", "integer")
    await define(frank, "badge", unique=True)
    await change(alice, grace, fields={"badge": "7"})
    operations = [update(ada.id, fields={"seats": "many"}), update(ada.id, fields={"badge": "7"}, tag_ids=["tag_0"])]
    atomic = await write(alice, *operations, atomic=True)
    each = (await write(alice, operations[0], update(ada.id, fields={"badge": "7"}))).json()["results"]

    assert faults(atomic) == [
        ("operations[0].contact.fields.seats", "invalid_type"),
        ("operations[1].contact.tag_ids[0]", "not_found"),
    ]
    assert [one["problem"]["errors"][0]["code"] for one in each] == ["invalid_type", "already_in_use"]
    assert each[1]["problem"]["errors"][0]["field"] == "operations[1].contact.fields.badge"
