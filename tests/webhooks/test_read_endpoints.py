"""GET /herdbook/webhooks, and a single endpoint, its status and its secret."""

from asyncio import gather

import httpx
import pytest

from tests.cast import Person
from tests.webhooks.endpoints import UNKNOWN, WEBHOOKS, DeliveryTables, Endpoint, add_contacts

READS = ["", "/status", "/secret", "/deliveries"]


@pytest.mark.parametrize("what", READS)
async def test_anonymous_is_refused(client: httpx.AsyncClient, endpoint: Endpoint, what: str) -> None:
    """Without a credential the answer is 401, with a challenge."""
    response = await client.get(endpoint.url + what)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("what", READS)
async def test_charlie_is_refused(charlie: Person, endpoint: Endpoint, what: str) -> None:
    """An endpoint of another workspace is not found."""
    assert (await charlie.get(endpoint.url + what)).status_code == 404


@pytest.mark.parametrize("what", READS)
async def test_bob_is_refused(bob: Person, endpoint: Endpoint, what: str) -> None:
    """Reading endpoints requires an administrator."""
    assert (await bob.get(endpoint.url + what)).status_code == 403


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize("url", [UNKNOWN, f"{WEBHOOKS}/whep_x", f"{WEBHOOKS}/tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, url: str, what: str) -> None:
    """Unknown and malformed ids are not found."""
    assert (await alice.get(url + what)).status_code == 404


async def test_it_is_shown_without_its_secret(alice: Person, endpoint: Endpoint) -> None:
    """An endpoint is shown as it was created, without its secret, alone and in lists."""
    read = await alice.get(endpoint.url)
    listed = (await alice.get(WEBHOOKS)).json()

    assert (read.json(), read.headers["ETag"]) == (endpoint.json, endpoint.etag)
    assert listed == {"object": "list", "data": [endpoint.json], "has_more": False, "next_cursor": None}


async def test_what_is_current_is_not_sent_again(alice: Person, endpoint: Endpoint) -> None:
    """An endpoint has an ETag; its status changes independently, and has none."""
    current = await alice.get(endpoint.url, headers={"If-None-Match": endpoint.etag})
    status = await alice.get(f"{endpoint.url}/status", headers={"If-None-Match": "*"})

    assert (current.status_code, status.status_code) == (304, 200)
    assert "ETag" not in status.headers


async def test_lists_are_lists(alice: Person) -> None:
    """The list begins with the latest endpoint, and each page continues the last one."""
    bodies = [{"url": "http://127.0.0.1/", "description": f"{number}"} for number in range(3)]
    for body in bodies:
        await alice.post(WEBHOOKS, json=body)
    first = (await alice.get(WEBHOOKS, params={"limit": 2})).json()
    second = (await alice.get(WEBHOOKS, params={"cursor": first["next_cursor"]})).json()

    assert [each["description"] for each in first["data"] + second["data"]] == ["2", "1", "0"]


async def test_its_secret_can_be_read_again(alice: Person, endpoint: Endpoint) -> None:
    """The secret is the one from the creation, without a former one, and must not be cached."""
    response = await alice.get(f"{endpoint.url}/secret")

    assert response.json() == {
        "object": "webhook_secret",
        "endpoint_id": endpoint.id,
        "secret": endpoint.secret,
        "former_secret_until": None,
    }
    assert response.headers["Cache-Control"] == "no-store"


async def test_a_new_one_has_nothing_behind_it(endpoint: Endpoint) -> None:
    """A new endpoint has read everything, and has no deliveries."""
    assert await endpoint.read("status") == {
        "object": "webhook_status",
        "endpoint_id": endpoint.id,
        "position": 1,
        "behind": 0,
        "failing_since": None,
        "delivered": 0,
        "failed": 0,
        "waiting": 0,
    }


async def test_its_status_says_how_it_does(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """The status gives the courier's figures: unread changes, start of failures, and waiting deliveries."""
    await add_contacts(alice, "Ada", "Grace", "Edith", "Kathleen")
    await delivery_tables.read_to(endpoint, 3)
    await gather(delivery_tables.note(endpoint, 2, "waiting"), delivery_tables.note(endpoint, 3, "failed"))
    await delivery_tables.set(endpoint, delivered=7, failed=2, failing_since="2026-03-01 12:00:00+00")

    status = await endpoint.read("status")
    assert (status["position"], status["behind"], status["waiting"]) == (3, 2, 1)
    assert (status["delivered"], status["failed"], status["failing_since"]) == (7, 2, "2026-03-01T12:00:00.000000Z")
