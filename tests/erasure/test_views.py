"""Saved views that mention an erased person."""

from typing import Any, Final

import pytest

from tests.cast import Json, Person
from tests.erasure.test_erase_contact import ADDRESS, MARKER, erase, marked
from tests.merging.merges import contact

VIEWS: Final = "/api/herdbook/views"


def where(field: str, value: Any, op: str = "eq") -> Json:
    """Return members of a view with a nested condition."""
    condition = {"field": field, "op": op, "value": value}
    return {"where": {"or": [{"not": condition}, {"field": "tag_ids", "op": "is_set"}]}}


async def left(alice: Person, admin: Person, members: Json) -> bool:
    """Whether a view is still there after the marked person was erased. A dry run must have counted it otherwise."""
    ada = await contact(alice, "other@x.test")
    await alice.delete(ada.url)
    crm = {"object_type": "contact", "crm_object_id": "88001", "source": "hubspot"}
    ada = await marked(alice)
    assert (await alice.put(f"{ada.url}/crm_association", json=crm)).status_code == 200
    view = {"object_type": "contact", "name": "Some", "shared": True} | members
    made = await admin.post(VIEWS, json=view)
    assert made.status_code == 201, made.text
    expected = (await erase(admin, ada, dry_run="true")).json()["rows"].get("saved_view", 0)
    assert (await erase(admin, ada)).status_code == 200
    is_left = (await admin.get(f"{VIEWS}/{made.json()['id']}")).status_code == 200
    assert expected == int(not is_left)
    return is_left


@pytest.mark.parametrize(
    "members",
    [
        where("phone_numbers", "+49 (30) 1234567"),
        where("phone_numbers", ["+1 202 5550100", "0049301234567"], "one_of"),
        where("phone_numbers", "030/1234567"),
        where("external_ids", f"{MARKER}-7"),
        where("external_ids", ["other", f"{MARKER}-7"], "one_of"),
        where("crm_association", "88001"),
        where("emails", ADDRESS.upper()),
        {"name": "Calls of +49 30 1234567"},
        {"name": f"Row {MARKER.lower()}-7"},
        {"search": "030 1234567"},
        {"name": "2026 +49 30 1234567 100"},
        {"search": f"tea {MARKER}-7"},
    ],
    ids=str,
)
async def test_a_view_that_mentions_the_person_goes(alice: Person, admin: Person, members: Json) -> None:
    """A view goes if it has a number in any spelling, an id in another system, or an address of the person."""
    assert not await left(alice, admin, members)


@pytest.mark.parametrize(
    "members",
    [
        where("phone_numbers", "+49 30 1234568"),
        where("phone_numbers", "+1 202 5234567"),
        where("external_ids", f"{MARKER}-8"),
        where("description", "88001", "contains"),
        where("last_name", MARKER),
        {"name": "88001 reasons"},
        where("crm_association", "88001") | {"object_type": "company"},
        {"search": "tea"},
    ],
    ids=str,
)
async def test_another_view_stays(alice: Person, admin: Person, members: Json) -> None:
    """A view with another number or id, or with a name alone, stays: a name is no proof of a person."""
    assert await left(alice, admin, members)
