"""The operations of /herdbook/views."""

from typing import Any, Final, NamedTuple

import asyncpg
import httpx
import pytest

from herdbook.auth.store import create_key
from herdbook.users.model import UserRole
from herdbook.views.model import MAX_VIEWS, ViewCreate
from tests.cast import Json, Person, Stored
from tests.console.people import People
from tests.custom_fields.definitions import define

URL: Final = "/api/herdbook/views"
WHERE: Final = {"and": [{"field": "last_name", "op": "begins_with", "value": "love"}]}
BODY: Final[Json] = {"object_type": "contact", "name": "Countesses", "shared": True, "where": WHERE}


class Saved(NamedTuple):
    """A view that was saved."""

    json: Json
    id: str


async def saved(person: Person, **members: Any) -> Saved:
    """Save a view."""
    response = await person.post(URL, json=BODY | members)
    assert response.status_code == 201, response.text
    return Saved(response.json(), response.json()["id"])


async def acting_for_user(people: People, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, scopes: list[str]) -> Person:
    """Return somebody whose key acts for a user of Alice's workspace."""
    member = await people.member(alice.workspace_id, "Olga", UserRole.MEMBER)
    key = await create_key(pool, alice.workspace_id, "Olga's", scopes, user_id=member.user_id)
    return Person(alice.client, alice.workspace_id, key)


READ: Final = ["contacts:read", "companies:read"]
WRITE: Final = [*READ, "contacts:write"]


async def test_anonymous_is_refused(client: httpx.AsyncClient, alice: Person) -> None:
    """A request without a credential gets 401."""
    path = f"{URL}/{(await saved(alice)).id}"

    answers = [await client.get(URL), await client.post(URL, json=BODY), await client.get(path)]
    answers += [await client.patch(path, json={"name": "Mine"}), await client.delete(path)]

    assert [each.status_code for each in answers] == [401] * 5


async def test_charlie_is_refused(charlie: Person, alice: Person) -> None:
    """A view of another workspace is not there, and stays as it is."""
    view = await saved(alice)
    path = f"{URL}/{view.id}"

    answers = [await charlie.get(path), await charlie.patch(path, json={"name": "Mine"}), await charlie.delete(path)]

    assert [each.status_code for each in answers] == [404] * 3
    assert (await charlie.get(URL)).json()["data"] == []
    assert (await alice.get(path)).json() == view.json


async def test_view_is_saved_as_sent(alice: Person, stored: Stored) -> None:
    """Everything that is sent comes back, and what is not sent is empty. A view is no entry of the ledger."""
    whole = (await saved(alice, **ViewCreate.example)).json
    bare = (await alice.post(URL, json={"object_type": "company", "name": "All", "shared": True})).json()

    assert {name: whole[name] for name in ViewCreate.example} == ViewCreate.example
    assert whole["owner_id"] is None
    assert (bare["where"], bare["search"], bare["sort"], bare["columns"]) == (None, None, [], [])
    assert (await alice.get(f"{URL}/{whole['id']}")).json() == whole
    assert await stored.changes() == []


async def test_views_are_listed_by_name(alice: Person) -> None:
    """The views of one type of objects, or of all, in the order of their names."""
    for name, object_type in (("beta", "contact"), ("Alpha", "contact"), ("Gamma", "company")):
        await saved(alice, name=name, object_type=object_type, where=None)

    async def names(query: str) -> list[str]:
        return [each["name"] for each in (await alice.get(URL + query)).json()["data"]]

    assert await names("") == ["Alpha", "beta", "Gamma"]
    assert await names("?object_type=contact") == ["Alpha", "beta"]
    assert (await alice.get(f"{URL}?object_type=tag")).status_code == 400


async def test_view_is_changed(alice: Person) -> None:
    """Absent leaves a member alone, and null clears it."""
    view = await saved(alice, search="ada", sort=[{"field": "last_name"}], columns=["emails"])
    path = f"{URL}/{view.id}"

    renamed = (await alice.patch(path, json={"name": "Others"})).json()
    cleared = (await alice.patch(path, json={"where": None, "search": None, "sort": None, "columns": None})).json()

    assert {**renamed, "name": "Countesses", "updated_at": ""} == {**view.json, "updated_at": ""}
    assert renamed["updated_at"] > view.json["updated_at"]
    assert (cleared["where"], cleared["search"], cleared["sort"], cleared["columns"]) == (None, None, [], [])
    assert cleared["name"] == "Others"


async def test_view_is_deleted(alice: Person) -> None:
    """A deleted view is not there."""
    path = f"{URL}/{(await saved(alice)).id}"

    deleted = await alice.delete(path)

    assert (deleted.status_code, deleted.json()["object"]) == (200, "view")
    assert [(await alice.get(path)).status_code, (await alice.delete(path)).status_code] == [404, 404]


async def test_private_view_is_its_owners_alone(people: People, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person) -> None:
    """Nobody else sees a view until it is shared. Its owner alone takes it back."""
    olga = await acting_for_user(people, pool, alice, WRITE)
    other = await acting_for_user(people, pool, alice, WRITE)
    path = f"{URL}/{(await saved(olga, shared=False)).id}"
    hidden = [(await other.get(path)).status_code, (await alice.patch(path, json={"name": "Mine"})).status_code]
    hidden.append(len((await other.get(URL)).json()["data"]))

    await olga.patch(path, json={"shared": True})
    seen = (await other.get(path)).status_code
    taken = await other.patch(path, json={"shared": False})
    await other.patch(path, json={"name": "Everybody's"})
    back = await olga.patch(path, json={"shared": False})

    assert hidden == [404, 404, 0]
    assert seen == 200
    assert taken.status_code == 422
    assert "owner of the view alone" in taken.json()["detail"]
    assert (back.status_code, back.json()["name"]) == (200, "Everybody's")
    assert (await other.get(path)).status_code == 404


async def test_key_of_nobody_has_the_views_of_the_team(
    people: People, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person
) -> None:
    """A key that was made for no user acts for the first one elsewhere, but sees and saves only views of the team."""
    olga = await acting_for_user(people, pool, alice, WRITE)
    hidden, seen = await saved(olga, name="Hers", shared=False), await saved(olga)

    refused = await alice.post(URL, json=BODY | {"shared": False})
    answers = [await alice.get(f"{URL}/{hidden.id}"), await alice.patch(f"{URL}/{hidden.id}", json={"name": "Mine"})]
    taken = await alice.patch(f"{URL}/{seen.id}", json={"shared": False})

    assert [each["id"] for each in (await alice.get(URL)).json()["data"]] == [seen.id]
    assert [each.status_code for each in answers] == [404, 404]
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "shared")
    assert "keys create --user" in refused.json()["detail"]
    assert taken.status_code == 422
    assert (await saved(alice)).json["owner_id"] is None


async def test_viewer_has_views_of_their_own(people: People, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person) -> None:
    """Reading is enough for a private view. A view of the team needs the right to write such objects."""
    victor = await acting_for_user(people, pool, alice, READ)
    shared = await saved(alice)
    own = await saved(victor, shared=False)

    answers = [
        await victor.post(URL, json=BODY),
        await victor.patch(f"{URL}/{own.id}", json={"shared": True}),
        await victor.patch(f"{URL}/{shared.id}", json={"name": "Mine"}),
        await victor.delete(f"{URL}/{shared.id}"),
    ]

    assert [each.status_code for each in answers] == [403] * 4
    assert (await victor.patch(f"{URL}/{own.id}", json={"name": "Mine"})).status_code == 200
    assert (await victor.delete(f"{URL}/{own.id}")).status_code == 200
    assert (await alice.get(f"{URL}/{shared.id}")).json() == shared.json


async def test_views_of_what_one_may_not_read_are_hidden(
    people: People, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person
) -> None:
    """A credential that may not read companies sees no view of them, and saves none."""
    olga = await acting_for_user(people, pool, alice, ["contacts:read"])
    view = await saved(alice, object_type="company", where=None)

    assert (await olga.get(URL)).json()["data"] == []
    assert (await olga.get(f"{URL}/{view.id}")).status_code == 404
    refused = await olga.post(URL, json={"object_type": "company", "name": "All"})
    assert (refused.status_code, "companies:read" in refused.json()["detail"]) == (403, True)


@pytest.mark.parametrize(
    ("members", "field", "code"),
    [
        ({"name": ""}, "name", "too_short"),
        ({"name": "\u200b"}, "name", "blank"),
        ({"object_type": "tag"}, "object_type", "invalid_choice"),
        ({"shared": False}, "shared", "not_allowed"),
        ({"where": {"field": "shoe_size", "op": "is_set"}}, "where.field", "unknown_field"),
        ({"where": "last_name"}, "where", "invalid_type"),
        ({"sort": [{"field": "emails"}]}, "sort[0].field", "not_sortable"),
        ({"columns": ["x"] * 51}, "columns", "too_long"),
        ({"columns": ["emails", "last\u0000name"]}, "columns[1]", "invalid_characters"),
        ({"color": "red"}, "color", "unknown_field"),
    ],
)
async def test_refused_by_name(alice: Person, members: Json, field: str, code: str) -> None:
    """A view that a query would refuse is not saved, nor one that nobody could see."""
    refused = await alice.post(URL, json=BODY | members)

    assert refused.status_code == 422
    assert [(each["field"], each["code"]) for each in refused.json()["errors"]] == [(field, code)]
    assert (await alice.get(URL)).json()["data"] == []


async def test_refused_change_changes_nothing(alice: Person) -> None:
    """A change to what a query would refuse leaves the view as it is."""
    view = await saved(alice)

    for patch in ({"where": {"field": "last_name", "op": "near"}}, {"sort": [{"field": "x"}]}, {"name": None}):
        assert (await alice.patch(f"{URL}/{view.id}", json={"search": "new", **patch})).status_code == 422

    assert (await alice.get(f"{URL}/{view.id}")).json() == view.json


async def test_view_outlives_its_field(frank: Person) -> None:
    """A view whose field was archived is still read, renamed and mended."""
    field = await define(frank, "tier", "one_of")
    view = await saved(frank, where={"field": "fields.tier", "op": "eq", "value": "gold"})
    await frank.patch(field.url, json={"archived": True})
    path = f"{URL}/{view.id}"

    assert (await frank.get(path)).json() == view.json
    assert (await frank.patch(path, json={"name": "Former"})).status_code == 200
    assert (await frank.patch(path, json={"where": None})).json()["where"] is None


async def test_views_of_one_owner_are_bounded(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Past the limit, nothing more is saved until one is deleted."""
    first = await saved(alice)
    await pool.execute(
        """
        insert into saved_view (workspace_id, id, object_type, name, is_shared, content)
        select $1, gen_random_uuid(), 'contact', 'Many', true, '{}' from generate_series(2, $2)
        """,
        alice.workspace_id,
        MAX_VIEWS,
    )

    refused = await alice.post(URL, json=BODY)
    await alice.delete(f"{URL}/{first.id}")

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "too_long")
    assert (await alice.post(URL, json=BODY)).status_code == 201
