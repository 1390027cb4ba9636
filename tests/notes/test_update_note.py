"""PATCH /herdbook/notes/{note_id}."""

from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults
from tests.engagements.conftest import Keys


async def test_anonymous_is_refused(client: httpx.AsyncClient, habit: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.patch(habit.url, json={"text": "Eve"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, habit: Thing) -> None:
    """A note of another workspace is not found, and it stays unchanged."""
    response = await charlie.patch(habit.url, json={"text": "Charlie was here"})

    assert response.status_code == 404
    assert (await alice.get(habit.url)).json() == habit.json


@pytest.mark.parametrize("right", ["read", "write"])
async def test_both_scopes_of_the_object_are_needed(keys: Keys, habit: Thing, budget: Thing, right: str) -> None:
    """A change takes the scopes to read and to write the object that the note is on, nothing more."""
    for note, kind, other in ((habit, "contacts", "companies"), (budget, "companies", "contacts")):
        mine, others = {f"{kind}:read", f"{kind}:write"}, {f"{other}:read", f"{other}:write"}
        refused = await (await keys.holder(*others, *(mine - {f"{kind}:{right}"}))).patch(note.url, json={"is_pinned": True})
        done = await (await keys.holder(*mine)).patch(note.url, json={"is_pinned": True})

        assert (refused.status_code, done.status_code) == (403, 200)
        assert f"{kind}:{right}" in refused.json()["detail"]


async def test_text_and_pin_are_changed(alice: Person, habit: Thing, stored: Stored) -> None:
    """A change sets text and pin. The author and the date of creation stay, and the ledger has the old values."""
    response = await alice.patch(habit.url, json={"text": "After nine.", "is_pinned": True})
    note, change = response.json(), (await stored.changes())[-1]

    assert note == {**habit.json, "text": "After nine.", "is_pinned": True, "updated_at": note["updated_at"]}
    assert note["updated_at"] > habit.json["updated_at"]
    assert (change.object, change.previous) == (note, {"text": habit.json["text"], "is_pinned": False})
    assert response.headers["ETag"] == f'"{change.seq}"'
    assert (await alice.get(habit.url)).content == response.content


@pytest.mark.parametrize("patch", [{}, {"is_pinned": False}])
async def test_a_patch_that_changes_nothing_writes_nothing(alice: Person, habit: Thing, stored: Stored, patch: Json) -> None:
    """A request that changes nothing adds no ledger entry."""
    before = await stored.changes()
    response = await alice.patch(habit.url, json=patch)

    assert (response.json(), response.headers["ETag"]) == (habit.json, habit.etag)
    assert await stored.changes() == before


@pytest.mark.parametrize(
    ("patch", "fault"),
    [
        ({"text": ""}, ("text", "too_short")),
        ({"text": None}, ("text", "invalid_type")),
        ({"text": "\u200b"}, ("text", "blank")),
        ({"text": "é" * 40_000}, ("text", "too_long")),
        ({"is_pinned": None}, ("is_pinned", "invalid_type")),
        ({"contact_id": "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"}, ("contact_id", "unknown_field")),
    ],
)
async def test_bad_changes_are_named(alice: Person, habit: Thing, patch: Json, fault: tuple[str, str]) -> None:
    """A bad text or pin is refused, and so is another place of the note."""
    response = await alice.patch(habit.url, json=patch)

    assert (response.status_code, faults(response)) == (422, [fault])
    assert (await alice.get(habit.url)).json() == habit.json


async def test_if_match_stops_other_versions(alice: Person, habit: Thing) -> None:
    """A stale If-Match prevents the update."""
    changed = await alice.patch(habit.url, json={"is_pinned": True}, headers={"If-Match": habit.etag})
    late = await alice.patch(habit.url, json={"text": "So?"}, headers={"If-Match": habit.etag})

    assert (changed.status_code, late.status_code) == (200, 412)
    assert late.headers["ETag"] == changed.headers["ETag"]


async def test_a_retry_gets_the_first_answer(alice: Person, habit: Thing) -> None:
    """A retry with the same Idempotency-Key does not undo later changes."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.patch(habit.url, json={"is_pinned": True}, headers=key)
    await alice.patch(habit.url, json={"is_pinned": False})
    second = await alice.patch(habit.url, json={"is_pinned": True}, headers=key)

    assert second.content == first.content
    assert (await alice.get(habit.url)).json()["is_pinned"] is False


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_a_retry_for_a_note_that_is_gone_gets_the_first_answer(alice: Person, habit: Thing, method: str) -> None:
    """A retry gets the first answer after the note was deleted, too, by itself or by another request."""
    sent = {"headers": {"Idempotency-Key": str(uuid4()), "If-Match": habit.etag}}
    body: Json = {"json": {"is_pinned": True}} if method == "PATCH" else {}
    first = await alice.request(method, habit.url, **sent, **body)
    await alice.delete(habit.url)
    second = await alice.request(method, habit.url, **sent, **body)
    unknown = await alice.request(method, habit.url, headers={"Idempotency-Key": str(uuid4())}, **body)

    assert (first.status_code, second.status_code, unknown.status_code) == (200, 200, 404)
    assert second.content == first.content
