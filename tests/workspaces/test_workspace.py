"""GET and PATCH /herdbook/workspace."""

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from tests.cast import Person, faults

URL = "/api/herdbook/workspace"


@pytest_asyncio.fixture
async def owner(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> Person:
    """Alice with a key for administrators."""
    return Person(alice.client, alice.workspace_id, await create_key(pool, alice.workspace_id, "Owner", [ADMIN]))


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401."""
    assert (await client.get(URL)).status_code == 401
    assert (await client.patch(URL, json={"region": "GB"})).status_code == 401


async def test_bob_is_refused(bob: Person) -> None:
    """Settings are for administrators."""
    assert (await bob.get(URL)).status_code == 403
    assert (await bob.patch(URL, json={"region": "GB"})).status_code == 403


async def test_charlie_changes_his_own_alone(owner: Person, charlie: Person) -> None:
    """A region belongs to the workspace of the caller."""
    await charlie.patch(URL, json={"region": "FR"})

    assert (await owner.get(URL)).json()["region"] is None


async def test_a_region_is_set_and_removed(owner: Person) -> None:
    """A region stays until another one or null is sent."""
    body = {"object": "workspace", "id": ids.encoded(ids.WORKSPACE, owner.workspace_id)}

    assert (await owner.get(URL)).json() == {**body, "region": None}
    assert (await owner.patch(URL, json={"region": "GB"})).json() == {**body, "region": "GB"}
    assert (await owner.get(URL)).json() == {**body, "region": "GB"}
    assert (await owner.patch(URL, json={"region": "us"})).json() == {**body, "region": "US"}
    assert (await owner.patch(URL, json={"region": None})).json() == {**body, "region": None}


async def test_if_match_is_refused(owner: Person) -> None:
    """Settings have no version that If-Match could name."""
    response = await owner.patch(URL, json={"region": "GB"}, headers={"If-Match": '"1"'})

    assert response.status_code == 412
    assert (await owner.get(URL)).json()["region"] is None


@pytest.mark.parametrize("region", ["UK", "uk", "ZZ", "001", ""])
async def test_what_is_no_country_is_refused(owner: Person, region: str) -> None:
    """A region is one of ISO 3166-1."""
    response = await owner.patch(URL, json={"region": region})

    assert response.status_code == 422
    assert faults(response) == [("region", "invalid_choice")]
