"""Histories of tags, users, webhooks and keys, and any moment of a tag."""

import re
from html import unescape
from urllib.parse import urlencode
from uuid import UUID

import pytest

from herdbook.auth.store import create_key
from herdbook.engagements.model import EngagementCreate
from herdbook.users.model import UserRole
from tests.cast import Person, Thing
from tests.console.people import People, Visitor
from tests.custom_fields.definitions import define
from tests.oauth.conftest import Connections


def _text(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.split("<main")[1]).split())


async def test_tag_is_shown_as_it_was_and_brought_back(olga: Visitor, frank: Person, renewal: Thing) -> None:
    """The history leads to each moment of a tag, beside what is different now; the state comes back in one change."""
    before = (await frank.get(renewal.url)).json()
    await frank.patch(renewal.url, json={"name": "Later", "hex_color": None})
    history = (await olga.get(f"/tags/{renewal.id}/history")).text
    path = f"/tags/{renewal.id}/then"
    assert f'href="/console{path}?{urlencode({"at": before["updated_at"]})}"' in history

    then = (await olga.get(f"{path}?{urlencode({'at': before['updated_at']})}")).text
    version = re.search(r'name="version" value="(\d+)"', then)
    assert version is not None
    back = await olga.post(path, {"at": before["updated_at"], "version": version[1]})

    assert f"{before['name']} Now: Later" in _text(then)
    assert back.status_code == 303
    now = (await frank.get(renewal.url)).json()
    assert {**now, "updated_at": ""} == {**before, "updated_at": ""}


async def test_earlier_state_of_a_tag_overwrites_no_later_change(olga: Visitor, frank: Person, renewal: Thing) -> None:
    """A change since the page was shown stays, and the page says whose it is."""
    before = (await frank.get(renewal.url)).json()
    changed = await frank.patch(renewal.url, json={"name": "Later"})
    await frank.patch(renewal.url, json={"name": "Latest"})
    form = {"at": before["updated_at"], "version": changed.headers["ETag"].strip('"')}

    late = await olga.post(f"/tags/{renewal.id}/then", form)

    assert late.status_code == 412
    assert "has changed this tag since you opened it" in late.text
    assert (await frank.get(renewal.url)).json()["name"] == "Latest"


async def test_deleted_tag_is_shown_and_restored(olga: Visitor, frank: Person, renewal: Thing) -> None:
    """A tag that was deleted is shown as it was, and restored from there."""
    at = (await frank.get(renewal.url)).json()["updated_at"]
    await frank.delete(renewal.url)

    page = (await olga.get(f"/tags/{renewal.id}/then?{urlencode({'at': at})}")).text
    back = await olga.post(f"/tags/{renewal.id}/then", {"at": at})

    assert "This tag was deleted." in _text(page)
    assert back.status_code == 303
    assert (await frank.get(renewal.url)).status_code == 200


async def test_history_of_a_user_tells_who_changed_the_role(anna: Visitor, victor: Visitor) -> None:
    """A viewer sees who gave somebody which role, and nobody can undo it there."""
    page = (await anna.post("/users/new", {"first_name": "Ivy", "email": "ivy@team.test", "role": "VIEWER"})).text
    found = re.search(r"/users/(usr_\w+)/", (await anna.get("/users/roles?search=ivy")).text)
    assert "Send this link" in page
    assert found is not None
    await anna.post(f"/users/{found[1]}/role", {"role": "MEMBER"})

    history = (await victor.get(f"/users/{found[1]}/history")).text

    told = _text(history)
    assert "Anna changed Role" in told
    assert "VIEWER MEMBER" in told
    assert "Anna created it" in told
    assert "Undo" not in told
    assert f'href="/console/users/{found[1]}/history"' in (await victor.get(f"/users/{found[1]}")).text


@pytest.mark.parametrize("shown_id", ["usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "nonsense"])
async def test_history_of_nobody_is_not_here(anna: Visitor, shown_id: str) -> None:
    """An id without a user has no history."""
    assert (await anna.get(f"/users/{shown_id}/history")).status_code == 404


async def test_history_of_a_webhook_goes_beyond_its_deletion(anna: Visitor, frank: Person, olga: Visitor) -> None:
    """Administrators see who changed and deleted a webhook, also afterwards; its secret is no part of it."""
    made = (await frank.post("/api/herdbook/webhooks", json={"url": "http://127.0.0.1:9000/webhooks"})).json()
    url = f"/api/herdbook/webhooks/{made['id']}"
    await frank.patch(url, json={"description": "The CRM"})
    await anna.post(f"/webhooks/{made['id']}/delete")

    page = (await anna.get(f"/webhooks/{made['id']}/history")).text

    told = _text(page)
    assert "Anna deleted it" in told
    assert "changed Description" in told
    assert "The CRM" in told
    assert made["secret"] not in page
    assert (await olga.get(f"/webhooks/{made['id']}/history")).status_code == 403
    assert f'href="/console/webhooks/{made["id"]}/history"' in (await anna.get("/activity?types=webhook_endpoint")).text


async def test_field_is_shown_as_it_was(anna: Visitor, frank: Person) -> None:
    """A change of its history leads to the field before and after it, beside what is different now."""
    field = await define(frank, key="size", label="Shoe <size>")
    await frank.patch(field.url, json={"label": "Size of shoes", "required": True})
    history = (await anna.get(f"/fields/{field.json['id']}/history")).text

    latest, first = [_text((await anna.get(each)).text) for each in _moments(history, field.json["id"])]

    assert "Label Shoe &lt;size&gt; Now: Size of shoes" in first
    assert "Required no Now: yes" in first
    assert "Label Size of shoes" in latest
    assert "Now:" not in latest


async def test_engagement_is_shown_as_it_was(anna: Visitor, frank: Person) -> None:
    """A moment of an engagement has its members with the names of users, and is there after its deletion."""
    call = Thing(await frank.post("/api/v2/engagements", json=EngagementCreate.example))
    [there] = _moments((await anna.get(f"/engagements/{call.id}/history")).text, call.id)

    now = _text((await anna.get(there)).text)
    await frank.delete(f"/api/herdbook/engagements/{call.id}")
    deleted = _text((await anna.get(there)).text)

    assert "Owner Anna Host Anna" in now
    assert "Now:" not in now + deleted
    assert "This engagement was deleted." in deleted
    assert "Data source dialer" in deleted


def _moments(history: str, object_id: str) -> list[str]:
    return [unescape(each) for each in re.findall(rf'href="/console(/\w+/{object_id}/then[^"]+)"', history)]


async def test_keys_lead_to_what_they_did(anna: Visitor, alice: Person, ada: Thing, pool: Connections) -> None:
    """The list of keys says when one was revoked, and leads to its changes and its requests."""
    made = await create_key(pool, alice.workspace_id, "Robot", ["contacts:read", "contacts:write"])
    await anna.client.patch(ada.url, json={"first_name": "Augusta"}, headers={"Authorization": f"Bearer {made}"})
    listed = (await anna.get("/keys")).text
    found = re.search(r'href="/console(/activity\?credential_id=[^"]+)">What it has changed<span [^>]+>: Robot<', listed)
    assert found is not None
    await anna.post(f"/keys/{str(made).partition('.')[0]}/revoke")

    assert "Robot changed" in _text((await anna.get(found[1])).text)
    assert "· revoked" in _text((await anna.get("/keys")).text)


async def test_history_of_a_key_tells_who_made_and_revoked_it(anna: Visitor, carla: Visitor, pool: Connections) -> None:
    """The history names the people who created and revoked a key, once; one that the command line made has no person."""
    created = await anna.post("/keys/new", {"name": "Sync", "scope": "contacts:read"})
    path = created.headers["location"].removeprefix("/console")
    await anna.post(f"{path}/revoke")
    await anna.post(f"{path}/revoke")
    workspace_id = await pool.fetchval("select workspace_id from credential where name = 'Sync'")
    other = await create_key(pool, workspace_id, "Other", ["contacts:read"])

    history = await anna.get(f"{path}/history")

    assert re.findall(r"(Anna|herdbook) (\w+) it", _text(history.text)) == [("Anna", "revoked"), ("Anna", "created")]
    assert "/console/requests/rid_" in history.text
    assert f'href="/console{path}/history"' in (await anna.get("/keys")).text
    assert "herdbook created it" in _text((await anna.get(f"/keys/{str(other).partition('.')[0]}/history")).text)
    assert (await carla.get(f"{path}/history")).status_code == 404


async def test_history_of_a_key_of_an_earlier_release_says_why_it_is_empty(anna: Visitor, pool: Connections) -> None:
    """Nothing was kept then, whatever time the operator has set."""
    created = await anna.post("/keys/new", {"name": "Old", "scope": "contacts:read"})
    await pool.execute("delete from credential_change")

    told = _text((await anna.get(created.headers["location"].removeprefix("/console") + "/history")).text)

    assert "This key is older than the first release that kept who did what to keys and clients." in told
    assert "operator" not in told


async def test_history_of_a_client_tells_each_change(anna: Visitor, carla: Visitor, people: People, workspace_id: UUID) -> None:
    """It has who changed which member from what to what, also in a conflict; a form that changes nothing adds nothing."""
    second = await people.join(workspace_id, "Ben", UserRole.ADMIN)
    facts = {"name": "Diary", "scope": "contacts:read", "redirect_uri": "https://diary.test/back"}
    created = await anna.post("/clients/new", {**facts, "kind": "confidential"})
    path = created.headers["location"].removeprefix("/console").removesuffix("/secret")
    page = (await anna.get(path)).text
    seen = dict(re.findall(r'name="(seen|version)" value="([^"]*)"', page))
    await second.post(path, {**facts, **seen, "name": "Planner"})
    await second.post(f"{path}/secret")

    late = await anna.post(path, {**facts, **seen, "redirect_uri": "https://diary.test/other"})
    history = (await anna.get(f"{path}/history")).text
    await second.post(f"{path}/revoke")

    assert late.status_code == 412
    assert "Ben has changed this client since you opened it, " in _text(late.text)
    told = _text(history)
    assert "Ben changed Secret" in told
    assert "Ben changed Name" in told
    assert "Diary Planner" in told
    assert "Anna created it" in told
    assert told.count(" changed ") == 2
    assert "Ben revoked it" in _text((await anna.get(f"{path}/history")).text)
    assert (await carla.get(f"{path}/history")).status_code == 404


async def test_late_deletion_of_a_view_names_who_changed_it(olga: Visitor, anna: Visitor, frank: Person) -> None:
    """Somebody deletes a view that another one has changed since: it stays, and the page says who it was, and when."""
    view = (await frank.post("/api/herdbook/views", json={"object_type": "contact", "name": "All", "shared": True})).json()
    seen = re.search(r'name="seen" value="([^"]+)"', (await anna.get(f"/contacts?view={view['id']}")).text)
    assert seen is not None
    assert view["updated_by"] is None
    await olga.post(f"/views/{view['id']}", {"name": "Everybody", "shared": "1", "seen": seen[1]})

    late = await anna.post(f"/views/{view['id']}/delete", {"seen": seen[1]})

    assert late.status_code == 412
    assert re.search(
        r"Olga has changed the view \u201cEverybody\u201d since you opened it, \d+ \w+ \d{4}, \d\d:\d\d UTC", late.text
    )
    assert (await frank.get(f"/api/herdbook/views/{view['id']}")).status_code == 200


async def test_words_of_an_entry_stand_apart(anna: Visitor, ada: Thing) -> None:
    """Between the time of a change and the link to its request is a space."""
    page = (await anna.get(f"/contacts/{ada.id}/history")).text

    assert re.search(r"</time></a>\s+<a [^>]*>Request</a>", page)
