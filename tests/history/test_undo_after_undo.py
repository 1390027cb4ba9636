"""An undo after other undos: what they have taken back counts for nothing."""

from tests.cast import Person, Thing
from tests.history.requests import undo


async def test_change_that_was_undone_counts_as_none(alice: Person, ada: Thing) -> None:
    """A request is undone although its object was changed since, if that change was taken back."""
    first = await alice.patch(ada.url, json={"first_name": "Augusta"})
    later = await alice.patch(ada.url, json={"last_name": "King"})
    await undo(alice, later)

    assert (await undo(alice, first)).reverted == {ada.id: "updated"}
    assert (await alice.get(ada.url)).json()["first_name"] == ada.json["first_name"]


async def test_creation_is_undone_after_an_undone_deletion(alice: Person) -> None:
    """A contact that was deleted and came back by an undo is the one that was created."""
    created = await alice.post("/api/v2/contacts", json={"first_name": "Ada"})
    thing = Thing(created)
    await undo(alice, await alice.delete(thing.url))

    assert (await undo(alice, created)).reverted == {thing.id: "deleted"}


async def test_undo_is_undone_and_done_again(alice: Person, ada: Thing) -> None:
    """After an undo of its undo, a request can be undone again; undone once more, it is called undone."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    once = await alice.post("/api/herdbook/undo", json={"request_id": changed.headers["X-Request-Id"]})
    assert (await undo(alice, changed)).kept == {ada.id: "already_undone"}
    assert (await undo(alice, once)).reverted == {ada.id: "updated"}

    assert (await undo(alice, changed)).reverted == {ada.id: "updated"}
    assert (await undo(alice, changed)).kept == {ada.id: "already_undone"}


async def test_change_after_an_undo_counts(alice: Person, ada: Thing) -> None:
    """An object that somebody changes after an undo is changed since, and stays."""
    first = await alice.patch(ada.url, json={"first_name": "Augusta"})
    await undo(alice, await alice.patch(ada.url, json={"last_name": "King"}))
    await alice.patch(ada.url, json={"description": "Countess"})

    assert (await undo(alice, first)).kept == {ada.id: "changed_since"}
