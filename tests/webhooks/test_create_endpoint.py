"""POST /herdbook/webhooks."""

import re
from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, faults
from tests.webhooks.endpoints import WEBHOOKS, DeliveryTables, Endpoint

HERE = "http://127.0.0.1:9000/webhooks"


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """Without a credential the answer is 401, with a challenge."""
    response = await client.post(WEBHOOKS, json={"url": HERE})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_bob_is_refused(bob: Person, stored: Stored) -> None:
    """All scopes for reading and writing do not suffice to create an endpoint."""
    response = await bob.post(WEBHOOKS, json={"url": HERE})

    assert response.status_code == 403
    assert "workspace:admin" in response.json()["detail"]
    assert await stored.changes() == []


async def test_everything_that_is_sent_comes_back(alice: Person) -> None:
    """The answer is the enabled endpoint with its secret; its types are sorted and unique."""
    types = ["v1.tag.deleted", "v1.contact.created", "v1.tag.deleted"]
    response = await alice.post(WEBHOOKS, json={"url": HERE, "description": "The CRM's copy.", "event_types": types})

    created = response.json()
    assert response.status_code == 201
    assert re.fullmatch("whep_[0-9A-HJKMNP-TV-Z]{26}", created.pop("id"))
    assert re.fullmatch("whsec_[A-Za-z0-9+/]{43}=", created.pop("secret"))
    assert created.pop("created_at") == created.pop("updated_at")
    assert created == {
        "object": "webhook_endpoint",
        "url": HERE,
        "description": "The CRM's copy.",
        "event_types": ["v1.contact.created", "v1.tag.deleted"],
        "include_fields": False,
        "is_enabled": True,
    }


async def test_without_a_choice_it_is_told_of_everything(alice: Person) -> None:
    """Null stands for all event types, including those of later releases."""
    response = await alice.post(WEBHOOKS, json={"url": HERE})

    assert (response.json()["event_types"], response.json()["description"]) == (None, None)


async def test_the_secret_is_in_no_entry(endpoint: Endpoint, stored: Stored) -> None:
    """The ledger's one entry has the endpoint without its secret."""
    (change,) = await stored.changes()

    assert (change.seq, change.kind, change.action, change.object) == (1, "w", "c", endpoint.json)


async def test_each_has_a_secret_of_its_own(alice: Person) -> None:
    """Two endpoints have different secrets, even at the same URL."""
    first, second = [Endpoint(alice, await alice.post(WEBHOOKS, json={"url": HERE})) for _ in range(2)]

    assert first.secret != second.secret


async def test_it_begins_behind_itself(alice: Person, delivery_tables: DeliveryTables) -> None:
    """A new endpoint starts after its own creation: earlier changes and the creation are not sent."""
    await alice.post("/api/v2/tags", json={"name": "Before"})
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": HERE}))

    reader = await delivery_tables.reader(endpoint)
    assert (reader["position"], reader["is_enabled"]) == (2, True)


async def test_a_retry_gets_the_first_answer(alice: Person, stored: Stored) -> None:
    """A repeat with the same Idempotency-Key creates one endpoint, and shows the same secret."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.post(WEBHOOKS, json={"url": HERE}, headers=key) for _ in range(2)]

    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "secret" in second.json()
    assert len(await stored.changes()) == 1


async def test_if_match_is_refused(alice: Person) -> None:
    """If-Match fails, because an endpoint has no version before its creation."""
    response = await alice.post(WEBHOOKS, json={"url": HERE}, headers={"If-Match": "*"})

    assert response.status_code == 412


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("url", "required")]),
        ({"url": None}, [("url", "invalid_type")]),
        ({"url": ""}, [("url", "too_short")]),
        ({"url": HERE + "x" * 2000}, [("url", "too_long")]),
        ({"url": HERE, "description": " "}, [("description", "blank")]),
        ({"url": HERE, "event_types": []}, [("event_types", "too_short")]),
        ({"url": HERE, "event_types": ["v1.user.created"]}, [("event_types[0]", "invalid_choice")]),
        ({"url": HERE, "is_enabled": False}, [("is_enabled", "unknown_field")]),
        ({"url": "x", "secret": "whsec_"}, [("url", "invalid_format"), ("secret", "unknown_field")]),
    ],
)
async def test_what_is_no_endpoint_is_refused(
    alice: Person, stored: Stored, body: Json, expected: list[tuple[str, str]]
) -> None:
    """All errors are reported at once, and nothing is created."""
    response = await alice.post(WEBHOOKS, json=body)

    assert response.status_code == 422
    assert faults(response) == expected
    assert await stored.changes() == []


@pytest.mark.parametrize(
    "url",
    [
        *("127.0.0.1/hook", "//127.0.0.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "http:", "http://", "http:///hook"),
        *("http://:80/", "http://user@127.0.0.1/", "http://user:password@127.0.0.1/", "http://127.0.0.1/#part"),
        *("http://127.0.0.1:0/", "http://127.0.0.1:65536/", "http://127.0.0.1:/", "http://127.0.0.1:port/"),
        *("http://127.0.0.1/a b", "http://127.0.0.1/\n", " http://127.0.0.1/", "http://127.0.0.1\\@example.com/"),
        *(
            "http://127.0.0.1%2f/",
            "http://127.0.0.1\u0000/",
            "http://127.0.0.1/\u00fc",
            "http://\u3000/",
            "http://\u2603\u2603-.test/",
        ),
        *("http://[::1/", "http://[1.2.3.4]/", "http://[::1%25lo]/", "http://[]/", "http://::1/"),
    ],
)
async def test_what_is_no_address_is_refused(alice: Person, url: str) -> None:
    """A URL must be http or https, without credentials or fragment, and unambiguous to every parser."""
    response = await alice.post(WEBHOOKS, json={"url": url})

    assert faults(response) == [("url", "invalid_format")]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://127.0.0.1",
            "HTTP://127.0.0.1:80/",
            "http://127.0.0.1?a=b",
            "http://127.0.0.1:65535/%C3%BC/?key=a~b!c$d&e='f'",
        ),
        *("https://localhost:8443/hook", "http://LOCALHOST/", "http://[::1]:3000/hook", "http://127.1/", "http://2130706433/"),
    ],
)
async def test_an_address_is_kept_as_it_was_sent(alice: Person, url: str) -> None:
    """The URL is stored as it was sent; a server that only listens on loopback may send to its own machine."""
    response = await alice.post(WEBHOOKS, json={"url": url})

    assert (response.status_code, response.json().get("url")) == (201, url), response.text
