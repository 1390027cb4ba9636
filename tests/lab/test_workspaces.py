"""Workspaces of the lab: from seeds, apart from each other, reset and deleted."""

import asyncio

import httpx

from herdbook.app import OPERATIONS
from tests.lab.conftest import LAB, NEW_YEAR, TOKEN, Bench

CONTACTS = "/api/v2/contacts"


async def test_a_workspace_has_the_objects_of_its_seed_by_name(bench: Bench) -> None:
    """The id of a name in a seed is that of the object."""
    desk = await bench.workspace("crm-small")

    ada = await desk.ask("GET", f"{CONTACTS}/{desk.made['objects']['ada']}")

    assert ada.json()["last_name"] == "Lovelace"
    assert {"id", "name", "role"} == desk.made["users"][0].keys()


async def test_workspaces_of_one_seed_do_not_see_each_other(bench: Bench) -> None:
    """The objects of two workspaces have the same ids, and each changes its own."""
    one, other = await bench.workspace("crm-small"), await bench.workspace("crm-small")
    path = f"{CONTACTS}/{one.made['objects']['ada']}"

    await one.ask("PATCH", path, json={"first_name": "Augusta"})

    assert (await other.ask("GET", path)).json()["first_name"] == "Ada"
    assert one.made["id"] != other.made["id"]


async def test_sixteen_at_once_do_not_touch_each_other(bench: Bench) -> None:
    """Each of many workspaces that write, move their clocks and reset at the same time has only what it made."""

    async def work(number: int) -> tuple[int, str]:
        desk = await bench.workspace("crm-small", clock=f"2026-01-{number + 1:02d}T00:00:00Z", random_seed=number % 2)
        for _ in range(number):
            await desk.ask("POST", CONTACTS, json={"first_name": "Zoe"})
        await desk.command("PATCH", "/clock", json={"advance_seconds": 3600})
        last = (await desk.ask("POST", CONTACTS, json={"first_name": "Zoe"})).json()["created_at"]
        found = (await desk.ask("GET", f"{CONTACTS}?search=Zoe&limit=100")).json()["data"]
        await desk.command("POST", "/reset")
        assert (await desk.ask("GET", f"{CONTACTS}?search=Zoe")).json()["data"] == []
        await desk.command("DELETE")
        return len(found), last[:13]

    done = await asyncio.gather(*map(work, range(16)))

    assert done == [(number + 1, f"2026-01-{number + 1:02d}T01") for number in range(16)]


async def test_a_reset_brings_the_seed_back(bench: Bench) -> None:
    """A reset takes back changes, new objects and deletions, and the key stays."""
    desk = await bench.workspace("crm-small")
    before = (await desk.ask("GET", f"{CONTACTS}?limit=100")).json()
    await desk.ask("POST", CONTACTS, json={"first_name": "New"})
    await desk.ask("DELETE", f"{CONTACTS}/{desk.made['objects']['grace']}")

    await desk.command("POST", "/reset")

    assert (await desk.ask("GET", f"{CONTACTS}?limit=100")).json() == before


async def test_a_deleted_workspace_lets_nobody_in(bench: Bench) -> None:
    """Its key is unknown, and the lab no longer has it."""
    desk = await bench.workspace()

    await desk.command("DELETE")

    assert (await desk.ask("GET", CONTACTS)).status_code == 401
    assert (await bench.ask("GET", desk.path)).status_code == 404


async def test_two_workspaces_with_the_same_random_seed_and_clock_give_the_same_answers(bench: Bench) -> None:
    """Whole answers are the same, byte by byte: ids, times and secrets."""
    assert await _story(bench) == await _story(bench)


async def _story(bench: Bench) -> list[tuple[bytes, list[tuple[str, str]]]]:
    desk = await bench.workspace("crm-small", clock=NEW_YEAR, random_seed=7)
    responses = [
        await desk.ask("POST", CONTACTS, json={"first_name": "New"}),
        await desk.ask("GET", f"{CONTACTS}?limit=3"),
        await desk.ask("POST", "/api/herdbook/webhooks", json={"url": "http://127.0.0.1:9000/"}),
        await desk.ask("GET", "/api/herdbook/workspace"),
        await desk.ask("GET", f"{CONTACTS}/nobody"),
    ]
    await desk.command("DELETE")
    return [(response.content, sorted(response.headers.items())) for response in responses]


async def test_the_clock_of_a_workspace_dates_its_changes(bench: Bench) -> None:
    """A clock that stands still gives the same time to the second, whatever the server's is."""
    desk = await bench.workspace(clock=NEW_YEAR)

    created = (await desk.ask("POST", CONTACTS, json={"first_name": "New"})).json()

    assert created["created_at"].startswith("2026-01-01T00:00:00")
    assert created["updated_at"] == created["created_at"]


async def test_a_clock_before_the_seed_is_refused(bench: Bench) -> None:
    """The seed's changes cannot be in the future of the workspace."""
    response = await bench.ask("POST", f"{LAB}/workspaces", json={"seed": "crm-small", "clock": "2020-01-01T00:00:00Z"})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "clock"


async def test_only_the_lab_token_commands_the_lab(bench: Bench) -> None:
    """Neither nobody, nor a key of a workspace, nor another token may."""
    desk = await bench.workspace()
    tried = [None, desk.made["api_key"], "Bearer another"]

    headers = [{} if each is None else {"Authorization": each} for each in tried]
    statuses = [(await bench.client.get(f"{LAB}/state", headers=each)).status_code for each in headers]

    assert statuses == [401, 401, 401]


async def test_the_document_of_a_server_with_a_lab_has_its_operations(bench: Bench) -> None:
    """The control API is in the OpenAPI document."""
    document = (await bench.client.get("/api/openapi.json")).json()

    assert "/herdbook/lab/workspaces" in document["paths"]


async def test_a_server_without_a_lab_has_nothing_of_it(client: httpx.AsyncClient) -> None:
    """There is no such path, no such operation, and no such header."""
    response = await client.post(f"{LAB}/workspaces", json={}, headers={"Authorization": f"Bearer {TOKEN}"})

    assert response.status_code == 404
    assert not [each.path for each in OPERATIONS if "/lab" in each.path]
    assert "X-Herdbook-Lab" not in response.headers


async def test_a_webhook_to_the_inbox_is_one_to_the_inbox_of_each_copy(bench: Bench) -> None:
    """A copy of a snapshot, a reset and a restored one tell their own inboxes, and no other one."""
    origin = await bench.workspace(clock=NEW_YEAR)
    other = await origin.ask("POST", "/api/herdbook/webhooks", json={"url": "http://127.0.0.1:9000/elsewhere"})
    endpoint = (await origin.ask("POST", "/api/herdbook/webhooks", json={"url": origin.inbox_url})).json()["id"]
    await origin.command("POST", "/snapshot", json={"name": "told"})
    copy, restored, seeded = (
        await bench.workspace("told", clock=NEW_YEAR),
        await bench.workspace(clock=NEW_YEAR),
        await bench.workspace("told", clock=NEW_YEAR, random_seed=5),
    )
    await restored.command("POST", "/restore", json={"seed": "told"})
    # A reset brings back what was changed.
    await copy.ask("PATCH", f"/api/herdbook/webhooks/{endpoint}", json={"description": "Mine"})
    await copy.ask("DELETE", f"/api/herdbook/webhooks/{endpoint}")
    await copy.command("POST", "/reset")

    for desk in (origin, copy, restored, seeded):
        shown = (await desk.ask("GET", "/api/herdbook/webhooks")).json()["data"]
        assert {each["url"] for each in shown} == {desk.inbox_url, other.json()["url"]}
        await desk.ask("POST", CONTACTS, json={"first_name": "Zoe"})
        page = await desk.command("GET", "/journal", params={"kind": "inbox", "wait": 10})
        assert page["count"] == 1
    # Nothing came from the copies.
    assert (await origin.command("GET", "/journal", params={"kind": "inbox"}))["count"] == 1
