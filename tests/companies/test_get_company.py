"""GET /v2/companies/{company_id}."""

import httpx
import pytest

from tests.cast import Person, Thing


async def test_anonymous_is_refused(client: httpx.AsyncClient, engine: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(engine.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, engine: Thing) -> None:
    """A company of another workspace is not found."""
    response = await charlie.get(engine.url)

    assert response.status_code == 404
    assert "Analytical" not in response.text


async def test_dave_is_refused(dave: Person, engine: Thing) -> None:
    """A write-only credential cannot read anything."""
    response = await dave.get(engine.url)

    assert response.status_code == 403
    assert "companies:read" in response.json()["detail"]


async def test_bob_reads(bob: Person, engine: Thing) -> None:
    """The read scope is enough."""
    response = await bob.get(engine.url)

    assert response.status_code == 200
    assert response.json() == engine.json
    assert response.headers["ETag"] == engine.etag


async def test_what_the_client_has_is_not_sent_again(alice: Person, engine: Thing) -> None:
    """If-None-Match with the current version gets 304."""
    response = await alice.get(engine.url, headers={"If-None-Match": engine.etag})

    assert response.status_code == 304
    assert response.content == b""


@pytest.mark.parametrize("company_id", ["engine", "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, company_id: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.get(f"/api/v2/companies/{company_id}")

    assert response.status_code == 404


async def test_a_contact_is_no_company(alice: Person, ada: Thing) -> None:
    """A contact's id does not find a company, even with the other prefix."""
    response = await alice.get(f"/api/v2/companies/cmp_{ada.id[4:]}")

    assert response.status_code == 404
