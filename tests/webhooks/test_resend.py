"""POST .../deliveries/{event_id}/resend and /skip, and POST .../{webhook_endpoint_id}/resend."""

import httpx
import pytest

from tests.cast import Json, Person, Stored, faults
from tests.webhooks.endpoints import UNKNOWN, WEBHOOKS, DeliveryTables, Endpoint, add_contacts

SINCE = {"since": "2026-01-01T00:00:00Z"}


async def test_only_its_administrator_may(
    client: httpx.AsyncClient, alice: Person, bob: Person, charlie: Person, endpoint: Endpoint, delivery_tables: DeliveryTables
) -> None:
    """Resending and skipping need a credential and a scope; foreign and unknown endpoints are not found."""
    await add_contacts(alice, "Ada")
    event = await delivery_tables.note(endpoint, 2, "failed")
    for what, body in ((f"deliveries/{event}/resend", {}), (f"deliveries/{event}/skip", {}), ("resend", SINCE)):
        url = f"{endpoint.url}/{what}"
        responses = [
            await client.post(url, json=body),
            await bob.post(url, json=body),
            await charlie.post(url, json=body),
            await alice.post(f"{UNKNOWN}/{what}", json=body),
        ]
        assert [response.status_code for response in responses] == [401, 403, 404, 404]
    assert await endpoint.deliveries() == [("contact.created", "failed")]


async def test_what_went_through_can_be_sent_again(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables, stored: Stored
) -> None:
    """A delivered event is queued again with its schedule from the start; the ledger is not written."""
    await add_contacts(alice, "Ada")
    await delivery_tables.read_to(endpoint)
    (event,) = await endpoint.event_ids()
    resent = await endpoint.post(f"deliveries/{event}/resend")

    (noted,) = await delivery_tables.noted(endpoint)
    assert (resent["id"], resent["state"], resent["attempt_count"], resent["attempts"]) == (event, "waiting", 0, [])
    assert (noted["seq"], noted["event_type"], noted["created_at"].isoformat()[:10]) == (
        *(2, "v1.contact.created"),
        resent["created_at"][:10],
    )
    assert await delivery_tables.is_due(endpoint)
    assert len(await stored.changes()) == 2


@pytest.mark.parametrize("state", ["failed", "skipped", "delivered", "waiting"])
async def test_what_was_noted_begins_anew(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables, state: str
) -> None:
    """A stored delivery in any state starts again, and keeps its earlier attempts."""
    await add_contacts(alice, "Ada")
    event = await delivery_tables.note(endpoint, 2, state, attempts=8)
    resent = await endpoint.post(f"deliveries/{event}/resend")

    assert (resent["state"], resent["attempt_count"], len(resent["attempts"])) == ("waiting", 0, 8)
    assert await delivery_tables.is_due(endpoint)


async def test_what_is_queued_stays_so(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """A queued delivery stays queued, because it is sent anyway and would arrive twice."""
    await add_contacts(alice, "Ada")
    (event,) = await endpoint.event_ids()

    assert (await endpoint.post(f"deliveries/{event}/resend"))["state"] == "queued"
    assert await delivery_tables.noted(endpoint) == []


async def test_once_more_is_no_more(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """Resending twice has the effect of once."""
    await add_contacts(alice, "Ada")
    event = await delivery_tables.note(endpoint, 2, "failed")
    first, second = [await endpoint.post(f"deliveries/{event}/resend") for _ in range(2)]

    assert {**second, "next_attempt_at": None} == {**first, "next_attempt_at": None}
    assert len(await delivery_tables.noted(endpoint)) == 1


async def test_what_is_not_kept_cannot_be_sent(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """A delivery whose entry is trimmed cannot be resent, because it has no body."""
    await add_contacts(alice, "Ada")
    event = await delivery_tables.note(endpoint, 2, "failed")
    await delivery_tables.trim(endpoint, 2)
    response = await alice.post(f"{endpoint.url}/deliveries/{event}/resend")

    assert response.status_code == 404
    assert [noted["state"] for noted in await delivery_tables.noted(endpoint)] == ["failed"]


async def test_what_is_no_delivery_is_not_found(alice: Person) -> None:
    """An event that the endpoint does not receive is not found."""
    body = {"url": "http://127.0.0.1/", "event_types": ["v1.tag.created"]}
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json=body))
    other = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/"}))
    await add_contacts(alice, "Ada")
    (event,) = await other.event_ids()

    for what in ("resend", "skip"):
        assert (await alice.post(f"{endpoint.url}/deliveries/{event}/{what}")).status_code == 404


async def test_all_that_failed_is_sent_again(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """Only this endpoint's failed deliveries are resent."""
    other = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/"}))
    await add_contacts(alice, "Ada", "Grace", "Edith", "Kathleen", "Barbara")
    for seq, state in ((3, "failed"), (4, "skipped"), (5, "waiting"), (6, "failed"), (7, "delivered")):
        await delivery_tables.note(endpoint, seq, state)
    await delivery_tables.note(other, 3, "failed")
    answer = await endpoint.post("resend", SINCE)

    assert answer == {"resent": 2}
    assert [(noted["state"], noted["attempt_count"]) for noted in await delivery_tables.noted(endpoint)] == [
        *(("waiting", 0), ("skipped", 1), ("waiting", 1), ("waiting", 0), ("delivered", 1)),
    ]
    assert [noted["state"] for noted in await delivery_tables.noted(other)] == ["failed"]
    assert await endpoint.post("resend", SINCE) == {"resent": 0}


async def test_since_a_time(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """`since` is compared to the event's time, inclusively."""
    await add_contacts(alice, "Ada", "Grace", "Edith")
    for seq in (2, 3, 4):
        await delivery_tables.note(endpoint, seq, "failed")
    second = (await endpoint.read("deliveries"))["data"][1]

    assert await endpoint.post("resend", {"since": second["created_at"]}) == {"resent": 2}
    assert [state for _, state in await endpoint.deliveries()] == ["waiting", "waiting", "failed"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("since", "required")]),
        ({"since": None}, [("since", "invalid_type")]),
        ({"since": "yesterday"}, [("since", "invalid_format")]),
        ({"since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}, [("until", "unknown_field")]),
    ],
)
async def test_without_a_time_it_is_refused(
    alice: Person, endpoint: Endpoint, body: Json, expected: list[tuple[str, str]]
) -> None:
    """`since` is required, so that nobody floods an endpoint by accident."""
    assert faults(await alice.post(f"{endpoint.url}/resend", json=body)) == expected


@pytest.mark.parametrize("state", ["waiting", "failed", "skipped"])
async def test_what_is_not_taken_can_be_given_up(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables, state: str
) -> None:
    """An undelivered event can be skipped: it is sent only on request, and its attempts are kept."""
    await add_contacts(alice, "Ada")
    event = await delivery_tables.note(endpoint, 2, state)
    skipped = await endpoint.post(f"deliveries/{event}/skip")

    assert (skipped["state"], skipped["next_attempt_at"], len(skipped["attempts"])) == ("skipped", None, 1)
    assert not await delivery_tables.is_due(endpoint)
    assert await endpoint.post("resend", SINCE) == {"resent": 0}


async def test_what_is_taken_or_to_come_stays(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """Skipping a delivered or queued event changes nothing, and returns its state."""
    await add_contacts(alice, "Ada", "Grace", "Edith")
    noted = await delivery_tables.note(endpoint, 2, "delivered")
    await delivery_tables.read_to(endpoint, 3)
    queued, delivered, _ = await endpoint.event_ids()
    answers = [await endpoint.post(f"deliveries/{event}/skip") for event in (queued, delivered, noted)]

    assert [answer["state"] for answer in answers] == ["queued", "delivered", "delivered"]
    assert len(await delivery_tables.noted(endpoint)) == 1
