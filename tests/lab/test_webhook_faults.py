"""Faults of deliveries, as an endpoint sees them."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import pytest_asyncio
from standardwebhooks import Webhook

from herdbook.fields import parsed_time
from tests.lab.conftest import NEW_YEAR, Bench, Desk

CONTACTS = "/api/v2/contacts"


class Listening:
    """A workspace with an endpoint at its inbox."""

    def __init__(self, desk: Desk, secret: str) -> None:
        self.desk = desk
        self.secret = secret

    async def create(self, name: str) -> None:
        """Create a contact."""
        await self.desk.ask("POST", CONTACTS, json={"first_name": name})

    async def fault(self, fault: str, **members: Any) -> None:
        """Add a rule."""
        await self.desk.command("POST", "/faults", json={"fault": fault, "times": 1, **members})

    async def inbox(self, count: int) -> list[dict[str, Any]]:
        """Return the messages in the inbox, once there are so many."""
        params = {"kind": "inbox", "wait": 10, "count": count}
        return [each["request"] for each in (await self.desk.command("GET", "/journal", params=params))["entries"]]

    def is_signed(self, message: dict[str, Any]) -> bool:
        """Whether a signature is that of the endpoint's secret, whatever its time."""
        headers, signer = message["headers"], Webhook(self.secret)
        at = parsed_time(NEW_YEAR)
        assert at is not None
        times = (at, at - timedelta(hours=1))
        return any(headers["webhook-signature"] == signer.sign(headers["webhook-id"], each, message["body"]) for each in times)


@pytest_asyncio.fixture
async def listening(bench: Bench) -> AsyncGenerator[Listening]:
    """A workspace whose clock stands still, with an endpoint."""
    desk = await bench.workspace(clock=NEW_YEAR, random_seed=2)
    made = await desk.ask("POST", "/api/herdbook/webhooks", json={"url": desk.inbox_url})
    yield Listening(desk, made.json()["secret"])
    await desk.command("DELETE")


async def test_without_a_fault_the_signature_is_right(listening: Listening) -> None:
    """The inbox gets each event once, signed."""
    await listening.create("Ada")

    (message,) = await listening.inbox(1)

    assert listening.is_signed(message)


async def test_an_event_comes_twice(listening: Listening) -> None:
    """Both have the same id."""
    await listening.fault("webhook_twice")
    await listening.create("Ada")

    one, other = await listening.inbox(2)

    assert one["headers"]["webhook-id"] == other["headers"]["webhook-id"]


async def test_an_event_comes_after_the_next_one(listening: Listening) -> None:
    """The first event is sent after the second."""
    await listening.fault("webhook_reorder")
    await listening.create("Ada")
    await listening.create("Grace")

    bodies = [each["body"] for each in await listening.inbox(2)]

    assert ['"Ada"' in body for body in bodies] == [False, True]


async def test_a_signature_is_wrong(listening: Listening) -> None:
    """It has the form of a signature, and is that of another secret."""
    await listening.fault("webhook_wrong_signature")
    await listening.create("Ada")

    (message,) = await listening.inbox(1)

    assert message["headers"]["webhook-signature"].startswith("v1,")
    assert not listening.is_signed(message)


async def test_a_timestamp_is_outside_the_tolerance(listening: Listening) -> None:
    """The message was signed an hour ago, with the right secret."""
    await listening.fault("webhook_wrong_time")
    await listening.create("Ada")

    (message,) = await listening.inbox(1)
    at = parsed_time(NEW_YEAR)

    assert at is not None
    assert int(message["headers"]["webhook-timestamp"]) == at.timestamp() - 3600
    assert listening.is_signed(message)


async def test_an_event_is_lost(listening: Listening) -> None:
    """The next event comes, the first never does, and the journal has it."""
    await listening.fault("webhook_lost")
    await listening.create("Ada")
    await listening.create("Grace")

    (message,) = await listening.inbox(1)
    made = await listening.desk.command("GET", "/journal", params={"kind": "delivery", "count": 2, "wait": 10})

    assert '"Grace"' in message["body"]
    assert [each["outcome"] for each in made["entries"]] == ["lost by a fault", "answered"]


async def test_an_event_comes_late(listening: Listening) -> None:
    """An event that waits does not stop the client, and comes."""
    await listening.fault("webhook_late", seconds=0.2)
    await listening.create("Ada")

    (message,) = await listening.inbox(1)

    assert listening.is_signed(message)


async def test_a_rule_chooses_types_of_events(listening: Listening) -> None:
    """Only events of the type have the fault."""
    await listening.fault("webhook_twice", event_type="v1.contact.updated")
    contact = (await listening.desk.ask("POST", CONTACTS, json={"first_name": "Ada"})).json()["id"]
    await listening.inbox(1)
    await listening.desk.ask("PATCH", f"{CONTACTS}/{contact}", json={"first_name": "Augusta"})

    messages = await listening.inbox(3)

    assert len({each["headers"]["webhook-id"] for each in messages}) == 2
