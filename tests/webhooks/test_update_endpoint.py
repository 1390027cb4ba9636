"""PATCH and DELETE /herdbook/webhooks/{webhook_endpoint_id}."""

from asyncio import gather
from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, faults
from tests.webhooks.endpoints import UNKNOWN, WEBHOOKS, DeliveryTables, Endpoint


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
async def test_only_its_administrator_may(
    client: httpx.AsyncClient, bob: Person, charlie: Person, endpoint: Endpoint, stored: Stored, method: str
) -> None:
    """Changing an endpoint needs a credential and a scope; for Charlie the endpoint is not found."""
    body: Json = {"description": "Eve's"} if method == "PATCH" else None
    anonymous = await client.request(method, endpoint.url, json=body)
    others = [await person.request(method, endpoint.url, json=body) for person in (bob, charlie)]

    assert [anonymous.status_code, *(response.status_code for response in others)] == [401, 403, 404]
    assert len(await stored.changes()) == 1


@pytest.mark.parametrize(
    ("patch", "after"),
    [
        ({"url": "http://localhost/"}, {"url": "http://localhost/"}),
        ({"description": "The CRM's copy."}, {"description": "The CRM's copy."}),
        ({"event_types": ["v1.tag.created"]}, {"event_types": ["v1.tag.created"]}),
    ],
)
async def test_what_is_named_is_changed(endpoint: Endpoint, stored: Stored, patch: Json, after: Json) -> None:
    """Only the named fields change, and the ledger has the old values."""
    updated = await endpoint.patch(**patch)

    change = (await stored.changes())[1]
    assert updated == endpoint.json | after | {"updated_at": updated["updated_at"]}
    assert await endpoint.read() == updated == change.object
    assert change.previous == {name: endpoint.json[name] for name in patch}


async def test_null_clears(alice: Person) -> None:
    """Null removes a description, and stands for all types."""
    body = {"url": "http://127.0.0.1/", "description": "Tags", "event_types": ["v1.tag.created"]}
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json=body))
    updated = await endpoint.patch(description=None, event_types=None)

    assert (updated["description"], updated["event_types"]) == (None, None)


async def test_what_changes_nothing_writes_nothing(alice: Person, stored: Stored) -> None:
    """The same types in another order, or repeated, count as no change."""
    types = ["v1.contact.created", "v1.tag.created"]
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/", "event_types": types}))

    assert await endpoint.patch(event_types=[*reversed(types), *types]) == endpoint.json
    assert len(await stored.changes()) == 1


async def test_the_secret_stays(endpoint: Endpoint) -> None:
    """A new URL keeps the secret."""
    await endpoint.patch(url="http://localhost/")

    assert (await endpoint.read("secret"))["secret"] == endpoint.secret


async def test_of_two_one_is_faster(alice: Person, endpoint: Endpoint) -> None:
    """A stale If-Match refuses the slower of two updates."""
    match = {"If-Match": endpoint.etag}
    responses = await gather(*(alice.patch(endpoint.url, json={"description": name}, headers=match) for name in ("one", "two")))

    assert sorted(response.status_code for response in responses) == [200, 412]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"url": None}, [("url", "invalid_type")]),
        ({"url": "http://user@127.0.0.1/"}, [("url", "invalid_format")]),
        ({"url": "http\u017f://127.0.0.1/"}, [("url", "invalid_format")]),
        ({"url": "http://169.254.169.254/"}, [("url", "target_not_allowed")]),
        ({"url": "http://127.0.0.1:25/"}, [("url", "target_not_allowed")]),
        ({"event_types": []}, [("event_types", "too_short")]),
        ({"is_enabled": False}, [("is_enabled", "unknown_field")]),
    ],
)
async def test_what_cannot_be_is_refused(
    alice: Person, endpoint: Endpoint, stored: Stored, body: Json, expected: list[tuple[str, str]]
) -> None:
    """An update follows the rules of creation, before the endpoint is looked up."""
    refusals = [await alice.patch(url, json=body) for url in (endpoint.url, UNKNOWN)]

    assert [faults(response) for response in refusals] == [expected, expected]
    assert len(await stored.changes()) == 1


async def test_what_is_deleted_is_gone(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables, stored: Stored
) -> None:
    """A deleted endpoint is not found, and receives nothing more."""
    response = await alice.delete(endpoint.url)

    assert response.json() == {"id": endpoint.id, "object": "webhook_endpoint", "deleted": True}
    assert (await alice.get(endpoint.url)).status_code == (await alice.delete(endpoint.url)).status_code == 404
    assert (await alice.get(WEBHOOKS)).json()["data"] == []
    assert not (await delivery_tables.reader(endpoint))["is_enabled"]
    assert [(change.action, change.object) for change in await stored.changes()] == [("c", endpoint.json), ("d", endpoint.json)]


async def test_a_deletion_can_be_repeated(alice: Person, endpoint: Endpoint) -> None:
    """A deletion that is repeated with its key gets the first answer."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.delete(endpoint.url, headers=key) for _ in range(2)]

    assert (first.status_code, second.content) == (200, first.content)


async def test_what_is_deleted_cannot_be_used(alice: Person, endpoint: Endpoint) -> None:
    """Every operation on a deleted endpoint answers 404."""
    await alice.delete(endpoint.url)
    asked = ["enable", "disable", "rotate_secret", "test"]
    responses = [await alice.post(f"{endpoint.url}/{what}") for what in asked]
    responses += [await alice.post(f"{endpoint.url}/resend", json={"since": "2026-01-01T00:00:00Z"})]
    responses += [await alice.get(f"{endpoint.url}/{what}") for what in ("status", "secret", "deliveries")]
    responses += [await alice.patch(endpoint.url, json={"description": None})]

    assert {response.status_code for response in responses} == {404}
