"""Headers of the caller's own, such as a gateway's key, that are sent with each event."""

from typing import Final

import pytest

from tests.cast import Json, Person, Stored, faults
from tests.webhooks.endpoints import WEBHOOKS, Endpoint
from tests.webhooks.receiver import Receiver, answer
from tests.webhooks.webhook_app import WebhookApp, subscribe, write_contact

HERE: Final = "http://127.0.0.1:9000/webhooks"
KEY: Final = {"name": "X-Gateway-Key", "value": "open sesame"}
BASIC: Final = {"name": "Authorization", "value": "Basic YTpi"}


async def test_they_are_shown_once(alice: Person, stored: Stored) -> None:
    """The answer of the creation has the values; later answers and the ledger have the names alone."""
    response = await alice.post(WEBHOOKS, json={"url": HERE, "headers": [KEY, BASIC]})
    endpoint = Endpoint(alice, response)
    read = await endpoint.read()
    listed = (await alice.get(WEBHOOKS)).json()["data"]
    changed = await endpoint.patch(headers=[BASIC | {"value": "Basic YzpkZQ=="}])
    told = str([change.object for change in await stored.changes()]) + str([read, listed, changed])

    assert response.json()["headers"] == [KEY, BASIC]
    assert read["headers"] == [{"name": "X-Gateway-Key"}, {"name": "Authorization"}]
    assert listed == [read]
    assert changed["headers"] == [{"name": "Authorization"}]
    assert not any(value in told for value in ("open sesame", "YTpi", "YzpkZQ=="))


async def test_an_endpoint_without_them_has_none(alice: Person) -> None:
    """An endpoint without own headers does not show any, and null removes them."""
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": HERE}))
    with_one = await endpoint.patch(headers=[KEY])
    without = await endpoint.patch(headers=None)

    assert ["headers" in each for each in (endpoint.json, with_one, without)] == [False, True, False]


async def test_another_value_is_a_change(alice: Person, stored: Stored) -> None:
    """A new value makes a new version; the same value again changes nothing."""
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": HERE, "headers": [KEY]}))
    await endpoint.patch(headers=[KEY])
    before = len(await stored.changes())
    await endpoint.patch(headers=[KEY | {"value": "another"}])

    assert (before, len(await stored.changes())) == (1, 2)


async def test_they_are_sent_with_a_test(alice: Person, receiver: Receiver) -> None:
    """An example event has them, beside the server's own headers. The answer of the test does not show them."""
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": receiver.url, "headers": [KEY, BASIC]}))
    told = await endpoint.post("test")

    (request,) = receiver.requests
    assert (request.headers["x-gateway-key"], request.headers["authorization"]) == ("open sesame", "Basic YTpi")
    assert request.headers["content-type"] == "application/json"
    assert "open sesame" not in str(told)


async def test_they_are_sent_with_each_event(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Events have them, and a change of them is in force for the next event. Failed attempts do not show them."""
    endpoint = await subscribe(owner, receiver.url, headers=[KEY])
    await write_contact(owner)
    await post.deliver()
    await owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"headers": [KEY | {"value": "another"}]})
    receiver.answering = lambda _: answer(500)
    await write_contact(owner)
    await post.deliver()
    shown = await post.deliveries(endpoint)

    assert [request.headers["x-gateway-key"] for request in receiver.requests] == ["open sesame", "another"]
    assert "another" not in str([dict(each) for each in shown])


@pytest.mark.parametrize(
    "name",
    [
        *("Connection", "keep-alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Proxy-Authorization", "Host"),
        *("Content-Length", "content-type", "Content-Encoding", "Expect", "User-Agent", "Accept"),
        *("svix-id", "Svix-Anything", "webhook-signature", "WEBHOOK-ID"),
    ],
)
async def test_what_others_set_is_refused(alice: Person, name: str) -> None:
    """The headers of the connection, of the message and of the signature cannot be replaced, in any case of letters."""
    response = await alice.post(WEBHOOKS, json={"url": HERE, "headers": [{"name": name, "value": "x"}]})

    assert response.status_code == 422
    assert faults(response) == [("headers[0].name", "reserved")]


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        ({"name": "X Key", "value": "x"}, ("name", "invalid_format")),
        ({"name": "X-Key:", "value": "x"}, ("name", "invalid_format")),
        ({"name": "X-Käse", "value": "x"}, ("name", "invalid_format")),
        ({"name": "X-Key\r\nX", "value": "x"}, ("name", "invalid_format")),
        ({"name": "X-Key\n", "value": "x"}, ("name", "invalid_format")),
        ({"name": "", "value": "x"}, ("name", "too_short")),
        ({"name": "X-Key", "value": "a\r\nX-Other: b"}, ("value", "invalid_characters")),
        ({"name": "X-Key", "value": "a\n"}, ("value", "invalid_characters")),
        ({"name": "X-Key", "value": "a\0"}, ("value", "invalid_characters")),
        ({"name": "X-Key", "value": "ä"}, ("value", "invalid_characters")),
        ({"name": "X-Key", "value": " a"}, ("value", "invalid_characters")),
        ({"name": "X-Key", "value": ""}, ("value", "too_short")),
        ({"name": "X-Key", "value": "a" * 2001}, ("value", "too_long")),
        ({"name": "X-Key"}, ("value", "required")),
    ],
)
async def test_what_is_no_header_is_refused(alice: Person, header: Json, fault: tuple[str, str]) -> None:
    """Names are tokens of HTTP, and values are visible ASCII in one line."""
    response = await alice.post(WEBHOOKS, json={"url": HERE, "headers": [header]})

    assert response.status_code == 422
    assert faults(response) == [(f"headers[0].{fault[0]}", fault[1])]


async def test_a_header_twice_is_refused(alice: Person) -> None:
    """Names are compared without their case. Twenty headers are the most."""
    twice = await alice.post(WEBHOOKS, json={"url": HERE, "headers": [KEY, {"name": "x-gateway-key", "value": "x"}]})
    many = await alice.post(WEBHOOKS, json={"url": HERE, "headers": [{"name": f"x{n}", "value": "x"} for n in range(21)]})

    assert faults(twice) == [("headers[1].name", "duplicate")]
    assert faults(many) == [("headers", "too_long")]


async def test_a_password_in_the_url_is_told_where_it_belongs(alice: Person) -> None:
    """A URL is shown and logged everywhere, so a password in it is refused; a header holds it as a secret."""
    response = await alice.post(WEBHOOKS, json={"url": "https://user:password@example.com/"})

    assert faults(response) == [("url", "invalid_format")]
    assert "`Authorization` header" in response.json()["detail"]
