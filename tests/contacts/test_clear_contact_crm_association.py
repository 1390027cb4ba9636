"""DELETE /v2/contacts/{contact_id}/crm_association."""

from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from tests.cast import Person, Stored, Thing

LINK = {"object_type": "contact", "crm_object_id": "0035e00000A", "source": "salesforce"}


@pytest_asyncio.fixture
async def linked(alice: Person, ada: Thing) -> Thing:
    """Ada, linked to a CRM record."""
    response = await alice.put(f"{ada.url}/crm_association", json=LINK)
    ada.json, ada.etag = response.json(), response.headers["ETag"]
    return ada


async def test_anonymous_is_refused(client: httpx.AsyncClient, linked: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.delete(f"{linked.url}/crm_association")

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, linked: Thing) -> None:
    """A contact of another workspace is not found."""
    response = await charlie.delete(f"{linked.url}/crm_association")

    assert response.status_code == 404
    assert (await alice.get(linked.url)).json()["crm_association"] == LINK


async def test_bob_is_refused(bob: Person, alice: Person, linked: Thing) -> None:
    """A read-only credential cannot clear anything."""
    response = await bob.delete(f"{linked.url}/crm_association")

    assert response.status_code == 403
    assert (await alice.get(linked.url)).json() == linked.json


async def test_the_contact_is_unlinked(alice: Person, linked: Thing) -> None:
    """The response shows the contact without an association."""
    response = await alice.delete(f"{linked.url}/crm_association")

    expected = {name: value for name, value in linked.json.items() if name != "crm_association"}
    assert response.status_code == 200
    assert response.json() == {**expected, "updated_at": response.json()["updated_at"]}
    assert response.headers["ETag"] == '"3"'


async def test_the_change_is_entered(alice: Person, linked: Thing, stored: Stored) -> None:
    """The ledger keeps the old association, and the CRM's id no longer finds the row."""
    await alice.delete(f"{linked.url}/crm_association")
    change = (await stored.changes())[-1]

    assert (change.action, change.previous) == ("u", {"crm_association": LINK})
    assert (await stored.row(linked))["crm_object_id"] is None


async def test_where_there_is_none_nothing_is_written(alice: Person, ada: Thing, stored: Stored) -> None:
    """Clearing an absent association succeeds and changes nothing."""
    response = await alice.delete(f"{ada.url}/crm_association")

    assert response.status_code == 200
    assert response.json() == ada.json
    assert response.headers["ETag"] == ada.etag
    assert len(await stored.changes()) == 1


async def test_if_match_stops_other_versions(alice: Person, linked: Thing) -> None:
    """Only the current version passes If-Match."""
    stopped = await alice.delete(f"{linked.url}/crm_association", headers={"If-Match": '"1"'})
    passed = await alice.delete(f"{linked.url}/crm_association", headers={"If-Match": linked.etag})

    assert (stopped.status_code, passed.status_code) == (412, 200)
    assert stopped.headers["ETag"] == linked.etag


async def test_a_retry_gets_the_first_answer(alice: Person, linked: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key clears only once."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.delete(f"{linked.url}/crm_association", headers=key)
    await alice.put(f"{linked.url}/crm_association", json=LINK)
    second = await alice.delete(f"{linked.url}/crm_association", headers=key)

    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (await stored.row(linked))["crm_object_id"] == LINK["crm_object_id"]


@pytest.mark.parametrize("contact_id", ["nobody", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, contact_id: str) -> None:
    """Unknown ids and malformed ids get the same 404, which takes precedence over 412."""
    url = f"/api/v2/contacts/{contact_id}/crm_association"
    response = await alice.delete(url, headers={"If-Match": '"7"'})

    assert response.status_code == 404


async def test_a_deleted_contact_is_not_found(alice: Person, linked: Thing) -> None:
    """A deleted contact cannot be unlinked."""
    await alice.delete(linked.url)
    response = await alice.delete(f"{linked.url}/crm_association")

    assert response.status_code == 404
