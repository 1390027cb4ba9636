"""GET /herdbook/webhooks/{webhook_endpoint_id}/deliveries, and a single delivery."""

from datetime import datetime, timedelta

import httpx
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.webhooks import delivery_log
from herdbook.webhooks.events import event_id, seq_of
from tests.cast import Json, Person, Stored, faults
from tests.engagements.calls import call, timed
from tests.webhooks.endpoints import UNKNOWN, WEBHOOKS, DeliveryTables, Endpoint, add_contacts

NEVER = ids.EVENT + "01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def test_nothing_is_shown_to_others(
    client: httpx.AsyncClient, alice: Person, bob: Person, charlie: Person, endpoint: Endpoint
) -> None:
    """Deliveries need a credential and a scope, and are not found for Charlie, even with an event's id."""
    await add_contacts(alice, "Ada")
    (event,) = await endpoint.event_ids()
    for url in (f"{endpoint.url}/deliveries", f"{endpoint.url}/deliveries/{event}"):
        responses = [await client.get(url), await bob.get(url), await charlie.get(url)]
        assert [response.status_code for response in responses] == [401, 403, 404]


# Deliveries that exist


async def test_what_happens_is_to_be_told(alice: Person, endpoint: Endpoint) -> None:
    """A change is queued until the courier reads it; the list begins with the latest."""
    (contact_id,) = await add_contacts(alice, "Ada")
    await alice.patch(f"/api/v2/contacts/{contact_id}", json={"first_name": "Augusta"})
    await alice.post("/api/v2/tags", json={"name": "Renewal"})

    assert await endpoint.deliveries() == [
        ("tag.created", "queued"),
        ("contact.updated", "queued"),
        ("contact.created", "queued"),
    ]


async def test_what_was_read_was_delivered(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """Every entry before the position without a row of its own was delivered at once."""
    await add_contacts(alice, "Ada", "Grace", "Edith")
    await delivery_tables.read_to(endpoint, 3)

    assert [state for _, state in await endpoint.deliveries()] == ["queued", "delivered", "delivered"]


@pytest.mark.parametrize("state", ["waiting", "failed", "skipped", "delivered"])
@pytest.mark.parametrize("position", [1, 4])
async def test_what_was_noted_counts(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables, state: str, position: int
) -> None:
    """A stored row's state counts on both sides of the position, because the position is only stored from time to time."""
    await add_contacts(alice, "Ada", "Grace", "Edith")
    await delivery_tables.note(endpoint, 3, state)
    await delivery_tables.read_to(endpoint, position)
    others = "queued" if position == 1 else "delivered"

    assert [each for _, each in await endpoint.deliveries()] == [others, state, others]


async def test_it_is_told_of_nothing_older_than_itself(alice: Person) -> None:
    """An endpoint has no deliveries of earlier changes, nor of its own creation."""
    await add_contacts(alice, "Ada")
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/"}))
    await endpoint.patch(description="Other words.")

    assert await endpoint.deliveries() == []


async def test_it_is_told_of_its_types(alice: Person, delivery_tables: DeliveryTables) -> None:
    """An endpoint has deliveries of its event types only."""
    body = {"url": "http://127.0.0.1/", "event_types": ["v1.contact.deleted", "v1.tag.created"]}
    endpoint = Endpoint(alice, await alice.post(WEBHOOKS, json=body))
    (contact_id,) = await add_contacts(alice, "Ada")
    await alice.delete(f"/api/v2/contacts/{contact_id}")
    await alice.post("/api/v2/tags", json={"name": "Renewal"})
    await delivery_tables.read_to(endpoint)

    assert await endpoint.deliveries() == [("tag.created", "delivered"), ("contact.deleted", "delivered")]


async def test_a_transcript_is_told_once_there_is_a_timeline(alice: Person, endpoint: Endpoint) -> None:
    """A transcript's event needs a timeline, not just text, and is about the engagement."""
    await alice.post("/api/v2/engagements", json=call("text"))
    engagement = (await alice.post("/api/v2/engagements", json=timed("timeline"))).json()
    listed = (await endpoint.read("deliveries"))["data"]

    assert [each["type"] for each in listed if each["object_id"] == engagement["id"]] == [
        "v1.engagement.transcript_timeline.completed",
        "v1.engagement.created",
    ]
    assert len(listed) == 3


async def test_of_two_endpoints_each_has_its_own(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """A row of one endpoint's delivery does not affect the other endpoint's."""
    other = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/"}))
    await add_contacts(alice, "Ada")
    await delivery_tables.note(endpoint, 3, "failed")

    assert await endpoint.deliveries() == [("contact.created", "failed")]
    assert await other.deliveries() == [("contact.created", "queued")]


# Contents of a delivery


async def test_a_delivery_at_once_says_little(
    endpoint: Endpoint, alice: Person, delivery_tables: DeliveryTables, stored: Stored
) -> None:
    """An immediate delivery shows the event, its object and the state; no attempt was stored."""
    (contact_id,) = await add_contacts(alice, "Ada")
    await delivery_tables.read_to(endpoint)
    (delivery,) = (await endpoint.read("deliveries"))["data"]

    changed = (await stored.changes())[1].object
    assert delivery == {
        "object": "webhook_delivery",
        "id": event_id(alice.workspace_id, 2, datetime.fromisoformat(changed["created_at"])),
        "type": "v1.contact.created",
        "created_at": changed["created_at"],
        "object_id": contact_id,
        "state": "delivered",
        "attempt_count": 1,
        "next_attempt_at": None,
        "attempts": [],
    }


async def test_attempts_are_told(endpoint: Endpoint, alice: Person, delivery_tables: DeliveryTables) -> None:
    """Attempts are listed without the answers; a single delivery has them."""
    await add_contacts(alice, "Ada")
    event = await delivery_tables.note(endpoint, 2, "waiting", attempts=2)
    (listed,) = (await endpoint.read("deliveries"))["data"]
    one = await endpoint.read(f"deliveries/{event}")

    assert (listed["id"], listed["attempt_count"], len(listed["attempts"])) == (event, 2, 2)
    assert datetime.fromisoformat(listed["next_attempt_at"]) > datetime.fromisoformat(listed["created_at"])
    assert [(each["status"], each.get("answer")) for each in listed["attempts"]] == [(500, None)] * 2
    assert [(each["status"], each["answer"]) for each in one["attempts"]] == [(500, "Oh no")] * 2


async def test_one_shows_the_body_that_is_sent(endpoint: Endpoint, alice: Person) -> None:
    """A single delivery shows its request body."""
    (contact_id,) = await add_contacts(alice, "Ada")
    await alice.patch(f"/api/v2/contacts/{contact_id}", json={"first_name": "Augusta"})
    events = await endpoint.event_ids()
    updated, created = [await endpoint.read(f"deliveries/{event}") for event in events]

    assert f'"id":"{events[0]}"' in updated["request_body"]
    assert '"previous_attributes":{"first_name":"Ada"}' in updated["request_body"]
    assert '"first_name":"Ada"' in created["request_body"]
    assert set(created) - {"request_body"} == set((await endpoint.read("deliveries"))["data"][0])


async def test_what_is_no_delivery_is_not_found(alice: Person, endpoint: Endpoint, stored: Stored) -> None:
    """Unknown, foreign and altered event ids are not found, nor are those of entries that are not sent."""
    await add_contacts(alice, "Ada")
    (event,) = await endpoint.event_ids()
    created = (await stored.changes())[0].object["created_at"]
    own = event_id(alice.workspace_id, 1, datetime.fromisoformat(created))
    changed = event[:-10] + "0" + event[-9:] if event[-10] != "0" else event[:-10] + "1" + event[-9:]
    beyond = event_id(alice.workspace_id, 99, datetime.fromisoformat(created))

    for shown in (NEVER, own, changed, beyond, event.lower(), "evt_", ids.CONTACT + event[4:]):
        assert (await alice.get(f"{endpoint.url}/deliveries/{shown}")).status_code == 404, shown
    assert (await alice.get(f"{UNKNOWN}/deliveries/{event}")).status_code == 404


async def test_what_is_no_longer_kept_can_still_be_seen(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables
) -> None:
    """A delivery with a trimmed entry is still shown, without object and body."""
    await add_contacts(alice, "Ada")
    event = await delivery_tables.note(endpoint, 2, "waiting")
    await delivery_tables.trim(endpoint, 2)
    one = await endpoint.read(f"deliveries/{event}")

    assert await endpoint.deliveries(state="waiting") == [("contact.created", "waiting")]
    assert await endpoint.deliveries() == []
    assert (one["id"], one["object_id"], one["request_body"]) == (event, None, None)


# Filters


@pytest_asyncio.fixture
async def mixed(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> Endpoint:
    """An endpoint with two deliveries of different types in each state."""
    for number in range(5):
        await add_contacts(alice, f"Ada {number}")
        await alice.post("/api/v2/tags", json={"name": f"Tag {number}"})
    for seq, state in ((2, "failed"), (3, "failed"), (4, "waiting"), (5, "waiting"), (6, "skipped"), (7, "skipped")):
        await delivery_tables.note(endpoint, seq, state, event_type="v1.tag.created" if seq % 2 else "v1.contact.created")
    await delivery_tables.read_to(endpoint, 9)
    return endpoint


@pytest.mark.parametrize("state", ["queued", "delivered", "waiting", "failed", "skipped"])
async def test_by_state(mixed: Endpoint, state: str) -> None:
    """Deliveries are filtered by state, alone and with a type."""
    assert await mixed.deliveries(state=state) == [("tag.created", state), ("contact.created", state)]
    assert await mixed.deliveries(state=state, types="v1.contact.created") == [("contact.created", state)]
    assert await mixed.deliveries(state=state, types="v1.contact.deleted") == []


async def test_by_types(mixed: Endpoint) -> None:
    """Several types are separated by commas."""
    tags = await mixed.deliveries(types="v1.tag.created")
    both = await mixed.deliveries(types="v1.tag.created,v1.contact.created,v1.tag.deleted")

    assert [type_ for type_, _ in tags] == ["tag.created"] * 5
    assert both == await mixed.deliveries()


async def test_by_time(mixed: Endpoint) -> None:
    """Times before and after are exclusive."""
    listed = (await mixed.read("deliveries"))["data"]
    times = [each["created_at"] for each in listed]
    found = [
        await mixed.event_ids(after=times[6]),
        await mixed.event_ids(before=times[6]),
        await mixed.event_ids(after=times[6], before=times[2]),
        await mixed.event_ids(after=times[2], before=times[6]),
        await mixed.event_ids(after=times[0]),
        await mixed.event_ids(before=times[-1]),
        await mixed.event_ids(before="0001-01-01T00:00:00Z"),
        await mixed.event_ids(after="9999-12-31T23:59:59.999999Z"),
        await mixed.event_ids(after="2000-01-01T00:00:00Z", before="2100-01-01T00:00:00Z"),
    ]

    event_ids = [each["id"] for each in listed]
    expected = [event_ids[:6], event_ids[7:], event_ids[3:6], [], [], [], [], [], event_ids]
    assert found == expected


async def test_by_time_and_state(mixed: Endpoint) -> None:
    """Filters by time apply to stored rows as well."""
    failed = (await mixed.read("deliveries", state="failed"))["data"]
    later, earlier = (each["created_at"] for each in failed)

    assert await mixed.event_ids(state="failed", after=earlier) == [failed[0]["id"]]
    assert await mixed.event_ids(state="failed", before=later) == [failed[1]["id"]]


@pytest.mark.parametrize("hour", [1, -1])
async def test_a_zone_may_be_named(mixed: Endpoint, hour: int) -> None:
    """A time may be given in any zone."""
    middle = datetime.fromisoformat((await mixed.read("deliveries"))["data"][4]["created_at"])
    elsewhere = (middle + timedelta(hours=hour)).isoformat().replace("+00:00", f"{hour:+03}:00")

    assert len(await mixed.event_ids(after=elsewhere)) == 4


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"limit": "0"}, [("limit", "invalid_range")]),
        ({"limit": "101"}, [("limit", "invalid_range")]),
        ({"limit": "x"}, [("limit", "invalid_type")]),
        ({"state": "done"}, [("state", "invalid_choice")]),
        ({"types": "v1.contact.created,v1.user.created"}, [("types[1]", "invalid_choice")]),
        ({"after": "yesterday", "before": "tomorrow"}, [("after", "invalid_format"), ("before", "invalid_format")]),
        ({"status": "failed"}, [("status", "unknown_parameter")]),
        ({"cursor": "x"}, [("cursor", "invalid_cursor")]),
    ],
)
async def test_what_is_no_filter_is_refused(
    alice: Person, endpoint: Endpoint, params: Json, expected: list[tuple[str, str]]
) -> None:
    """All bad filters are reported, before the endpoint is looked up."""
    responses = [await alice.get(f"{url}/deliveries", params=params) for url in (endpoint.url, UNKNOWN)]

    assert [(response.status_code, faults(response)) for response in responses] == [(400, expected)] * 2


# Pages


@pytest.mark.parametrize("limit", [1, 3, 9, 10])
@pytest.mark.parametrize("state", [None, "delivered", "failed"])
async def test_pages_are_the_whole(mixed: Endpoint, limit: int, state: str | None) -> None:
    """Paging returns each delivery once, in order; the cursor carries the filters."""
    asked = {} if state is None else {"state": state}
    whole = await mixed.event_ids(**asked)
    page = await mixed.read("deliveries", limit=limit, **asked)
    found = [each["id"] for each in page["data"]]
    while page["has_more"]:
        assert len(page["data"]) == limit
        page = await mixed.read("deliveries", cursor=page["next_cursor"])
        found += [each["id"] for each in page["data"]]

    assert found == whole
    assert page["next_cursor"] is None


async def test_what_comes_meanwhile_moves_no_page(alice: Person, mixed: Endpoint) -> None:
    """A cursor keeps its place when newer deliveries arrive."""
    whole = await mixed.event_ids()
    page = await mixed.read("deliveries", limit=4)
    await add_contacts(alice, "Grace")

    assert await mixed.event_ids(cursor=page["next_cursor"], limit=100) == whole[4:]


async def test_what_is_sent_beside_a_cursor_must_be_the_same(alice: Person, mixed: Endpoint) -> None:
    """Filters beside a cursor must be those that it carries."""
    cursor = (await mixed.read("deliveries", limit=1, state="failed"))["next_cursor"]
    other = await alice.get(f"{mixed.url}/deliveries", params={"cursor": cursor, "state": "waiting", "after": "2026-01-01"})

    assert len(await mixed.event_ids(cursor=cursor, state="failed")) == 1
    assert faults(other)[0] == ("after", "invalid_format")
    other = await alice.get(f"{mixed.url}/deliveries", params={"cursor": cursor, "state": "waiting"})
    assert faults(other) == [("state", "not_with_cursor")]


async def test_a_cursor_is_of_one_endpoint(alice: Person, mixed: Endpoint) -> None:
    """A cursor of another endpoint is refused."""
    other = Endpoint(alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/"}))
    cursor = (await mixed.read("deliveries", limit=1))["next_cursor"]
    response = await alice.get(f"{other.url}/deliveries", params={"cursor": cursor})

    assert faults(response) == [("cursor", "invalid_cursor")]


async def test_one_page_does_not_look_for_ever(alice: Person, mixed: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page may be empty if matches are rare, and the next one continues from its end."""
    monkeypatch.setattr(delivery_log, "_WALKED", 3)
    (contact_id,) = await add_contacts(alice, "Grace")
    await alice.delete(f"/api/v2/contacts/{contact_id}")
    await alice.post("/api/v2/tags", json={"name": "Late"})
    pages = [await mixed.read("deliveries", types="v1.contact.created")]
    while pages[-1]["has_more"]:
        pages.append(await mixed.read("deliveries", cursor=pages[-1]["next_cursor"]))

    assert [len(page["data"]) for page in pages] == [1, 1, 2, 1, 1]
    assert [seq_of(each["id"]) for page in pages for each in page["data"]] == [12, 10, 8, 6, 4, 2]
