"""Requests of a workspace while it is reset, restored or deleted."""

import asyncio
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from herdbook.lab.lab import MOST_SEEDS
from tests.lab.clients import LiveDesk
from tests.lab.conftest import LAB, NEW_YEAR, Bench, Desk
from tests.waiting import until_so

CONTACTS = "/api/v2/contacts"


async def begun(desk: Desk, **rule: object) -> asyncio.Task[httpx.Response]:
    """Begin to create a contact, which meets a fault; return once it has."""
    added = await desk.command("POST", "/faults", json={"operation": "create-contact", "times": 1, **rule})
    request = asyncio.create_task(desk.ask("POST", CONTACTS, json={"first_name": "Late"}))

    async def has_fired() -> bool:
        return any(each["fired"] for each in (await desk.command("GET", "/faults"))["faults"] if each["id"] == added["id"])

    await until_so(has_fired)
    return request


async def names(desk: Desk) -> list[str]:
    """Return the names of the contacts of a workspace."""
    return [each["first_name"] for each in (await desk.ask("GET", f"{CONTACTS}?limit=100")).json()["data"]]


def ledgers() -> int:
    """Return how many ledgers are open."""
    return sum(each.get_name() == "ledger watch" for each in asyncio.all_tasks())


@pytest.mark.parametrize("when", ["before", "within", "after"])
async def test_a_request_does_not_outlive_its_workspace(bench: Bench, when: str) -> None:
    """The next workspace with the same random seed has the same id and key, and nothing of a request from before."""
    desk = await bench.workspace(clock=NEW_YEAR, random_seed=31)
    late = await begun(desk, fault="delay", when=when, seconds=3)

    await desk.command("DELETE")
    following = await bench.workspace(clock=NEW_YEAR, random_seed=31)
    await following.ask("POST", CONTACTS, json={"first_name": "Ada"})
    answer = await late

    assert (following.made["id"], following.made["api_key"]) == (desk.made["id"], desk.made["api_key"])
    assert await names(following) == ["Ada"]
    assert answer.status_code == 201
    assert [each["number"] for each in (await following.command("GET", "/journal"))["entries"]] == [1, 2]
    await following.command("DELETE")


async def test_nothing_of_a_deleted_workspace_is_opened_again(bench: Bench) -> None:
    """A request that is late leaves no ledger, whether another workspace follows or not."""
    before = ledgers()
    desk = await bench.workspace(clock=NEW_YEAR)
    late = await begun(desk, fault="delay", seconds=3)

    await desk.command("DELETE")
    status = (await desk.ask("GET", CONTACTS)).status_code
    await late

    assert status == 401
    assert ledgers() == before


async def test_a_workspace_that_follows_waits_for_the_one_that_goes(bench: Bench) -> None:
    """Nobody has to wait for the answer to a deletion to get the same workspace again."""
    desk = await bench.workspace(clock=NEW_YEAR, random_seed=32)
    late = await begun(desk, fault="delay", seconds=3)

    deleted = asyncio.create_task(desk.command("DELETE"))

    async def is_gone() -> bool:
        return (await bench.ask("GET", desk.path)).status_code == 404

    await until_so(is_gone)
    following = await bench.workspace(clock=NEW_YEAR, random_seed=32)

    assert following.made["id"] == desk.made["id"]
    assert await names(following) == []
    await asyncio.gather(deleted, late)
    await following.command("DELETE")


@pytest.mark.parametrize("change", ["/reset", "/restore"])
async def test_a_request_from_before_does_not_land_after(bench: Bench, change: str) -> None:
    """A request that a fault delays is done at once, before the rows change."""
    desk = await bench.workspace(clock=NEW_YEAR)
    late = await begun(desk, fault="delay", seconds=3)

    await desk.command("POST", change, json={"seed": "empty"} if change == "/restore" else None)

    assert (await late).status_code == 201
    assert await names(desk) == []
    assert (await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})).status_code == 201


@pytest.mark.parametrize("change", ["/reset", "/restore"])
async def test_a_workspace_is_whole_after_a_change_under_load(bench: Bench, change: str) -> None:
    """Requests that run meanwhile succeed, before the change or after it, and the rows are those of the seed."""
    desk = await bench.workspace("crm-small")
    path = f"{CONTACTS}/{desk.made['objects']['ada']}"
    seed = await desk.ask("GET", f"{CONTACTS}?limit=100")
    is_over = asyncio.Event()
    statuses = set[int]()

    async def load() -> None:
        while not is_over.is_set():
            statuses.add((await desk.ask("PATCH", path, json={"first_name": str(time.time())})).status_code)
            statuses.add((await desk.ask("POST", CONTACTS, json={"first_name": "New"})).status_code)

    async def has_written() -> bool:
        return any(each["status"] == 201 for each in (await desk.command("GET", "/journal"))["entries"])

    loads = [asyncio.create_task(load()) for _ in range(6)]
    for _ in range(8):
        await until_so(has_written)
        await desk.command("POST", change, json={"seed": "crm-small"} if change == "/restore" else None)
    is_over.set()
    await asyncio.gather(*loads)
    written = [(await desk.ask("POST", CONTACTS, json={"first_name": "New"})).status_code for _ in range(3)]
    await desk.command("POST", change, json={"seed": "crm-small"} if change == "/restore" else None)

    assert statuses == {200, 201}
    assert written == [201] * 3
    assert (await desk.ask("GET", f"{CONTACTS}?limit=100")).json() == seed.json()
    await desk.command("DELETE")


async def test_whoever_follows_the_changes_is_let_go(bench: Bench) -> None:
    """A request that waits for changes for half a minute is answered when the workspace is reset."""
    desk = await bench.workspace()
    head = (await desk.ask("GET", "/api/herdbook/changes?after=0&limit=1000")).json()
    follower = asyncio.create_task(desk.ask("GET", f"/api/herdbook/changes?after={head['position']}&wait=30"))
    began = time.monotonic()
    await asyncio.sleep(0)

    await desk.command("POST", "/reset")

    assert (await follower).status_code == 200
    assert time.monotonic() - began < 20


def test_a_client_that_stops_in_its_request_holds_nobody_up(lab: tuple[str, str]) -> None:
    """Its connection is cut after some seconds, and the workspace is reset."""
    desk = LiveDesk(*lab)
    address = urlsplit(desk.url)
    head = f"POST {CONTACTS} HTTP/1.1\r\nHost: lab\r\nAuthorization: {desk.key}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((address.hostname, address.port or 0), timeout=90) as client:
        client.sendall(f"{head}Content-Length: 100\r\n\r\n{{".encode())
        # The server takes connections in their order, so it has begun the request.
        desk.ask("GET", CONTACTS)

        desk.command("POST", "/reset")
        answer = client.recv(100)

    assert answer == b""
    assert desk.ask("POST", CONTACTS, json={"first_name": "Ada"}).status_code == 201
    assert desk.contacts == 1


async def test_held_commits_hold_only_their_workspaces(bench: Bench) -> None:
    """Each of eight is late and none fails, and another workspace goes on meanwhile."""
    desks = [await bench.workspace() for _ in range(9)]
    *slow, other = desks
    held = [await begun(desk, fault="delay", when="within", seconds=4) for desk in slow]
    began = time.monotonic()

    written = [(await other.ask("POST", CONTACTS, json={"first_name": "Ada"})).status_code for _ in range(3)]
    took = time.monotonic() - began
    statuses = [(await each).status_code for each in held]

    assert written == [201] * 3
    assert took < 2
    assert statuses == [201] * 8
    assert [await names(desk) for desk in slow] == [["Late"]] * 8
    for desk in desks:
        await desk.command("DELETE")


async def test_a_restored_workspace_is_one_of_the_other_seed(bench: Bench) -> None:
    """Its objects, users and seed are those of the state that it has, until a reset."""
    desk, other = await bench.workspace("empty"), await bench.workspace("crm-small")

    restored = await desk.command("POST", "/restore", json={"seed": "crm-small"})
    read = await desk.command("GET")
    ada = await desk.ask("GET", f"{CONTACTS}/{read['objects']['ada']}")
    link = await desk.lab.ask("POST", f"{desk.path}/sign-ins", json={})
    kept = await desk.command("POST", "/snapshot", json={"name": "restored"})
    reset = await desk.command("POST", "/reset")

    assert restored["objects"] == read["objects"]
    assert [read[member] for member in ("seed", "objects", "users")] == [
        other.made[member] for member in ("seed", "objects", "users")
    ]
    assert (ada.status_code, link.status_code) == (200, 201)
    assert kept["objects"] == other.made["objects"]
    assert [reset[member] for member in ("seed", "objects", "users")] == [
        desk.made[member] for member in ("seed", "objects", "users")
    ]
    await bench.command("DELETE", f"{LAB}/seeds", params={"name": "restored"})


async def test_of_several_deletions_one_is_told_that_it_deleted(bench: Bench) -> None:
    """The others do not find the workspace."""
    desk = await bench.workspace()
    await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})

    answers = await asyncio.gather(*(bench.ask("DELETE", desk.path) for _ in range(4)))

    assert sorted(each.status_code for each in answers) == [200, 404, 404, 404]


async def test_a_workspace_is_not_there_before_it_is_whole(bench: Bench) -> None:
    """Reading it while its rows are copied does not find it."""
    desk = await bench.workspace("crm-small", clock=NEW_YEAR, random_seed=33)
    await desk.command("DELETE")
    making = asyncio.create_task(bench.workspace("crm-small", clock=NEW_YEAR, random_seed=33))
    statuses = list[int]()

    async def is_there() -> bool:
        statuses.append((await bench.ask("GET", desk.path)).status_code)
        return making.done()

    await until_so(is_there)

    assert set(statuses[:-1]) <= {404, 200}
    assert statuses[0] == 404
    await (await making).command("DELETE")


async def test_of_several_snapshots_of_one_name_one_is_kept(bench: Bench) -> None:
    """The others are refused, and so are those beyond the bound."""
    desk = await bench.workspace("crm-small")
    path = f"{desk.path}/snapshot"

    same = await asyncio.gather(*(bench.ask("POST", path, json={"name": "same"}) for _ in range(4)))
    many = await asyncio.gather(*(bench.ask("POST", path, json={"name": f"many-{n}"}) for n in range(MOST_SEEDS + 5)))
    seeds = (await bench.command("GET", f"{LAB}/state"))["seeds"]
    removed = await asyncio.gather(*(bench.ask("DELETE", f"{LAB}/seeds", params={"name": "same"}) for _ in range(3)))

    assert sorted(each.status_code for each in same) == [201, 422, 422, 422]
    assert sum(each.status_code == 201 for each in many) == MOST_SEEDS - 1
    assert len(seeds) == MOST_SEEDS + 3
    assert sorted(each.status_code for each in removed) == [200, 404, 404]
    for name in [each for each in seeds if each.startswith("many-")]:
        await bench.command("DELETE", f"{LAB}/seeds", params={"name": name})
    await desk.command("DELETE")


async def test_a_seed_is_not_removed_while_a_workspace_is_made_of_it(bench: Bench) -> None:
    """The removal is refused, and the workspace is whole."""
    made = [await bench.workspace("crm-small") for _ in range(2)]
    await made[0].command("POST", "/snapshot", json={"name": "short-lived"})
    making = [asyncio.create_task(bench.workspace("short-lived")) for _ in range(4)]
    await asyncio.sleep(0)

    removed = await bench.ask("DELETE", f"{LAB}/seeds", params={"name": "short-lived"})
    desks = [await each for each in making]

    assert removed.status_code == 422
    assert [len(await names(each)) for each in desks] == [len(await names(made[0]))] * 4
    for each in (*desks, *made):
        await each.command("DELETE")
    await bench.command("DELETE", f"{LAB}/seeds", params={"name": "short-lived"})
