"""GET /v2/tags."""

import httpx
import pytest

from tests.cast import Json, Person, Thing, faults
from tests.listing import Listing

URL = "/api/v2/tags"
ASCENDING = {"order_by": "updated_at:asc"}
TAGS = Listing(URL, "name")
listed = TAGS.listed


async def create(person: Person, *names: str) -> list[Thing]:
    """Create tags with these names, in order."""
    return [Thing(await person.post(URL, json={"name": name})) for name in names]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(URL)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_sees_nothing(alice: Person, charlie: Person, renewal: Thing) -> None:
    """Tags of another workspace are not listed."""
    assert await listed(alice) == [renewal.json["name"]]
    assert await listed(charlie) == []


async def test_dave_is_refused(dave: Person) -> None:
    """A write-only credential cannot list anything."""
    response = await dave.get(URL)

    assert response.status_code == 403
    assert "tags:read" in response.json()["detail"]


async def test_the_envelope(bob: Person, renewal: Thing) -> None:
    """A list has the documented members and shows tags as a read does."""
    response = await bob.get(URL)

    assert response.json() == {"object": "list", "data": [renewal.json], "has_more": False, "next_cursor": None}
    assert "ETag" not in response.headers


async def test_the_latest_comes_first(alice: Person) -> None:
    """The most recently updated tag comes first, however old it is."""
    first, *_ = await create(alice, "a", "b", "c")
    await alice.patch(first.url, json={"auto_tagging_enabled": True})

    assert await listed(alice) == ["a", "c", "b"]
    assert await listed(alice, ASCENDING) == ["b", "c", "a"]


@pytest.mark.parametrize("order", ["updated_at:asc", "updated_at:desc"])
@pytest.mark.parametrize("limit", range(1, 8))
async def test_a_walk_meets_once_what_is_left_alone(alice: Person, order: str, limit: int) -> None:
    """A walk meets each untouched tag once, at any page size and order, while others write between the pages."""
    things = {thing.json["name"]: thing for thing in await create(alice, *"a1b2c3d")}
    met = await TAGS.walked_while(
        alice,
        {"order_by": order, "limit": limit},
        [
            lambda: alice.patch(things["1"].url, json={"name": "1 again"}),
            lambda: alice.delete(things["3"].url),
            lambda: create(alice, "4"),
            lambda: alice.delete(things["2"].url),
        ],
    )

    alone = [name for name in met if name in "abcd"]
    assert alone == (list("abcd") if order.endswith("asc") else list("dcba"))


async def test_a_time_bounds_the_list(alice: Person) -> None:
    """The list takes the time bounds that all lists take, also beside a cursor."""
    a, *_, d = await create(alice, *"abcd")
    bounds = {"filter[updated_at][gt]": a.json["updated_at"], "filter[updated_at][lte]": d.json["updated_at"], **ASCENDING}
    first = (await alice.get(URL, params={**bounds, "limit": 1})).json()
    rest = await listed(alice, {**bounds, "cursor": first["next_cursor"], "limit": 25})

    assert [tag["name"] for tag in first["data"]] + rest == ["b", "c", "d"]


@pytest.mark.parametrize(
    "params",
    [
        {"search": "renewal"},
        {"search": ""},
        {"filter[crm_associations][eq]": '[{"id":"1","object_type":"contact"}]'},
        {"filter[domain][eq]": "engine.test"},
        {"filter[name][eq]": "Renewal"},
        {"expand": "tags"},
    ],
)
async def test_what_other_lists_take_is_refused(alice: Person, renewal: Thing, params: Json) -> None:
    """Tags have no search and only filters by time; others are refused, not ignored."""
    response = await alice.get(URL, params=params)

    assert response.status_code == 400
    assert faults(response) == [(*params, "unknown_parameter")]
    assert renewal.id not in response.text
