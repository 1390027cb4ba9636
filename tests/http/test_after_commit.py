"""A write that is committed is never answered with "nothing was done", even if the database goes away right after it."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from herdbook.history import undoing
from herdbook.settings import Settings
from tests.cast import Json, Person, Thing
from tests.ledger.proxy import Proxy, proxy_to
from tests.serving import serving


@pytest_asyncio.fixture
async def proxy(database_url: str, tmp_path: Path) -> AsyncGenerator[Proxy]:
    """A proxy between a server and PostgreSQL."""
    async with proxy_to(database_url, tmp_path) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def writer(alice: Person, proxy: Proxy, tmp_path: Path) -> AsyncGenerator[Person]:
    """Alice, on a server whose connections to the database can be cut."""
    async with serving(Settings(rate_limit=0, data_dir=tmp_path), proxy.url) as client:
        yield Person(client, alice.workspace_id, alice.key)


async def test_a_merge(writer: Person, proxy: Proxy, ada: Thing, grace: Thing) -> None:
    """A merge that is committed succeeds; engagements that remain to be moved are moved later."""
    trap = proxy.trap(lambda sql: "from unfinished" in sql and "$3" in sql)
    merging = asyncio.create_task(writer.post(f"/api/herdbook/contacts/{ada.id}/merge", json={"from": [grace.id]}))
    (await trap).cut()
    merged = await merging

    assert merged.status_code == 200, merged.text
    assert merged.json()["merged"] == [grace.id]


async def test_the_deletion_of_a_company(writer: Person, proxy: Proxy, engine: Thing) -> None:
    """A deletion that is committed succeeds; contacts that remain to be released are released later."""
    trap = proxy.trap(lambda sql: "from unfinished" in sql and "$3" in sql)
    deleting = asyncio.create_task(writer.delete(engine.url))
    (await trap).cut()

    assert (await deleting).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "statement"),
    [("PATCH", "record", "as asked(workspace_id, id, place)\n    join tag"), ("POST", "erase", "from erasure e where")],
)
async def test_an_answer_that_needs_more(  # noqa: PLR0917
    writer: Person, frank: Person, proxy: Proxy, ada: Thing, renewal: Thing, method: str, path: str, statement: str
) -> None:
    """A committed write has an unknown outcome if the database goes away before all of its answer is read."""
    administrator = Person(writer.client, frank.workspace_id, frank.key)
    body = {"tag_ids": [renewal.id]} if method == "PATCH" else None
    trap = proxy.trap(lambda sql: statement in sql)
    writing = asyncio.create_task(administrator.request(method, f"/api/herdbook/contacts/{ada.id}/{path}", body))
    (await trap).cut()
    written = await writing

    assert written.status_code == 500, written.text
    assert written.json()["type"].endswith("/outcome_unknown")


async def test_a_bulk_with_an_unknown_contact(writer: Person, proxy: Proxy, ada: Thing) -> None:
    """The operations that are done are reported, even if nothing can be looked up for those that are refused."""
    operations = [
        {"action": "update", "id": ada.id, "contact": {"first_name": "Augusta"}},
        {"action": "delete", "id": "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"},
    ]
    trap = proxy.trap(lambda sql: "merged_into" in sql and "recursive" in sql)
    writing = asyncio.create_task(writer.post("/api/herdbook/contacts/bulk", json={"operations": operations}))
    (await trap).cut()
    written = await writing

    assert written.status_code == 200, written.text
    assert [each["result"] for each in written.json()["results"]] == ["updated", "failed"]


async def test_an_undo_in_parts(writer: Person, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An undo whose first part is committed says that only some changes are undone, and a repetition undoes the rest."""
    monkeypatch.setattr(undoing, "MAX_CHANGES", 5)
    monkeypatch.setattr(undoing, "SLICE", 3)
    creations: list[Json] = [{"action": "create", "contact": {}}] * 6
    created = await writer.post("/api/herdbook/contacts/bulk", json={"atomic": True, "operations": creations})
    undo = {"request_id": created.headers["X-Request-Id"]}
    first = proxy.trap(lambda sql: "asked(seq)" in sql)
    asked = asyncio.create_task(writer.post("/api/herdbook/undo", json=undo))
    (await first).let_go()
    second = proxy.trap(lambda sql: "asked(seq)" in sql)
    (await second).cut()
    answer = await asked
    left = (await writer.get("/api/v2/contacts")).json()["data"]
    await writer.post("/api/herdbook/undo", json=undo)

    assert answer.status_code == 503
    assert "Only some changes are undone" in answer.json()["detail"]
    assert len(left) == 3
    assert (await writer.get("/api/v2/contacts")).json()["data"] == []
