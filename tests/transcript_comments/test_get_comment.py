"""GET /v2/transcript_comments/{transcript_comment_id}."""

import httpx
import pytest

from tests.cast import Person
from tests.engagements.calls import Made
from tests.engagements.conftest import Keys

URL = "/api/v2/transcript_comments"


async def test_anonymous_is_refused(client: httpx.AsyncClient, promise: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(promise.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, promise: Made) -> None:
    """A comment of another workspace is not found."""
    response = await charlie.get(promise.url)

    assert response.status_code == 404
    assert "promise" not in response.text


@pytest.mark.parametrize("lacking", ["engagements:read", "transcript_comments:read"])
async def test_two_scopes_are_needed(keys: Keys, promise: Made, lacking: str) -> None:
    """Reading a comment needs its own scope and the one for reading the engagement, nothing more."""
    scopes = {"engagements:read", "transcript_comments:read"}
    refused = await (await keys.holder(*scopes - {lacking})).get(promise.url)
    read = await (await keys.holder(*scopes)).get(promise.url)

    assert refused.status_code == 403
    assert lacking in refused.json()["detail"]
    assert read.json() == promise.json
    assert read.headers["ETag"] == promise.etag


async def test_what_is_about_something_private_is_not_there_for_others(bob: Person, erin: Person, hush: Made) -> None:
    """A comment on a private engagement needs `engagements:private:read`, otherwise it is not found."""
    unknown = await bob.get(f"{URL}/tano_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")
    hidden, shown = await bob.get(hush.url), await erin.get(hush.url)

    assert (hidden.status_code, shown.status_code) == (404, 200)
    assert hidden.json()["detail"] == unknown.json()["detail"]
    assert shown.json() == hush.json


async def test_what_the_client_has_is_not_sent_again(bob: Person, promise: Made) -> None:
    """If-None-Match with the current version gets 304."""
    response = await bob.get(promise.url, headers={"If-None-Match": promise.etag})

    assert response.status_code == 304


async def test_a_deleted_comment_is_not_found(alice: Person, promise: Made) -> None:
    """A deleted comment is not found, whoever asks."""
    await alice.delete(promise.url)

    assert (await alice.get(promise.url)).status_code == 404


@pytest.mark.parametrize(
    "comment_id", ["tano_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "comment", "tano_", "%00"]
)
async def test_what_is_not_there_is_not_found(alice: Person, comment_id: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.get(f"{URL}/{comment_id}")

    assert response.status_code == 404
    assert response.json()["type"].endswith("/not_found")
