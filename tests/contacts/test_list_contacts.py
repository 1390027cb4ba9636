"""GET /v2/contacts: pages, orders, cursors, parameters. Filters and search have their own files."""

import base64
from asyncio import TaskGroup
from collections.abc import Callable
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook.app import OPERATIONS
from herdbook.db.paging import PageQuery
from herdbook.http.page import CursorSigner
from tests.cast import Person, Thing, faults
from tests.contacts.listing import URL, create, listed, pages, walked
from tests.serving import serving_operations

CRM = "filter[crm_associations][eq]"


@pytest_asyncio.fixture
async def many(alice: Person) -> list[Thing]:
    """A hundred and one contacts, many of them created in one batch."""
    async with TaskGroup() as tasks:
        writes = [tasks.create_task(alice.post(URL, json={"first_name": f"Nobody {n}"})) for n in range(101)]
    return [Thing(write.result()) for write in writes]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(URL)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.usefixtures("ada")
async def test_charlie_sees_nothing(charlie: Person) -> None:
    """Contacts of another workspace are neither listed nor found."""
    assert await listed(charlie) == []
    assert await listed(charlie, {"search": "ada"}) == []


async def test_dave_is_refused(dave: Person) -> None:
    """A write-only credential cannot list anything."""
    response = await dave.get(URL)

    assert response.status_code == 403
    assert "contacts:read" in response.json()["detail"]


async def test_the_envelope(bob: Person, ada: Thing) -> None:
    """A list has the documented members and shows contacts as a read does."""
    response = await bob.get(URL)

    assert response.json() == {"object": "list", "data": [ada.json], "has_more": False, "next_cursor": None}
    assert response.headers["Content-Type"] == "application/json"
    assert "ETag" not in response.headers


async def test_an_empty_list(bob: Person) -> None:
    """A workspace without contacts has an empty list."""
    response = await bob.get(URL)

    assert response.json() == {"object": "list", "data": [], "has_more": False, "next_cursor": None}


async def test_the_latest_comes_first(alice: Person) -> None:
    """The most recently updated contact comes first, however old it is."""
    ada, *_ = await create(alice, "Ada", "Grace", "Edith")
    await alice.patch(ada.url, json={"last_name": "King"})

    assert await listed(alice) == ["Ada", "Edith", "Grace"]
    assert await listed(alice, {"order_by": "updated_at:desc"}) == ["Ada", "Edith", "Grace"]
    assert await listed(alice, {"order_by": "updated_at:asc"}) == ["Grace", "Edith", "Ada"]


async def test_a_page_has_25_unless_told_otherwise(alice: Person, many: list[Thing]) -> None:
    """The default limit is 25; it may be 1 to 100."""
    sizes = [len(await listed(alice, params)) for params in ({}, {"limit": "1"}, {"limit": "100"})]

    assert len(many) == 101
    assert sizes == [25, 1, 100]


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.0", "ten", "", " 5", "+5", "1e1", "٥", "9" * 5000])
async def test_a_limit_that_is_none_is_refused(alice: Person, limit: str) -> None:
    """A limit out of range is refused, not clamped."""
    response = await alice.get(URL, params={"limit": limit})

    assert response.status_code == 400
    assert faults(response) == [("limit", "invalid_range")]


async def test_a_full_last_page_has_no_next(alice: Person) -> None:
    """`has_more` says whether another page exists, not whether this one is full."""
    await create(alice, "Ada", "Grace")
    response = await alice.get(URL, params={"limit": 2})

    assert (response.json()["has_more"], response.json()["next_cursor"]) == (False, None)


@pytest.mark.parametrize("order", ["updated_at:asc", "updated_at:desc"])
@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_a_walk_meets_everything_once(alice: Person, order: str, limit: int) -> None:
    """The cursors lead through the whole list, in either order and with any limit."""
    names = list("abcdefg")
    await create(alice, *names)

    met = await walked(alice, {"order_by": order, "limit": limit})
    assert met == (names if order.endswith("asc") else names[::-1])


async def test_a_walk_passes_contacts_of_the_same_time(alice: Person, many: list[Thing]) -> None:
    """A walk meets each contact of one batch once, although all have the same time."""
    met = [contact async for page in pages(alice, {"limit": 2}) for contact in page]

    assert len({contact["updated_at"] for contact in met}) < len(met)
    assert sorted(contact["id"] for contact in met) == sorted(thing.id for thing in many)


async def test_a_walk_is_not_disturbed(alice: Person) -> None:
    """A walk meets each untouched contact once, and updated ones too, while others update, create and delete."""
    things = await create(alice, *"abcdefgh")
    met: list[str] = []
    async for page in pages(alice, {"order_by": "updated_at:asc", "limit": 2}):
        met += [contact["first_name"] for contact in page]
        if len(met) == 2:
            await alice.patch(things[0].url, json={"last_name": "met already"})
            await alice.patch(things[4].url, json={"first_name": "E"})
            await alice.delete(things[3].url)
            await create(alice, "i")

    assert met == ["a", "b", "c", "f", "g", "h", "a", "E", "i"]


async def test_a_walk_backwards_is_not_disturbed(alice: Person) -> None:
    """A walk with the latest first meets each untouched contact once, and no new one twice."""
    things = await create(alice, *"abcdefgh")
    met: list[str] = []
    async for page in pages(alice, {"limit": 2}):
        met += [contact["first_name"] for contact in page]
        if len(met) == 2:
            await alice.patch(things[7].url, json={"last_name": "met already"})
            await alice.delete(things[5].url)
            await create(alice, "i")

    assert met == ["h", "g", "e", "d", "c", "b", "a"]


@pytest.mark.parametrize("order", ["updated_at:asc", "updated_at:desc"])
async def test_a_cursor_survives_its_row(alice: Person, order: str) -> None:
    """A cursor stays valid when the last contact of its page is deleted."""
    things = {thing.json["first_name"]: thing for thing in await create(alice, *"abcde")}
    page = (await alice.get(URL, params={"order_by": order, "limit": 2})).json()
    await alice.delete(things[page["data"][-1]["first_name"]].url)

    rest = await listed(alice, {"cursor": page["next_cursor"], "limit": "5"})
    assert rest == (["c", "d", "e"] if order.endswith("asc") else ["c", "b", "a"])


async def test_a_cursor_carries_everything(alice: Person) -> None:
    """The next call sends only `limit` and `cursor`; the cursor carries search, filters and order."""
    things = await create(alice, "Ada 1", "Grace", "Ada 2", "Ada 3", "Ada 4")
    params = {
        "search": "ada",
        "order_by": "updated_at:asc",
        "limit": 1,
        "filter[updated_at][lte]": things[3].json["updated_at"],
    }
    page = (await alice.get(URL, params=params)).json()

    assert await listed(alice, {"cursor": page["next_cursor"], "limit": "5"}) == ["Ada 2", "Ada 3"]
    assert await walked(alice, params) == ["Ada 1", "Ada 2", "Ada 3"]


async def cursor_of(person: Person) -> str:
    """Return a cursor from a list of two contacts."""
    await create(person, "Ada", "Grace")
    cursor: str = (await person.get(URL, params={"limit": 1})).json()["next_cursor"]
    return cursor


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("search", "ada"),
        ("order_by", "updated_at:asc"),
        ("filter[updated_at][gt]", "2026-03-01T00:00:00Z"),
        (CRM, '[{"id":"1","object_type":"contact"}]'),
    ],
)
async def test_a_cursor_is_for_what_it_was_given_out_for(alice: Person, name: str, value: str) -> None:
    """A cursor is refused beside a parameter whose value contradicts it."""
    response = await alice.get(URL, params={"cursor": await cursor_of(alice), name: value})

    assert response.status_code == 400
    assert faults(response) == [(name, "not_with_cursor")]


async def test_a_cursor_is_for_its_filters_in_brackets_too(alice: Person) -> None:
    """A filter in the other encoding matches the cursor as well."""
    params = {"cursor": await cursor_of(alice), f"{CRM}[0][id]": "1", f"{CRM}[0][object_type]": "contact"}
    response = await alice.get(URL, params=params)

    assert response.status_code == 400
    assert faults(response) == [(CRM, "not_with_cursor")]


async def test_a_cursor_may_be_sent_with_what_it_carries(alice: Person) -> None:
    """A client may repeat the first call's parameters on each page, or send the default order."""
    await create(alice, "Ada 1", "Ada 2", "Grace", "Ada 3")
    params = {"limit": "1", "search": "ada", "order_by": "updated_at:asc", "filter[updated_at][gte]": "2026-03-01T00:00:00Z"}
    first = (await alice.get(URL, params=params)).json()
    second = (await alice.get(URL, params=params | {"cursor": first["next_cursor"]})).json()

    third = (await alice.get(URL, params={"cursor": second["next_cursor"], "order_by": "updated_at:desc"})).json()

    pages = first["data"] + second["data"] + third["data"]
    assert [contact["first_name"] for contact in pages] == ["Ada 1", "Ada 2", "Ada 3"]


async def test_a_cursor_of_another_workspace_is_refused(alice: Person, charlie: Person) -> None:
    """A cursor works only in its own workspace."""
    response = await charlie.get(URL, params={"cursor": await cursor_of(alice)})

    assert response.status_code == 400
    assert faults(response) == [("cursor", "invalid_cursor")]


async def test_a_cursor_is_anyones_in_the_workspace(alice: Person, bob: Person) -> None:
    """Another credential of the workspace may continue a walk."""
    assert await listed(bob, {"cursor": await cursor_of(alice)}) == ["Ada"]


async def test_a_cursor_of_another_list_is_refused(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID
) -> None:
    """A cursor works only for its own list, even if the same server signed it."""
    signer = CursorSigner(await pool.fetchval("select value from setting where name = 'cursor_secret'"))
    query = signer.read(await cursor_of(alice), f"list-contacts:{workspace_id}", PageQuery)
    assert query is not None
    response = await alice.get(URL, params={"cursor": signer.cursor(query, f"list-companies:{workspace_id}")})

    assert faults(response) == [("cursor", "invalid_cursor")]


SPOILT: dict[str, Callable[[str], str]] = {
    "cut off": lambda cursor: cursor[:-1],
    "longer": lambda cursor: cursor + "A",
    "longer in front": lambda cursor: "A" + cursor,
    "without its dot": lambda cursor: cursor.replace(".", ""),
    "without its signature": lambda cursor: cursor.rpartition(".")[0],
    "with another's signature": lambda cursor: CursorSigner("guess").cursor(PageQuery(), "x").rpartition(".")[0] + cursor,
    "signed by a guess": lambda _: CursorSigner("guess").cursor(PageQuery(), "list-contacts"),
    "backwards": lambda cursor: cursor[::-1],
    "blank": lambda _: " ",
    "no ASCII": lambda _: "é\u0000",
    "the documentation's": lambda _: base64.b64encode(b'{"id":"cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"}').decode(),
}


@pytest.mark.parametrize("how", SPOILT)
async def test_a_spoilt_cursor_is_refused(alice: Person, how: str) -> None:
    """A cursor that the server did not issue is refused."""
    response = await alice.get(URL, params={"cursor": SPOILT[how](await cursor_of(alice))})

    assert response.status_code == 400
    assert faults(response) == [("cursor", "invalid_cursor")]


async def test_mistakes_beside_a_cursor_are_told_at_once(alice: Person) -> None:
    """An invalid cursor does not hide other faults."""
    response = await alice.get(URL, params={"cursor": "x", "limit": "0", "search": "ada", "nick": "ada"})

    assert sorted(faults(response)) == [
        ("cursor", "invalid_cursor"),
        ("limit", "invalid_range"),
        ("nick", "unknown_parameter"),
    ]


@pytest.mark.parametrize("order", ["updated_at", "updated_at:ASC", "created_at:desc", "", "updated_at:asc,id:asc"])
async def test_an_order_that_is_none_is_refused(alice: Person, order: str) -> None:
    """Only two orders are valid."""
    response = await alice.get(URL, params={"order_by": order})

    assert response.status_code == 400
    assert faults(response) == [("order_by", "invalid_choice")]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("limt", "limit"),
        ("orderby", "order_by"),
        ("filter[updated_at][ge]", "filter[updated_at][gte]"),
        ("Search", "search"),
        ("filter[crm_association][eq]", "filter[crm_associations][eq]"),
    ],
)
async def test_a_typo_is_told_with_the_nearest_name(alice: Person, name: str, nearest: str) -> None:
    """An unknown parameter is refused, and the message suggests the nearest name."""
    response = await alice.get(URL, params={name: "1"})

    assert response.status_code == 400
    assert faults(response) == [(name, "unknown_parameter")]
    assert f"Did you mean `{nearest}`?" in response.json()["detail"]


async def test_a_name_like_no_other_is_told_what_there_is(alice: Person) -> None:
    """The message lists all names if none is near."""
    response = await alice.get(URL, params={"zzz": ""})

    assert "`limit`, `cursor`, `order_by`" in response.json()["detail"]


async def test_all_mistakes_are_told(alice: Person) -> None:
    """All faults of the query are reported at once, with status 400."""
    params = {"limit": "0", "order_by": "name", "filter[updated_at][gt]": "noon", "filter[updated_at][lt]": "", "nick": "1"}
    response = await alice.get(URL, params={**params, "search": "x" * 256, CRM: "[]"})

    assert response.json()["type"].endswith("/invalid_request")
    assert sorted(faults(response)) == [
        ("filter[crm_associations][eq]", "invalid_range"),
        ("filter[updated_at][gt]", "invalid_format"),
        ("filter[updated_at][lt]", "invalid_format"),
        ("limit", "invalid_range"),
        ("nick", "unknown_parameter"),
        ("order_by", "invalid_choice"),
        ("search", "too_long"),
    ]


@pytest.mark.parametrize("query", ["limit=1&limit=2", "search=a&limit=1&search=a"])
async def test_a_parameter_given_twice_is_refused(alice: Person, query: str) -> None:
    """A repeated parameter is refused, because neither value is clearly the intended one."""
    response = await alice.get(f"{URL}?{query}")

    assert response.status_code == 400
    assert [code for _, code in faults(response)] == ["duplicate"]


@pytest.mark.parametrize("query", ["search=%FF", "search=%C3", "search=%ED%A0%80", "%FF=1"])
async def test_a_query_that_is_not_utf8_is_refused(alice: Person, query: str) -> None:
    """A query string must be percent-encoded UTF-8."""
    response = await alice.get(f"{URL}?{query}")

    assert response.status_code == 400
    assert faults(response) == [("", "invalid_encoding")]


async def test_a_query_of_nothing_but_mistakes_is_answered_shortly(alice: Person) -> None:
    """At most a hundred faults are reported."""
    response = await alice.get(URL, params={f"filter[updated_at][g{n}]": "1" for n in range(1000)})

    assert response.status_code == 400
    assert len(faults(response)) == 100


async def test_scope_comes_before_query(dave: Person) -> None:
    """403 takes precedence over 400."""
    response = await dave.get(URL, params={"limit": "0"})

    assert response.status_code == 403


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("params", "most"),
    [({}, 1), ({"order_by": "updated_at:asc"}, 1), ({"search": "nobody"}, 2), ({"search": "no bo"}, 2), ({CRM: "[]"}, 0)],
)
async def test_a_page_takes_as_many_statements_whatever_it_shows(
    alice: Person, database_url: str, params: dict[str, str], most: int
) -> None:
    """A page of one contact or a hundred takes one statement, plus one to find a search's rarest word."""
    counts: list[int] = []
    async with serving_operations(OPERATIONS, database_url) as (client, statements):
        for limit in (1, 1, 100):
            statements.clear()
            await client.get(URL, params={**params, "limit": limit}, headers={"Authorization": str(alice.key)})
            counts.append(len(statements))

    assert counts == [most + 2, most, most], "the first request also looks up the credential, and its user"


async def test_an_empty_cursor_is_none(alice: Person, ada: Thing) -> None:
    """Some programs send an empty cursor with the first page, beside other parameters."""
    response = await alice.get(f"{URL}?cursor=&limit=1&order_by=updated_at:asc&search=ada")

    assert response.status_code == 200
    assert [each["id"] for each in response.json()["data"]] == [ada.id]
