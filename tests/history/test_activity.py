"""GET /herdbook/activity: the changes of a workspace, the latest first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from herdbook.auth.store import create_key
from herdbook.history import store
from herdbook.ledger.retention import trim_slice
from herdbook.users.model import NewUser
from tests.cast import Json, Person, Team, Thing, faults

URL = "/api/herdbook/activity"


async def _page(person: Person, **query: Any) -> Json:
    response = await person.get(URL, params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def _walked(person: Person, **query: Any) -> list[Json]:
    """Return all entries, page by page."""
    page = await _page(person, **query)
    found = [*page["data"]]
    while page["next_cursor"] is not None:
        page = await _page(person, **query | {"cursor": page["next_cursor"]})
        found += page["data"]
    assert not page["has_more"]
    return found


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """The activity requires a credential."""
    assert (await client.get(URL)).status_code == 401


async def test_a_stranger_sees_nothing(charlie: Person, ada: Thing) -> None:
    """Charlie's activity has nothing of Alice's workspace."""
    assert ada.id

    assert await _page(charlie) == {"object": "list", "data": [], "has_more": False, "next_cursor": None}


async def test_changes_come_with_their_objects_and_authors(alice: Person, ada: Thing, engine: Thing) -> None:
    """An entry has the object, its name, the request, the author, and old and new values."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})

    found = (await _page(alice))["data"]

    assert [(each["object_type"], each["object_id"], each["action"]) for each in found[:3]] == [
        ("contact", ada.id, "updated"),
        ("company", engine.id, "created"),
        ("contact", ada.id, "created"),
    ]
    assert found[0]["changes"] == {"first_name": {"from": "Ada", "to": "Augusta"}}
    assert found[0]["name"] == "Augusta Lovelace"
    assert found[0]["request_id"] == changed.headers["X-Request-Id"]
    history = (await alice.get(f"/api/herdbook/contacts/{ada.id}/history")).json()["data"]
    assert found[0]["by"] == history[0]["by"]
    assert found[0]["at"] == changed.json()["updated_at"]


async def test_pages_follow_each_other_while_others_write(alice: Person, ada: Thing) -> None:
    """The pages have each entry once, and nothing that was written meanwhile."""
    for number in range(5):
        await alice.patch(ada.url, json={"first_name": f"N{number}"})
    whole = await _walked(alice)
    first = await _page(alice, limit=2)
    await alice.patch(ada.url, json={"first_name": "Late"})

    rest = await _walked(alice, limit=2, cursor=first["next_cursor"])

    assert [*first["data"], *rest] == whole


async def test_a_filter_finds_what_is_far_back(
    alice: Person, ada: Thing, renewal: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page ends after some entries that do not match, and the following ones find the others."""
    for number in range(9):
        await alice.patch(renewal.url, json={"name": f"Tag {number}"})
    monkeypatch.setattr(store, "LOOKED_AT", 3)

    page = await _page(alice, types="contact")
    found = await _walked(alice, types="contact")

    assert (page["data"], page["has_more"]) == ([], True)
    assert [each["object_id"] for each in found] == [ada.id]


async def test_activity_is_filtered_by_key_and_user(
    alice: Person, team: Team, ada: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A key has its own changes, and a user those of all keys that act for the user."""
    user = await team.join(NewUser("Grace", "Hopper"))
    keys = [await create_key(pool, alice.workspace_id, name, ["contacts:write"], user_id=user.uuid) for name in ("One", "Two")]
    for key in keys:
        await Person(alice.client, alice.workspace_id, key).patch(ada.url, json={"first_name": str(key)[:50]})

    by_user = await _walked(alice, user_id=user.id)
    by_key = await _walked(alice, credential_id=by_user[0]["by"]["credential_id"])

    assert [each["by"]["credential_name"] for each in by_user] == ["Two", "One"]
    assert [each["by"]["credential_name"] for each in by_key] == ["Two"]
    assert await _walked(alice, user_id="usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T") == []
    assert await _walked(alice, user_id="usr_1") == []


async def test_activity_shows_what_the_credential_may_read(
    alice: Person, ada: Thing, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Without a scope, a type is left out; asked for, it is refused."""
    assert engine.id
    key = await create_key(pool, alice.workspace_id, "Reader", ["contacts:read"])
    reader = Person(alice.client, alice.workspace_id, key)

    assert {each["object_type"] for each in await _walked(reader)} <= {"contact", "field"}
    assert ada.id in {each["object_id"] for each in await _walked(reader)}
    assert (await reader.get(URL, params={"types": "company"})).status_code == 403


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ({"types": "shoe"}, ("types[0]", "invalid_choice")),
        ({"user_id": "cnt_1"}, ("user_id", "invalid_format")),
        ({"credential_id": "cnt_1"}, ("credential_id", "invalid_format")),
        ({"cursor": "x"}, ("cursor", "invalid_cursor")),
    ],
)
async def test_bad_parameters_are_named(alice: Person, query: dict[str, str], fault: tuple[str, str]) -> None:
    """Each parameter is refused by its name."""
    response = await alice.get(URL, params=query)

    assert response.status_code == 400
    assert faults(response)[0][1] == fault[1]


async def test_cursor_belongs_to_its_filter(alice: Person, ada: Thing) -> None:
    """A cursor of other parameters is refused, so that no page is skipped in silence."""
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    page = await _page(alice, limit=1)

    response = await alice.get(URL, params={"cursor": page["next_cursor"], "types": "contact"})

    assert response.status_code == 400


async def test_undo_is_told_from_other_changes(alice: Person, ada: Thing) -> None:
    """An entry of an undo names the request that it has undone, in the activity and in the history."""
    changed = (await alice.patch(ada.url, json={"first_name": "Augusta"})).headers["X-Request-Id"]
    await alice.post("/api/herdbook/undo", params={"dry_run": "true"}, json={"request_id": changed})
    await alice.post("/api/herdbook/undo", json={"request_id": changed})

    entries = (await _page(alice))["data"]
    history = (await alice.get(f"/api/herdbook/contacts/{ada.id}/history")).json()["data"]

    for found in (entries, history):
        assert [each.get("undoes") for each in found[:2]] == [changed, None]


async def test_entry_leads_to_the_object_that_it_is_part_of(alice: Person, ada: Thing) -> None:
    """A note belongs to a contact or a company, a comment and a transcript to an engagement, and other objects to none."""
    await alice.post(f"/api/herdbook/contacts/{ada.id}/notes", json={"text": "Likes tea."})

    found = (await _page(alice))["data"]

    assert [(each["object_type"], each["part_of"]) for each in found[:2]] == [("note", ada.id), ("contact", None)]


async def test_undos_go_with_their_entries(alice: Person, ada: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Once the entries of an undo are no longer kept, nothing is kept of it."""
    changed = (await alice.patch(ada.url, json={"first_name": "Augusta"})).headers["X-Request-Id"]
    await alice.post("/api/herdbook/undo", json={"request_id": changed})
    old = datetime.now(UTC) - timedelta(days=100)
    await pool.execute("update change set at = $2 where workspace_id = $1", alice.workspace_id, old)
    before = await pool.fetchval("select count(*) from undone_request where workspace_id = $1", alice.workspace_id)

    await trim_slice(pool, alice.workspace_id, 90)

    assert before == 1
    assert await pool.fetchval("select count(*) from undone_request where workspace_id = $1", alice.workspace_id) == 0
