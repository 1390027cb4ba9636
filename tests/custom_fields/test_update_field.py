"""PATCH /herdbook/fields/{field_id}."""

import httpx
import pytest

from herdbook import ids
from herdbook.custom_fields.store import FIELD
from herdbook.ledger.commands import Delete
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Json, Person, Thing, faults
from tests.contacts.records import change, read, record_of
from tests.custom_fields.definitions import URL, define
from tests.history.requests import undo


async def test_anonymous_is_refused(client: httpx.AsyncClient, frank: Person) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.patch((await define(frank, "tier")).url, json={"label": "Level"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, frank: Person) -> None:
    """A field of another workspace is not found."""
    assert (await charlie.patch((await define(frank, "tier")).url, json={"label": "Level"})).status_code == 404


async def test_who_does_not_administer_is_refused(alice: Person, frank: Person) -> None:
    """A credential that may write contacts cannot change fields."""
    assert (await alice.patch((await define(frank, "tier")).url, json={"label": "Level"})).status_code == 403


async def test_sent_members_change(frank: Person) -> None:
    """Members that are sent change, null clears them, and the others stay."""
    field = await define(frank, "tier", help="Of the contract.", default="none")
    changed = (await frank.patch(field.url, json={"label": "Level", "help": None, "default": None})).json()

    assert changed == {**field.json, "label": "Level", "help": None, "default": None, "updated_at": changed["updated_at"]}
    assert (await frank.get(field.url)).json() == changed


async def test_an_option_is_archived_not_removed(alice: Person, frank: Person, ada: Thing) -> None:
    """An option that is left out is archived: the value stays and can be sent again, and no other object gets it."""
    field = await define(frank, "tier", "one_of")
    await change(alice, ada, fields={"tier": "gold"})
    options: Json = [{"id": "silver", "label": "Silver"}]
    changed = (await frank.patch(field.url, json={"options": options})).json()
    other = await alice.post("/api/v2/contacts", json={"fields": {"tier": "gold"}})

    assert [(each["id"], each["archived"]) for each in changed["options"]] == [
        ("silver", False),
        ("gold", True),
        ("bronze", True),
    ]
    assert (await change(alice, ada, fields={"tier": "gold"}, last_name="King")).json()["fields"] == {"tier": "gold"}
    assert faults(other) == [("fields.tier", "invalid_choice")]


@pytest.mark.parametrize("member", ["key", "object_type"])
async def test_the_form_of_values_stays(frank: Person, member: str) -> None:
    """A member on which the values depend cannot change."""
    field = await define(frank, "tier")
    response = await frank.patch(field.url, json={member: field.json[member]})

    assert (response.status_code, faults(response)) == (422, [(member, "unknown_field")])


async def test_an_undo_takes_it_back(alice: Person, frank: Person, ada: Thing) -> None:
    """An undo of the request that archived a field brings it back."""
    field = await define(frank, "tier")
    await change(alice, ada, fields={"tier": "x"})
    archived = await frank.patch(field.url, json={"archived": True})
    refused = await alice.patch(record_of(ada), json={"fields": {"tier": "y"}})
    await frank.post("/api/herdbook/undo", json={"request_id": archived.headers["X-Request-Id"]})

    assert faults(refused) == [("fields.tier", "archived")]
    assert (await read(alice, ada))["fields"] == {"tier": "x"}


async def test_a_definition_that_was_undone_comes_back(alice: Person, frank: Person, ada: Thing) -> None:
    """An undo of a definition archives it, which keeps its key and hides its values; bringing it back shows them again."""
    made = await define(frank, "tier")
    await change(alice, ada, fields={"tier": "x"})
    undone = await undo(frank, made.request_id)
    hidden = await read(alice, ada)
    again = await frank.post(URL, json={"object_type": "contact", "key": "tier", "label": "Tier", "kind": "integer"})
    archived = (await frank.get(made.url)).json()["archived"]
    await frank.patch(made.url, json={"archived": False})

    assert (undone.reverted, undone.kept) == ({made.json["id"]: "updated"}, {})
    assert "fields" not in hidden
    assert archived is True
    assert (again.status_code, again.json()["conflict"]["id"]) == (409, made.json["id"])
    assert (await read(alice, ada))["fields"] == {"tier": "x"}


async def test_an_undo_of_that_undo_brings_it_back(alice: Person, frank: Person, ada: Thing) -> None:
    """The undo of a definition can be undone, and the undo of that archives it again."""
    made = await define(frank, "tier")
    await change(alice, ada, fields={"tier": "x"})
    undone = await undo(frank, made.request_id)
    back = await undo(frank, undone)
    shown = await read(alice, ada)
    await undo(frank, back)

    assert shown["fields"] == {"tier": "x"}
    assert "fields" not in await read(alice, ada)


async def test_a_key_that_an_earlier_release_has_freed_stays_with_its_values(
    alice: Person, frank: Person, ada: Thing, ledger: Ledger
) -> None:
    """A field that an earlier release has deleted can be restored with its values, and no other field gets its key."""
    made = await define(frank, "tier")
    await change(alice, ada, fields={"tier": "x"})
    field_id = ids.decoded(ids.FIELD, made.json["id"]) or ids.NIL
    await ledger.write(alice.workspace_id, Delete(FIELD, field_id), Origin(ids.new_id(), ids.NIL))
    hidden = await read(alice, ada)
    again = await frank.post(URL, json={"object_type": "contact", "key": "tier", "label": "Tier", "kind": "integer"})
    usual = await frank.post(URL, json={"object_type": "company", "key": "tier", "label": "Tier", "kind": "integer"})
    restored = await frank.post(f"/api/herdbook/fields/{made.json['id']}/restore")

    assert "fields" not in hidden
    assert (again.status_code, faults(again), again.json()["conflict"]["id"]) == (
        *(409, [("key", "already_in_use")]),
        made.json["id"],
    )
    assert (usual.status_code, restored.status_code) == (201, 200)
    assert (await read(alice, ada))["fields"] == {"tier": "x"}
