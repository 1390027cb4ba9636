"""The courier: when events are delivered, in which order, and how failed ones are retried."""

import asyncio
import itertools
from collections import Counter
from datetime import timedelta

import msgspec
import pytest
import svix

from herdbook import ids
from herdbook.webhooks.delivery import SCHEDULE
from herdbook.webhooks.model import Attempt
from tests.cast import Json, Person
from tests.webhooks.receiver import TAKEN, Receiver, answer, receiving
from tests.webhooks.webhook_app import WEBHOOKS, WebhookApp, subscribe, write_contact


async def test_a_write_is_told(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint receives later writes, signed with its secret; a successful delivery leaves no row."""
    await write_contact(owner, first_name="Before")
    endpoint = await subscribe(owner, receiver.url)
    contact = await write_contact(owner, first_name="Ada")
    await post.deliver()
    (request,) = receiver.requests

    svix.Webhook(endpoint["secret"]).verify(request.body, request.headers)
    assert request.event["type"] == "v1.contact.created"
    assert request.event["id"] == request.headers["svix-id"]
    assert request.event["data"] == {"object": contact}
    assert await post.deliveries(endpoint) == []
    reader = await post.reader(endpoint)
    assert (reader["delivered"], reader["failed"], reader["lease_holder"]) == (1, 0, None)


async def test_nothing_is_told_twice(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A second look delivers nothing again, and neither does another courier."""
    await subscribe(owner, receiver.url)
    await write_contact(owner)
    await post.deliver()
    await post.deliver()
    other = post.new_courier()
    await other.look()
    await other.settled()

    assert len(receiver.requests) == 1


async def test_only_what_was_chosen_is_told(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint with chosen types receives no others, and its position moves past them."""
    endpoint = await subscribe(owner, receiver.url, event_types=["v1.tag.created"])
    await write_contact(owner)
    await owner.post("/api/v2/tags", json={"name": "Renewal"})
    await write_contact(owner)
    await post.deliver()

    assert [request.event["type"] for request in receiver.requests] == ["v1.tag.created"]
    assert (await post.reader(endpoint))["position"] == 4


async def test_workspaces_are_apart(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint receives nothing of other workspaces."""
    await subscribe(owner, receiver.url)
    await write_contact(await post.open_workspace())
    await post.deliver()

    assert receiver.requests == []


async def test_events_of_an_object_are_in_order(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """The events of one contact arrive in order, even if many deliveries run in parallel."""
    contacts = [await write_contact(owner) for _ in range(5)]
    await subscribe(owner, receiver.url)
    names = [f"N{number}" for number in range(300)]
    for number, name in enumerate(names):
        await owner.patch(f"/api/v2/contacts/{contacts[number % 5]['id']}", json={"last_name": name})
    await post.deliver()

    for number, contact in enumerate(contacts):
        told = [request.event["data"]["object"] for request in receiver.requests]
        assert [each["last_name"] for each in told if each["id"] == contact["id"]] == names[number::5]
    assert len(set(receiver.event_ids)) == 300


async def test_different_objects_go_side_by_side(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A delivery that waits for its answer holds up the same contact's next event, and not those of others."""
    await subscribe(owner, receiver.url)
    ada, grace = await write_contact(owner, first_name="Ada"), await write_contact(owner, first_name="Grace")
    await post.deliver()
    receiver.may_answer.clear()
    for contact in (ada, ada, grace):
        await owner.patch(f"/api/v2/contacts/{contact['id']}", json={"last_name": str(len(receiver.requests))})
    await owner.patch(f"/api/v2/contacts/{ada['id']}", json={"last_name": "Last"})
    await post.courier.look()
    await receiver.wait_for(4)
    receiver.may_answer.set()
    await post.courier.settled()

    told = [request.event["data"]["object"]["id"] for request in receiver.requests[2:]]
    assert sorted(told[:2]) == sorted([ada["id"], grace["id"]])
    assert told[2:] == [ada["id"]]


async def test_a_failure_holds_up_nobody(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A failed delivery waits in a row of its own, and later events are delivered."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda request: answer(500, b"Oh no") if request is receiver.requests[0] else TAKEN
    first = await write_contact(owner)
    await owner.patch(f"/api/v2/contacts/{first['id']}", json={"last_name": "Later"})
    await post.deliver()

    assert [request.event["type"] for request in receiver.requests] == ["v1.contact.created", "v1.contact.updated"]
    (row,) = await post.deliveries(endpoint)
    (attempt,) = msgspec.json.decode(row["attempts"], type=list[Attempt])
    assert (row["state"], row["attempt_count"], row["event_type"]) == ("waiting", 1, "v1.contact.created")
    assert (attempt.status, attempt.answer, attempt.url) == (500, "Oh no", receiver.url)
    assert row["next_attempt_at"] == post.clock.now + timedelta(seconds=5)


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_merged_contact_is_told_with_its_survivor(
    post: WebhookApp, owner: Person, receiver: Receiver, *, at_once: bool
) -> None:
    """The deletion of a merged contact names the contact that replaces it, also when it is sent again; others name none."""
    endpoint = await subscribe(owner, receiver.url, event_types=["v1.contact.deleted"])
    one, other, third = [await write_contact(owner) for _ in range(3)]
    receiver.answering = lambda _: TAKEN if at_once or len(receiver.requests) > 2 else answer(500)
    await owner.post(f"/api/herdbook/contacts/{one['id']}/merge", json={"from": [other["id"]]})
    await owner.delete(f"/api/v2/contacts/{third['id']}")
    await post.deliver()
    if not at_once:
        post.clock.go(timedelta(seconds=5))
        await post.deliver()
    told = {request.event["data"]["object"]["id"]: request for request in receiver.requests}
    event_id = told[other["id"]].event["id"]
    delivery = (await owner.get(f"{WEBHOOKS}/{endpoint['id']}/deliveries/{event_id}")).json()

    assert told[other["id"]].event["merged_into"] == one["id"]
    assert delivery["request_body"].encode() == told[other["id"]].body
    assert "merged_into" not in told[third["id"]].event


async def test_the_whole_schedule(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An event that always fails is sent eight times under the same id, and then counts as failed."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(500)
    await write_contact(owner)
    await post.deliver()
    for made, pause in enumerate(SCHEDULE[1:], start=1):
        post.clock.go(pause - timedelta(seconds=1))
        await post.deliver()
        assert len(receiver.requests) == made
        post.clock.go(timedelta(seconds=1))
        await post.deliver()
        assert len(receiver.requests) == made + 1
    post.clock.go(timedelta(days=1))
    await post.deliver()

    assert [str(pause) for pause in SCHEDULE] == [
        *("0:00:00", "0:00:05", "0:05:00", "0:30:00", "2:00:00", "5:00:00", "10:00:00", "10:00:00"),
    ]
    assert len(receiver.requests) == 8
    assert len(set(receiver.event_ids)) == 1
    (row,) = await post.deliveries(endpoint)
    assert (row["state"], row["attempt_count"], row["next_attempt_at"]) == ("failed", 8, None)
    assert len(msgspec.json.decode(row["attempts"])) == 8


async def test_a_later_attempt_succeeds(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A retry that succeeds is delivered, and its attempts are kept."""
    endpoint = await subscribe(owner, receiver.url)
    answers = itertools.chain([answer(500), None], itertools.repeat(TAKEN))
    receiver.answering = lambda _: next(answers)
    await write_contact(owner)
    for pause in SCHEDULE[:4]:
        post.clock.go(pause)
        await post.deliver()

    assert len(receiver.requests) == 3
    (row,) = await post.deliveries(endpoint)
    attempts = msgspec.json.decode(row["attempts"], type=list[Attempt])
    assert (row["state"], row["next_attempt_at"]) == ("delivered", None)
    assert [attempt.status for attempt in attempts] == [500, None, 204]
    assert (await post.reader(endpoint))["failing_since"] is None


@pytest.mark.parametrize(
    ("status", "said", "pause"),
    [
        (429, "90", 90),
        (503, "90", 90),
        (503, "Tue, 01 Jan 2030 00:10:00 GMT", 600),
        (503, "1", 5),
        (503, "soon", 5),
        (503, "99999999999", 86_400),
        (500, "90", 5),
    ],
)
async def test_an_endpoint_may_ask_for_time(
    post: WebhookApp, owner: Person, receiver: Receiver, status: int, said: str, pause: int
) -> None:
    """`Retry-After` counts with 429 and 503, for a day at most, and never shortens the schedule."""
    post.clock.now = post.clock.now.replace(year=2030, month=1, day=1, hour=0, minute=0, second=0)
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(status, Retry_After=said)
    await write_contact(owner)
    await post.deliver()

    (row,) = await post.deliveries(endpoint)
    assert row["next_attempt_at"] == post.clock.now + timedelta(seconds=pause)


async def test_gone_disables(post: WebhookApp, owner: Person, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """A 410 disables the endpoint: endpoint and log give the reason, and nothing more is sent."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(410)
    await write_contact(owner)
    await post.deliver()
    await write_contact(owner)
    post.clock.go(timedelta(days=1))
    await post.deliver()

    assert len(receiver.requests) == 1
    shown = (await owner.get(f"{WEBHOOKS}/{endpoint['id']}")).json()
    assert (shown["is_enabled"], shown["disabled_reason"]) == (False, "gone")
    (line,) = [record for record in caplog.records if record.name == "herdbook.webhooks"]
    assert (line.levelname, line.endpoint, line.reason) == ("WARNING", endpoint["id"], "gone")  # type: ignore[attr-defined]


async def test_failing_for_days_disables(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Five days without a success disable an endpoint; one success in between restarts the count."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(500)
    shown: Json = {}
    for day in range(12):
        if day == 4:
            receiver.answering = lambda _: TAKEN
        if day == 5:
            receiver.answering = lambda _: answer(500)
        await write_contact(owner)
        await post.deliver()
        shown = (await owner.get(f"{WEBHOOKS}/{endpoint['id']}")).json()
        assert shown["is_enabled"] == (day < 10)
        post.clock.go(timedelta(days=1))

    assert shown["disabled_reason"] == "failing"


async def test_enabled_again_it_goes_on_where_it_stopped(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint that is enabled again receives the events from the time in between, and failed ones."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(410)
    await write_contact(owner, first_name="First")
    await post.deliver()
    await write_contact(owner, first_name="Second")
    receiver.answering = lambda _: TAKEN
    await owner.post(f"{WEBHOOKS}/{endpoint['id']}/enable", json={})
    post.clock.go(SCHEDULE[1])
    await post.deliver()

    told = [request.event["data"].get("object", {}).get("first_name") for request in receiver.requests[1:]]
    assert sorted(told) == ["First", "Second"]


async def test_a_dead_endpoint_is_asked_less_and_less(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint that fails again and again gets at most one new event at a time, and loses none."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(500)
    contacts = [await write_contact(owner) for _ in range(60)]
    await post.deliver()
    asked = len(receiver.requests)
    assert asked < 60
    for _ in range(5):
        await post.deliver()
    assert len(receiver.requests) == asked

    receiver.answering = lambda _: TAKEN
    for pause in SCHEDULE:
        post.clock.go(pause)
        await post.deliver()
    taken = [request.event["data"]["object"]["id"] for request in receiver.requests[asked:]]
    assert sorted(taken) == sorted(contact["id"] for contact in contacts)
    assert {row["state"] for row in await post.deliveries(endpoint)} == {"delivered"}


async def test_a_dead_endpoint_delays_nobody(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A silent endpoint does not delay another one of the same workspace."""
    async with receiving() as silent:
        silent.may_answer.clear()
        await subscribe(owner, silent.url)
        await subscribe(owner, receiver.url)
        for _ in range(50):
            await write_contact(owner)
        await post.courier.look()
        await receiver.wait_for(50)
        silent.may_answer.set()
        await post.courier.settled()

    assert len(set(receiver.event_ids)) == 50


async def test_couriers_share_the_work(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Only one of several couriers delivers to an endpoint, and each event arrives once."""
    endpoints = [await subscribe(owner, receiver.url) for _ in range(4)]
    couriers = [post.new_courier() for _ in range(3)]
    for _ in range(10):
        await write_contact(owner)
        await asyncio.gather(*(courier.look() for courier in couriers))
    for courier in couriers:
        await courier.settled()
    await post.deliver()

    assert set(Counter(receiver.event_ids).values()) == {len(endpoints)}
    assert len(set(receiver.event_ids)) == 10


async def test_a_lease_ends(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Another courier takes over an endpoint once the lease of a lost one has ended."""
    endpoint = await subscribe(owner, receiver.url)
    await write_contact(owner)
    await post.pool.execute(
        "update webhook_reader set lease_holder = $1, leased_until = now() + interval '1 minute'", ids.new_id()
    )
    await post.deliver()
    assert receiver.requests == []

    await post.pool.execute("update webhook_reader set leased_until = now() where is_enabled")
    await post.deliver()
    assert len(receiver.requests) == 1
    assert (await post.reader(endpoint))["lease_holder"] is None


async def hold_one_up(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Hold an event of Ada's with another of hers behind it, while three of Grace's are delivered."""
    ada, grace = await write_contact(owner, first_name="Ada"), await write_contact(owner, first_name="Grace")
    await post.deliver()
    receiver.holds = lambda request: request.event["data"]["object"]["id"] == ada["id"]
    receiver.may_answer.clear()
    for number, contact in enumerate((ada, ada, grace, grace, grace)):
        await owner.patch(f"/api/v2/contacts/{contact['id']}", json={"last_name": f"N{number}"})
    await post.courier.look()
    await receiver.wait_for(6)


async def test_a_courier_that_stops_leaves_nothing_half_done(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A stopping courier delivers what it has read, so that nothing arrives twice, and then releases the endpoint."""
    endpoint = await subscribe(owner, receiver.url)
    await hold_one_up(post, owner, receiver)
    stopping = asyncio.create_task(post.courier.stop())
    await asyncio.sleep(0)
    receiver.may_answer.set()
    await stopping
    await write_contact(owner)
    await post.deliver()
    assert len(receiver.requests) == 7
    assert (await post.reader(endpoint))["lease_holder"] is None

    other = post.new_courier()
    await other.look()
    await other.settled()
    assert len(set(receiver.event_ids)) == len(receiver.requests) == 8


async def test_another_url_is_heard_of(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """An endpoint whose URL changes during deliveries gets the rest at the new URL, and nothing twice."""
    async with receiving() as old:
        endpoint = await subscribe(owner, old.url)
        await hold_one_up(post, owner, old)
        await owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"url": receiver.url})
        stored = (await post.reader(endpoint))["leased_until"]
        while (await post.reader(endpoint))["leased_until"] == stored:
            pass
        # A second look, because by then the courier has read the result of the first.
        await post.reader(endpoint)
        old.may_answer.set()
        await post.courier.settled()
        await post.deliver()

    assert len(old.requests) == 6
    assert [request.event["data"]["object"]["last_name"] for request in receiver.requests] == ["N1"]


async def test_what_was_skipped_stays_skipped(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A delivery that is skipped during an attempt stays skipped, however the attempt ends."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(500)
    await write_contact(owner)
    await post.deliver()
    receiver.may_answer.clear()
    post.clock.go(SCHEDULE[1])
    await post.courier.look()
    await receiver.wait_for(2)
    await owner.post(f"{WEBHOOKS}/{endpoint['id']}/deliveries/{receiver.event_ids[0]}/skip")
    receiver.may_answer.set()
    await post.courier.settled()
    post.clock.go(timedelta(days=1))
    await post.deliver()

    assert [row["state"] for row in await post.deliveries(endpoint)] == ["skipped"]
    assert len(receiver.requests) == 2


async def test_what_was_erased_first_expires(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Events whose object is erased before they are sent expire; those that were sent stay delivered. Each can be read."""
    endpoint = await subscribe(owner, receiver.url)
    url = f"{WEBHOOKS}/{endpoint['id']}"
    contact = await write_contact(owner, first_name="Ada")
    await post.deliver()
    await owner.post(f"{url}/disable")
    for name in ("Augusta", "Byron"):
        await owner.patch(f"/api/v2/contacts/{contact['id']}", json={"first_name": name})
    await owner.post(f"/api/herdbook/contacts/{contact['id']}/erase")
    await owner.post(f"{url}/enable")
    await post.deliver()

    listed = (await owner.get(f"{url}/deliveries")).json()["data"]
    read = [(await owner.get(f"{url}/deliveries/{each['id']}")).json() for each in listed]
    resent = [(await owner.post(f"{url}/deliveries/{each['id']}/resend")).status_code for each in listed[1:]]

    assert [request.event["type"] for request in receiver.requests] == ["v1.contact.created", "v1.contact.erased"]
    assert [(each["type"], each["state"], each["attempt_count"]) for each in listed] == [
        ("v1.contact.erased", "delivered", 1),
        ("v1.contact.updated", "expired", 0),
        ("v1.contact.updated", "expired", 0),
        ("v1.contact.created", "delivered", 1),
    ]
    assert [each.get("id", each) for each in read] == [each["id"] for each in listed]
    assert [each["request_body"] is None for each in read] == [False, True, True, True]
    assert resent == [404, 404, 404]


async def test_disabled_it_is_told_no_more(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A disabled endpoint receives no more events."""
    endpoint = await subscribe(owner, receiver.url)
    await owner.post(f"{WEBHOOKS}/{endpoint['id']}/disable", json={})
    await write_contact(owner)
    await post.deliver()
    assert receiver.requests == []

    await owner.post(f"{WEBHOOKS}/{endpoint['id']}/enable", json={"from": "now"})
    await write_contact(owner, first_name="New")
    await post.deliver()
    assert [request.event["data"]["object"]["first_name"] for request in receiver.requests] == ["New"]


async def test_rotated_secrets_overlap(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Both secrets sign during the overlap, and only the new one after it."""
    endpoint = await subscribe(owner, receiver.url)
    post.clock.now = post.clock.now.now(post.clock.now.tzinfo)
    new = (await owner.post(f"{WEBHOOKS}/{endpoint['id']}/rotate_secret", json={"overlap_seconds": 60})).json()["secret"]
    for _ in range(2):
        await write_contact(owner)
        await post.deliver()
        post.clock.go(timedelta(minutes=2))
    first, second = receiver.requests

    for secret in (endpoint["secret"], new):
        svix.Webhook(secret).verify(first.body, first.headers)
    svix.Webhook(new).verify(second.body, second.headers)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(endpoint["secret"]).verify(second.body, second.headers)
