"""Endpoints that ask for the members of herdbook's own: `fields`, labels, tags and external ids."""

from datetime import timedelta
from typing import Final

import pytest

from tests.cast import Json, Person, Thing, faults
from tests.contacts.records import change
from tests.custom_fields.definitions import define
from tests.webhooks.endpoints import WEBHOOKS
from tests.webhooks.receiver import Receiver, answer
from tests.webhooks.webhook_app import WebhookApp, subscribe

CREATED: Final = {"first_name": "Ada", "external_ids": ["crm-1"], "fields": {"tier": "gold"}}


async def known(person: Person, **members: Json) -> Thing:
    """Create a contact with a value, an external id and a label."""
    contact = Thing(await person.post("/api/v2/contacts", json=CREATED | {"emails": [{"email": "ada@example.com"}]} | members))
    await change(person, contact, emails=[{"email": "ada@example.com", "label": "work"}])
    return contact


def told(receiver: Receiver, path: str = "") -> list[tuple[str, Json]]:
    """Return the types and the data of the events that were received on a path."""
    return [(each.event["type"].removeprefix("v1."), each.event["data"]) for each in receiver.requests if path in each.line]


async def test_it_is_shown_and_can_be_changed(owner: Person, receiver: Receiver) -> None:
    """An endpoint asks for fields when it is created or later; by default it does not, and null is refused."""
    endpoint = await subscribe(owner, receiver.url)
    asking = await subscribe(owner, receiver.url, include_fields=True)
    url = f"{WEBHOOKS}/{endpoint['id']}"
    changed = (await owner.patch(url, json={"include_fields": True})).json()
    refused = await owner.patch(url, json={"include_fields": None})

    assert [each["include_fields"] for each in (endpoint, asking, changed)] == [False, True, True]
    assert faults(refused) == [("include_fields", "invalid_type")]


async def test_events_show_them(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Each event of a contact shows own members as of its change, in the form of the change feed, and their former values."""
    await define(owner, "tier")
    await subscribe(owner, receiver.url, include_fields=True)
    ada = await known(owner)
    tag = Thing(await owner.post("/api/v2/tags", json={"name": "Renewal"}))
    await change(owner, ada, fields={"tier": "silver"}, tag_ids=[tag.id], last_name="King")
    await owner.delete(ada.url)
    await post.deliver()
    events = [data for type_, data in told(receiver) if type_.startswith("contact.")]
    feed = (await owner.get("/api/herdbook/changes", params={"types": "contact"})).json()["data"]

    assert events == [each["data"] for each in feed]
    assert events[0]["object"]["fields"] == {"tier": "gold"}
    assert events[1]["object"]["labels"] == {"emails": {"ada@example.com": "work"}}
    assert events[2]["object"]["tag_ids"] == [tag.id]
    assert events[2]["previous_attributes"] == {"last_name": None, "fields": {"tier": "gold"}, "tag_ids": None}
    assert events[3]["object"]["external_ids"] == ["crm-1"]


async def test_others_stay_the_same(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint that does not ask for them gets the vendor's payload, and nothing for a change of these alone."""
    await define(owner, "tier")
    await subscribe(owner, receiver.url + "/plain")
    await subscribe(owner, receiver.url + "/whole", include_fields=True)
    ada = await known(owner)
    await change(owner, ada, fields={"tier": "silver"})
    await change(owner, ada, fields={"tier": "bronze"}, first_name="Augusta")
    await post.deliver()
    plain = [request.body for request in receiver.requests if "/plain" in request.line]
    vendors = (await owner.get(ada.url)).content

    assert [type_ for type_, _ in told(receiver, "/whole")].count("contact.updated") == 3
    assert len(plain) == 2
    assert plain[1].endswith(b'"data":{"object":' + vendors + b',"previous_attributes":{"first_name":"Ada"}}}')
    assert not any(name in plain[0] for name in (b"fields", b"external_ids", b"labels", b"tier"))


async def test_companies_have_them_too(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A change of a company's values alone is sent as an update with the former values."""
    await define(owner, "tier", object_type="company")
    engine = Thing(await owner.post("/api/v2/companies", json={"domains": []}))
    await subscribe(owner, receiver.url, include_fields=True)
    await owner.patch(f"/api/herdbook/companies/{engine.id}/record", json={"fields": {"tier": "gold"}})
    await post.deliver()
    [(type_, data)] = told(receiver)

    assert (type_, data["object"]["fields"], data["previous_attributes"]) == (
        "company.updated",
        {"tier": "gold"},
        {"fields": None},
    )


async def test_an_undo_and_a_merge_are_told(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An undo of a change of values, and a merge that adds values, are updates with the values that they lead to."""
    await define(owner, "tier")
    await define(owner, "region")
    ada = await known(owner)
    twin = Thing(await owner.post("/api/v2/contacts", json={"fields": {"region": "North"}}))
    await subscribe(owner, receiver.url, include_fields=True)
    changed = await change(owner, ada, fields={"tier": "silver"})
    undone = await owner.post("/api/herdbook/undo", json={"request_id": changed.headers["X-Request-Id"]})
    merged = await owner.post(f"/api/herdbook/contacts/{ada.id}/merge", json={"from": [twin.id]})
    await post.deliver()
    values = [(type_, data["object"]["fields"]) for type_, data in told(receiver) if data["object"]["id"] == ada.id]

    assert (undone.status_code, merged.status_code) == (200, 200)
    assert values == [
        ("contact.updated", {"tier": "silver"}),
        ("contact.updated", {"tier": "gold"}),
        ("contact.updated", {"tier": "gold", "region": "North"}),
    ]


async def test_they_are_listed_and_sent_again(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A delivery of values alone is listed with the body that was sent, and is sent again with the same one."""
    await define(owner, "tier")
    ada = await known(owner)
    endpoint = await subscribe(owner, receiver.url, include_fields=True)
    await change(owner, ada, fields={"tier": "silver"})
    await post.deliver()
    url = f"{WEBHOOKS}/{endpoint['id']}/deliveries"
    [listed] = (await owner.get(url)).json()["data"]
    shown = (await owner.get(f"{url}/{listed['id']}")).json()
    # The form of an event is that which the endpoint asked for when it happened.
    await owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"include_fields": False})
    again = await owner.post(f"{url}/{listed['id']}/resend")
    post.clock.go(timedelta(days=3650))
    await post.deliver()

    assert (listed["type"], listed["state"], again.status_code) == ("v1.contact.updated", "delivered", 200)
    assert [request.body.decode() for request in receiver.requests] == [shown["request_body"]] * 2


async def test_what_is_no_longer_asked_for_is_not_retried(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint that stops asking gets no further attempt of a change of values alone, and others without them."""
    await define(owner, "tier")
    endpoint = await subscribe(owner, receiver.url, include_fields=True)
    receiver.answering = lambda _: answer(500)
    ada = await known(owner)
    await post.deliver()
    receiver.requests.clear()
    await owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"include_fields": False})
    post.clock.go(timedelta(days=1))
    await post.deliver()
    states = {each["event_type"]: each["state"] for each in await post.deliveries(endpoint)}

    assert states["v1.contact.updated"] == "skipped"
    assert "fields" not in next(data["object"] for _, data in told(receiver) if data["object"]["id"] == ada.id)


async def test_only_later_changes_are_told(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint that begins to ask is not sent earlier changes of values, and the list of deliveries has none."""
    await define(owner, "tier")
    endpoint = await subscribe(owner, receiver.url)
    ada = await known(owner)
    await post.deliver()
    receiver.requests.clear()
    await owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"include_fields": True})
    await change(owner, ada, fields={"tier": "silver"})
    await post.deliver()
    listed = (await owner.get(f"{WEBHOOKS}/{endpoint['id']}/deliveries")).json()["data"]

    assert [data["object"]["fields"] for _, data in told(receiver)] == [{"tier": "silver"}]
    assert [each["type"] for each in listed] == ["v1.contact.updated", "v1.contact.created"]


async def test_an_erasure_empties_what_waits(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """After an erasure, nothing that waited is sent, and no delivery shows a value."""
    await define(owner, "tier")
    endpoint = await subscribe(owner, receiver.url, include_fields=True)
    receiver.answering = lambda _: answer(500)
    ada = await known(owner, fields={"tier": "planted"})
    await post.deliver()
    receiver.requests.clear()
    erased = await owner.post(f"/api/herdbook/contacts/{ada.id}/erase")
    receiver.answering = lambda _: answer(204)
    post.clock.go(timedelta(days=1))
    await post.deliver()
    url = f"{WEBHOOKS}/{endpoint['id']}/deliveries"
    listed = (await owner.get(url)).json()["data"]
    bodies = [(await owner.get(f"{url}/{each['id']}")).json()["request_body"] for each in listed]

    assert erased.status_code == 200, erased.text
    assert {type_ for type_, _ in told(receiver)} == {"contact.erased"}
    assert "planted" not in str([request.body for request in receiver.requests]) + str(bodies)


@pytest.mark.parametrize("asks", [False, True])
async def test_the_example_event_has_them(owner: Person, receiver: Receiver, asks: bool) -> None:  # noqa: FBT001
    """The example event of a test has the form that the endpoint asks for."""
    endpoint = await subscribe(owner, receiver.url, include_fields=asks)
    tested = await owner.post(f"{WEBHOOKS}/{endpoint['id']}/test", json={"type": "v1.contact.updated"})
    [(_, data)] = told(receiver)

    assert tested.status_code == 200, tested.text
    assert ("fields" in data["object"]) == asks
