"""A contact that had the person's data for a time: they were merged into it, and the merge was taken back."""

from pathlib import Path
from typing import Any

import pytest

from herdbook import ids
from herdbook.db.pool import Pool
from herdbook.erasure.erasing import command_for, finished
from herdbook.erasure.steps import MAX_ENTRIES
from herdbook.erasure_list import NAME, ErasureList
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Json, Person, Thing
from tests.custom_fields.definitions import define
from tests.erasure.test_erase_contact import ADDRESS, MARKER, PHONE, UNDO, erase, everything, feed, marked
from tests.history.consistency import assert_consistent
from tests.merging.merges import contact, merge

OTHER: dict[str, Any] = {"first_name": "Grace", "phone_numbers": [{"phone_number": "+14155550132"}]}


async def undo(person: Person, request_id: str) -> Json:
    """Undo a request."""
    response = await person.post(UNDO, json={"request_id": request_id})
    assert response.status_code == 200, response.text
    return {**response.json(), "by": response.headers["X-Request-Id"]}


async def labelled(admin: Person) -> Thing:
    """Create the marked contact with fields of the workspace's own, and labels of its address and number."""
    await define(admin, "nickname", unique=True)
    await define(admin, "levels", "several_of")
    ada = await marked(admin, fields={"nickname": MARKER, "levels": ["gold"]})
    labels = {
        "emails": [{"email": ADDRESS, "label": MARKER}],
        "phone_numbers": [{"phone_number": PHONE, "label": MARKER}],
    }
    response = await admin.patch(f"/api/herdbook/contacts/{ada.id}/record", json=labels)
    assert response.status_code == 200, response.text
    return ada


@pytest.mark.parametrize("many", [0, MAX_ENTRIES])
async def test_a_merge_was_taken_back(alice: Person, admin: Person, pool: Any, many: int) -> None:
    """The other contact stays as it is, without the person in its history; undoing the undo does not bring them back."""
    ada, grace = await labelled(admin), await contact(admin, "grace@x.test", **OTHER, fields={"levels": ["silver"]})
    merging = await merge(alice, grace, ada)
    undone = await undo(admin, merging.headers["X-Request-Id"])
    assert undone["kept"] == []
    for number in range(many):
        await alice.patch(grace.url, json={"first_name": f"Grace {number}"})
    before = (await alice.get(grace.url)).json()

    certificate = (await erase(admin, ada)).json()
    # The entries of the merge and of the undo.
    assert certificate["rows"]["other_change"] == 2
    assert await everything(pool, alice.workspace_id) == {}
    assert (await alice.get(grace.url)).json() == before
    again = await undo(admin, undone["by"])
    assert {each["id"]: each["reason"] for each in again["kept"]} == {ada.id: "erased", grace.id: "contact_not_found"}
    assert [each["position"] for each in await feed(admin)] == list(range(1, len(await feed(admin)) + 1))
    assert await everything(pool, alice.workspace_id) == {}
    history = await admin.get(f"/api/herdbook/contacts/{grace.id}/history", params={"limit": 100})
    assert history.status_code == 200, history.text
    await assert_consistent(pool, alice.workspace_id)


async def test_a_merge_was_taken_back_by_hand(alice: Person, admin: Person, pool: Any) -> None:
    """A contact into which the other one was merged had the data, too."""
    ada = await marked(alice)
    grace, zoe = await contact(alice, "grace@x.test", **OTHER), await contact(alice, "zoe@x.test", first_name="Zoë")
    await merge(alice, grace, ada)
    second = await merge(alice, zoe, grace)
    await undo(admin, second.headers["X-Request-Id"])
    own = {"emails": [{"email": "grace@x.test"}], "last_name": None, "description": None, **OTHER, "external_ids": []}
    assert (await alice.patch(f"/api/herdbook/contacts/{grace.id}/record", json=own)).status_code == 200
    assert (await admin.post(f"/api/herdbook/contacts/{ada.id}/restore")).status_code == 200

    assert (await erase(admin, ada)).status_code == 200
    assert await everything(pool, alice.workspace_id) == {}
    await assert_consistent(pool, alice.workspace_id)


async def test_what_others_had_themselves_stays(alice: Person, admin: Person) -> None:
    """A value that the other contact had before the merge, or has now, stays in its history."""
    ada = await contact(alice, ADDRESS, last_name="Byron", description="Countess", time_zone="Europe/London")
    grace = await contact(alice, "grace@x.test", first_name="Grace", last_name="Byron")
    await alice.patch(grace.url, json={"last_name": "Hopper"})
    merging = await merge(alice, grace, ada)
    await undo(admin, merging.headers["X-Request-Id"])
    await alice.patch(grace.url, json={"description": "Countess"})

    assert (await erase(admin, ada)).status_code == 200
    history = (await admin.get(f"/api/herdbook/contacts/{grace.id}/history")).json()["data"]
    assert [each["changes"] for each in history[:3]] == [
        {"description": {"from": None, "to": "Countess"}},
        {"description": {"from": "Countess", "to": None}},
        {"description": {"from": None, "to": "Countess"}},
    ]
    assert history[3]["changes"] == {"last_name": {"from": "Byron", "to": "Hopper"}}


async def test_an_undo_comes_before_the_entries_are_emptied(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """The undo of the undo, right after the contact is gone, does not give the other one its data either."""
    ada, grace = await marked(alice), await contact(alice, "grace@x.test", first_name="Grace")
    merging = await merge(alice, grace, ada)
    undone = await undo(admin, merging.headers["X-Request-Id"])
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=False)
    await ledger.write(alice.workspace_id, command, Origin(ids.new_id(), ids.NIL))

    again = await undo(admin, undone["by"])
    await finished(own_pool, ledger, ErasureList(tmp_path / NAME), (alice.workspace_id, [ada.uuid]))

    assert {each["id"]: each["reason"] for each in again["kept"]} == {ada.id: "erased", grace.id: "contact_not_found"}
    assert await everything(pool, alice.workspace_id) == {}
    await assert_consistent(pool, alice.workspace_id)
