"""DELETE /v2/transcript_comments/{transcript_comment_id}."""

from uuid import uuid4

import httpx
import pytest

from tests.cast import Person, Stored
from tests.engagements.calls import Made
from tests.engagements.conftest import Keys

URL = "/api/v2/transcript_comments"
WRITE = ("engagements:read", "transcript_comments:write")


async def test_anonymous_is_refused(client: httpx.AsyncClient, promise: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.delete(promise.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, promise: Made) -> None:
    """A comment of another workspace is not found, and it stays."""
    response = await charlie.delete(promise.url)

    assert response.status_code == 404
    assert (await alice.get(promise.url)).json() == promise.json


@pytest.mark.parametrize("lacking", WRITE)
async def test_two_scopes_are_needed(keys: Keys, promise: Made, lacking: str) -> None:
    """Deleting a comment needs its own scope and the one for reading the engagement, nothing more."""
    refused = await (await keys.holder(*{*WRITE} - {lacking})).delete(promise.url)
    done = await (await keys.holder(*WRITE)).delete(promise.url)

    assert (refused.status_code, done.status_code) == (403, 200)
    assert lacking in refused.json()["detail"]


async def test_it_is_gone_from_everywhere(alice: Person, talk: Made, promise: Made, stored: Stored) -> None:
    """The response names the comment, which is neither read nor listed any more; the ledger keeps its last state."""
    response = await alice.delete(promise.url)
    change = (await stored.changes())[-1]

    assert response.status_code == 200
    assert response.json() == {"id": promise.id, "object": "transcript_comment", "deleted": True}
    assert "ETag" not in response.headers
    assert (await alice.get(promise.url)).status_code == 404
    assert (await alice.get(f"{talk.url}/transcript_comments")).json()["data"] == []
    assert (change.kind, change.action, change.previous, change.object) == ("n", "d", None, promise.json)


async def test_a_second_time_there_is_nothing(alice: Person, promise: Made, stored: Stored) -> None:
    """A second deletion is refused and writes nothing."""
    await alice.delete(promise.url)
    before = await stored.changes()
    response = await alice.delete(promise.url)

    assert response.status_code == 404
    assert await stored.changes() == before


async def test_what_is_about_something_private_is_not_there_for_others(
    keys: Keys, erin: Person, alice: Person, hush: Made
) -> None:
    """A comment on a private engagement is deleted only by callers who may read that, and is not found for others."""
    hidden = await (await keys.holder(*WRITE)).delete(hush.url)
    still = await alice.get(hush.url)
    done = await erin.delete(hush.url)

    assert (hidden.status_code, still.status_code, done.status_code) == (404, 200, 200)
    assert (await alice.get(hush.url)).status_code == 404


async def test_if_match_stops_other_versions(alice: Person, promise: Made) -> None:
    """A stale If-Match prevents the deletion."""
    changed = await alice.patch(promise.url, json={"status": "RESOLVED"})
    late = await alice.delete(promise.url, headers={"If-Match": promise.etag})
    done = await alice.delete(promise.url, headers={"If-Match": changed.headers["ETag"]})

    assert (late.status_code, done.status_code) == (412, 200)
    assert late.headers["ETag"] == changed.headers["ETag"]


async def test_a_retry_gets_the_first_answer(alice: Person, promise: Made) -> None:
    """A retry with the same Idempotency-Key gets the first answer, not 404."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.delete(promise.url, headers=key) for _ in range(2)]

    assert second.status_code == 200
    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "ETag" not in second.headers


@pytest.mark.parametrize("comment_id", ["comment", "tano_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, comment_id: str) -> None:
    """Unknown ids and malformed ids get the same answer, before the version is checked."""
    response = await alice.delete(f"{URL}/{comment_id}", headers={"If-Match": '"1"'})

    assert response.status_code == 404
