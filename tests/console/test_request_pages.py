"""The request log: found by key, path, status and id; a request leads to its changes, their events and deliveries, and back."""

import re
from uuid import UUID

import httpx
import pytest
from prometheus_client import REGISTRY

from herdbook import ids
from herdbook.db.pool import Pool, open_pool
from herdbook.http.request_log import AnsweredRequest, RequestLog
from herdbook.request_log import store
from herdbook.request_log.commands import trim_grown, write
from herdbook.request_log.model import KeptRequest
from tests.cast import Logged, Person, Thing
from tests.console.people import Visitor
from tests.oauth.conftest import Connections


async def test_request_is_kept_without_what_its_sender_wrote(alice: Person, ada: Thing, logged: Logged) -> None:
    """Ids in the path and names of known parameters are kept; values, other names and other texts in the path are not."""
    read = await logged(await alice.get(f"{ada.url}?expand=company&ada@engine.test=1"))
    listed = await logged(await alice.get("/api/v2/contacts?search=ada%40engine.test&limit=3&code=secret"))
    named = await logged(await alice.get("/v2/contacts/ada@engine.test"))

    assert (read["path"], read["query"], read["status"], read["method"]) == (ada.url, None, 200, "GET")
    assert (listed["path"], listed["query"], listed["operation"]) == ("/api/v2/contacts", "search&limit", "list-contacts")
    assert (named["path"], named["status"]) == ("/api/v2/contacts/{contact_id}", 404)
    assert "engine.test" not in str([read, listed, named])
    assert read["workspace_id"] == alice.workspace_id
    assert read["credential_id"] == alice.key.id
    assert 0 < read["milliseconds"] < 60_000


async def test_list_finds_by_key_path_and_status(anna: Visitor, alice: Person, bob: Person, ada: Thing, logged: Logged) -> None:
    """Each filter shows the requests that are like that, and no others."""
    seen = await alice.get(ada.url)
    missing = await bob.get("/api/v2/companies/cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")
    for each in (seen, missing):
        await logged(each)
    at = {"seen": seen.headers["X-Request-Id"], "missing": missing.headers["X-Request-Id"]}

    for query, found in {
        "": {"seen", "missing"},
        "?status=4xx": {"missing"},
        "?status=404": {"missing"},
        "?status=2xx": {"seen"},
        f"?find={ada.id}": {"seen"},
        "?find=/companies/": {"missing"},
        f"?key=apik_{str(bob.key).partition('_')[2].partition('.')[0]}": {"missing"},
        f"?key={str(alice.key).partition('.')[0]}": {"seen"},
        "?key=nonsense": set[str](),
    }.items():
        text = (await anna.get(f"/requests{query}")).text
        assert {name for name, shown_id in at.items() if shown_id in text} == found, query
    assert (await anna.get(f"/requests?find={at['seen']}")).headers["Location"] == f"/console/requests/{at['seen']}"


async def test_request_leads_to_its_changes_and_back(anna: Visitor, alice: Person, ada: Thing, logged: Logged) -> None:
    """The page of a request shows what it changed, with the event; the object's history and the event lead to the request."""
    changed = await alice.patch(ada.url, json={"last_name": "King"})
    shown_id = changed.headers["X-Request-Id"]
    await logged(changed)

    text = (await anna.get(f"/requests/{shown_id}")).text

    assert "Contact updated" in text
    assert f"/console/contacts/{ada.id}" in text
    assert "v1.contact.updated" in text
    assert "Alice" in text
    assert f"-X PATCH &#39;http://herdbook.test{ada.url}&#39;" in text
    assert "$HERDBOOK_API_KEY" in text
    assert "--json @body.json" in text
    assert "The log keeps no bodies." in text
    assert str(alice.key).partition(".")[2] not in text
    assert f"/console/requests/{shown_id}" in (await anna.get(f"/contacts/{ada.id}")).text
    event = re.search(r"evt_\w+", text)
    assert event is not None
    assert (await anna.get(f"/requests?find={event[0]}")).headers["Location"] == f"/console/requests/{shown_id}"


async def test_command_of_a_request_without_a_body_sends_none(anna: Visitor, alice: Person, ada: Thing, logged: Logged) -> None:
    """A read and a deletion have no body, and nothing is said of one."""
    for request in (await alice.get(ada.url), await alice.delete(ada.url)):
        await logged(request)
        text = (await anna.get(f"/requests/{request.headers['X-Request-Id']}")).text
        assert "$HERDBOOK_API_KEY" in text
        assert "body.json" not in text


async def test_change_by_a_form_is_a_request_too(anna: Visitor, ada: Thing, logged: Logged) -> None:
    """The log has the forms that a person sends in the console, under the person's name."""
    version = ada.etag.strip('"')
    edited = await anna.post(f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", "version": version})
    row = await logged(edited)

    text = (await anna.get(f"/requests/{edited.headers['X-Request-Id']}")).text

    assert (row["method"], row["path"]) == ("POST", f"/console/contacts/{ada.id}/edit/{{member}}")
    assert "Anna" in text
    assert "Contact updated" in text
    assert "As a command" not in text


async def test_refusal_of_a_page_leads_to_its_request(anna: Visitor, logged: Logged) -> None:
    """An administrator goes from the page that says why nothing was done to the request. Good reads of pages are not kept."""
    seen = await anna.get("/contacts")
    refused = await anna.get("/contacts/cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")
    shown_id = refused.headers["X-Request-Id"]

    assert f'href="/console/requests/{shown_id}"' in refused.text
    assert (await logged(refused))["status"] == 404
    assert (await anna.get(f"/requests/{shown_id}")).status_code == 200
    assert (await anna.get(f"/requests/{seen.headers['X-Request-Id']}")).status_code == 404


async def test_requests_of_others_are_not_there(
    carla: Visitor, olga: Visitor, alice: Person, ada: Thing, logged: Logged
) -> None:
    """Another workspace has no request of Alice's, and a member no request at all."""
    changed = await alice.patch(ada.url, json={"last_name": "King"})
    await logged(changed)
    shown_id = changed.headers["X-Request-Id"]

    assert (await carla.get(f"/requests/{shown_id}")).status_code == 404
    assert shown_id not in (await carla.get("/requests")).text
    assert (await carla.get(f"/requests?find={shown_id}")).status_code in (200, 303)
    assert (await olga.get(f"/requests/{shown_id}")).status_code == 403


async def test_request_without_a_valid_key_is_of_no_workspace(client: httpx.AsyncClient, pool: Connections) -> None:
    """A request that nobody is known for is not kept."""
    refused = await client.get("/api/v2/contacts")
    request_id = ids.decoded(ids.REQUEST, refused.headers["X-Request-Id"])

    assert refused.status_code == 401
    assert await pool.fetchval("select count(*) from request_log where id = $1", request_id) == 0


def _dropped() -> float:
    dropped = REGISTRY.get_sample_value("herdbook_request_log_dropped_total")
    assert dropped is not None, "it is registered"
    return dropped


def _answered(workspace_id: UUID) -> AnsweredRequest:
    known = (workspace_id, ids.new_id(), ids.new_id(), "list-contacts", "GET", "/v2/contacts")
    return AnsweredRequest(*known, (), b"", None, 200, 0.001)


def _fill(log: RequestLog, workspace_id: UUID, count: int, *, is_good_read: bool) -> int:
    """Offer requests to a log; return how many it took."""
    taken, shown_id = 0, ids.encoded(ids.WORKSPACE, workspace_id)
    for _ in range(count):
        if log.has_room(shown_id, is_good_read=is_good_read):
            log.add(shown_id, _answered(workspace_id))
            taken += 1
    return taken


def test_log_is_bounded_and_fair() -> None:
    """The requests of one workspace leave room for those of others, and its reads for its changes. The rest is counted."""
    log, busy, quiet = RequestLog(), ids.new_id(), ids.new_id()
    before = _dropped()

    assert _fill(log, busy, 2000, is_good_read=True) == 200
    assert _fill(log, busy, 2000, is_good_read=False) == 300
    assert _fill(log, quiet, 10, is_good_read=True) == 10
    assert sum(_fill(log, ids.new_id(), 1000, is_good_read=False) for _ in range(10)) == 1490
    assert len(log.take()) == 2000
    assert _dropped() - before == 1800 + 1700 + 8510
    assert log.take() == []
    assert _fill(log, busy, 1, is_good_read=True) == 1


async def test_request_that_cannot_be_written_loses_no_other_one(app_pool: Pool, workspace_id: UUID) -> None:
    """The database refuses one request of many: that one is dropped and counted, and the others are written."""
    log = RequestLog()
    before = _dropped()
    sent = [_answered(workspace_id) for _ in range(9)]
    for each in (*sent[:4], sent[4]._replace(status=99_999), *sent[5:]):
        log.add(ids.encoded(ids.WORKSPACE, workspace_id), each)

    await write(app_pool, log)

    written = await app_pool.fetch("select id from request_log where workspace_id = $1", workspace_id)
    assert {record["id"] for record in written} == {each.id for each in sent} - {sent[4].id}
    assert _dropped() - before == 1


async def test_requests_are_dropped_and_counted_while_the_database_is_away(database_url: str) -> None:
    """A log that cannot be written costs no memory, and says how many requests it lacks."""
    pool, log = await open_pool(database_url, 2), RequestLog()
    await pool.close()
    before = _dropped()
    _fill(log, ids.new_id(), 5, is_good_read=True)

    await write(pool, log)

    assert _dropped() - before == 5
    assert log.take() == []


def _kept(workspace_id: UUID, request_id: UUID) -> KeptRequest:
    return KeptRequest(workspace_id, request_id, ids.NIL, "list-contacts", "GET", "/api/v2/contacts", None, 200, 1.0)


async def test_only_where_requests_were_written_are_there_too_many(
    workspace_id: UUID, charlie: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each minute a server deletes what is too much in the workspaces whose requests it has written, and looks at no other."""
    monkeypatch.setattr(store, "MOST_REQUESTS", 3)
    pool: Pool = await open_pool(database_url, 2)
    log = RequestLog()
    try:
        await store.add(pool, [_kept(each, ids.new_id()) for each in (workspace_id, charlie.workspace_id) for _ in range(5)])
        _fill(log, workspace_id, 2, is_good_read=True)
        await write(pool, log)
        await trim_grown(pool, log, 1)
        count = "select count(*) from request_log where workspace_id = $1"
        left = [await pool.fetchval(count, each) for each in (workspace_id, charlie.workspace_id)]
        await store.add(pool, [_kept(workspace_id, ids.new_id())])
        await trim_grown(pool, log, 1)
        again = await pool.fetchval(count, workspace_id)
    finally:
        await pool.close()

    assert left == [3, 5]
    assert again == 4


async def test_old_requests_and_too_many_are_deleted(
    workspace_id: UUID, charlie: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests go after their time, and the oldest of a workspace when it has too many; another workspace keeps its own.

    The server of the tests deletes those of 72 hours itself, so these are younger.
    """
    pool: Pool = await open_pool(database_url, 2)
    try:
        old, now = UUID(int=ids.new_id().int - (50 * 3_600_000 << 80)), [ids.new_id() for _ in range(5)]
        await store.add(pool, [_kept(workspace_id, each) for each in (old, *now)])
        await store.add(pool, [_kept(charlie.workspace_id, old)])

        async def left(of: UUID) -> list[UUID]:
            return [
                record[0] for record in await pool.fetch("select id from request_log where workspace_id = $1 order by 1", of)
            ]

        await store.trim(pool, 51)
        assert await left(workspace_id) == [old, *sorted(now)]
        await store.trim(pool, 49)
        assert await left(workspace_id) == sorted(now)
        assert await left(charlie.workspace_id) == []
        monkeypatch.setattr(store, "MOST_REQUESTS", 3)
        await store.trim(pool, 49)
        assert await left(workspace_id) == sorted(now)[-3:]
    finally:
        await pool.close()
