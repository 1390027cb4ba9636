"""GET /herdbook/.../deleted: the deleted objects of a type that can come back."""

from typing import Any

import httpx
import pytest

from tests.cast import Json, Person, Thing

CONTACTS = "/api/herdbook/contacts/deleted"


async def _page(person: Person, url: str = CONTACTS, **query: Any) -> Json:
    response = await person.get(url, params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """The list requires a credential."""
    assert (await client.get(CONTACTS)).status_code == 401


async def test_a_stranger_sees_nothing(alice: Person, charlie: Person, ada: Thing) -> None:
    """Charlie's list has nothing of Alice's workspace."""
    await alice.delete(ada.url)

    assert await _page(charlie) == {"object": "list", "data": [], "has_more": False, "next_cursor": None}


async def test_deleted_contact_is_listed_as_it_was(alice: Person, ada: Thing, grace: Thing) -> None:
    """An item has the contact, when and by whom it was deleted, and in which request. Active contacts are not there."""
    assert grace.id
    deleted = await alice.delete(ada.url)

    (item,) = (await _page(alice))["data"]

    assert (item["object_type"], item["id"], item["data"]) == ("contact", ada.id, ada.json)
    assert item["request_id"] == deleted.headers["X-Request-Id"]
    history = (await alice.get(f"/api/herdbook/contacts/{ada.id}/history")).json()["data"]
    assert (item["by"], item["version"], item["deleted_at"]) == tuple(history[0][name] for name in ("by", "version", "at"))
    restored = await alice.post(f"/api/herdbook/contacts/{ada.id}/restore", headers={"If-Match": f'"{item["version"]}"'})
    assert restored.status_code == 200
    assert (await _page(alice))["data"] == []


async def test_merged_contact_is_not_listed(alice: Person, ada: Thing, grace: Thing) -> None:
    """A contact that was merged lives on in another one."""
    await alice.post(f"/api/herdbook/contacts/{ada.id}/merge", json={"from": [grace.id]})

    assert (await _page(alice))["data"] == []


async def test_pages_follow_each_other(alice: Person) -> None:
    """The latest deletion comes first, and the cursor goes on where a page ended, whatever is deleted meanwhile."""
    tags = [Thing(await alice.post("/api/v2/tags", json={"name": f"Tag {number}"})) for number in range(6)]
    for tag in tags[:5]:
        await alice.delete(tag.url)
    url = "/api/herdbook/tags/deleted"
    first = await _page(alice, url, limit=3)
    await alice.delete(tags[5].url)

    second = await _page(alice, url, limit=3, cursor=first["next_cursor"])

    found = [each["id"] for page in (first, second) for each in page["data"]]
    assert found == [tag.id for tag in reversed(tags[:5])]
    assert (second["has_more"], second["next_cursor"]) == (False, None)


@pytest.mark.parametrize("plural", ["companies", "notes"])
async def test_other_types_are_listed(alice: Person, ada: Thing, engine: Thing, plural: str) -> None:
    """Companies and notes have such a list, too."""
    note = Thing(await alice.post(f"/api/herdbook/contacts/{ada.id}/notes", json={"text": "Hello."}))
    thing = engine if plural == "companies" else note
    await alice.delete(thing.url)

    (item,) = (await _page(alice, f"/api/herdbook/{plural}/deleted"))["data"]

    assert item["id"] == thing.id


async def test_scopes_are_those_of_the_type(dave: Person) -> None:
    """Dave, who may only write, is refused."""
    assert (await dave.get(CONTACTS)).status_code == 403


async def test_cursor_of_another_list_is_refused(alice: Person, ada: Thing) -> None:
    """A cursor is valid for its list only."""
    assert ada.id
    response = await alice.get(CONTACTS, params={"cursor": "x"})

    assert response.status_code == 400
