"""The clock of a workspace: all that the product does by time follows it."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime, timedelta
from typing import Any

import pytest_asyncio

from tests.lab.conftest import LAB, NEW_YEAR, Bench, Desk

CONTACTS = "/api/v2/contacts"
HOUR, DAY = 3600, 86_400


@pytest_asyncio.fixture
async def desk(bench: Bench) -> AsyncGenerator[Desk]:
    """A workspace whose clock stands still at the new year."""
    desk = await bench.workspace(clock=NEW_YEAR, random_seed=1)
    yield desk
    await desk.command("DELETE")


async def advance(desk: Desk, seconds: float) -> Any:
    """Move the clock of a workspace ahead."""
    return await desk.command("PATCH", "/clock", json={"advance_seconds": seconds})


async def listen(desk: Desk, *statuses: int) -> str:
    """Create an endpoint at the inbox, which answers with these statuses first; return its path."""
    await desk.command("PUT", "/inbox", json={"statuses": statuses})
    made = await desk.ask("POST", "/api/herdbook/webhooks", json={"url": desk.inbox_url})
    return f"/api/herdbook/webhooks/{made.json()['id']}"


async def deliveries(desk: Desk, **conditions: Any) -> Any:
    """Return the deliveries in the journal."""
    return (await desk.command("GET", "/journal", params={"kind": "delivery", **conditions}))["entries"]


async def test_an_event_reaches_the_inbox(desk: Desk) -> None:
    """The inbox keeps the event with its signature, and the journal can be waited for."""
    await listen(desk)

    await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    (kept,) = (await desk.command("GET", "/journal", params={"kind": "inbox", "wait": 10}))["entries"]

    assert '"v1.contact.created"' in kept["request"]["body"]
    assert kept["request"]["headers"]["webhook-signature"].startswith("v1,")


async def test_the_whole_retry_schedule_runs_in_one_call(desk: Desk) -> None:
    """Eight attempts in 27 hours and their jitter, in order, before the call returns."""
    await listen(desk, *[500] * 8)
    await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    await deliveries(desk, wait=10)

    moved = await advance(desk, 31 * HOUR)
    made = await deliveries(desk)
    times = [datetime.fromisoformat(each["at"]) for each in made]

    assert moved["deliveries"] == 7
    assert [each["status"] for each in made] == [500] * 8
    assert times == sorted(times)
    assert timedelta(hours=27) < times[-1] - times[0] < timedelta(hours=31)


async def test_an_endpoint_that_fails_for_five_days_is_disabled(desk: Desk) -> None:
    """Events go on, and all attempts fail; after five days of that the endpoint is disabled."""
    path = await listen(desk, *[500] * 1000)
    for _ in range(14):
        await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
        await advance(desk, 10 * HOUR)

    endpoint = (await desk.ask("GET", path)).json()

    assert endpoint["is_enabled"] is False
    assert endpoint["disabled_reason"] == "failing"


async def test_events_of_several_objects_arrive_in_the_order_in_which_they_fall_due(desk: Desk) -> None:
    """A later event whose retry is due earlier is sent earlier."""
    await listen(desk, 500, 500, 500)
    await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    await deliveries(desk, wait=10)
    await advance(desk, 60)
    await desk.ask("POST", CONTACTS, json={"first_name": "Grace"})
    await deliveries(desk, wait=10, count=3)

    await advance(desk, HOUR)
    names = ["Ada" if '"Ada"' in each["request"]["body"] else "Grace" for each in await deliveries(desk)]

    assert names == ["Ada", "Ada", "Grace", "Grace", "Ada"]


async def test_a_key_expires_by_the_clock(desk: Desk) -> None:
    """A key works until the clock shows its end."""
    key = (await desk.command("POST", "/keys", json={"expires_at": "2026-01-01T01:00:00Z"}))["api_key"]
    headers = {"Authorization": key}

    before = await desk.lab.client.get(CONTACTS, headers=headers)
    await advance(desk, HOUR)
    after = await desk.lab.client.get(CONTACTS, headers=headers)

    assert (before.status_code, after.status_code) == (200, 401)


async def test_an_idempotency_key_is_kept_for_24_hours_of_the_clock(desk: Desk) -> None:
    """Before that the first answer comes again, and after it a new contact."""
    headers = {"Idempotency-Key": "one"}
    first = await desk.ask("POST", CONTACTS, json={"first_name": "Ada"}, headers=headers)
    await advance(desk, 23 * HOUR)
    again = await desk.ask("POST", CONTACTS, json={"first_name": "Ada"}, headers=headers)
    await advance(desk, 2 * HOUR)
    anew = await desk.ask("POST", CONTACTS, json={"first_name": "Ada"}, headers=headers)

    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json()["id"] == first.json()["id"] != anew.json()["id"]


async def test_history_is_trimmed_by_the_clock(desk: Desk) -> None:
    """After 91 days the change feed begins later."""
    await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    before = await desk.ask("GET", "/api/herdbook/changes?after=0")

    await advance(desk, 91 * DAY)
    after = await desk.ask("GET", "/api/herdbook/changes?after=1")

    assert before.status_code == 200
    assert after.status_code == 410


async def test_deleted_objects_are_removed_by_the_clock(desk: Desk) -> None:
    """A contact can be restored for 90 days."""
    contact = (await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})).json()["id"]
    await desk.ask("DELETE", f"{CONTACTS}/{contact}")

    await advance(desk, 91 * DAY)

    assert (await desk.ask("POST", f"/api/herdbook/contacts/{contact}/restore")).status_code == 404


async def test_the_request_log_follows_the_clock(desk: Desk) -> None:
    """The log has the requests of the last 72 hours of the clock."""
    await desk.ask("GET", CONTACTS)
    before = (await desk.ask("GET", "/api/herdbook/requests")).json()["data"]

    await advance(desk, 73 * HOUR)
    after = (await desk.ask("GET", "/api/herdbook/requests")).json()["data"]

    assert [each["operation"] for each in before] == ["list-contacts"]
    assert "list-contacts" not in [each["operation"] for each in after]


async def test_a_clock_runs_from_a_moment(bench: Bench) -> None:
    """Times go on from the moment, until the clock is told to stand still."""
    desk = await bench.workspace(clock=NEW_YEAR, clock_runs=True)

    times = [(await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})).json()["created_at"] for _ in range(2)]
    stopped = await desk.command("PATCH", "/clock", json={"is_frozen": True})

    assert times[0] < times[1] < stopped["clock"]["now"] < "2026-01-02"
    assert (await desk.command("GET"))["clock"] == stopped["clock"]


async def test_a_clock_is_not_moved_back(desk: Desk) -> None:
    """A time before what the clock shows is refused."""
    response = await desk.lab.ask("PATCH", f"{desk.path}/clock", json={"to": "2025-01-01T00:00:00Z"})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "to"


async def test_a_move_by_nothing_delivers_what_is_due(desk: Desk) -> None:
    """The event of a change just now is sent before the call returns, and the clock shows the same time."""
    await listen(desk)
    await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})

    moved = await advance(desk, 0)

    assert moved["clock"]["now"] == "2026-01-01T00:00:00.000000Z"
    assert len(await deliveries(desk)) == 1


async def test_a_retry_is_sent_at_its_moment_and_not_before(desk: Desk) -> None:
    """A move to a microsecond before sends nothing; a move to the moment itself sends it, dated so; again, nothing is left."""
    path = await listen(desk, 500)
    await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    await advance(desk, 0)
    (waiting,) = (await desk.ask("GET", f"{path}/deliveries")).json()["data"]
    due = datetime.fromisoformat(waiting["next_attempt_at"])
    moments = [due - timedelta(microseconds=1), due, due]

    sent = [(await desk.command("PATCH", "/clock", json={"to": each.isoformat()}))["deliveries"] for each in moments]

    assert sent == [0, 1, 0]
    assert datetime.fromisoformat((await deliveries(desk))[-1]["at"]) == due


async def test_a_clock_is_not_moved_back_by_seconds(desk: Desk) -> None:
    """Less than none is refused, and the clock stays."""
    response = await desk.lab.ask("PATCH", f"{desk.path}/clock", json={"advance_seconds": -1})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "advance_seconds"
    assert (await desk.command("GET"))["clock"]["now"] == "2026-01-01T00:00:00.000000Z"


async def test_a_move_far_beyond_all_that_is_kept(desk: Desk) -> None:
    """After ten years the schedule has run out at its own times, and what is kept for a time is gone; the workspace goes on."""
    path = await listen(desk, *[500] * 100)
    contact = (await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})).json()["id"]
    await deliveries(desk, wait=10)

    moved = await advance(desk, 10 * 365 * DAY)
    times = [datetime.fromisoformat(each["at"]) for each in await deliveries(desk)]
    after = await desk.ask("PATCH", f"{CONTACTS}/{contact}", json={"first_name": "Augusta"})

    assert (moved["deliveries"], len(times)) == (7, 8)
    assert times[-1] - times[0] < timedelta(hours=31)
    assert after.json()["updated_at"].startswith("2035-12-30")
    assert (await desk.ask("GET", "/api/herdbook/changes?after=0")).status_code == 410
    assert (await desk.ask("GET", path)).json()["is_enabled"]


async def test_a_clock_has_an_end(bench: Bench, desk: Desk) -> None:
    """A clock reaches its last moment, and is neither moved nor set beyond it."""
    at_end = await desk.command("PATCH", "/clock", json={"to": "3000-01-01T00:00:00Z"})
    beyond = [
        await desk.lab.ask("PATCH", f"{desk.path}/clock", json={"advance_seconds": 1}),
        await desk.lab.ask("PATCH", f"{desk.path}/clock", json={"to": "3000-01-01T00:00:01Z"}),
        await bench.ask("POST", f"{LAB}/workspaces", json={"clock": "3000-01-01T00:00:01Z"}),
    ]

    assert at_end["clock"]["now"] == "3000-01-01T00:00:00.000000Z"
    assert [each.status_code for each in beyond] == [422] * 3
    assert [each.json()["errors"][0]["field"] for each in beyond] == ["advance_seconds", "to", "clock"]
    assert (await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})).json()["created_at"].startswith("3000-01-01")


async def test_the_clocks_of_two_workspaces_are_apart(bench: Bench, desk: Desk) -> None:
    """A workspace that is moved leaves the time of another one alone."""
    other = await bench.workspace(clock="2027-01-01T00:00:00Z")

    await advance(desk, DAY)
    made = [(await each.ask("POST", CONTACTS, json={"first_name": "Ada"})).json()["created_at"] for each in (desk, other)]

    assert [each[:10] for each in made] == ["2026-01-02", "2027-01-01"]
    assert (await bench.ask("GET", f"{LAB}/state")).status_code == 200


async def test_moves_at_the_same_time_add_up(desk: Desk) -> None:
    """Each move begins where the one before it has ended."""
    await asyncio.gather(*(advance(desk, HOUR) for _ in range(4)))

    assert (await desk.command("GET"))["clock"]["now"] == "2026-01-01T04:00:00.000000Z"


async def test_a_reset_ends_a_move_of_the_clock(desk: Desk) -> None:
    """The clock shows its beginning, the journal is empty, and whoever moved the clock is told."""
    is_asked, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        is_asked.set()
        await may_answer.wait()
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await desk.ask("POST", "/api/herdbook/webhooks", json={"url": f"http://127.0.0.1:{port}/"})
        may_answer.set()
        await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
        await deliveries(desk, wait=10)
        may_answer.clear()
        is_asked.clear()
        moving = asyncio.create_task(desk.lab.ask("PATCH", f"{desk.path}/clock", json={"advance_seconds": DAY}))
        await is_asked.wait()
        reset = asyncio.create_task(desk.command("POST", "/reset"))
        await asyncio.wait([reset], timeout=0.5)
        may_answer.set()
        moved = await moving
        clock = (await reset)["clock"]["now"]

    assert moved.status_code == 503
    assert clock == "2026-01-01T00:00:00.000000Z"
    assert (await desk.command("GET"))["clock"]["now"] == clock
    assert (await desk.command("GET", "/journal"))["entries"] == []
