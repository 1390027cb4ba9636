"""The periods of an endpoint's filter: it never claims a delivery of an event that was not sent."""

import pytest

from herdbook.webhook_endpoints.model import EventType
from herdbook.webhook_endpoints.subscription import SubscriptionSpan, passed_over, span_of, told_anew, told_otherwise
from tests.cast import Person
from tests.webhooks.endpoints import WEBHOOKS, DeliveryTables, Endpoint, add_contacts

A, B, C = map(EventType, ("v1.contact.created", "v1.tag.created", "v1.company.created"))
ALL = SubscriptionSpan(0, None)


@pytest.mark.parametrize(
    ("spans", "position", "seq", "types", "expected"),
    [
        ([ALL], 5, 9, (A,), [ALL, SubscriptionSpan(5, (A,)), SubscriptionSpan(9, (A,))]),
        (
            [SubscriptionSpan(0, (A,))],
            5,
            9,
            None,
            [SubscriptionSpan(0, (A,)), SubscriptionSpan(5, (A,)), SubscriptionSpan(9, None)],
        ),
        (
            [SubscriptionSpan(0, (A, B))],
            5,
            9,
            (B, C),
            [SubscriptionSpan(0, (A, B)), SubscriptionSpan(5, (B,)), SubscriptionSpan(9, (B, C))],
        ),
        ([SubscriptionSpan(3, (A,))], 3, 9, (B,), [SubscriptionSpan(3, ()), SubscriptionSpan(9, (B,))]),
        (
            [SubscriptionSpan(0, (A, B)), SubscriptionSpan(5, (B,)), SubscriptionSpan(9, (B, C))],
            *(5, 12, (C,)),
            [SubscriptionSpan(0, (A, B)), SubscriptionSpan(5, ()), SubscriptionSpan(9, (C,)), SubscriptionSpan(12, (C,))],
        ),
        (
            [SubscriptionSpan(0, (A, B)), SubscriptionSpan(5, (B,)), SubscriptionSpan(9, (B, C))],
            *(20, 25, (C,)),
            [
                SubscriptionSpan(0, (A, B)),
                SubscriptionSpan(5, (B,)),
                SubscriptionSpan(9, (B, C)),
                SubscriptionSpan(20, (C,)),
                SubscriptionSpan(25, (C,)),
            ],
        ),
    ],
)
def test_in_between_counts_what_is_told_either_way(
    spans: list[SubscriptionSpan],
    position: int,
    seq: int,
    types: tuple[EventType, ...] | None,
    expected: list[SubscriptionSpan],
) -> None:
    """Entries that were unread at a change count as delivered only if both old and new types include them."""
    assert list(told_otherwise(spans, position, SubscriptionSpan(seq, types))) == expected


def test_in_between_no_event_shows_fields_that_one_subscription_leaves_out() -> None:
    """Entries that were unread at a change count as sent with fields only if the endpoint asked for them before and after."""
    begun, ended = SubscriptionSpan(9, None, include_fields=True), SubscriptionSpan(12, None)

    assert told_otherwise([ALL], 5, begun) == (ALL, SubscriptionSpan(5, None), begun)
    assert told_otherwise([ALL, begun], 10, ended) == (ALL, begun, SubscriptionSpan(10, None), ended)


def test_who_has_stopped_reads_by_the_new_rule() -> None:
    """A stopped endpoint reads by its new types from its position on; what was recorded after that is dropped."""
    spans = [ALL, SubscriptionSpan(5, (A,)), SubscriptionSpan(9, (A,))]

    assert told_anew([ALL], 5, SubscriptionSpan(7, (A,))) == (ALL, SubscriptionSpan(5, (A,)))
    assert told_anew(spans, 5, SubscriptionSpan(12, (B,))) == (ALL, SubscriptionSpan(5, (B,)))


def test_what_is_passed_over_is_told_nowhere() -> None:
    """Entries between the position and a later start are not delivered."""
    spans = passed_over([ALL], 5, SubscriptionSpan(9, (A,)))
    told = [span_of(spans, seq) for seq in (0, 1, 5, 6, 9, 10)]

    assert spans == (ALL, SubscriptionSpan(5, ()), SubscriptionSpan(9, (A,)))
    assert told == [None, ALL, ALL, SubscriptionSpan(5, ()), SubscriptionSpan(5, ()), SubscriptionSpan(9, (A,))]


def test_not_everything_is_kept() -> None:
    """Only the latest 100 periods are kept."""
    spans: tuple[SubscriptionSpan, ...] = (ALL,)
    for position in range(1, 1000):
        spans = told_anew(spans, position, SubscriptionSpan(position, (A,) if position % 2 else (B,)))

    assert len(spans) == 100
    assert spans[-1].after == 999


async def test_more_is_told_from_then_on(alice: Person, delivery_tables: DeliveryTables) -> None:
    """A type that is added later makes no deliveries of earlier entries."""
    endpoint = Endpoint(
        alice, await alice.post(WEBHOOKS, json={"url": "http://127.0.0.1/", "event_types": ["v1.contact.created"]})
    )
    await alice.post("/api/v2/tags", json={"name": "Before"})
    await add_contacts(alice, "Ada")
    await delivery_tables.read_to(endpoint)
    await endpoint.patch(event_types=["v1.contact.created", "v1.tag.created"])
    await alice.post("/api/v2/tags", json={"name": "After"})
    await delivery_tables.read_to(endpoint)

    assert await endpoint.deliveries() == [("tag.created", "delivered"), ("contact.created", "delivered")]
    assert await endpoint.deliveries(state="delivered") == await endpoint.deliveries()


async def test_less_is_told_from_then_on(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """A type that is removed later keeps its earlier deliveries."""
    await alice.post("/api/v2/tags", json={"name": "Before"})
    await add_contacts(alice, "Ada")
    await delivery_tables.read_to(endpoint)
    await endpoint.patch(event_types=["v1.contact.created"])
    await alice.post("/api/v2/tags", json={"name": "After"})
    await add_contacts(alice, "Grace")
    await delivery_tables.read_to(endpoint)

    assert [type_ for type_, _ in await endpoint.deliveries()] == ["contact.created", "contact.created", "tag.created"]


async def test_what_was_not_read_yet_is_not_claimed(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """An unread entry of a removed type is not listed, because nobody knows whether it was sent."""
    await alice.post("/api/v2/tags", json={"name": "Before"})
    await add_contacts(alice, "Ada")
    await endpoint.patch(event_types=["v1.contact.created"])
    await delivery_tables.read_to(endpoint)

    assert await endpoint.deliveries() == [("contact.created", "delivered")]


async def test_what_was_noted_is_always_shown(alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables) -> None:
    """A stored delivery is always shown, because it is known to have been sent."""
    await alice.post("/api/v2/tags", json={"name": "Before"})
    event = await delivery_tables.note(endpoint, 2, "failed", event_type="v1.tag.created")
    await endpoint.patch(event_types=["v1.contact.created"])
    await delivery_tables.read_to(endpoint)

    assert await endpoint.deliveries() == [("tag.created", "failed")]
    assert (await endpoint.post(f"deliveries/{event}/resend"))["state"] == "waiting"


async def test_who_is_disabled_is_told_by_what_it_says_when_enabled(
    alice: Person, endpoint: Endpoint, delivery_tables: DeliveryTables
) -> None:
    """A disabled endpoint reads the time in between by the types that it has when it is enabled."""
    await endpoint.post("disable")
    await alice.post("/api/v2/tags", json={"name": "In between"})
    await add_contacts(alice, "Ada")
    await endpoint.patch(event_types=["v1.tag.created"])
    await endpoint.post("enable")
    await delivery_tables.read_to(endpoint)

    assert await endpoint.deliveries() == [("tag.created", "delivered")]
