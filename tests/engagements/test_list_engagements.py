"""GET /v2/engagements, and the engagements of a contact and of a company."""

from asyncio import gather
from datetime import datetime, timedelta
from typing import NamedTuple

import httpx
import pytest
import pytest_asyncio

from herdbook.app import OPERATIONS
from herdbook.engagements.api import MAX_PAGE_BYTES, MAX_PAGE_REFERENCES
from herdbook.users.model import NewUser
from tests.cast import Json, Person, Team, Thing, faults
from tests.engagements.calls import LISTING, TIMELINE, URL, Made, call, create
from tests.engagements.conftest import Keys
from tests.listing import Listing
from tests.serving import serving_operations

CRM = "filter[crm_associations][eq]"
ASCENDING = {"order_by": "updated_at:asc"}
EVERYTHING = "companies,contacts,owner,action_items,signals,transcript,media_url,tags"
NO_CONTACT, NO_COMPANY = "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
MICROSECOND = timedelta(microseconds=1)
listed, walked = LISTING.listed, LISTING.walked


def in_list(*values: str) -> str:
    """Return values as a filter takes several."""
    return ",".join(values)


def record(record_id: str, object_type: str) -> Json:
    """Return a CRM record in a filter's JSON."""
    return f'{{"id":"{record_id}","object_type":"{object_type}"}}'


def records(*named: str) -> str:
    """Return CRM records as the filter takes them."""
    return f"[{in_list(*named)}]"


async def of_contact(person: Person, contact: Thing, params: Json | None = None) -> list[str]:
    """Return the titles on a page of a contact's engagements."""
    return await Listing(f"{contact.url}/engagements", "title").listed(person, params)


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing, engine: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    for url in (URL, f"{ada.url}/engagements", f"{engine.url}/engagements"):
        response = await client.get(url)

        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_sees_nothing(charlie: Person, alice: Person, ada: Thing, engine: Thing, owner: Thing) -> None:
    """Engagements of another workspace are not listed or found, nor under their contacts and companies."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    link = {"object_type": "company", "crm_object_id": "1", "source": "hubspot"}
    await alice.put(f"{engine.url}/crm_association", json=link)
    await create(alice, "Hers", participants=[{"email": "ada@engine.test"}])
    ways: list[Json] = [
        {},
        {"search": "hers"},
        {"filter[contact_ids][eq]": ada.id},
        {"filter[company_ids][eq]": engine.id},
        {"filter[owner_ids][eq]": owner.id},
        {CRM: records(record("1", "company"))},
    ]

    assert [await listed(alice, way) for way in ways] == [["Hers"]] * len(ways)
    assert [await listed(charlie, way) for way in ways] == [[]] * len(ways)
    assert [(await charlie.get(f"{thing.url}/engagements")).status_code for thing in (ada, engine)] == [404, 404]


async def test_dave_is_refused(dave: Person, ada: Thing, engine: Thing) -> None:
    """A write-only credential cannot list anything."""
    for url in (URL, f"{ada.url}/engagements", f"{engine.url}/engagements"):
        response = await dave.get(url)

        assert response.status_code == 403
        assert "engagements:read" in response.json()["detail"]


async def test_the_read_scope_is_enough(keys: Keys, step: Made, ada: Thing, alice: Person) -> None:
    """A list has the documented members and shows engagements as a read does. A contact's list does, too."""
    await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})
    reader = await keys.holder("engagements:read")
    shown = (await reader.get(step.url)).json()
    for url in (URL, f"{ada.url}/engagements"):
        response = await reader.get(url)

        assert response.json() == {"object": "list", "data": [shown], "has_more": False, "next_cursor": None}
        assert "ETag" not in response.headers


async def test_what_is_private_is_left_out(
    alice: Person, bob: Person, erin: Person, keys: Keys, ada: Thing, engine: Thing
) -> None:
    """Private engagements are in lists and filters only for callers with the scope for them."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    participants = [{"email": "ada@engine.test"}]
    await create(alice, "Known", participants=participants)
    await create(alice, "Secret", participants=participants, is_private=True)
    ways: list[tuple[str, Json]] = [
        (URL, {}),
        (URL, {"order_by": "start_at:desc"}),
        (URL, {"filter[contact_ids][eq]": ada.id}),
        (URL, {"filter[company_ids][in]": engine.id}),
        (URL, {"filter[engagement_type][eq]": "CALL"}),
        (f"{ada.url}/engagements", {}),
        (f"{engine.url}/engagements", {}),
    ]
    for url, params in ways:
        listing = Listing(url, "title")

        assert await listing.listed(bob, params) == ["Known"]
        assert await listing.listed(erin, params) == ["Secret", "Known"]
    assert await listed(bob, {"search": "secret"}) == []
    assert await listed(erin, {"search": "secret"}) == ["Secret"]
    refused = await (await keys.holder("engagements:private:read")).get(URL)
    assert refused.status_code == 403


async def test_a_page_is_full_without_what_is_left_out(alice: Person, bob: Person) -> None:
    """Hidden private engagements take no place on a page and cause no next page."""
    for title in "abcd":
        await create(alice, title)
        await create(alice, f"{title} secret", is_private=True)
    pages = [page async for page in LISTING.pages(bob, {"limit": 2})]

    assert [[each["title"] for each in page] for page in pages] == [["d", "c"], ["b", "a"]]


# Orders


@pytest.mark.parametrize("order", ["updated_at:asc", "updated_at:desc"])
@pytest.mark.parametrize("limit", range(1, 11))
async def test_a_walk_meets_once_what_is_left_alone(alice: Person, renewal: Thing, order: str, limit: int) -> None:
    """A walk meets each untouched engagement once, at any page size and order, while others write between the pages."""
    made = {each.json["title"]: each for each in await create(alice, *"a1b2c3d4e")}
    met = await LISTING.walked_while(
        alice,
        {"order_by": order, "limit": limit},
        [
            lambda: alice.put(f"{made['1'].url}/tags", json={"tag_ids": [renewal.id]}),
            lambda: alice.put(made["3"].set_timeline_url, json=TIMELINE),
            lambda: create(alice, "5"),
            lambda: alice.put(f"{made['4'].url}/tags", json={"tag_ids": [renewal.id]}),
            lambda: alice.put(f"{made['2'].url}/tags", json={"tag_ids": [renewal.id]}),
        ],
    )

    alone = [title for title in met if title in "abcde"]
    assert alone == (list("abcde") if order.endswith("asc") else list("edcba"))
    assert len(met) == len(set(met)) or order.endswith("asc"), "in descending order, nothing is met twice"


@pytest_asyncio.fixture
async def started(alice: Person) -> dict[str, Made]:
    """Engagements created in another order than they began; c, d and e began at the same time."""
    starts = {"d": 3, "b": 2, "g": 5, "a": 1, "c": 3, "f": 4, "e": 3}
    made: dict[str, Made] = {}
    for title, hour in starts.items():
        (made[title],) = await create(alice, title, start_at=f"2026-03-01T0{hour}:00:00Z")
    return made


@pytest.mark.parametrize("order", ["start_at:asc", "start_at:desc"])
@pytest.mark.parametrize("limit", range(1, 9))
async def test_a_walk_by_start_meets_everything_once(
    alice: Person, started: dict[str, Made], renewal: Thing, order: str, limit: int
) -> None:
    """A walk by start meets each engagement once, updated ones and equal starts too, and new ones that are still ahead."""
    met = await LISTING.walked_while(
        alice,
        {"order_by": order, "limit": limit},
        [
            lambda: alice.put(f"{started['a'].url}/tags", json={"tag_ids": [renewal.id]}),
            lambda: alice.put(f"{started['g'].url}/tags", json={"tag_ids": [renewal.id]}),
            lambda: create(alice, "first", start_at="2000-01-01T00:00:00Z"),
            lambda: create(alice, "last", start_at="2100-01-01T00:00:00Z"),
        ],
    )

    old = [title for title in met if len(title) == 1]
    expected = ["a", "b", "d", "c", "e", "f", "g"]
    assert old == (expected if order.endswith("asc") else expected[::-1]), "at equal times, the oldest comes first"
    assert len(met) == len(set(met))


async def test_orders_without_a_way_are_refused(alice: Person) -> None:
    """Only two times in two directions are valid orders."""
    for order in ("start_at", "created_at:desc", "end_at:asc", "start_at:DESC"):
        response = await alice.get(URL, params={"order_by": order})

        assert response.status_code == 400
        assert faults(response) == [("order_by", "invalid_choice")]
    assert "`start_at:desc`" in response.json()["detail"]


@pytest.mark.parametrize(
    ("bound", "by", "expected"),
    [
        ("gt", 0 * MICROSECOND, ["c"]),
        ("gt", -MICROSECOND, ["b", "c"]),
        ("gte", 0 * MICROSECOND, ["b", "c"]),
        ("gte", MICROSECOND, ["c"]),
        ("lt", 0 * MICROSECOND, ["a"]),
        ("lt", MICROSECOND, ["a", "b"]),
        ("lte", 0 * MICROSECOND, ["a", "b"]),
        ("lte", -MICROSECOND, ["a"]),
    ],
)
@pytest.mark.parametrize("time", ["start_at", "updated_at"])
async def test_times_bound_the_list(alice: Person, time: str, bound: str, by: timedelta, expected: list[str]) -> None:
    """Start time and update time bound the list, each to the microsecond."""
    hours = {"a": 1, "b": 2, "c": 3}
    made = [await create(alice, title, start_at=f"2026-03-01T0{hour}:00:00.000001Z") for title, hour in hours.items()]
    ((between,),) = made[1:2]
    moment = (datetime.fromisoformat(between.json[time]) + by).isoformat(timespec="microseconds")
    bounds = {f"filter[{time}][{bound}]": moment.replace("+00:00", "Z"), "order_by": f"{time}:asc"}

    assert await listed(alice, bounds) == expected


async def test_bounds_of_both_times_are_taken_together(alice: Person, started: dict[str, Made]) -> None:
    """Bounds of both times combine."""
    bounds = {
        "filter[updated_at][gt]": started["g"].json["updated_at"],
        "filter[start_at][lte]": "2026-03-01T03:00:00Z",
        "filter[start_at][gt]": "2026-03-01T01:00:00Z",
        "order_by": "start_at:asc",
    }

    assert await walked(alice, {**bounds, "limit": 1}) == ["c", "e"]


@pytest.mark.parametrize("time", ["", "now", "2026-03-01"])
async def test_a_start_that_is_no_time_is_refused(alice: Person, time: str) -> None:
    """The start time follows the rules of all times."""
    response = await alice.get(URL, params={"filter[start_at][gte]": time})

    assert faults(response) == [("filter[start_at][gte]", "invalid_format")]


# Filters


class Variety(NamedTuple):
    """Engagements of several kinds, with their related objects."""

    engine: Thing
    navy: Thing
    ada: Thing
    grace: Thing
    edith: Thing
    owner: Thing


@pytest_asyncio.fixture
async def variety(
    alice: Person, team: Team, *, engine: Thing, ada: Thing, grace: Thing, owner: Thing, waiting: Made
) -> Variety:
    """A pending one with nobody, a call with Ada (Engine), a meeting with Grace (Navy), and a call of Edith's with both."""
    assert waiting.json["engagement_type"] == "MEETING"
    navy = Thing(await alice.post("/api/v2/companies", json={"name": "Navy", "domains": []}))
    await alice.patch(ada.url, json={"company_id": engine.id})
    await alice.patch(grace.url, json={"company_id": navy.id})
    edith = await team.join(NewUser("Edith", None, ("edith@grid.test",)))
    for thing, kind, number in (
        (engine, "company", "e"),
        (navy, "company", "n"),
        (ada, "contact", "a"),
        (grace, "contact", "g"),
    ):
        link = {"object_type": kind, "crm_object_id": number, "source": "hubspot"}
        assert (await alice.put(f"{thing.url}/crm_association", json=link)).status_code == 200
    with_ada, with_grace = {"email": "ada@engine.test"}, {"email": "grace@navy.test"}
    await create(alice, "Ada", participants=[with_ada])
    await create(alice, "Grace", type="MEETING", participants=[with_grace])
    await create(alice, "Both", participants=[with_ada, with_grace, {"email": "edith@grid.test", "is_owner": True}])
    return Variety(engine, navy, ada, grace, edith, owner)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"filter[engagement_type][eq]": "CALL"}, ["Ada", "Both"]),
        ({"filter[engagement_type][eq]": "EMAIL"}, []),
        ({"filter[engagement_type][in]": "CALL"}, ["Ada", "Both"]),
        ({"filter[engagement_type][in]": "EMAIL, MEETING"}, ["Waiting", "Grace"]),
        ({"filter[engagement_type][in]": "CALL,CALL,MEETING"}, ["Waiting", "Ada", "Grace", "Both"]),
        ({"filter[processing_status][eq]": "PENDING"}, ["Waiting"]),
        ({"filter[processing_status][eq]": "FAILED"}, []),
        ({"filter[processing_status][in]": "COMPLETED,FAILED"}, ["Ada", "Grace", "Both"]),
        ({"filter[processing_status][in]": "COMPLETED", "filter[engagement_type][eq]": "MEETING"}, ["Grace"]),
    ],
)
@pytest.mark.usefixtures("variety")
async def test_types_and_statuses_are_chosen(alice: Person, params: Json, expected: list[str]) -> None:
    """Any value of a filter may match, and all filters must."""
    assert await listed(alice, {**params, **ASCENDING}) == expected


async def test_links_are_chosen(alice: Person, variety: Variety) -> None:
    """Any id of a filter may match, and all filters must; unknown ids find nothing and do no harm."""
    engine, navy, ada, grace, edith, owner = (thing.id for thing in variety)
    expected: list[tuple[Json, list[str]]] = [
        ({"filter[contact_ids][eq]": ada}, ["Ada", "Both"]),
        ({"filter[contact_ids][in]": in_list(ada)}, ["Ada", "Both"]),
        ({"filter[contact_ids][in]": in_list(grace, ada)}, ["Ada", "Grace", "Both"]),
        ({"filter[contact_ids][in]": f" {NO_CONTACT} , {grace}"}, ["Grace", "Both"]),
        ({"filter[contact_ids][eq]": NO_CONTACT}, []),
        ({"filter[contact_ids][eq]": "cnt_1"}, []),
        ({"filter[company_ids][eq]": engine}, ["Ada", "Both"]),
        ({"filter[company_ids][in]": in_list(engine, navy)}, ["Ada", "Grace", "Both"]),
        ({"filter[company_ids][eq]": NO_COMPANY}, []),
        ({"filter[company_ids][eq]": engine, "filter[contact_ids][eq]": grace}, ["Both"]),
        ({"filter[company_ids][in]": in_list(engine, navy), "filter[contact_ids][eq]": NO_CONTACT}, []),
        ({"filter[owner_ids][eq]": edith}, ["Both"]),
        ({"filter[owner_ids][eq]": owner}, ["Ada", "Grace"]),
        ({"filter[owner_ids][in]": in_list(owner, edith)}, ["Ada", "Grace", "Both"]),
        ({"filter[owner_ids][eq]": owner, "filter[contact_ids][eq]": ada}, ["Ada"]),
        ({"filter[owner_ids][eq]": "usr_1"}, []),
    ]

    assert [(params, await listed(alice, {**params, **ASCENDING})) for params, _ in expected] == expected


async def test_records_of_a_crm_are_chosen(alice: Person, variety: Variety) -> None:
    """Records and ids of companies form one group, those of contacts another: any within, all between. There are no deals."""
    a, g, e, n = record("a", "contact"), record("g", "contact"), record("e", "company"), record("n", "company")
    unknown = [record("?", "contact"), record("?", "company")]
    deal = record("1", "deal")
    expected: list[tuple[Json, list[str]]] = [
        ({CRM: records(a)}, ["Ada", "Both"]),
        ({CRM: records(a, g)}, ["Ada", "Grace", "Both"]),
        ({CRM: records(e)}, ["Ada", "Both"]),
        ({CRM: records(e, n)}, ["Ada", "Grace", "Both"]),
        ({CRM: records(e, g)}, ["Both"]),
        ({CRM: records(e, n, g)}, ["Grace", "Both"]),
        # A number counts only for its own kind.
        ({CRM: records(record("a", "company"))}, []),
        ({CRM: records(record("e", "contact"))}, []),
        # With ids in the same group, and in the other one
        ({CRM: records(a), "filter[contact_ids][eq]": variety.grace.id}, ["Ada", "Grace", "Both"]),
        ({CRM: records(n), "filter[company_ids][in]": variety.engine.id}, ["Ada", "Grace", "Both"]),
        ({CRM: records(e), "filter[contact_ids][eq]": variety.grace.id}, ["Both"]),
        # An unresolved record removes nothing from its group; alone, it makes the group match nothing.
        ({CRM: records(unknown[0]), "filter[contact_ids][eq]": variety.grace.id}, ["Grace", "Both"]),
        ({CRM: records(unknown[1]), "filter[company_ids][eq]": variety.engine.id}, ["Ada", "Both"]),
        ({CRM: records(unknown[0], a)}, ["Ada", "Both"]),
        ({CRM: records(unknown[0])}, []),
        ({CRM: records(unknown[1]), "filter[contact_ids][eq]": variety.grace.id}, []),
        ({CRM: records(deal)}, []),
        ({CRM: records(deal, a)}, []),
        ({CRM: records(deal), "filter[contact_ids][eq]": variety.grace.id}, []),
        (
            {
                f"{CRM}[0][id]": "e",
                f"{CRM}[0][object_type]": "company",
                f"{CRM}[1][id]": "g",
                f"{CRM}[1][object_type]": "contact",
            },
            ["Both"],
        ),
    ]

    assert [(params, await listed(alice, {**params, **ASCENDING})) for params, _ in expected] == expected


async def test_a_record_counts_where_it_is_linked_now(alice: Person, variety: Variety) -> None:
    """A filter sees new links and deleted objects immediately."""
    await alice.delete(f"{variety.ada.url}/crm_association")
    link = {"object_type": "contact", "crm_object_id": "new", "source": "hubspot"}
    await alice.put(f"{variety.grace.url}/crm_association", json=link)
    found = [await listed(alice, {CRM: records(record(each, "contact")), **ASCENDING}) for each in ("a", "g", "new")]
    await alice.delete(variety.grace.url)

    assert found == [[], [], ["Grace", "Both"]]
    assert await listed(alice, {CRM: records(record("new", "contact"))}) == []


async def test_twenty_five_values_are_taken(alice: Person, variety: Variety) -> None:
    """A filter accepts 25 values."""
    contact_ids = in_list(*[NO_CONTACT] * 24, variety.ada.id)
    company_ids = in_list(*[variety.engine.id] * 25)

    assert await listed(alice, {"filter[contact_ids][in]": contact_ids, "filter[company_ids][in]": company_ids}) == [
        "Both",
        "Ada",
    ]


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"filter[engagement_type][eq]": "call"}, ("filter[engagement_type][eq]", "invalid_format")),
        ({"filter[engagement_type][eq]": ""}, ("filter[engagement_type][eq]", "invalid_format")),
        ({"filter[engagement_type][eq]": "CALL,MEETING"}, ("filter[engagement_type][eq]", "invalid_format")),
        ({"filter[engagement_type][in]": "CALL,"}, ("filter[engagement_type][in]", "invalid_format")),
        ({"filter[engagement_type][in]": "CALL,FAX"}, ("filter[engagement_type][in]", "invalid_format")),
        ({"filter[processing_status][eq]": "DONE"}, ("filter[processing_status][eq]", "invalid_format")),
        ({"filter[processing_status][in]": "PENDING;FAILED"}, ("filter[processing_status][in]", "invalid_format")),
        ({"filter[contact_ids][eq]": "ada"}, ("filter[contact_ids][eq]", "invalid_format")),
        ({"filter[contact_ids][eq]": NO_COMPANY}, ("filter[contact_ids][eq]", "invalid_format")),
        ({"filter[contact_ids][in]": f"{NO_CONTACT},{NO_COMPANY}"}, ("filter[contact_ids][in]", "invalid_format")),
        ({"filter[contact_ids][in]": ""}, ("filter[contact_ids][in]", "invalid_format")),
        ({"filter[contact_ids][in]": in_list(*[NO_CONTACT] * 26)}, ("filter[contact_ids][in]", "invalid_range")),
        ({"filter[contact_ids][eq]": f"{NO_CONTACT}\u0000"}, ("filter[contact_ids][eq]", "invalid_characters")),
        ({"filter[company_ids][eq]": NO_CONTACT}, ("filter[company_ids][eq]", "invalid_format")),
        ({"filter[company_ids][in]": in_list(*[NO_COMPANY] * 26)}, ("filter[company_ids][in]", "invalid_range")),
        ({"filter[owner_ids][eq]": "me"}, ("filter[owner_ids][eq]", "invalid_format")),
        ({"filter[owner_ids][in]": in_list(*["usr_1"] * 26)}, ("filter[owner_ids][in]", "invalid_range")),
        (
            {"filter[contact_ids][eq]": NO_CONTACT, "filter[contact_ids][in]": NO_CONTACT},
            ("filter[contact_ids][in]", "duplicate"),
        ),
        ({"filter[contact_ids]": NO_CONTACT}, ("filter[contact_ids]", "unknown_parameter")),
        ({"filter[is_private][eq]": "true"}, ("filter[is_private][eq]", "unknown_parameter")),
        ({CRM: records(record("1", "ticket"))}, (CRM, "invalid_choice")),
        ({CRM: records(*[record("1", "deal")] * 21)}, (CRM, "invalid_range")),
        ({"expand": "attendees"}, ("expand", "invalid_choice")),
    ],
)
async def test_a_filter_that_is_none_is_refused(alice: Person, params: Json, fault: tuple[str, str]) -> None:
    """An invalid value of a filter is refused instead of silently finding nothing."""
    response = await alice.get(URL, params=params)

    assert response.status_code == 400
    assert faults(response) == [fault]


async def test_a_link_that_was_replaced_is_not_found(alice: Person, variety: Variety) -> None:
    """The filters see a write immediately."""
    (both,) = [each for each in (await alice.get(URL)).json()["data"] if each["title"] == "Both"]
    await alice.put(f"{URL}/{both['id']}/contacts", json={"contact_ids": [variety.grace.id]})

    assert await listed(alice, {"filter[contact_ids][eq]": variety.ada.id}) == ["Ada"]
    assert await listed(alice, {"filter[company_ids][eq]": variety.engine.id}) == ["Ada"]
    assert await listed(alice, {"filter[contact_ids][eq]": variety.grace.id}) == ["Both", "Grace"]


@pytest.mark.usefixtures("variety")
async def test_everything_is_taken_together(alice: Person, variety: Variety) -> None:
    """All filters combine on all pages, and the cursor carries them."""
    for title in ("Both again", "Both, too", "Alone"):
        await create(alice, title, participants=[{"email": "ada@engine.test"}], start_at="2026-03-01T00:00:00Z")
    params: Json = {
        "search": "both",
        "order_by": "start_at:asc",
        "limit": 1,
        "filter[engagement_type][in]": "CALL,NOTE",
        "filter[processing_status][eq]": "COMPLETED",
        "filter[company_ids][eq]": variety.engine.id,
        "filter[contact_ids][eq]": variety.grace.id,
        "filter[owner_ids][eq]": variety.owner.id,
        CRM: records(record("a", "contact"), record("e", "company")),
        "filter[start_at][gt]": "2026-01-01T00:00:00Z",
        "filter[start_at][gte]": "2026-01-01T00:00:00Z",
        "filter[start_at][lt]": "2027-12-31T00:00:00Z",
        "filter[start_at][lte]": "2027-12-31T00:00:00Z",
        "filter[updated_at][gt]": "2026-01-01T00:00:00Z",
        "filter[updated_at][gte]": "2026-01-01T00:00:00Z",
        "filter[updated_at][lt]": "2100-01-01T00:00:00Z",
        "filter[updated_at][lte]": "2100-01-01T00:00:00Z",
    }

    assert await walked(alice, params) == ["Both again", "Both, too"]
    assert await Listing(f"{variety.engine.url}/engagements", "title").walked(alice, params) == ["Both again", "Both, too"]


async def test_a_public_program_gets_what_it_asks_for(alice: Person, variety: Variety) -> None:
    """A client in use requests its user's latest engagements in this way."""
    params = {
        "filter[owner_ids][eq]": variety.owner.id,
        "order_by": "start_at:desc",
        "limit": "50",
        "expand": "companies,contacts",
    }
    page = (await alice.get(URL, params=params)).json()

    assert [(each["title"], [company["name"] for company in each["companies"]]) for each in page["data"]] == [
        ("Grace", ["Navy"]),
        ("Ada", ["Analytical Engine"]),
    ]


# Search


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("engine", ["The engine's next step", "Re: Engine, Société"]),
        ("NEXT ste", ["The engine's next step"]),
        ("societe", ["Re: Engine, Société"]),
        ("ext", []),
        # No other member is searched
        ("dialer", []),
        ("ada", []),
        ("begin", []),
        ("external", []),
        ("call", []),
    ],
)
async def test_a_search_finds_words_of_the_title(alice: Person, ada: Thing, search: str, expected: list[str]) -> None:
    """A search looks at titles, not at people or transcripts."""
    for number, title in enumerate(("The engine's next step", "Re: Engine, Société")):
        participants = [{"email": ada.json["emails"][0]["email"]}]
        body = call(f"external-{number}", title=title, transcript="Shall we begin?", participants=participants)
        assert (await alice.post(URL, json=body)).status_code == 201

    assert await listed(alice, {"search": search, **ASCENDING}) == expected


# The lists of a contact and of a company


async def test_a_contact_and_a_company_have_lists(alice: Person, variety: Variety) -> None:
    """Both lists contain what the filters find, and take the same parameters."""
    lists = [Listing(f"{thing.url}/engagements", "title") for thing in (variety.ada, variety.navy)]

    assert [await each.walked(alice, {"limit": 1}) for each in lists] == [["Both", "Ada"], ["Both", "Grace"]]
    assert [await each.listed(alice, {"filter[engagement_type][eq]": "MEETING"}) for each in lists] == [[], ["Grace"]]
    assert [await each.listed(alice, {"search": "ada"}) for each in lists] == [["Ada"], []]


async def test_a_filter_does_not_lead_out_of_a_list(alice: Person, variety: Variety) -> None:
    """A filter by contacts narrows a contact's list and adds no other engagements."""
    others = {"filter[contact_ids][eq]": variety.grace.id}
    unknown = {CRM: records(record("?", "contact"))}

    assert await of_contact(alice, variety.ada, others) == ["Both"]
    assert await of_contact(alice, variety.ada, unknown) == []
    assert await of_contact(alice, variety.ada, {"filter[company_ids][eq]": variety.navy.id}) == ["Both"]


@pytest.mark.parametrize(
    "path",
    [f"contacts/{NO_CONTACT}", f"companies/{NO_COMPANY}", "contacts/ada", f"companies/{NO_CONTACT}", f"contacts/{NO_COMPANY}"],
)
async def test_the_list_of_nobody_is_not_there(alice: Person, path: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.get(f"/api/v2/{path}/engagements")

    assert response.status_code == 404


async def test_the_list_of_what_was_deleted_is_not_there(alice: Person, variety: Variety) -> None:
    """Deleting a contact or a company removes its list, but not the engagements."""
    for thing in (variety.ada, variety.engine):
        await alice.delete(thing.url)
        assert (await alice.get(f"{thing.url}/engagements")).status_code == 404

    assert len(await listed(alice)) == 4


async def test_a_cursor_is_of_its_own_list(alice: Person, variety: Variety) -> None:
    """A cursor of all engagements does not work in a contact's list, nor the reverse."""
    everything = (await alice.get(URL, params={"limit": 1})).json()["next_cursor"]
    adas = (await alice.get(f"{variety.ada.url}/engagements", params={"limit": 1})).json()["next_cursor"]
    wrong = [
        await alice.get(f"{variety.ada.url}/engagements", params={"cursor": everything}),
        await alice.get(URL, params={"cursor": adas}),
        await alice.get(f"{variety.engine.url}/engagements", params={"cursor": adas}),
    ]

    assert [faults(each) for each in wrong] == [[("cursor", "invalid_cursor")]] * 3


async def test_a_cursor_of_a_contact_stays_with_it(alice: Person, variety: Variety) -> None:
    """A cursor of one contact's list does not work in another's."""
    cursor = (await alice.get(f"{variety.ada.url}/engagements", params={"limit": 1})).json()["next_cursor"]
    response = await alice.get(f"{variety.grace.url}/engagements", params={"cursor": cursor})

    assert response.status_code == 400
    assert faults(response) == [("cursor", "invalid_cursor")]


# Expansions


@pytest.mark.parametrize(
    ("name", "scope"), [("companies", "companies:read"), ("contacts", "contacts:read"), ("owner", "users:read")]
)
async def test_what_has_a_scope_of_its_own_needs_it(keys: Keys, ada: Thing, engine: Thing, name: str, scope: str) -> None:
    """All three lists expand companies, contacts and users only for callers who may read them."""
    without, having = await keys.holder("engagements:read"), await keys.holder("engagements:read", scope)
    for url in (URL, f"{ada.url}/engagements", f"{engine.url}/engagements"):
        refused = await without.get(url, params={"expand": f"{name},tags"})
        assert refused.status_code == 403
        assert scope in refused.json()["detail"]
        assert (await having.get(url, params={"expand": f"{name},tags"})).status_code == 200


async def test_a_cursor_does_not_lend_its_scopes(keys: Keys, alice: Person) -> None:
    """A caller who continues with a cursor needs the scopes of its expansions."""
    await create(alice, "a", "b")
    cursor = (await alice.get(URL, params={"limit": 1, "expand": "owner"})).json()["next_cursor"]
    response = await (await keys.holder("engagements:read")).get(URL, params={"cursor": cursor})

    assert response.status_code == 403
    assert "users:read" in response.json()["detail"]


async def test_a_cursor_keeps_what_is_expanded(alice: Person) -> None:
    """The next page has the same expansions. Repeating the same `expand` is fine, another one is refused."""
    await create(alice, "a", "b")
    cursor = (await alice.get(URL, params={"limit": 1, "expand": "owner,tags"})).json()["next_cursor"]
    alone, same, other = [
        await alice.get(URL, params={"cursor": cursor, **more})
        for more in ({}, {"expand": "tags,owner"}, {"expand": "tags,contacts"})
    ]

    (engagement,) = alone.json()["data"]
    assert (engagement["title"], engagement["tags"]) == ("a", [])
    assert engagement["owner"]["id"] == engagement["owner_user_id"]
    assert "contacts" not in engagement
    assert same.content == alone.content
    assert (other.status_code, faults(other)) == (400, [("expand", "not_with_cursor")])


async def test_a_cursor_does_not_lend_what_is_private(bob: Person, alice: Person) -> None:
    """A cursor does not show private engagements to a caller who may not see them."""
    await create(alice, "a")
    await create(alice, "secret", is_private=True)
    await create(alice, "b")
    cursor = (await alice.get(URL, params={"limit": 1})).json()["next_cursor"]

    assert await listed(bob, {"cursor": cursor}) == ["a"]


async def test_expansions_are_those_of_single_reads(alice: Person, variety: Variety, renewal: Thing) -> None:
    """Each engagement on each page is expanded as in a single read."""
    page = (await alice.get(URL)).json()["data"]
    await alice.put(f"{URL}/{page[0]['id']}/tags", json={"tag_ids": [renewal.id]})
    met = [each async for page in LISTING.pages(alice, {"limit": 1, "expand": EVERYTHING}) for each in page]

    assert [each["title"] for each in met] == ["Both", "Grace", "Ada", "Waiting"]
    for each in met:
        assert each == (await alice.get(f"{URL}/{each['id']}", params={"expand": EVERYTHING})).json() | {
            "media_url": each["media_url"]
        }
    assert [contact["id"] for contact in met[0]["contacts"]] == [variety.ada.id, variety.grace.id]
    assert [each["owner"] and each["owner"]["id"] for each in met] == [
        variety.edith.id,
        variety.owner.id,
        variety.owner.id,
        None,
    ]
    assert [[tag["name"] for tag in each["tags"]] for each in met] == [["Renewal"], [], [], []]
    assert [each["transcript"] for each in met] == ["Shall we begin?"] * 3 + [None]
    assert [each["media_url"] is not None for each in met] == [False, False, False, True]


async def test_a_page_of_long_transcripts_ends_early(alice: Person) -> None:
    """A page with expansions is limited in bytes; what does not fit is on the next pages, and each has one at least."""
    for number in range(7):
        await create(alice, str(number), transcript="a" * 899_999)
    pages = [page async for page in LISTING.pages(alice, {"limit": 7, "expand": "transcript"})]
    plain = (await alice.get(URL, params={"limit": 7})).json()["data"]

    assert [len(page) for page in pages] == [5, 2]
    assert sum(len(each["transcript"]) for each in pages[0][:-1]) < MAX_PAGE_BYTES
    assert [each["id"] for page in pages for each in page] == [each["id"] for each in plain]


async def test_a_page_of_very_many_contacts_ends_early(alice: Person) -> None:
    """A page with expansions is limited in the contacts, companies and tags that its engagements name."""
    operation: Json = {"action": "create", "contact": {}}
    created = (await alice.post("/api/herdbook/contacts/bulk", json={"operations": [operation] * 1000})).json()["results"]
    contact_ids = [result["contact"]["id"] for result in created]
    for number in range(6):
        (made,) = await create(alice, str(number))
        assert (await alice.put(f"{URL}/{made.id}/contacts", json={"contact_ids": contact_ids})).status_code == 200
    pages = [page async for page in LISTING.pages(alice, {"limit": 6, "expand": "contacts"})]

    assert [len(page) for page in pages] == [MAX_PAGE_REFERENCES // 1000, 1]
    assert [len(each["contacts"]) for page in pages for each in page] == [1000] * 6


async def test_what_was_deleted_is_not_shown(alice: Person, variety: Variety, renewal: Thing) -> None:
    """Deleted contacts, companies and tags are left out of all engagements."""
    for each in (await alice.get(URL)).json()["data"]:
        await alice.put(f"{URL}/{each['id']}/tags", json={"tag_ids": [renewal.id]})
    for thing in (variety.ada, variety.engine, renewal):
        assert (await alice.delete(thing.url)).status_code == 200
    shown = (await alice.get(URL, params={"expand": "contacts,companies,tags", "order_by": "start_at:asc"})).json()["data"]

    ids = [[[thing["id"] for thing in each[name]] for name in ("contacts", "companies", "tags")] for each in shown]
    graces: Json = [[variety.grace.id], [variety.navy.id], []]
    assert ids == [[[], [], []], [[], [], []], graces, graces]


@pytest_asyncio.fixture
async def hundred(alice: Person, engine: Thing, ada: Thing, renewal: Thing) -> list[Made]:
    """A hundred and one engagements, each with its own contact beside Ada, a company, an owner, a tag and words."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    bodies = [
        call(str(n), participants=[{"email": "ada@engine.test"}, {"email": f"nobody{n}@engine.test"}]) for n in range(101)
    ]
    made = [Made(response) for response in await gather(*(alice.post(URL, json=body) for body in bodies))]
    await gather(*(alice.put(f"{each.url}/tags", json={"tag_ids": [renewal.id]}) for each in made))
    return made


@pytest.mark.parametrize(
    ("params", "most"),
    [
        ({}, 1),
        ({"order_by": "start_at:desc"}, 1),
        ({"expand": EVERYTHING}, 6),
        ({"expand": "contacts"}, 2),
        ({"filter[engagement_type][eq]": "CALL", "filter[owner_ids][in]": "usr_1,{owner}"}, 1),
        ({"filter[contact_ids][eq]": "{ada}"}, 2),
        ({"filter[company_ids][eq]": "{engine}", "expand": EVERYTHING}, 7),
        ({"search": "next"}, 2),
    ],
)
async def test_a_page_takes_as_many_statements_whatever_it_shows(
    alice: Person, hundred: list[Made], ada: Thing, engine: Thing, *, owner: Thing, database_url: str, params: Json, most: int
) -> None:
    """A page takes one statement, one for each expansion that reads, and one to see how rare a filter is."""
    named = {name: value.format(ada=ada.id, engine=engine.id, owner=owner.id) for name, value in params.items()}
    counts: list[int] = []
    sizes: list[int] = []
    async with serving_operations(OPERATIONS, database_url) as (client, statements):
        for limit in (1, 1, 100):
            statements.clear()
            response = await client.get(URL, params={**named, "limit": limit}, headers={"Authorization": str(alice.key)})
            counts.append(len(statements))
            sizes.append(len(response.json()["data"]))

    assert len(hundred) == 101
    assert sizes == [1, 1, 100]
    assert counts[1:] == [most, most], "the first request also looks up the credential and the type of arrays"
