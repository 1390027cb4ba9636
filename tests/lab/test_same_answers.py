"""Whole answers are the same on each run of a lab."""

from typing import TypeAlias

import httpx
import pytest

from herdbook.settings import Settings
from tests.lab.conftest import NEW_YEAR, TOKEN, Bench
from tests.serving import serving

CONTACTS = "/api/v2/contacts"
_Answers: TypeAlias = list[tuple[int, bytes, list[tuple[str, str]]]]


async def _run(client: httpx.AsyncClient) -> _Answers:
    """Do what a client may do in a workspace, and return its answers."""
    desk = await Bench(client).workspace("crm-small", clock=NEW_YEAR, random_seed=7)
    ada, acme = (desk.made["objects"][name] for name in ("ada", "analytical-engine"))
    await desk.command("PUT", "/inbox", json={"statuses": [500]})
    asked = [
        ("POST", CONTACTS, {"first_name": "New", "emails": [{"email": "new@engine.example"}], "company_id": acme}),
        ("PATCH", f"{CONTACTS}/{ada}", {"last_name": "King"}),
        ("GET", f"{CONTACTS}?limit=3", None),
        ("GET", f"/api/herdbook/contacts/{ada}/history", None),
        ("POST", "/api/herdbook/webhooks", {"url": desk.inbox_url}),
        ("POST", "/api/v2/tags", {"name": "New"}),
        ("DELETE", f"/api/v2/companies/{acme}", None),
        ("GET", "/api/herdbook/changes?after=0&limit=1000", None),
        ("GET", "/api/herdbook/workspace", None),
        ("GET", f"{CONTACTS}/cnt_nobody", None),
        ("POST", CONTACTS, {"emails": [{"email": "new@engine.example"}]}),
    ]
    responses = [await desk.ask(method, path, json=body) for method, path, body in asked]
    await desk.command("PATCH", "/clock", json={"advance_seconds": 3600})
    webhook = f"/api/herdbook/webhooks/{responses[4].json()['id']}"
    responses += [await desk.ask("GET", webhook)]
    return [(each.status_code, each.content, sorted(each.headers.items())) for each in responses]


async def test_two_servers_give_the_same_answers(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A second lab answers as the first did, byte by byte: ids, times, cursors, secrets and headers."""
    runs: list[_Answers] = []
    for _ in range(2):
        settings = Settings(lab=True, lab_token=TOKEN, data_dir=tmp_path_factory.mktemp("lab"))
        async with serving(settings, database_url) as client:
            runs.append(await _run(client))

    assert runs[0] == runs[1]
    assert {status for status, _, _ in runs[0]} == {200, 201, 404, 409}
