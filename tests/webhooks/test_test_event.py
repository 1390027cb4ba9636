"""POST /herdbook/webhooks/{webhook_endpoint_id}/test."""

import json

import httpx
import msgspec
import pytest
from svix.webhooks import Webhook

from herdbook import ids
from herdbook.companies.model import Company
from herdbook.contacts.model import Contact
from herdbook.engagements.model import Engagement
from herdbook.tags.model import Tag
from herdbook.webhook_endpoints.model import EventType
from tests.cast import Json, Person, Stored, faults
from tests.webhooks.endpoints import UNKNOWN, WEBHOOKS, Endpoint
from tests.webhooks.receiver import Receiver, answer

OBJECTS = {"contact": Contact, "company": Company, "engagement": Engagement, "tag": Tag}


async def at(receiver: Receiver, alice: Person) -> Endpoint:
    """Return an endpoint at the receiver."""
    return Endpoint(alice, await alice.post(WEBHOOKS, json={"url": receiver.url}))


async def test_only_its_administrator_may(
    client: httpx.AsyncClient, alice: Person, bob: Person, charlie: Person, receiver: Receiver
) -> None:
    """Testing needs a credential and a scope; foreign and unknown endpoints are not found."""
    url = f"{(await at(receiver, alice)).url}/test"
    responses = [await client.post(url), await bob.post(url), await charlie.post(url), await alice.post(f"{UNKNOWN}/test")]

    assert [response.status_code for response in responses] == [401, 403, 404, 404]
    assert receiver.requests == []


async def test_an_example_is_sent_at_once(alice: Person, receiver: Receiver, stored: Stored) -> None:
    """An example event is sent at once, and the answer reports request and response; nothing is stored."""
    endpoint = await at(receiver, alice)
    receiver.answering = lambda _: answer(202, b"Thanks")
    told = await endpoint.post("test")

    (request,) = receiver.requests
    assert (told["url"], told["status"], told["answer"]) == (receiver.url, 202, "Thanks")
    assert told["headers"].items() <= request.headers.items()
    assert request.event["type"] == "v1.contact.updated"
    assert len(await stored.changes()) == 1
    assert await endpoint.event_ids() == []


@pytest.mark.parametrize("event_type", [each.value for each in EventType])
async def test_there_is_one_of_each_type(alice: Person, receiver: Receiver, event_type: str) -> None:
    """Each type has an example with the envelope, the object, and the old values of an update."""
    endpoint = await at(receiver, alice)
    await endpoint.post("test", {"type": event_type})

    event = receiver.requests[0].event
    _, kind, *_, action = event_type.split(".")
    assert set(event) == {"id", "type", "api_version", "created_at", "workspace_id", "data"}
    assert (event["type"], event["api_version"]) == (event_type, "v1")
    assert event["workspace_id"] == ids.encoded(ids.WORKSPACE, alice.workspace_id)
    assert set(event["data"]) == ({"object", "previous_attributes"} if action == "updated" else {"object"})
    if action == "erased":
        assert set(event["data"]["object"]) == {"erased", "id"}
    else:
        assert msgspec.convert(event["data"]["object"], OBJECTS[kind]).object.value == kind
    assert set(event["data"].get("previous_attributes", ())) <= set(event["data"]["object"])


async def test_it_is_signed_as_real_ones_are(alice: Person, receiver: Receiver) -> None:
    """A test event is signed like a real one, with both secrets during a rotation."""
    endpoint = await at(receiver, alice)
    rotated = await endpoint.post("rotate_secret")
    await endpoint.post("test")

    (request,) = receiver.requests
    for secret in (endpoint.secret, rotated["secret"]):
        Webhook(secret).verify(request.body, request.headers)


async def test_no_two_have_one_id(alice: Person, receiver: Receiver) -> None:
    """Each test event has a new id, so that receivers do not drop it as a repeat."""
    endpoint = await at(receiver, alice)
    for _ in range(2):
        await endpoint.post("test")

    assert len(set(receiver.event_ids)) == 2


async def test_who_is_disabled_can_be_tested(alice: Person, receiver: Receiver) -> None:
    """A disabled endpoint can be tested, to find out whether to enable it."""
    endpoint = await at(receiver, alice)
    await endpoint.post("disable")

    assert (await endpoint.post("test"))["status"] == 204


@pytest.mark.parametrize("status", [301, 404, 410, 500])
async def test_a_failure_is_told(alice: Person, receiver: Receiver, status: int) -> None:
    """A failed test is reported without a refusal, and has no consequences."""
    endpoint = await at(receiver, alice)
    receiver.answering = lambda _: answer(status, b"No")

    assert (await endpoint.post("test"))["status"] == status
    assert await endpoint.read() == endpoint.json


async def test_who_is_not_there_is_told(alice: Person, receiver: Receiver) -> None:
    """A test without an answer reports why."""
    endpoint = await at(receiver, alice)
    receiver.answering = lambda _: None
    told = await endpoint.post("test")

    assert "status" not in told
    assert "closed" in told["error"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [({"type": "v1.user.created"}, [("type", "invalid_choice")]), ({"event": "x"}, [("event", "unknown_field")])],
)
async def test_what_is_no_type_is_refused(
    alice: Person, receiver: Receiver, body: Json, expected: list[tuple[str, str]]
) -> None:
    """An unknown type is refused, and nothing is sent."""
    endpoint = await at(receiver, alice)

    assert faults(await alice.post(f"{endpoint.url}/test", json=body)) == expected
    assert receiver.requests == []


async def test_no_test_can_be_sent_again(alice: Person, receiver: Receiver) -> None:
    """A test event has no delivery that could be resent, because it has no entry in the ledger."""
    endpoint = await at(receiver, alice)
    await endpoint.post("test")
    event_id = json.loads(receiver.requests[0].body)["id"]

    assert (await alice.get(f"{endpoint.url}/deliveries/{event_id}")).status_code == 404
