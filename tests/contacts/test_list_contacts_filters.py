"""GET /v2/contacts: filters by time, CRM association, address, phone number and company."""

from datetime import datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from tests.cast import Json, Person, Thing, faults
from tests.contacts.listing import URL, create, listed, walked

CRM = "filter[crm_associations][eq]"
MICROSECOND = timedelta(microseconds=1)
ASCENDING = {"order_by": "updated_at:asc"}


def moved(time: str, by: timedelta) -> str:
    """Return an API time, shifted."""
    return (datetime.fromisoformat(time) + by).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize(
    ("bound", "by", "expected"),
    [
        ("gt", -MICROSECOND, ["b", "c"]),
        ("gt", 0 * MICROSECOND, ["c"]),
        ("gte", 0 * MICROSECOND, ["b", "c"]),
        ("gte", MICROSECOND, ["c"]),
        ("lt", 0 * MICROSECOND, ["a"]),
        ("lt", MICROSECOND, ["a", "b"]),
        ("lte", -MICROSECOND, ["a"]),
        ("lte", 0 * MICROSECOND, ["a", "b"]),
    ],
)
async def test_a_bound_is_exact_to_the_microsecond(alice: Person, bound: str, by: timedelta, expected: list[str]) -> None:
    """`gt` and `lt` are strict, `gte` and `lte` inclusive."""
    _, between, _ = await create(alice, "a", "b", "c")
    time = moved(between.json["updated_at"], by)

    assert await listed(alice, {**ASCENDING, f"filter[updated_at][{bound}]": time}) == expected


async def test_bounds_are_taken_together(alice: Person) -> None:
    """All given bounds must hold."""
    a, b, c, d = await create(alice, *"abcd")
    params = {
        "filter[updated_at][gt]": a.json["updated_at"],
        "filter[updated_at][gte]": b.json["updated_at"],
        "filter[updated_at][lte]": d.json["updated_at"],
        "filter[updated_at][lt]": d.json["updated_at"],
    }

    assert await listed(alice, {**params, **ASCENDING}) == ["b", "c"]
    assert (
        await listed(alice, {"filter[updated_at][gt]": c.json["updated_at"], "filter[updated_at][lt]": b.json["updated_at"]})
        == []
    )


async def test_the_documented_sync_misses_nothing(alice: Person) -> None:
    """A full export, continued from its checkpoint, includes everything that changed meanwhile."""
    things = await create(alice, *"abc")
    checkpoint = (await alice.get(URL, params=ASCENDING)).json()["data"][-1]["updated_at"]
    await alice.patch(things[0].url, json={"first_name": "A"})
    await create(alice, "d")

    assert await walked(alice, {**ASCENDING, "limit": 1, "filter[updated_at][gte]": checkpoint}) == ["c", "A", "d"]


@pytest.mark.parametrize(
    "time",
    [
        "2000-01-01T00:00:00Z",
        "2000-01-01T00:00:00.000Z",
        "2000-01-01T00:00:00.000001Z",
        "2000-01-01t00:00:00z",
        "2000-01-01T00:00:00+14:00",
        "2000-01-01T00:00:00",
        "0001-01-01T00:00:00Z",
    ],
)
async def test_times_are_iso_8601(alice: Person, time: str) -> None:
    """Fractions are optional, offsets are respected, and a time without one is UTC."""
    await create(alice, "a")

    assert await listed(alice, {"filter[updated_at][gt]": time}) == ["a"]
    assert await listed(alice, {"filter[updated_at][lt]": time}) == []


async def test_the_end_of_time(alice: Person) -> None:
    """The greatest time that is accepted comes after everything."""
    await create(alice, "a")

    assert await listed(alice, {"filter[updated_at][lte]": "9999-12-31T23:59:59.999999Z"}) == ["a"]


async def test_a_plus_that_was_not_encoded(alice: Person) -> None:
    """A space in place of an offset's plus sign is accepted, because many clients do not encode the plus."""
    (thing,) = await create(alice, "a")
    east = moved(thing.json["updated_at"], timedelta(hours=1)).replace("Z", " 01:00")

    assert await listed(alice, {"filter[updated_at][gte]": east}) == ["a"]
    assert await listed(alice, {"filter[updated_at][gt]": east}) == []


@pytest.mark.parametrize(
    "time",
    [
        *("", "now", "5", "1700000000", "1e5", "2026-03-01", "12:00:00Z", "2026-02-30T00:00:00Z", "2026-03-01T25:00:00Z"),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "2026-03-01T00:00:00Z\u0000"),
    ],
)
@pytest.mark.parametrize("bound", ["gt", "lte"])
async def test_a_time_that_is_none_is_refused(alice: Person, bound: str, time: str) -> None:
    """Dates without a time, seconds since 1970, and impossible times are refused."""
    response = await alice.get(URL, params={f"filter[updated_at][{bound}]": time})

    assert response.status_code == 400
    assert faults(response) == [(f"filter[updated_at][{bound}]", "invalid_format")]


@pytest_asyncio.fixture
async def linked(alice: Person) -> list[Thing]:
    """Contacts a, b, c with CRM records 1, 2, 3, a second one with record 1, and one without."""
    things = await create(alice, "a", "b", "c", "a too", "none")
    for thing, record in zip(things, ["1", "2", "3", "1"], strict=False):
        link = {"object_type": "contact", "crm_object_id": record, "source": "hubspot"}
        assert (await alice.put(f"{thing.url}/crm_association", json=link)).status_code == 200
    return things


@pytest.mark.usefixtures("linked")
@pytest.mark.parametrize(
    "params",
    [
        {CRM: '[{"id":"1","object_type":"contact"},{"id":"3","object_type":"contact"}]'},
        {
            f"{CRM}[0][id]": "1",
            f"{CRM}[0][object_type]": "contact",
            f"{CRM}[1][id]": "3",
            f"{CRM}[1][object_type]": "contact",
        },
        {
            f"{CRM}[7][object_type]": "contact",
            f"{CRM}[2][id]": "3",
            f"{CRM}[7][id]": "1",
            f"{CRM}[2][object_type]": "contact",
        },
    ],
)
async def test_contacts_are_found_by_their_crm_records(alice: Person, params: dict[str, str]) -> None:
    """A filter matches any of its records, in both encodings. Numbers in brackets may be in any order."""
    assert await listed(alice, {**params, **ASCENDING}) == ["a", "c", "a too"]


async def test_a_record_that_was_unlinked_is_not_found(alice: Person, linked: list[Thing]) -> None:
    """A filter sees a write immediately."""
    await alice.delete(f"{linked[0].url}/crm_association")
    await alice.delete(linked[3].url)

    assert await listed(alice, {CRM: '[{"id":"1","object_type":"contact"}]'}) == []


@pytest.mark.usefixtures("linked")
async def test_another_workspaces_records_are_not_found(charlie: Person) -> None:
    """CRM records of another workspace are not found."""
    assert await listed(charlie, {CRM: '[{"id":"1","object_type":"contact"}]'}) == []


@pytest.mark.usefixtures("linked")
async def test_a_filter_goes_with_a_search_and_a_cursor(alice: Person) -> None:
    """Filter, search and order combine, on all pages."""
    records = '[{"id":"1","object_type":"contact"},{"id":"2","object_type":"contact"}]'

    assert await walked(alice, {CRM: records, "search": "a", "limit": 1, **ASCENDING}) == ["a", "a too"]


def listing(*items: Json) -> str:
    """Return a list of records as JSON text."""
    return "[" + ",".join(items) + "]"


ONE = '{"id":"1","object_type":"contact"}'


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({CRM: ""}, "invalid_format"),
        ({CRM: "1"}, "invalid_format"),
        ({CRM: ONE}, "invalid_format"),
        ({CRM: listing('{"id":1,"object_type":"contact"}')}, "invalid_format"),
        ({CRM: listing('{"id":"","object_type":"contact"}')}, "invalid_format"),
        ({CRM: listing('{"id":"1"}')}, "invalid_format"),
        ({CRM: listing('{"object_type":"contact"}')}, "invalid_format"),
        ({CRM: listing('{"id":"1","object_type":"contact","source":"x"}')}, "invalid_format"),
        ({CRM: listing('{"id":"\\ud800","object_type":"contact"}')}, "invalid_format"),
        ({CRM: "[" * 20_000}, "invalid_format"),
        ({CRM: listing('{"id":"%s","object_type":"contact"}' % ("x" * 256))}, "invalid_format"),
        ({CRM: listing('{"id":"\\u0000","object_type":"contact"}')}, "invalid_characters"),
        ({CRM: listing('{"id":"1","object_type":"company"}')}, "invalid_choice"),
        ({CRM: listing()}, "invalid_range"),
        ({CRM: listing(*[ONE] * 21)}, "invalid_range"),
        ({CRM: listing(ONE), f"{CRM}[0][id]": "1"}, "duplicate"),
        ({f"{CRM}[0][id]": "1"}, "invalid_format"),
        ({f"{CRM}[0][object_type]": "contact"}, "invalid_format"),
        ({f"{CRM}[0][id]": "1", f"{CRM}[0][object_type]": "deal"}, "invalid_choice"),
        ({f"{CRM}[0][id]": "\u0000", f"{CRM}[0][object_type]": "contact"}, "invalid_characters"),
    ],
)
async def test_a_filter_that_is_none_is_refused(alice: Person, params: dict[str, str], code: str) -> None:
    """A filter takes 1 to 20 records of contacts, each with only `id` and `object_type`."""
    response = await alice.get(URL, params=params)

    assert response.status_code == 400
    assert faults(response) == [(CRM, code)]


async def test_twenty_records_are_taken(alice: Person) -> None:
    """A filter accepts 20 records."""
    assert await listed(alice, {CRM: listing(*[ONE] * 20)}) == []


@pytest.mark.parametrize("name", [f"{CRM}[0]", f"{CRM}[0][ids]", f"{CRM}[-1][id]", f"{CRM}[0][id][0]", f"{CRM}[]"])
async def test_brackets_that_are_none_are_refused(alice: Person, name: str) -> None:
    """A malformed encoding of the filter is refused, not ignored."""
    response = await alice.get(URL, params={name: "1"})

    assert response.status_code == 400
    assert faults(response) == [(name, "unknown_parameter")]


async def test_a_member_given_twice_is_refused(alice: Person) -> None:
    """Two ids in one place are refused, because neither is clearly the intended one."""
    member = f"{CRM}[0][id]"
    response = await alice.get(URL, params={member: ["1", "2"], f"{CRM}[0][object_type]": "contact"})

    assert response.status_code == 400
    assert faults(response) == [(member, "duplicate")]


PEOPLE: list[Json] = [
    {"first_name": "Jo", "emails": [{"email": "jo@corp.example"}, {"email": "jo@münchen.example"}]},
    {"first_name": "Ann", "emails": [{"email": "ann.jo@corp.example"}, {"email": "jo+1@corp.example.org"}]},
    {"first_name": "Dial", "phone_numbers": [{"phone_number": "+1 415 555 0740"}]},
    {"first_name": "Desk", "phone_numbers": [{"phone_number": "+1 (415) 555-0740 ext. 12"}, {"phone_number": "020 7946 2740"}]},
]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("email", "jo@corp.example", ["Jo"]),
        ("email", " JO@CORP.example", ["Jo"]),
        ("email", "jo@xn--mnchen-3ya.example", ["Jo"]),
        ("email", "jo+1@corp.example.org", ["Ann"]),
        ("email", "jo 1@corp.example.org", ["Ann"]),
        ("email", "jo@corp.exam", []),
        *(
            ("phone_number", number, ["Desk", "Dial"])
            for number in (
                *("+14155550740", "14155550740", "0014155550740", "01114155550740", "14155550740@c.us", " 14155550740"),
                *("sip:+14155550740@pbx.example;user=phone", "tel:+1-415-555-0740;ext=7", "+1 415 555 0740 x7"),
            )
        ),
        ("phone_number", "020 7946 2740", ["Desk"]),
        ("phone_number", "(020) 7946-2740", ["Desk"]),
        ("phone_number", "+4155550740", []),
        ("phone_number", "5550740", []),
    ],
)
async def test_people_are_looked_up_exactly(alice: Person, name: str, value: str, expected: list[str]) -> None:
    """A filter finds the holders of exactly this address or number, however it is written."""
    for person in PEOPLE:
        await alice.post(URL, json=person)

    assert await listed(alice, {f"filter[{name}][eq]": value}) == expected


@pytest.mark.parametrize(
    ("name", "value"), [("email", "jo"), ("email", ""), ("phone_number", "none"), ("phone_number", ""), ("company_id", "cnt_1")]
)
async def test_what_nobody_can_have_is_refused(alice: Person, name: str, value: str) -> None:
    """A filter is an address, a number or an id of a company."""
    response = await alice.get(URL, params={f"filter[{name}][eq]": value})

    assert response.status_code == 400
    assert faults(response) == [(f"filter[{name}][eq]", "invalid_format")]


FILL = """
    with one as (
        insert into contact (workspace_id, id, version, updated_at, search, object)
        select $1, gen_random_uuid(), n, now() + n * interval '1 microsecond', E'\\x1e', json_build_object('first_name', n)
        from generate_series(1, 5100) as n
        returning id
    )
    insert into contact_word (workspace_id, word, contact_id) select $1, '+14155550740', id from one
"""


async def test_a_number_of_very_many(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A filter finds all contacts of one switchboard, page by page."""
    await pool.execute(FILL, alice.workspace_id)

    assert await walked(alice, {"filter[phone_number][eq]": "+1 415 555 0740", "limit": "100"}) == list(range(5100, 0, -1))


async def test_contacts_of_a_merged_company(alice: Person) -> None:
    """A filter by a company that was merged finds the contacts of the company that replaces it."""
    target, source = [Thing(await alice.post("/api/v2/companies", json={"name": "x", "domains": []})) for _ in range(2)]
    for name, company in (("a", target), ("b", source)):
        await alice.post(URL, json={"first_name": name, "company_id": company.id})
    await alice.post(f"/api/herdbook/companies/{target.id}/merge", json={"from": [source.id]})
    oldest = {"order_by": "updated_at:asc"}

    assert await listed(alice, {"filter[company_id][eq]": source.id, **oldest}) == ["a", "b"]
    assert await listed(alice, {"filter[company_id][in]": f"{source.id},{target.id}", **oldest}) == ["a", "b"]


async def test_a_refused_filter_ends_with_one_full_stop(alice: Person) -> None:
    """The reason for which a value is refused is part of a sentence."""
    response = await alice.get(URL, params={"filter[email][eq]": "x"})

    assert response.json()["errors"][0]["message"].endswith("sign.")
    assert ".." not in response.json()["errors"][0]["message"]


async def test_contacts_of_a_company(alice: Person) -> None:
    """A filter by company finds its contacts, and others once they belong to it."""
    company = Thing(await alice.post("/api/v2/companies", json={"name": "Engines", "domains": []}))
    people = [Thing(await alice.post(URL, json={"first_name": name})) for name in "ab"]
    asked = {"filter[company_id][eq]": company.json["id"]}
    await alice.patch(people[0].url, json={"company_id": company.json["id"]})

    assert await listed(alice, asked) == ["a"]
    await alice.patch(people[1].url, json={"company_id": company.json["id"]})
    assert await walked(alice, {**asked, "limit": "1", "search": "b"}) == ["b"]
    assert await listed(alice, {**asked, "order_by": "updated_at:asc"}) == ["a", "b"]
