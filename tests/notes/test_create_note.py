"""POST /herdbook/contacts/{contact_id}/notes, and of companies."""

from typing import Final
from uuid import uuid4

import httpx
import pytest

from herdbook import ids
from herdbook.notes.model import MAX_TEXT
from tests.cast import Json, Person, Stored, Thing, faults
from tests.engagements.conftest import Keys
from tests.merging.merges import merged
from tests.notes.notes import noted, notes_of, texts, write


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing, engine: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    for place in (ada, engine):
        response = await client.post(notes_of(place), json={"text": "Eve was here"})

        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, ada: Thing, engine: Thing) -> None:
    """A contact or a company of another workspace is not found, and gets no note."""
    for place in (ada, engine):
        assert (await write(charlie, place, "Charlie was here")).status_code == 404
        assert await texts(alice, place) == []


@pytest.mark.parametrize(("kind", "other"), [("contacts", "companies"), ("companies", "contacts")])
async def test_the_scope_is_that_of_the_object(keys: Keys, ada: Thing, engine: Thing, kind: str, other: str) -> None:
    """A note takes the scope to write the object that it is on, and no other."""
    place = ada if kind == "contacts" else engine
    done = await write(await keys.holder(f"{kind}:write"), place, "Well.")
    refused = await write(await keys.holder(f"{kind}:read", f"{other}:read", f"{other}:write"), place, "Well.")

    assert (done.status_code, refused.status_code) == (201, 403)
    assert f"{kind}:write" in refused.json()["detail"]


async def test_a_note_is_on_a_contact(keys: Keys, alice: Person, ada: Thing, edith: Thing, stored: Stored) -> None:
    """The answer has the text as it was sent, the contact, the author and the times; the ledger has the same."""
    ediths = await keys.holder("contacts:write", user=edith)
    response = await write(ediths, ada, "  Likes *tea*.\n", is_pinned=True)
    note, change = response.json(), (await stored.changes())[-1]

    assert response.status_code == 201
    assert note == {
        "object": "note",
        "id": note["id"],
        "contact_id": ada.id,
        "text": "  Likes *tea*.\n",
        "is_pinned": True,
        "created_by": edith.id,
        "created_at": note["created_at"],
        "updated_at": note["created_at"],
    }
    assert ids.decoded(ids.NOTE, note["id"]) is not None
    assert (change.kind, change.action, change.object) == ("m", "c", note)
    assert response.headers["ETag"] == f'"{change.seq}"'
    assert (await alice.get(f"/api/herdbook/notes/{note['id']}")).content == response.content


async def test_a_note_is_on_a_company(alice: Person, engine: Thing, owner: Thing) -> None:
    """A note on a company names the company; it is not pinned unless that is said."""
    note = (await noted(alice, engine, "Moves in May.")).json

    assert (note["company_id"], note["is_pinned"], note["created_by"]) == (engine.id, False, owner.id)
    assert "contact_id" not in note


async def test_the_object_does_not_change(alice: Person, ada: Thing) -> None:
    """A note leaves the version of its contact alone."""
    await noted(alice, ada, "Well.")

    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


BAD: Final[dict[str, tuple[Json, str, str]]] = {
    "no text": ({}, "text", "required"),
    "null": ({"text": None}, "text", "invalid_type"),
    "empty": ({"text": ""}, "text", "too_short"),
    "blank": ({"text": " \n\u200b"}, "text", "blank"),
    "NUL": ({"text": "a\u0000b"}, "text", "invalid_characters"),
    "too many characters": ({"text": "x" * (MAX_TEXT + 1)}, "text", "too_long"),
    "too many bytes": ({"text": "é" * (MAX_TEXT // 2) + "x"}, "text", "too_long"),
    "pinned by a number": ({"text": "a", "is_pinned": 1}, "is_pinned", "invalid_type"),
    "an author": ({"text": "a", "created_by": "usr_1"}, "created_by", "unknown_field"),
}


@pytest.mark.parametrize(("body", "field", "code"), BAD.values(), ids=BAD.keys())
async def test_bad_notes_are_named(alice: Person, ada: Thing, body: Json, field: str, code: str) -> None:
    """A text that is missing, shows nothing or is longer than 64 KiB is refused, and so is a member of the server's."""
    response = await alice.post(notes_of(ada), json=body)

    assert (response.status_code, faults(response)) == (422, [(field, code)])
    assert await texts(alice, ada) == []


async def test_the_longest_text_is_kept(alice: Person, ada: Thing) -> None:
    """A text of 64 KiB in UTF-8 is stored whole."""
    text = "\U0001f600" * (MAX_TEXT // 4)
    await noted(alice, ada, text)

    assert await texts(alice, ada) == [text]


async def test_a_retry_writes_one_note(alice: Person, ada: Thing) -> None:
    """A retry with the same Idempotency-Key gets the first answer; If-Match asks for a version that a new note has not."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.post(notes_of(ada), json={"text": "Well."}, headers=key) for _ in range(2)]
    stale = await alice.post(notes_of(ada), json={"text": "Well."}, headers={"If-Match": ada.etag})

    assert first.content == second.content
    assert stale.status_code == 412
    assert await texts(alice, ada) == ["Well."]


async def test_what_is_gone_gets_no_note(alice: Person, ada: Thing, grace: Thing, engine: Thing) -> None:
    """A deleted object gets no note, and the refusal names what replaces a merged one."""
    await merged(alice, ada, grace)
    await alice.delete(engine.url)
    responses = [await write(alice, place, "Well.") for place in (grace, engine)]

    assert [response.status_code for response in responses] == [404, 404]
    assert ada.id in responses[0].json()["detail"]
