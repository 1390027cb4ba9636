"""POST /herdbook/fields."""

import re
from typing import Final

import httpx
import pytest

from tests.cast import Json, Person, Stored, faults
from tests.custom_fields.definitions import URL, define

FIELD: Final = {"object_type": "contact", "key": "tier", "label": "Tier", "kind": "text"}
_LIST: Final = {**FIELD, "kind": "one_of"}


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(URL, json=FIELD)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_has_his_own_keys(frank: Person, charlie: Person) -> None:
    """A key of one workspace is free in another, and of another kind there."""
    one, other = await define(frank, "tier"), await define(charlie, "tier", "integer")

    assert one.json["id"] != other.json["id"]
    assert one.json["kind"] == "text"


async def test_who_does_not_administer_is_refused(alice: Person, stored: Stored) -> None:
    """A credential that may write contacts cannot define fields."""
    response = await alice.post(URL, json=FIELD)

    assert response.status_code == 403
    assert "workspace:admin" in response.json()["detail"]
    assert await stored.changes() == []


async def test_everything_that_is_sent_comes_back(frank: Person, stored: Stored) -> None:
    """The response shows the definition as stored."""
    sent: Json = {
        "object_type": "company",
        "key": "tier_2",
        "label": "Tier",
        "kind": "several_of",
        "help": "As the contract says.",
        "options": [{"id": "gold", "label": "Gold", "archived": False}],
        "required": True,
        "unique": False,
        "default": ["gold"],
        "order": 7,
    }
    response = await frank.post(URL, json=sent)
    field = response.json()
    (change,) = await stored.changes()

    assert response.status_code == 201
    assert change.object == field
    assert re.fullmatch("fld_[0-9A-HJKMNP-TV-Z]{26}", field.pop("id"))
    assert field.pop("created_at") == field.pop("updated_at")
    assert field == {"object": "field", "archived": False, **sent}
    assert (change.kind, change.action) == ("f", "c")


async def test_a_key_is_taken_for_ever(frank: Person) -> None:
    """A key of another field is refused with that field, also if it is archived; the other type of objects has its own keys."""
    first = await define(frank, "tier")
    await frank.patch(first.url, json={"archived": True})
    again = await frank.post(URL, json=FIELD)
    await define(frank, "tier", object_type="company")

    assert (again.status_code, faults(again)) == (409, [("key", "already_in_use")])
    assert again.json()["conflict"] == {"object": "field", "id": first.json["id"]}


async def test_an_archived_field_with_the_key_is_named(frank: Person) -> None:
    """The refusal of a key says whether the field that has it is archived, and how to get at the key."""
    first = await define(frank, "tier")
    active = await frank.post(URL, json=FIELD)
    await frank.patch(first.url, json={"archived": True})
    archived = await frank.post(URL, json=FIELD)
    await frank.patch(first.url, json={"archived": False})

    assert "another active field" in active.json()["detail"]
    assert "another active field" not in archived.json()["detail"]
    assert "archived field" in archived.json()["detail"]
    assert '"archived": false' in archived.json()["detail"]
    assert (await frank.get(first.url)).json()["archived"] is False


BAD: Final[dict[str, tuple[Json, str, str]]] = {
    "no key": ({"key": "Job Title"}, "key", "invalid_format"),
    "long key": ({"key": "x" * 51}, "key", "invalid_format"),
    "no kind": ({"kind": "colour"}, "kind", "invalid_choice"),
    "no type": ({"object_type": "tag"}, "object_type", "invalid_choice"),
    "blank label": ({"label": " "}, "label", "blank"),
    "list without options": ({"kind": "one_of"}, "options", "required"),
    "options of a text": ({"options": [{"id": "a", "label": "A"}]}, "options", "not_allowed"),
    "option twice": ({**_LIST, "options": [{"id": "a", "label": "A"}] * 2}, "options[1].id", "duplicate"),
    "option without a key": ({**_LIST, "options": [{"id": "A b", "label": "A"}]}, "options[0].id", "invalid_format"),
    "a label twice": (
        {**_LIST, "options": [{"id": "a", "label": "Caf\u00e9"}, {"id": "b", "label": " CAFE"}]},
        *("options[1].label", "duplicate"),
    ),
    "unique list": ({**_LIST, "options": [{"id": "a", "label": "A"}], "unique": True}, "unique", "not_allowed"),
    "unique default": ({"unique": True, "default": "x"}, "default", "not_allowed"),
    "default reference": ({"kind": "user", "default": "usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"}, "default", "not_allowed"),
    "default of another kind": ({"kind": "integer", "default": "x"}, "default", "invalid_type"),
    "negative order": ({"order": -1}, "order", "invalid_range"),
}


@pytest.mark.parametrize(("members", "field", "code"), BAD.values(), ids=BAD.keys())
async def test_a_bad_definition_is_named(frank: Person, stored: Stored, members: Json, field: str, code: str) -> None:
    """A definition whose members are invalid, or do not go together, is refused by name."""
    response = await frank.post(URL, json={**FIELD, **members})

    assert (response.status_code, faults(response)) == (422, [(field, code)])
    assert await stored.changes() == []


async def test_all_faults_are_told(frank: Person) -> None:
    """Faults of members that do not go together are told beside those of other members."""
    asked = {"object_type": "contact", "key": "A b", "label": "", "kind": "yes_no", "unique": True, "default": "x", "order": -1}
    refused = await frank.post(URL, json=asked)
    field = await define(frank, "own", "yes_no")
    unchanged = await frank.patch(field.url, json={"label": "", "unique": True, "options": [{"id": "a", "label": "A"}]})

    assert {name for name, _ in faults(refused)} == {"key", "label", "order", "unique", "default"}
    assert {name for name, _ in faults(unchanged)} == {"label", "unique", "options"}


async def test_a_kind_that_is_no_kind_is_told_alone(frank: Person) -> None:
    """Without a kind, nothing is said about the members that depend on it."""
    asked = {"object_type": "contact", "key": "own", "label": "Own", "kind": "nonsense", "unique": True, "default": "x"}

    assert faults(await frank.post(URL, json=asked)) == [("kind", "invalid_choice")]


async def test_the_key_of_an_archived_field_is_told_behind_other_faults(frank: Person) -> None:
    """A definition that is wrong in itself is told so, whether its key belongs to an active or to an archived field."""
    field = await define(frank, "own")
    asked = {"object_type": "contact", "key": "own", "label": "Own", "kind": "yes_no", "default": "x"}
    active = await frank.post(URL, json=asked)
    await frank.patch(field.url, json={"archived": True})
    archived = await frank.post(URL, json=asked)

    assert (
        (active.status_code, faults(active)) == (archived.status_code, faults(archived)) == (422, [("default", "invalid_type")])
    )


async def test_refusals_say_what_is_meant(frank: Person) -> None:
    """Limits are told in digits, and options that are all archived are not called missing."""
    asked: Json = {"object_type": "contact", "key": "own", "label": "Own", "kind": "one_of"}
    large = await frank.post(URL, json={**asked, "kind": "text", "order": 1_000_001})
    archived = await frank.post(URL, json={**asked, "options": [{"id": "a", "label": "A", "archived": True}]})

    assert large.json()["detail"] == "`order` must be at most 1000000."
    assert archived.json()["detail"] == (
        "`options` has archived ones alone. A list needs another: send one that is not archived."
    )
