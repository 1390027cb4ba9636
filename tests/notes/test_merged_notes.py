"""Notes of merged contacts and companies move to the one that replaces them."""

import asyncpg
import pytest

from tests.cast import Json, Person, Thing
from tests.history.consistency import assert_consistent
from tests.history.requests import company_named, person_named, restore, undo
from tests.merging.merges import merge
from tests.notes.notes import noted, texts


async def merge_companies(person: Person, target: Thing, source: Thing, **params: Json) -> Json:
    """Merge a company into another one; return the answer."""
    path = f"/api/herdbook/companies/{target.id}/merge"
    response = await person.post(path, json={"from": [source.id]}, params=params)
    assert response.status_code == 200, response.text
    return response.json() | {"request_id": response.headers["X-Request-Id"]}


async def test_notes_move_with_a_contact(alice: Person, ada: Thing, grace: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """The preview counts the notes that move, the merge moves them, and its undo moves them back."""
    note, deleted = await noted(alice, grace, "hers"), await noted(alice, grace, "deleted")
    await noted(alice, ada, "own")
    await alice.delete(deleted.url)
    preview = (await merge(alice, ada, grace, params={"dry_run": "true"})).json()
    unmoved = await texts(alice, grace)
    done = await merge(alice, ada, grace)

    assert (preview["notes_moved"], unmoved) == (1, ["hers"])
    assert done.json()["notes_moved"] == 1
    assert await texts(alice, ada) == ["hers", "own"]
    moved = (await alice.get(note.url)).json()
    assert moved == {**note.json, "contact_id": ada.id, "updated_at": moved["updated_at"]}
    assert set((await undo(alice, done)).reverted) == {ada.id, grace.id, note.id}
    assert (await texts(alice, ada), await texts(alice, grace)) == (["own"], ["hers"])
    await assert_consistent(pool, alice.workspace_id)


async def test_notes_move_with_a_company(alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """The same holds for companies."""
    mill = await company_named(alice, "mill.test")
    await noted(alice, mill, "its")
    preview = await merge_companies(alice, engine, mill, dry_run="true")
    done = await merge_companies(alice, engine, mill)

    assert (preview["notes_moved"], done["notes_moved"]) == (1, 1)
    assert await texts(alice, engine) == ["its"]
    await undo(alice, done["request_id"])
    assert (await texts(alice, engine), await texts(alice, mill)) == ([], ["its"])
    await assert_consistent(pool, alice.workspace_id)


async def test_very_many_notes_move(alice: Person, ada: Thing, grace: Thing, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes beyond those that one batch moves follow in slices."""
    monkeypatch.setattr("herdbook.merging.commands.MAX_MOVED", 2)
    for number in range(5):
        await noted(alice, grace, str(number))
    done = await merge(alice, ada, grace)

    assert done.json()["notes_moved"] == 5
    assert sorted(await texts(alice, ada)) == ["0", "1", "2", "3", "4"]


async def test_a_deleted_note_of_a_merged_contact_comes_back_on_the_other(alice: Person, ada: Thing, grace: Thing) -> None:
    """A note that was deleted before its contact was merged, and that one again, is restored to the contact that remains."""
    last = await person_named(alice, "last@engine.test")
    note = await noted(alice, grace, "hers")
    await alice.delete(note.url)
    await merge(alice, ada, grace)
    await merge(alice, last, ada)
    restored = await restore(alice, note)

    assert restored.status_code == 200, restored.text
    assert restored.json()["contact_id"] == last.id
    assert await texts(alice, last) == ["hers"]


async def test_a_deleted_note_of_a_merged_company_comes_back_on_the_other(alice: Person, engine: Thing) -> None:
    """A note of a company that was merged is restored to the company that remains."""
    other = await company_named(alice, "other.test")
    note = await noted(alice, other, "its")
    await alice.delete(note.url)
    await merge_companies(alice, engine, other)
    restored = await restore(alice, note)

    assert restored.status_code == 200, restored.text
    assert restored.json()["company_id"] == engine.id
