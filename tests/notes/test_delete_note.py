"""DELETE /herdbook/notes/{note_id}, and what brings a note back."""

import httpx
import pytest

from tests.cast import Person, Stored, Thing
from tests.engagements.conftest import Keys
from tests.history.requests import ask_to_undo, history, restore, undo
from tests.merging.merges import contact, merged
from tests.notes.notes import noted, texts, write


async def test_anonymous_is_refused(client: httpx.AsyncClient, habit: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.delete(habit.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, habit: Thing) -> None:
    """A note of another workspace is not found, and it stays."""
    assert (await charlie.delete(habit.url)).status_code == 404
    assert (await alice.get(habit.url)).json() == habit.json


async def test_both_scopes_of_the_object_are_needed(keys: Keys, habit: Thing) -> None:
    """A deletion takes the scopes to read and to write the object that the note is on."""
    refused = await (await keys.holder("contacts:read", "companies:read", "companies:write")).delete(habit.url)
    done = await (await keys.holder("contacts:read", "contacts:write")).delete(habit.url)

    assert (refused.status_code, done.status_code) == (403, 200)


async def test_a_deleted_note_is_gone_and_comes_back(alice: Person, ada: Thing, habit: Thing, stored: Stored) -> None:
    """The answer names the note, the list loses it, and restoring brings it back as it was."""
    response = await alice.delete(habit.url)
    change = (await stored.changes())[-1]
    gone = await alice.get(habit.url)
    listed = await texts(alice, ada)
    back = await restore(alice, habit)

    assert response.json() == {"id": habit.id, "object": "note", "deleted": True}
    assert (change.action, change.object) == ("d", habit.json)
    assert (gone.status_code, listed) == (404, [])
    assert back.json() == {**habit.json, "updated_at": back.json()["updated_at"]}
    assert await texts(alice, ada) == [habit.json["text"]]
    assert [entry["action"] for entry in (await history(alice, habit))["data"]] == ["restored", "deleted", "created"]


async def test_if_match_stops_other_versions(alice: Person, habit: Thing) -> None:
    """A stale If-Match prevents the deletion."""
    await alice.patch(habit.url, json={"is_pinned": True})

    assert (await alice.delete(habit.url, headers={"If-Match": habit.etag})).status_code == 412
    assert (await alice.get(habit.url)).status_code == 200


async def test_a_note_comes_back_only_to_an_object_that_is_there(alice: Person, grace: Thing) -> None:
    """A note is not restored before its contact, also if that was deleted after another one was merged into it."""
    mary = await contact(alice)
    note = await noted(alice, mary, "Well.")
    await alice.delete(note.url)
    await merged(alice, grace, mary)
    await alice.delete(grace.url)
    refused = await restore(alice, note)
    await restore(alice, mary)
    done = await restore(alice, note)

    assert (refused.status_code, done.status_code) == (404, 200)
    assert await texts(alice, mary) == ["Well."]


async def test_restoring_takes_all_scopes(keys: Keys, alice: Person, habit: Thing) -> None:
    """A note is restored, and its history read, with the scopes for contacts and companies together."""
    await alice.delete(habit.url)
    scopes = ("contacts:read", "contacts:write", "companies:read", "companies:write")
    refused = [await restore(await keys.holder(*({*scopes} - {each})), habit) for each in scopes]
    done = await restore(await keys.holder(*scopes), habit)

    assert [response.status_code for response in refused] == [403] * 4
    assert done.status_code == 200


async def test_an_undo_takes_back_each_change(alice: Person, ada: Thing) -> None:
    """Undoing a creation deletes the note, undoing a deletion restores it, and undoing a change brings back the text."""
    made = await write(alice, ada, "one")
    note = Thing(made)
    changed = await alice.patch(note.url, json={"text": "two"})

    assert (await undo(alice, changed)).reverted == {note.id: "updated"}
    assert await texts(alice, ada) == ["one"]
    deleted = await alice.delete(note.url)
    assert (await undo(alice, deleted)).reverted == {note.id: "restored"}
    assert await texts(alice, ada) == ["one"]


@pytest.mark.parametrize("place", ["contacts", "companies"])
async def test_an_undo_takes_the_scopes_of_what_the_note_is_on(
    alice: Person, keys: Keys, ada: Thing, engine: Thing, place: str
) -> None:
    """A credential that may write the note may undo its change, and one that may not read or write such notes may not."""
    on, others = (ada, "companies") if place == "contacts" else (engine, "contacts")
    note = await noted(alice, on, "First.")
    changed = await alice.patch(note.url, json={"text": "Second."})
    for scopes, missing in (
        ((f"{place}:read", f"{others}:read", f"{others}:write"), f"{place}:write"),
        ((f"{place}:write", f"{others}:read", f"{others}:write"), f"{place}:read"),
    ):
        refused = await ask_to_undo(await keys.holder(*scopes), changed)
        assert refused.status_code == 403
        assert f"`{missing}`" in refused.json()["detail"]
    writer = await keys.holder(f"{place}:read", f"{place}:write")

    assert (await undo(writer, changed)).reverted == {note.id: "updated"}


async def test_an_undo_needs_the_object(alice: Person, ada: Thing, engine: Thing, habit: Thing, budget: Thing) -> None:
    """The deletion of a note is not undone while its contact or company is gone."""
    for place, note, reason in ((ada, habit, "contact_not_found"), (engine, budget, "company_not_found")):
        deleted = await alice.delete(note.url)
        await alice.delete(place.url)

        assert (await undo(alice, deleted)).kept == {note.id: reason}
        await restore(alice, place)
        assert (await undo(alice, deleted)).reverted == {note.id: "restored"}


async def test_a_noted_object_is_in_use(alice: Person) -> None:
    """The creation of a contact or company is not undone while there is a note on it."""
    for path in ("/api/v2/contacts", "/api/v2/companies"):
        made = await alice.post(path, json={"domains": []} if "companies" in path else {})
        place = Thing(made)
        note = await noted(alice, place, "Well.")

        assert (await undo(alice, made)).kept == {place.id: "in_use"}
        await alice.delete(note.url)
        assert (await undo(alice, made)).reverted == {place.id: "deleted"}
