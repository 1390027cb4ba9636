"""PATCH /v2/transcript_comments/{transcript_comment_id}."""

from uuid import uuid4

import httpx
import pytest

from herdbook import ids
from herdbook.errors import NotFound
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from herdbook.transcript_comments.commands import DeleteTranscriptComment, UpdateTranscriptComment
from herdbook.transcript_comments.model import TranscriptCommentUpdate
from tests.cast import Json, Person, Stored, Thing, faults
from tests.engagements.calls import Made
from tests.engagements.conftest import Keys

URL = "/api/v2/transcript_comments"
WRITE = ("engagements:read", "transcript_comments:write")
READ = "transcript_comments:read"


async def test_anonymous_is_refused(client: httpx.AsyncClient, promise: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.patch(promise.url, json={"body": "Eve"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, promise: Made) -> None:
    """A comment of another workspace is not found, and it stays unchanged."""
    response = await charlie.patch(promise.url, json={"body": "Charlie was here"})

    assert response.status_code == 404
    assert (await alice.get(promise.url)).json() == promise.json


@pytest.mark.parametrize("lacking", WRITE)
async def test_two_scopes_are_needed(keys: Keys, promise: Made, lacking: str) -> None:
    """Changing a comment needs its own scope and the one for reading the engagement, nothing more."""
    refused = await (await keys.holder(*{*WRITE} - {lacking})).patch(promise.url, json={"body": "So?"})
    done = await (await keys.holder(*WRITE)).patch(promise.url, json={"body": "So?"})

    assert (refused.status_code, done.status_code) == (403, 200)
    assert lacking in refused.json()["detail"]


async def test_the_body_is_changed(alice: Person, promise: Made, stored: Stored) -> None:
    """A new body is trimmed as when creating. The rest stays, and the ledger keeps the old body."""
    response = await alice.patch(promise.url, json={"body": " That was a promise.\n"})
    change = (await stored.changes())[-1]

    comment = response.json()
    assert response.status_code == 200
    assert comment == {**promise.json, "body": "That was a promise.", "updated_at": comment["updated_at"]}
    assert comment["updated_at"] > promise.json["updated_at"]
    assert (change.kind, change.action, change.object) == ("n", "u", comment)
    assert change.previous == {"body": "Is that a promise?"}
    assert response.headers["ETag"] == f'"{change.seq}"'
    assert (await alice.get(promise.url)).content == response.content


async def test_to_resolve_is_noted(keys: Keys, promise: Made, edith: Thing, owner: Thing, stored: Stored) -> None:
    """A resolved comment records by whom and when, and keeps its author."""
    ediths = await keys.holder(*WRITE, READ, user=edith)
    comment = (await ediths.patch(promise.url, json={"status": "RESOLVED"})).json()

    assert (comment["status"], comment["resolved_by"], comment["created_by"]) == ("RESOLVED", edith.id, owner.id)
    assert comment["resolved_at"] == comment["updated_at"] > promise.json["updated_at"]
    assert (await stored.changes())[-1].previous == {"status": "OPEN", "resolved_by": None, "resolved_at": None}


async def test_a_comment_that_is_resolved_stays_so(alice: Person, keys: Keys, promise: Made, edith: Thing) -> None:
    """Resolving again or changing the body is no new resolution."""
    resolved = await (await keys.holder(*WRITE, READ, user=edith)).patch(promise.url, json={"status": "RESOLVED"})
    again = await alice.patch(promise.url, json={"status": "RESOLVED"})
    changed = (await alice.patch(promise.url, json={"body": "So?", "status": "RESOLVED"})).json()

    assert again.content == resolved.content
    assert again.headers["ETag"] == resolved.headers["ETag"]
    assert changed == {**resolved.json(), "body": "So?", "updated_at": changed["updated_at"]}


async def test_to_reopen_clears_it(alice: Person, promise: Made, stored: Stored) -> None:
    """Reopening clears the resolution; the ledger keeps it."""
    resolved = (await alice.patch(promise.url, json={"status": "RESOLVED"})).json()
    reopened = (await alice.patch(promise.url, json={"status": "OPEN"})).json()

    assert reopened == {**promise.json, "updated_at": reopened["updated_at"]}
    assert (await stored.changes())[-1].previous == {name: resolved[name] for name in ("status", "resolved_by", "resolved_at")}


async def test_body_and_status_are_changed_together(alice: Person, promise: Made) -> None:
    """One request may change body and status."""
    comment = (await alice.patch(promise.url, json={"body": "Done.", "status": "RESOLVED"})).json()

    assert (comment["body"], comment["status"]) == ("Done.", "RESOLVED")


@pytest.mark.parametrize("patch", [{}, {"body": " Is that a promise? "}, {"status": "OPEN"}])
async def test_a_patch_that_changes_nothing_writes_nothing(alice: Person, promise: Made, stored: Stored, patch: Json) -> None:
    """A request that changes nothing keeps `updated_at` and the ETag, and adds no ledger entry."""
    before = await stored.changes()
    response = await alice.patch(promise.url, json=patch)

    assert response.status_code == 200
    assert response.json() == promise.json
    assert response.headers["ETag"] == promise.etag
    assert await stored.changes() == before


@pytest.mark.parametrize(
    ("patch", "fault"),
    [
        ({"body": ""}, ("body", "too_short")),
        ({"body": " \n"}, ("body", "blank")),
        ({"body": None}, ("body", "invalid_type")),
        ({"body": "x" * 50_001}, ("body", "too_long")),
        ({"body": "a\u0000"}, ("body", "invalid_characters")),
        ({"status": "DONE"}, ("status", "invalid_choice")),
        ({"status": None}, ("status", "invalid_choice")),
        ({"status": "resolved"}, ("status", "invalid_choice")),
        ({"anchor": {"entry_index": 0}}, ("anchor", "unknown_field")),
        ({"resolved_by": "usr_1"}, ("resolved_by", "unknown_field")),
    ],
)
async def test_what_a_comment_cannot_become_is_refused(
    alice: Person, promise: Made, stored: Stored, patch: Json, fault: tuple[str, str]
) -> None:
    """Only body and status can be changed, each to a valid value; otherwise nothing is written."""
    before = await stored.changes()
    response = await alice.patch(promise.url, json=patch)

    assert response.status_code == 422
    assert faults(response) == [fault]
    assert await stored.changes() == before


async def test_what_is_about_something_private_is_not_there_for_others(
    keys: Keys, erin: Person, alice: Person, hush: Made
) -> None:
    """A comment on a private engagement is changed only by callers who may read that, and is not found for others."""
    hidden = await (await keys.holder(*WRITE)).patch(hush.url, json={"body": "Louder!"}, headers={"If-Match": '"999"'})
    assert (await alice.get(hush.url)).json() == hush.json
    done = await erin.patch(hush.url, json={"body": "Quiet."})

    assert (hidden.status_code, done.status_code) == (404, 200)
    assert "ETag" not in hidden.headers


async def test_if_match_stops_other_versions(alice: Person, promise: Made) -> None:
    """A stale If-Match prevents the update."""
    changed = await alice.patch(promise.url, json={"status": "RESOLVED"}, headers={"If-Match": promise.etag})
    late = await alice.patch(promise.url, json={"body": "So?"}, headers={"If-Match": promise.etag})

    assert (changed.status_code, late.status_code) == (200, 412)
    assert late.headers["ETag"] == changed.headers["ETag"]
    assert (await alice.get(promise.url)).json() == changed.json()


async def test_a_retry_gets_the_first_answer(alice: Person, promise: Made) -> None:
    """A retry with the same Idempotency-Key does not undo later changes."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.patch(promise.url, json={"status": "RESOLVED"}, headers=key)
    await alice.patch(promise.url, json={"status": "OPEN"})
    second = await alice.patch(promise.url, json={"status": "RESOLVED"}, headers=key)

    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (await alice.get(promise.url)).json()["status"] == "OPEN"


@pytest.mark.parametrize("comment_id", ["comment", "tano_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, comment_id: str) -> None:
    """404 comes after the body is validated and before the version is checked."""
    unknown = await alice.patch(f"{URL}/{comment_id}", json={}, headers={"If-Match": '"1"'})
    invalid = await alice.patch(f"{URL}/{comment_id}", json={"body": ""})

    assert (unknown.status_code, invalid.status_code) == (404, 422)


async def test_a_deleted_comment_is_not_found(alice: Person, promise: Made) -> None:
    """A deleted comment cannot be changed."""
    await alice.delete(promise.url)

    assert (await alice.patch(promise.url, json={"body": "So?"})).status_code == 404


async def test_what_may_not_be_seen_is_not_changed(alice: Person, ledger: Ledger, hush: Made) -> None:
    """The command itself finds that an engagement is hidden from the caller, because it may become so until then."""
    patch = TranscriptCommentUpdate(body="Eve")
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    for command in (
        UpdateTranscriptComment(comment_id=hush.uuid, sees_private=False, patch=patch, user_id=None),
        DeleteTranscriptComment(comment_id=hush.uuid, sees_private=False),
    ):
        with pytest.raises(NotFound):
            await ledger.write(alice.workspace_id, command, origin)

    assert (await alice.get(hush.url)).json() == hush.json
