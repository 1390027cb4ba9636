"""The defaults of fields that are an address or a number of the erased person."""

from typing import Any, Final

import pytest

from tests.cast import Json, Person
from tests.custom_fields.definitions import Defined, define
from tests.erasure.test_erase_contact import ADDRESS, PHONE, erase, everything, feed, marked
from tests.erasure.test_erase_participants import ERASE
from tests.history.consistency import assert_consistent

FIELDS: Final = "/api/herdbook/fields"


async def changed(admin: Person, field: Defined, **members: Any) -> Json:
    """Change a definition, and return it."""
    headers = {"Idempotency-Key": f"{field.url} {members}".replace(ADDRESS, "address")}
    response = await admin.patch(field.url, json=members, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("object_type", ["contact", "company"])
@pytest.mark.parametrize(
    ("kind", "default"), [("email", ADDRESS.upper()), ("phone", "+49 (30) 1234567"), ("text", ADDRESS), ("text", PHONE)]
)
async def test_a_default_that_names_the_person_goes(
    alice: Person, admin: Person, pool: Any, object_type: str, kind: str, default: str
) -> None:
    """A default goes from the definition and its history, and from kept answers, by a change that does not tell it."""
    ada = await marked(alice)
    now = (await define(admin, "now", kind, object_type, default=default)).json
    before = await changed(admin, await define(admin, "before", kind, object_type, default=default), default=None)
    archived = await changed(admin, await define(admin, "archived", kind, object_type, default=default), archived=True)
    await define(admin, "other", "text", object_type, default="Tea at four")
    expected = (await erase(admin, ada, dry_run="true")).json()
    told = len(await feed(admin))
    certificate = (await erase(admin, ada)).json()

    assert await everything(pool, alice.workspace_id) == {}
    defaults = {each["key"]: each["default"] for each in (await admin.get(FIELDS, params={"limit": 100})).json()["data"]}
    assert {key: defaults.get(key) for key in ("now", "before", "archived", "other")} == {
        "now": None,
        "before": None,
        "archived": None,
        "other": "Tea at four",
    }
    assert expected["others"] == certificate["others"] == [now["id"], archived["id"]]
    assert expected["rows"]["other_field"] == certificate["rows"]["other_field"] == 2
    assert [each["object_id"] for each in (await feed(admin))[told:]] == [ada.id, now["id"], archived["id"]]
    assert before["default"] is None
    await assert_consistent(pool, alice.workspace_id)


async def test_a_default_of_an_address_without_a_contact_goes(alice: Person, admin: Person, pool: Any) -> None:
    """The erasure by an address clears defaults, too."""
    field = await define(admin, "mail", "email", default=ADDRESS)

    assert (await admin.post(ERASE, json={"email": ADDRESS})).json()["others"] == [field.json["id"]]
    assert await everything(pool, alice.workspace_id) == {}
