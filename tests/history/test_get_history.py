"""GET /herdbook/contacts/{contact_id}/history, and the same for companies, tags and engagements."""

from uuid import uuid4

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.companies.commands import DeleteCompany
from herdbook.contacts.commands import ContactsOfCompany
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Person, Thing, faults
from tests.engagements.calls import Made, create
from tests.engagements.conftest import Keys
from tests.history.requests import Register, beside, history, person_named, restore, told


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing) -> None:
    """Without a credential the answer is 401."""
    response = await client.get(beside(ada, "history"))

    assert response.status_code == 401


async def test_charlie_is_refused(charlie: Person, ada: Thing) -> None:
    """The history of another workspace's object is not found."""
    response = await charlie.get(beside(ada, "history"))

    assert response.status_code == 404


async def test_who_may_not_read_is_refused(dave: Person, ada: Thing) -> None:
    """The history of an object requires the scope that reads the object."""
    response = await dave.get(beside(ada, "history"))

    assert response.status_code == 403


async def test_it_tells_what_has_changed(alice: Person, bob: Person, ada: Thing, engine: Thing) -> None:
    """The history lists every change, latest first, with old and new value of each field."""
    await alice.patch(ada.url, json={"first_name": "Augusta", "description": "Wrote the first program."})
    await alice.patch(ada.url, json={"first_name": None, "description": None, "company_id": engine.id})
    emails = [{"email": "ada@engine.test", "is_primary": True}]

    assert await told(bob, ada) == [
        (
            "updated",
            {
                "first_name": ("Augusta", None),
                "description": ("Wrote the first program.", None),
                "company": (None, {"id": engine.id, "object": "company"}),
            },
        ),
        ("updated", {"first_name": ("Ada", "Augusta"), "description": (None, "Wrote the first program.")}),
        ("created", {"first_name": (None, "Ada"), "last_name": (None, "Lovelace"), "emails": (None, emails)}),
    ]


async def test_it_tells_who_and_when(alice: Person, ada: Thing) -> None:
    """An entry names the version, time, request and credential of its change."""
    response = await alice.patch(ada.url, json={"first_name": "Augusta"})
    (latest, _) = (await history(alice, ada))["data"]

    assert latest == {
        "object": "history_entry",
        "version": int(response.headers["ETag"].strip('"')),
        "action": "updated",
        "at": response.json()["updated_at"],
        "request_id": response.headers["X-Request-Id"],
        "by": {
            "credential_id": ids.encoded(ids.CREDENTIAL, alice.key.id),
            "credential_name": "Somebody",
            "user_id": None,
        },
        "changes": {"first_name": {"from": "Ada", "to": "Augusta"}},
    }


async def test_it_names_the_user_of_a_key(alice: Person, ada: Thing, keys: Keys, owner: Thing) -> None:
    """An entry by a key that was made for a user names this user."""
    somebody = await keys.holder("contacts:write", user=owner)
    await somebody.patch(ada.url, json={"first_name": "Augusta"})

    assert (await history(alice, ada))["data"][0]["by"]["user_id"] == owner.id


async def test_the_command_line_has_no_credential(alice: Person, ada: Thing, engine: Thing, ledger: Ledger) -> None:
    """A write from the command line has no credential and no user."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
    await ledger.write(alice.workspace_id, DeleteCompany(engine.uuid, ContactsOfCompany()), origin)
    (latest, *_) = (await history(alice, ada))["data"]

    assert latest["changes"] == {"company": {"from": {"id": engine.id, "object": "company"}, "to": None}}
    assert latest["request_id"] == ids.encoded(ids.REQUEST, origin.request_id)
    assert latest["by"] == {"credential_id": None, "credential_name": None, "user_id": None}


async def test_a_program_is_named(alice: Person, ada: Thing, register: Register, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A write by an OAuth client names the client."""
    client_id = uuid4()
    statement = """
        insert into oauth_client (id, workspace_id, name, scopes, redirect_uris, secret_hash)
        values ($1, $2, 'Dialer', '{}', '{}', '')
    """
    await pool.execute(statement, client_id, alice.workspace_id)
    await register.attribute(int(ada.etag.strip('"')), client_id)
    (only,) = (await history(alice, ada))["data"]

    assert only["by"] == {
        "credential_id": ids.encoded(CLIENT_PREFIX, client_id),
        "credential_name": "Dialer",
        "user_id": None,
    }


async def test_it_goes_beyond_a_deletion(alice: Person, renewal: Thing) -> None:
    """A deleted object keeps its history; deletion and restoration show the object's values."""
    await alice.delete(renewal.url)
    deleted = await told(alice, renewal)
    await restore(alice, renewal)
    members = {name: renewal.json[name] for name in ("name", "description", "hex_color", "auto_tagging_enabled")}

    assert deleted[0] == ("deleted", {name: (value, None) for name, value in members.items()})
    assert (await told(alice, renewal))[0] == ("restored", {name: (None, value) for name, value in members.items()})
    assert [action for action, _ in await told(alice, renewal)] == ["restored", "deleted", "created"]


async def test_companies_have_one(alice: Person, engine: Thing) -> None:
    """A company has a history."""
    await alice.patch(engine.url, json={"name": "Difference Engine"})

    assert (await told(alice, engine))[0] == ("updated", {"name": ("Analytical Engine", "Difference Engine")})


async def test_a_merged_contact_tells_where_it_went(alice: Person, ada: Thing, grace: Thing) -> None:
    """The deletion by a merge, and its reversal, name the contact that replaced the merged one."""
    await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
    await alice.patch(grace.url, json={"emails": []})
    await restore(alice, ada)
    data = (await history(alice, ada))["data"]

    assert [(entry["action"], entry.get("merged_into")) for entry in data] == [
        ("restored", grace.id),
        ("deleted", grace.id),
        ("created", None),
    ]


@pytest.mark.parametrize("object_id", ["cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "nobody", "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_never_was_is_not_found(alice: Person, object_id: str) -> None:
    """An id without a contact has no history."""
    response = await alice.get(f"/api/herdbook/contacts/{object_id}/history")

    assert response.status_code == 404


async def test_it_comes_in_pages(alice: Person, ada: Thing, grace: Thing) -> None:
    """Paging returns each entry once, whatever happens meanwhile; only the last page is complete."""
    for number in range(5):
        await alice.patch(ada.url, json={"first_name": f"Ada {number}"})
        await alice.patch(grace.url, json={"first_name": f"Grace {number}"})
    first = await history(alice, ada, limit=2)
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    second = await history(alice, ada, cursor=first["next_cursor"], limit=3)
    third = await history(alice, ada, cursor=second["next_cursor"])
    names = [entry["changes"]["first_name"]["to"] for page in (first, second, third) for entry in page["data"]]

    assert names == ["Ada 4", "Ada 3", "Ada 2", "Ada 1", "Ada 0", "Ada"]
    assert [(page["has_more"], page["complete"]) for page in (first, second, third)] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    assert third["next_cursor"] is None


async def test_an_empty_cursor_is_that_of_the_first_page(alice: Person, ada: Thing) -> None:
    """An empty cursor means the first page, as in every list, also beside a time."""
    first, empty = await history(alice, ada), await history(alice, ada, cursor="")

    assert empty == first
    assert (await alice.get(f"/api/herdbook/contacts/{ada.id}/history?at={ada.json['created_at']}&cursor=")).status_code == 200


async def test_a_cursor_is_of_one_history(alice: Person, ada: Thing, grace: Thing) -> None:
    """A cursor of another object, or a forged one, is refused."""
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    cursor = (await history(alice, ada, limit=1))["next_cursor"]

    for thing, sent in ((grace, cursor), (ada, "1"), (ada, cursor[:-1])):
        response = await alice.get(beside(thing, "history"), params={"cursor": sent})
        assert (response.status_code, faults(response)) == (400, [("cursor", "invalid_cursor")])


@pytest.mark.parametrize("limit", ["0", "101", "many"])
async def test_a_page_has_a_limit(alice: Person, ada: Thing, limit: str) -> None:
    """A page has 1 to 100 entries."""
    response = await alice.get(beside(ada, "history"), params={"limit": limit})

    assert response.status_code == 400
    assert faults(response)[0][0] == "limit"


async def test_it_ends_where_the_ledger_does(alice: Person, ada: Thing, register: Register) -> None:
    """A history whose oldest entries are trimmed says that it is not complete."""
    for number in range(3):
        await alice.patch(ada.url, json={"first_name": f"Ada {number}"})
    cursor = (await history(alice, ada, limit=3))["next_cursor"]
    last = int(ada.etag.strip('"'))
    await register.trim(last + 1)
    page = await history(alice, ada)
    rest = await history(alice, ada, cursor=cursor)
    await register.trim(last + 3)
    nothing = await history(alice, ada)

    assert [entry["changes"]["first_name"]["from"] for entry in page["data"]] == ["Ada 1", "Ada 0"]
    assert (page["has_more"], page["next_cursor"], page["complete"]) == (False, None, False)
    assert rest == nothing == {"object": "list", "data": [], "has_more": False, "next_cursor": None, "complete": False}


async def test_entries_of_the_last_release_are_found(alice: Person, ada: Thing, step: Made, register: Register) -> None:
    """Entries of the last release lack the number of the previous entry; it is searched among all entries and ids."""
    timeline = {"speakers": [{"name": "Ada"}], "entries": []}
    for number in range(3):
        await alice.patch(ada.url, json={"first_name": f"Ada {number}"})
        await alice.put(step.set_timeline_url, json=timeline)
        await alice.put(f"{step.url}/tags", json={"tag_ids": []})
        await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id] if number % 2 else []})
    before = [await history(alice, thing) for thing in (ada, step)]
    await register.unchain()

    assert [await history(alice, thing) for thing in (ada, step)] == before
    assert all(page["complete"] for page in before)
    await register.trim(int(step.etag.strip('"')))
    assert not (await history(alice, step))["complete"]


async def test_an_engagement_tells_its_links(alice: Person, engine: Thing, renewal: Thing) -> None:
    """An engagement's history shows its links, and no other internal field."""
    ada = await person_named(alice, "ada@engine.test", company_id=engine.id)
    (made,) = await create(alice, "The next step", participants=[{"name": "Ada", "email": "ada@engine.test"}])
    await alice.put(f"{made.url}/tags", json={"tag_ids": [renewal.id]})
    await alice.put(f"{made.url}/contacts", json={"contact_ids": []})
    (unlinked, tagged, created) = await told(alice, made)

    assert unlinked == ("updated", {"contact_ids": ([ada.id], []), "company_ids": ([engine.id], [])})
    assert tagged == ("updated", {"tag_ids": ([], [renewal.id])})
    assert created[1]["contact_ids"] == (None, [ada.id])
    assert created[1].keys() == {
        *(made.json.keys() - {"object", "id", "created_at", "updated_at"}),
        *("contact_ids", "company_ids"),
    }


async def test_links_are_told_to_who_may_read_them(alice: Person, ada: Thing, engine: Thing, keys: Keys) -> None:
    """An engagement's linked contacts are shown only with `contacts:read`, its companies only with `companies:read`."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    (made,) = await create(alice, "The next step", participants=[{"name": "Ada", "email": "ada@engine.test"}])
    expected = {"contacts:read": {"contact_ids"}, "companies:read": {"company_ids"}, "tags:read": set[str]()}

    for scope, links in expected.items():
        somebody = await keys.holder("engagements:read", scope)
        ((_, changes),) = await told(somebody, made)
        assert {name for name in changes if name.endswith("_ids")} == links


async def test_what_is_private_is_not_told(bob: Person, erin: Person, alice: Person, secret: Made) -> None:
    """The history of a private engagement is shown to those who may read it, and not found for others."""
    for at in ({}, {"at": secret.json["updated_at"]}):
        refused = await bob.get(beside(secret, "history"), params=at)
        shown = await erin.get(beside(secret, "history"), params=at)
        assert (refused.status_code, shown.status_code) == (404, 200)
    assert (await alice.get(beside(secret, "history"))).json() == (await erin.get(beside(secret, "history"))).json()
