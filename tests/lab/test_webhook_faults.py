"""Faults of deliveries, as an endpoint sees them."""

import asyncio
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

    async def advance(self, seconds: float) -> int:
        """Move the clock; return how often something was sent."""
        return (await self.desk.command("PATCH", "/clock", json={"advance_seconds": seconds}))["deliveries"]

    def is_signed(self, message: dict[str, Any], later: timedelta = timedelta()) -> bool:
        """Whether a signature is that of the endpoint's secret, at the beginning of the clock, or an hour off."""
        headers, signer = message["headers"], Webhook(self.secret)
        at = parsed_time(NEW_YEAR)
        assert at is not None
        times = (at + later, at - timedelta(hours=1))
        return any(headers["webhook-signature"] == signer.sign(headers["webhook-id"], each, message["body"]) for each in times)


async def listening_at(desk: Desk) -> Listening:
    """Create an endpoint at the inbox of a workspace."""
    made = await desk.ask("POST", "/api/herdbook/webhooks", json={"url": desk.inbox_url})
    return Listening(desk, made.json()["secret"])


@pytest_asyncio.fixture
async def listening(bench: Bench) -> AsyncGenerator[Listening]:
    """A workspace whose clock stands still, with an endpoint."""
    listening = await listening_at(await bench.workspace(clock=NEW_YEAR, random_seed=2))
    yield listening
    await listening.desk.command("DELETE")


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


async def test_an_event_comes_late_by_the_clock(listening: Listening) -> None:
    """It waits for the clock, though no other event follows, and is signed when it is sent; the next event does not wait."""
    await listening.fault("webhook_late", seconds=3600)
    await listening.create("Ada")
    await listening.create("Grace")

    before = [each["body"] for each in await listening.inbox(1)]
    too_early, in_time = await listening.advance(3599), await listening.advance(1)
    message = (await listening.inbox(2))[-1]

    assert ['"Grace"' in body for body in before] == [True]
    assert (too_early, in_time) == (0, 1)
    assert '"Ada"' in message["body"]
    assert listening.is_signed(message, timedelta(hours=1))


async def test_an_event_comes_late_while_the_clock_runs(bench: Bench) -> None:
    """Nobody moves the clock, and it comes all the same."""
    listening = await listening_at(await bench.workspace(clock=NEW_YEAR, clock_runs=True))
    await listening.fault("webhook_late", seconds=0.3)
    await listening.create("Ada")

    (made,) = (await listening.desk.command("GET", "/journal", params={"kind": "delivery", "wait": 10}))["entries"]

    assert made["status"] == 200
    assert made["fault_kind"] == "webhook_late"
    assert made["at"] > "2026-01-01T00:00:00.3"


async def test_an_event_that_no_other_follows_comes_after_its_seconds(listening: Listening) -> None:
    """Without a next event the clock lets it go, once."""
    await listening.fault("webhook_reorder", seconds=10)
    await listening.create("Ada")

    sent = [await listening.advance(9), await listening.advance(1), await listening.advance(3600)]

    assert sent == [0, 1, 0]
    assert len(await listening.inbox(1)) == 1


async def test_late_events_come_in_the_order_in_which_they_are_due(listening: Listening) -> None:
    """The one that is less late comes first, each at its own time."""
    await listening.fault("webhook_late", seconds=60)
    await listening.fault("webhook_late", seconds=30)
    await listening.create("Ada")
    await listening.create("Grace")

    sent = await listening.advance(60)
    made = (await listening.desk.command("GET", "/journal", params={"kind": "delivery"}))["entries"]

    assert sent == 2
    assert ['"Ada"' in each["request"]["body"] for each in made] == [False, True]
    assert [each["at"][17:19] for each in made] == ["30", "00"]


async def test_a_reset_forgets_what_is_late(listening: Listening) -> None:
    """An event of the state that is gone does not come."""
    await listening.fault("webhook_late", seconds=60)
    await listening.create("Ada")
    await listening.advance(0)

    await listening.desk.command("POST", "/reset")

    assert await listening.advance(60) == 0


async def test_a_late_event_reaches_an_endpoint_outside_of_the_lab(bench: Bench) -> None:
    """The connection of the first attempt is over by then."""
    seen: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    desk = await bench.workspace(clock=NEW_YEAR)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        await desk.ask("POST", "/api/herdbook/webhooks", json={"url": url})
        listening = Listening(desk, "")
        await listening.fault("webhook_late", seconds=60)
        await listening.create("Ada")
        sent = await listening.advance(60)

    assert sent == 1
    assert [each.startswith(b"POST /hook") for each in seen] == [True]


async def test_a_request_is_not_delayed_as_long_as_an_event(listening: Listening) -> None:
    """An event may be late by 30 days, and a request by a minute."""
    path = f"{listening.desk.path}/faults"
    rules = [{"fault": "webhook_late", "seconds": 2_592_000}, {"fault": "delay", "seconds": 61}]

    answers = [await listening.desk.lab.ask("POST", path, json=rule) for rule in rules]

    assert [each.status_code for each in answers] == [201, 422]
    assert answers[1].json()["errors"][0]["field"] == "seconds"


async def test_a_rule_chooses_types_of_events(listening: Listening) -> None:
    """Only events of the type have the fault."""
    await listening.fault("webhook_twice", event_type="v1.contact.updated")
    contact = (await listening.desk.ask("POST", CONTACTS, json={"first_name": "Ada"})).json()["id"]
    await listening.inbox(1)
    await listening.desk.ask("PATCH", f"{CONTACTS}/{contact}", json={"first_name": "Augusta"})

    messages = await listening.inbox(3)

    assert len({each["headers"]["webhook-id"] for each in messages}) == 2
