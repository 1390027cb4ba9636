"""GET /v2/users. The ledger creates the users, as the command line does."""

import httpx
import pytest
import pytest_asyncio

from herdbook.users.model import NewUser, UserRole
from tests.cast import Json, Person, Stored, Team, Thing, faults
from tests.listing import Listing

URL = "/api/v2/users"
ASCENDING = {"order_by": "updated_at:asc"}
USERS = Listing(URL, "first_name")
listed, walked = USERS.listed, USERS.walked


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(URL)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_sees_nothing(alice: Person, charlie: Person, edith: Thing) -> None:
    """Users of another workspace are neither listed nor found."""
    assert [await listed(alice, params) for params in ({}, {"search": "edith"})] == [[edith.json["first_name"]]] * 2
    assert [await listed(charlie, params) for params in ({}, {"search": "edith"})] == [[]] * 2


async def test_dave_is_refused(dave: Person) -> None:
    """A credential without the scope cannot list users."""
    response = await dave.get(URL)

    assert response.status_code == 403
    assert "users:read" in response.json()["detail"]


async def test_the_envelope(bob: Person, edith: Thing) -> None:
    """A list has the documented members and shows users as a read does."""
    response = await bob.get(URL)

    assert response.json() == {"object": "list", "data": [edith.json], "has_more": False, "next_cursor": None}
    assert "ETag" not in response.headers


@pytest.mark.parametrize("order", ["updated_at:asc", "updated_at:desc"])
@pytest.mark.parametrize("limit", range(1, 7))
async def test_a_walk_meets_once_what_is_left_alone(alice: Person, team: Team, order: str, limit: int) -> None:
    """A walk meets each untouched user once, at any page size and order, while others join and change roles."""
    users = {name: await team.join(NewUser(name)) for name in "a1b2c"}
    met = await USERS.walked_while(
        alice,
        {"order_by": order, "limit": limit},
        [
            lambda: team.set_role(users["1"], UserRole.ADMIN),
            lambda: team.join(NewUser("3")),
            lambda: team.set_role(users["2"], UserRole.INACTIVE),
        ],
    )

    alone = [name for name in met if name in "abc"]
    assert alone == (list("abc") if order.endswith("asc") else list("cba"))
    assert len(met) == len(set(met)) or order.endswith("asc"), "in descending order, nobody is met twice"


async def test_the_latest_comes_first(alice: Person, team: Team) -> None:
    """The most recently updated user comes first, and inactive users are still listed."""
    first, *_ = [await team.join(NewUser(name)) for name in "abc"]
    await team.set_role(first, UserRole.INACTIVE)

    assert await listed(alice) == ["a", "c", "b"]
    assert await listed(alice, ASCENDING) == ["b", "c", "a"]


async def test_the_same_role_again_is_no_update(alice: Person, team: Team, stored: Stored) -> None:
    """A user who gets the same role again keeps the same place."""
    first, _ = [await team.join(NewUser(name)) for name in "ab"]
    await team.set_role(first, UserRole.MEMBER)

    assert await listed(alice) == ["b", "a"]
    assert len(await stored.changes()) == 2


@pytest_asyncio.fixture
async def engineers(team: Team) -> list[Thing]:
    """People who share words, some of them in members that no search looks at."""
    return [
        await team.join(NewUser("Edith", "Clarke", ("edith@grid.test", "clarke@home.test"), job_title="Engineer")),
        await team.join(NewUser("Björn", "Engineer", ("bjorn@home.test",), UserRole.ADMIN, time_zone="Europe/Oslo")),
        await team.join(NewUser("Mary", None, (), UserRole.NOT_INVITED, "Owner of the home", phone_number="+44 20 7946 0018")),
        await team.join(NewUser(None, None, ("nameless@engineer.test",))),
    ]


@pytest.mark.usefixtures("engineers")
@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("edith", ["Edith"]),
        ("CLARKE, Edith", ["Edith"]),
        ("clar ed", ["Edith"]),
        ("bjorn", ["Björn"]),
        ("edith bjorn", []),
        ("engineer", ["Björn", None]),
        ("home", ["Edith", "Björn"]),
        ("clarke@home.test", ["Edith"]),
        ("GRID.test", ["Edith"]),
        ("nameless", [None]),
        ("dith", []),
        # No other member of a user is searched, such as job titles, roles, time zones or phone numbers
        ("owner", []),
        ("admin", []),
        ("member", []),
        ("oslo", []),
        ("7946", []),
        ("442079460018", []),
        ("usr", []),
    ],
)
async def test_a_search_finds_words_of_names_and_addresses(alice: Person, search: str, expected: list[str | None]) -> None:
    """A search looks only at full names and e-mail addresses."""
    assert await listed(alice, {"search": search, **ASCENDING}) == expected


@pytest.mark.usefixtures("engineers")
async def test_a_search_goes_with_bounds_and_a_cursor(alice: Person, engineers: list[Thing]) -> None:
    """A search combines with bounds and pages. A cursor may be sent with the parameters that it carries, and no others."""
    params: Json = {"search": "test", "filter[updated_at][gte]": engineers[0].json["updated_at"], "limit": 1, **ASCENDING}
    cursor = (await alice.get(URL, params=params)).json()["next_cursor"]
    other = await alice.get(URL, params={"cursor": cursor, "search": "edith"})

    assert await walked(alice, params) == ["Edith", "Björn", None]
    assert await listed(alice, {**params, "cursor": cursor, "limit": 2}) == ["Björn", None]
    assert (other.status_code, faults(other)) == (400, [("search", "not_with_cursor")])


async def test_who_has_changed_is_found_as_before(alice: Person, team: Team, edith: Thing) -> None:
    """A new role does not change the words that find a user."""
    await team.set_role(edith, UserRole.INACTIVE)

    assert await listed(alice, {"search": "edith clarke grid"}) == ["Edith"]


@pytest.mark.parametrize(
    "name", ["filter[crm_associations][eq]", "filter[domain][eq]", "filter[role][eq]", "filter[start_at][gt]", "expand"]
)
async def test_what_other_lists_take_is_refused(alice: Person, edith: Thing, name: str) -> None:
    """Users have only filters by time; others are refused, not ignored."""
    response = await alice.get(URL, params={name: "1"})

    assert response.status_code == 400
    assert faults(response) == [(name, "unknown_parameter")]
    assert edith.id not in response.text
