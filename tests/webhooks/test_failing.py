"""Failing endpoints: how often they are tried, and when they are disabled, by the time in which attempts were made."""

import itertools
import os
from datetime import timedelta

import pytest

from herdbook.object_types import OBJECT_TYPES
from herdbook.webhook_endpoints.model import EndpointKey
from herdbook.webhooks import delivery_store
from herdbook.webhooks.delivery import SCHEDULE
from herdbook.webhooks.events import kind_actions
from tests.cast import Json, Person
from tests.webhooks.receiver import TAKEN, Receiver, answer
from tests.webhooks.webhook_app import WEBHOOKS, WebhookApp, subscribe, uuid_of, write_contact


async def is_enabled(owner: Person, endpoint: Json) -> bool:
    """Whether an endpoint is enabled."""
    shown = await owner.get(f"{WEBHOOKS}/{endpoint['id']}")
    return shown.json()["is_enabled"]


@pytest.mark.parametrize("days", [5, 7, 300])
async def test_one_failure_never_disables(post: WebhookApp, owner: Person, receiver: Receiver, days: int) -> None:
    """A failure never disables an endpoint alone, however long ago the last one was, if nothing was tried in between."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(503)
    await write_contact(owner)
    for pause in SCHEDULE:
        post.clock.go(pause)
        await post.deliver()
    post.clock.go(timedelta(days=days))
    await write_contact(owner)
    await post.deliver()

    assert len(receiver.requests) == len(SCHEDULE) + 1
    assert await is_enabled(owner, endpoint)


async def test_time_without_a_courier_does_not_count(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Time without a running courier does not count towards disabling."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(503)
    for _ in range(12):
        post.courier = post.new_courier()
        await write_contact(owner)
        await post.deliver()
        post.clock.go(timedelta(hours=20))

    assert await is_enabled(owner, endpoint)


async def test_days_of_failures_disable(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Five days of failed attempts disable an endpoint, and not fewer."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(503)
    hours = 0
    while await is_enabled(owner, endpoint):
        await write_contact(owner)
        await post.deliver()
        post.clock.go(timedelta(hours=6))
        hours += 6

    assert hours == 5 * 24 + 6


@pytest.mark.parametrize("status", [429, 503])
async def test_who_asks_for_time_is_left_alone(post: WebhookApp, owner: Person, receiver: Receiver, status: int) -> None:
    """A pause that the endpoint asked for holds for new events and retries, even if another delivery succeeds meanwhile."""
    await subscribe(owner, receiver.url)
    answers = itertools.chain([answer(status, Retry_After="3600")], itertools.repeat(TAKEN))
    receiver.answering = lambda _: next(answers)
    for _ in range(20):
        await write_contact(owner)
    await post.deliver()
    begun = len(receiver.requests)
    for _ in range(5):
        post.clock.go(timedelta(minutes=11))
        await write_contact(owner)
        await post.deliver()
    asked = len(receiver.requests)
    post.clock.go(timedelta(minutes=6))
    await post.deliver()

    assert asked == begun < 20
    assert len(set(receiver.event_ids)) == 25


async def test_reads_end_with_bytes(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A read stops at a number of bytes, however large the objects are."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(500)
    for _ in range(6):
        await write_contact(owner)
    await post.deliver()
    await post.pool.execute(
        "update change set object = json_build_object('id', repeat('x', 1000000)) where workspace_id = $1 and kind = 'c'",
        owner.workspace_id,
    )
    place = EndpointKey(owner.workspace_id, uuid_of(endpoint))
    post.clock.go(timedelta(hours=1))
    entries = await delivery_store.read_on(post.pool, owner.workspace_id, 0, kind_actions(OBJECT_TYPES, None), 200, 1_500_000)
    due = await delivery_store.read_due(post.pool, place, post.clock(), [], 200, 1_500_000)
    rest = await delivery_store.read_due(post.pool, place, post.clock(), [each.seq for each in due], 200, 1_500_000)

    assert [entry.seq for entry in entries] == [1, 2, 3]
    assert (len(due), len(rest)) == (2, 2)
    assert not {each.seq for each in due} & {each.seq for each in rest}


async def test_few_long_transcripts_are_unpacked_at_once(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """However little is told of them: a statement that unpacked all would take too long, each time anew. All are told."""
    endpoint = await subscribe(owner, receiver.url)
    for _ in range(4):
        await write_contact(owner)
    await post.pool.execute(
        """
        update change set kind = 'r', object = ('{"timeline":{"text":"' || $2 || '"},"engagement":' || object || '}')::json
        where workspace_id = $1 and kind = 'c'
        """,
        *(owner.workspace_id, os.urandom(1_600_000).hex()),
    )
    place, url = EndpointKey(owner.workspace_id, uuid_of(endpoint)), f"{WEBHOOKS}/{endpoint['id']}/deliveries"
    first = await delivery_store.read_on(post.pool, owner.workspace_id, 0, kind_actions(OBJECT_TYPES, None), 200, 8_000_000)
    second = await delivery_store.read_on(
        post.pool, owner.workspace_id, first[-1].seq, kind_actions(OBJECT_TYPES, None), 200, 8_000_000
    )
    page = (await owner.get(url)).json()
    next_page = (await owner.get(url, params={"cursor": page["next_cursor"]})).json()
    receiver.answering = lambda _: answer(500)
    await post.deliver()
    told = len(receiver.requests)
    due = await delivery_store.read_due(post.pool, place, post.clock() + timedelta(hours=1), [], 200, 8_000_000)

    assert ([entry.seq for entry in first], [entry.seq for entry in second]) == ([1, 2], [3])
    assert (len(page["data"]), len(next_page["data"])) == (1, 1)
    assert page["data"] != next_page["data"]
    assert told == 4
    assert len(due) == 1


async def test_retries_read_of_a_transcript_what_they_send(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """A retry of a timeline event reads only the engagement that it sends, not the text."""
    endpoint = await subscribe(owner, receiver.url)
    receiver.answering = lambda _: answer(500)
    await write_contact(owner)
    await post.deliver()
    await post.pool.execute(
        """
        update change set kind = 'r', object = ('{"timeline":{"text":"' || $2 || '"},"engagement":' || object || '}')::json
        where workspace_id = $1 and kind = 'c'
        """,
        *(owner.workspace_id, "x" * 1_000_000),
    )
    place = EndpointKey(owner.workspace_id, uuid_of(endpoint))
    (due,) = await delivery_store.read_due(post.pool, place, post.clock() + timedelta(hours=1), [], 200, 10_000_000)

    assert due.entry is not None
    assert due.entry.object is not None
    assert len(due.entry.object) < 10_000


async def test_a_filter_may_be_changed_any_number_of_times(post: WebhookApp, owner: Person, receiver: Receiver) -> None:
    """Types may change any number of times, also before the endpoint is read; those kept throughout are delivered."""
    endpoint = await subscribe(owner, receiver.url)
    await write_contact(owner)
    statuses: set[int] = set()
    for number in range(130):
        types = ["v1.contact.created", "v1.tag.created"][: 1 + number % 2]
        response = await owner.patch(f"{WEBHOOKS}/{endpoint['id']}", json={"event_types": types})
        statuses.add(response.status_code)
    await post.deliver()

    assert statuses == {200}
    assert [request.event["type"] for request in receiver.requests] == ["v1.contact.created"]
