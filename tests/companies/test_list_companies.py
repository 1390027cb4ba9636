"""GET /v2/companies."""

import httpx
import pytest
import pytest_asyncio

from tests.cast import Json, Person, Thing, faults
from tests.listing import Listing

URL = "/api/v2/companies"
CRM = "filter[crm_associations][eq]"
DOMAIN = "filter[domain][eq]"
ASCENDING = {"order_by": "updated_at:asc"}
COMPANIES = Listing(URL, "name")
listed, walked = COMPANIES.listed, COMPANIES.walked


async def create(person: Person, *names: str) -> list[Thing]:
    """Create companies with these names, in order."""
    return [Thing(await person.post(URL, json={"name": name, "domains": []})) for name in names]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(URL)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_sees_nothing(alice: Person, charlie: Person, engine: Thing) -> None:
    """Companies of another workspace are not listed, nor found by name, domain or CRM record."""
    link = {"object_type": "company", "crm_object_id": "1", "source": "hubspot"}
    await alice.put(f"{engine.url}/crm_association", json=link)
    ways = [{}, {"search": "engine"}, {DOMAIN: "engine.test"}, {CRM: '[{"id":"1","object_type":"company"}]'}]

    assert [await listed(alice, way) for way in ways] == [["Analytical Engine"]] * 4
    assert [await listed(charlie, way) for way in ways] == [[]] * 4


async def test_dave_is_refused(dave: Person) -> None:
    """A write-only credential cannot list anything."""
    response = await dave.get(URL)

    assert response.status_code == 403
    assert "companies:read" in response.json()["detail"]


async def test_the_envelope(bob: Person, engine: Thing) -> None:
    """A list has the documented members and shows companies as a read does."""
    response = await bob.get(URL)

    assert response.json() == {"object": "list", "data": [engine.json], "has_more": False, "next_cursor": None}
    assert "ETag" not in response.headers


async def test_the_latest_comes_first(alice: Person) -> None:
    """The most recently updated company comes first, however old it is."""
    first, *_ = await create(alice, "a", "b", "c")
    await alice.patch(first.url, json={"description": "changed"})

    assert await listed(alice) == ["a", "c", "b"]
    assert await listed(alice, ASCENDING) == ["b", "c", "a"]


@pytest.mark.parametrize("order", ["updated_at:asc", "updated_at:desc"])
@pytest.mark.parametrize("limit", range(1, 11))
async def test_a_walk_meets_once_what_is_left_alone(alice: Person, order: str, limit: int) -> None:
    """A walk meets each untouched company once, at any page size and order, while others write between the pages."""
    things = {thing.json["name"]: thing for thing in await create(alice, *"a1b2c3d4e")}
    met = await COMPANIES.walked_while(
        alice,
        {"order_by": order, "limit": limit},
        [
            lambda: alice.patch(things["1"].url, json={"name": "1 again"}),
            lambda: alice.delete(things["3"].url),
            lambda: create(alice, "5"),
            lambda: alice.patch(things["4"].url, json={"description": "changed"}),
            lambda: alice.delete(things["2"].url),
        ],
    )

    alone = [name for name in met if name in "abcde"]
    assert alone == (list("abcde") if order.endswith("asc") else list("edcba"))
    assert len(met) == len(set(met)) or order.endswith("asc"), "in descending order, nothing is met twice"


async def test_a_time_bounds_the_list(alice: Person) -> None:
    """The list takes the time bounds that all lists take."""
    _, b, c = await create(alice, "a", "b", "c")
    bounds = {"filter[updated_at][gte]": b.json["updated_at"], "filter[updated_at][lt]": c.json["updated_at"]}

    assert await listed(alice, bounds) == ["b"]


@pytest_asyncio.fixture
async def mills(alice: Person) -> list[Thing]:
    """Companies that share words, some of them in members that no search looks at."""
    companies: list[Json] = [
        {"name": "Analytical Engine", "domains": [{"domain": "babbage.test"}]},
        {"name": "Società Engine-Works", "domains": [], "description": "They mill numbers."},
        {"name": "Mill & Sons", "domains": [{"domain": "engine.test"}]},
        {"domains": [{"domain": "nameless.test"}], "description": "An engine."},
    ]
    things = [Thing(await alice.post(URL, json=company)) for company in companies]
    link = {"object_type": "company", "crm_object_id": "engine", "source": "engine"}
    await alice.put(f"{things[2].url}/crm_association", json=link)
    return things


@pytest.mark.usefixtures("mills")
@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("engine", ["Analytical Engine", "Società Engine-Works"]),
        ("ENG anal", ["Analytical Engine"]),
        ("ngine", []),
        ("societa works", ["Società Engine-Works"]),
        ("engine-works", ["Società Engine-Works"]),
        ("mill", ["Mill & Sons"]),
        ("mill & sons", ["Mill & Sons"]),
        ("engine mill", []),
        # No other member of a company is searched
        ("babbage", []),
        ("babbage.test", []),
        ("numbers", []),
        ("nameless", []),
        ("cmp", []),
        ("company", []),
    ],
)
async def test_a_search_finds_words_of_the_name(alice: Person, search: str, expected: list[str]) -> None:
    """A search looks only at the display name."""
    assert await listed(alice, {"search": search, **ASCENDING}) == expected


async def test_a_search_sees_a_write_at_once(alice: Person, mills: list[Thing]) -> None:
    """A company is found by its current name, not by an old one."""
    analytical, works, sons, nameless = mills
    await alice.patch(analytical.url, json={"name": "Difference Machine"})
    await alice.patch(works.url, json={"name": None})
    await alice.delete(sons.url)
    await alice.patch(nameless.url, json={"name": "Found"})

    assert [await listed(alice, {"search": old}) for old in ("analytical", "engine", "works", "mill")] == [[]] * 4
    assert [await listed(alice, {"search": new}) for new in ("machine", "found")] == [["Difference Machine"], ["Found"]]


async def test_a_word_stays_while_the_name_has_it(alice: Person) -> None:
    """A word in both the old and the new name is found all the time, whether it occurs once or twice."""
    (company,) = await create(alice, "Mill, Mill & Co")
    await alice.patch(company.url, json={"name": "Old Mill"})
    await alice.patch(company.url, json={"description": "changed"})

    assert await listed(alice, {"search": "mill"}) == ["Old Mill"]


@pytest.mark.usefixtures("mills")
@pytest.mark.parametrize("domain", ["engine.test", "ENGINE.Test", "engine.test.", " https://engine.test:8443/about?x=y "])
async def test_a_company_is_found_by_its_domain(alice: Person, domain: str) -> None:
    """A domain finds its holder in any spelling."""
    assert await listed(alice, {DOMAIN: domain}) == ["Mill & Sons"]


async def test_a_domain_is_found_in_either_form(alice: Person) -> None:
    """The Unicode form of a domain and its A-labels are equal."""
    domains = [{"domain": "plain.test"}, {"domain": "münchen.test"}]
    await alice.post(URL, json={"name": "Two", "domains": domains})

    assert [await listed(alice, {DOMAIN: domain}) for domain in ("MÜNCHEN.test", "xn--mnchen-3ya.test")] == [["Two"]] * 2


@pytest.mark.usefixtures("mills")
@pytest.mark.parametrize("domain", ["mail.engine.test", "gine.test", "engine.te", "test.engine", "nobody.test", "%.test"])
async def test_a_domain_is_compared_as_a_whole(alice: Person, domain: str) -> None:
    """A domain matches only as a whole: neither parts nor wildcards match."""
    response = await alice.get(URL, params={DOMAIN: domain})

    assert response.status_code == (400 if "%" in domain else 200)
    assert response.json().get("data", []) == []


async def test_a_domain_that_was_given_up_is_not_found(alice: Person, engine: Thing) -> None:
    """The filter sees a write immediately: a domain leads only to its current holder."""
    await alice.patch(engine.url, json={"domains": [{"domain": "new.test"}]})
    replaced = [await listed(alice, {DOMAIN: domain}) for domain in ("engine.test", "new.test")]
    await alice.delete(engine.url)

    assert replaced == [[], ["Analytical Engine"]]
    assert await listed(alice, {DOMAIN: "new.test"}) == []


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({DOMAIN: ""}, (DOMAIN, "invalid_format")),
        ({DOMAIN: "engine"}, (DOMAIN, "invalid_format")),
        ({DOMAIN: "a.test,b.test"}, (DOMAIN, "invalid_format")),
        ({DOMAIN: "ada@engine.test"}, (DOMAIN, "invalid_format")),
        ({DOMAIN: "ü" * 5000}, (DOMAIN, "invalid_format")),
        ({DOMAIN: "engine.test\u0000"}, (DOMAIN, "invalid_characters")),
        ({DOMAIN: ["a.test", "b.test"]}, (DOMAIN, "duplicate")),
        ({"filter[domain][in]": "engine.test"}, ("filter[domain][in]", "unknown_parameter")),
        ({"filter[domains][eq]": "engine.test"}, ("filter[domains][eq]", "unknown_parameter")),
    ],
)
async def test_a_domain_filter_that_is_none_is_refused(alice: Person, params: Json, fault: tuple[str, str]) -> None:
    """A malformed domain is refused instead of silently finding nothing."""
    response = await alice.get(URL, params=params)

    assert response.status_code == 400
    assert faults(response) == [fault]


@pytest_asyncio.fixture
async def linked(alice: Person) -> list[Thing]:
    """Companies a, b, c with CRM records 1, 2, 3, a second one with record 1, and one without."""
    things = await create(alice, "a", "b", "c", "a too", "none")
    for thing, record in zip(things, "1231", strict=False):
        link = {"object_type": "company", "crm_object_id": record, "source": "hubspot"}
        assert (await alice.put(f"{thing.url}/crm_association", json=link)).status_code == 200
    return things


@pytest.mark.usefixtures("linked")
@pytest.mark.parametrize(
    "params",
    [
        {CRM: '[{"id":"1","object_type":"company"},{"id":"3","object_type":"company"}]'},
        {
            f"{CRM}[0][id]": "1",
            f"{CRM}[0][object_type]": "company",
            f"{CRM}[1][id]": "3",
            f"{CRM}[1][object_type]": "company",
        },
    ],
)
async def test_companies_are_found_by_their_crm_records(alice: Person, params: dict[str, str]) -> None:
    """A filter matches any of its records, in both encodings."""
    assert await listed(alice, {**params, **ASCENDING}) == ["a", "c", "a too"]


async def test_a_record_that_was_unlinked_is_not_found(alice: Person, linked: list[Thing]) -> None:
    """A filter sees a write immediately."""
    await alice.delete(f"{linked[0].url}/crm_association")
    await alice.delete(linked[3].url)

    assert await listed(alice, {CRM: '[{"id":"1","object_type":"company"}]'}) == []


@pytest.mark.parametrize("object_type", ["contact", "deal", "Company"])
async def test_only_records_of_companies_are_asked_for(alice: Person, object_type: str) -> None:
    """The filter takes only companies of the CRM, because no other record is linked to a company."""
    response = await alice.get(URL, params={f"{CRM}[0][id]": "1", f"{CRM}[0][object_type]": object_type})

    assert response.status_code == 400
    assert faults(response) == [(CRM, "invalid_choice")]


async def test_filters_and_search_are_taken_together(alice: Person, linked: list[Thing]) -> None:
    """All conditions must hold, on all pages."""
    await alice.patch(linked[0].url, json={"domains": [{"domain": "a.test"}]})
    records = '[{"id":"1","object_type":"company"},{"id":"2","object_type":"company"}]'

    assert await walked(alice, {CRM: records, "search": "a", "limit": 1, **ASCENDING}) == ["a too", "a"]
    assert await listed(alice, {CRM: records, DOMAIN: "a.test", "search": "a"}) == ["a"]
    assert await listed(alice, {CRM: records, DOMAIN: "a.test", "search": "b"}) == []


@pytest.mark.usefixtures("linked")
@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"search": "a", **ASCENDING}, ["a", "a too"]),
        ({CRM: '[{"id":"1","object_type":"company"}]'}, ["a too", "a"]),
        ({f"{CRM}[4][id]": "1", f"{CRM}[4][object_type]": "company", **ASCENDING}, ["a", "a too"]),
        ({"filter[updated_at][gt]": "2026-03-01T00:00:00Z", "search": "too a", "limit": 25}, ["a too"]),
    ],
)
async def test_a_cursor_may_be_sent_with_what_it_carries(alice: Person, params: Json, expected: list[str]) -> None:
    """A client may repeat the first call's parameters on each page, even with another limit."""
    first = (await alice.get(URL, params={**params, "limit": 1})).json()
    if first["has_more"]:
        first["data"] += (await alice.get(URL, params={**params, "cursor": first["next_cursor"]})).json()["data"]

    assert [company["name"] for company in first["data"]] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [("search", "a"), (DOMAIN, "a.test"), (CRM, '[{"id":"2","object_type":"company"}]'), ("order_by", "updated_at:asc")],
)
async def test_a_cursor_is_for_what_it_was_given_out_for(alice: Person, name: str, value: str) -> None:
    """A cursor is refused beside a parameter whose value contradicts it."""
    await create(alice, "a", "b")
    cursor = (await alice.get(URL, params={"limit": 1})).json()["next_cursor"]
    response = await alice.get(URL, params={"cursor": cursor, name: value})

    assert response.status_code == 400
    assert faults(response) == [(name, "not_with_cursor")]


async def test_a_cursor_of_the_contacts_is_refused(alice: Person) -> None:
    """A cursor works only in the list that issued it."""
    await create(alice, "a", "b")
    for name in ("Ada", "Grace"):
        await alice.post("/api/v2/contacts", json={"first_name": name})
    cursor = (await alice.get("/api/v2/contacts", params={"limit": 1})).json()["next_cursor"]
    response = await alice.get(URL, params={"cursor": cursor})

    assert faults(response) == [("cursor", "invalid_cursor")]
