"""GET /v2/tags/{tag_id}."""

import httpx
import pytest

from tests.cast import Person, Thing


async def test_anonymous_is_refused(client: httpx.AsyncClient, renewal: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(renewal.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, renewal: Thing) -> None:
    """A tag of another workspace is not found."""
    response = await charlie.get(renewal.url)

    assert response.status_code == 404
    assert "Renewal" not in response.text


async def test_dave_is_refused(dave: Person, renewal: Thing) -> None:
    """A write-only credential cannot read anything."""
    response = await dave.get(renewal.url)

    assert response.status_code == 403
    assert "tags:read" in response.json()["detail"]


async def test_bob_reads(bob: Person, renewal: Thing) -> None:
    """The read scope is enough."""
    response = await bob.get(renewal.url)

    assert response.status_code == 200
    assert response.json() == renewal.json
    assert response.headers["ETag"] == renewal.etag


async def test_what_the_client_has_is_not_sent_again(alice: Person, renewal: Thing) -> None:
    """If-None-Match gets 304 with the current version, but not with an older one."""
    unchanged = await alice.get(renewal.url, headers={"If-None-Match": renewal.etag})
    await alice.patch(renewal.url, json={"hex_color": None})
    changed = await alice.get(renewal.url, headers={"If-None-Match": renewal.etag})

    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", renewal.etag)
    assert (changed.status_code, changed.json()["hex_color"]) == (200, None)


@pytest.mark.parametrize("tag_id", ["renewal", "tag_", "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, tag_id: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.get(f"/api/v2/tags/{tag_id}")

    assert response.status_code == 404


async def test_a_company_is_no_tag(alice: Person, engine: Thing) -> None:
    """A company's id does not find a tag, even with the other prefix."""
    response = await alice.get(f"/api/v2/tags/tag_{engine.id[4:]}")

    assert response.status_code == 404
