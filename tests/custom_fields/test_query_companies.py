"""POST /herdbook/companies/query: the same mechanism as for contacts, which has more tests."""

from typing import Any, Final

import httpx
import pytest

from tests.cast import Json, Person, Thing, faults
from tests.custom_fields.definitions import define
from tests.custom_fields.test_query_contacts import where

URL: Final = "/api/herdbook/companies/query"


async def create(person: Person, name: str, *domains: str, **own: Any) -> Thing:
    """Create a company, with members of its own."""
    sent = {"name": name, "domains": [{"domain": domain} for domain in domains]}
    company = Thing(await person.post("/api/v2/companies", json=sent))
    if own:
        response = await person.patch(f"/api/herdbook/companies/{company.id}/record", json=own)
        assert response.status_code == 200, response.text
    return company


async def ask(person: Person, **query: Any) -> Json:
    """Return a page of a query."""
    response = await person.post(URL, json=query)
    assert response.status_code == 200, response.text
    return response.json()


async def found(person: Person, **query: Any) -> list[str]:
    """Return the names of the companies on all pages."""
    page = await ask(person, **query)
    data = page["data"]
    while page["has_more"]:
        page = await ask(person, **query, cursor=page["next_cursor"])
        data += page["data"]
    return [each["name"] for each in data]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(URL, json={})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_finds_nothing(charlie: Person, engine: Thing) -> None:
    """A query finds companies of its own workspace only."""
    assert engine.json["name"]
    assert (await ask(charlie, count=True)) == {
        "object": "list",
        "data": [],
        "has_more": False,
        "next_cursor": None,
        "count": 0,
        "count_is_exact": True,
    }


async def test_the_whole_of_each_is_shown(alice: Person, bob: Person, frank: Person, renewal: Thing) -> None:
    """Each company is shown as its record shows it, without archived fields and deleted tags."""
    await define(frank, "tier", object_type="company")
    secret = await define(frank, "secret", object_type="company")
    company = await create(alice, "Engines", "engine.test", fields={"tier": "A", "secret": "x"}, tag_ids=[renewal.id])
    await frank.patch(secret.url, json={"archived": True})
    before = (await ask(bob))["data"]
    record = (await bob.get(f"/api/herdbook/companies/{company.id}/record")).json()
    await alice.delete(renewal.url)

    assert before == [record]
    assert record["fields"] == {"tier": "A"}
    assert "tag_ids" not in (await ask(bob))["data"][0]


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        (where("name", "eq", "ALPHA Élan"), ["Alpha Elan"]),
        (where("name", "begins_with", "a"), ["Alpha Elan", "Alpha Two"]),
        (where("domains", "eq", "www.two.test"), ["Alpha Two"]),
        (where("domains", "contains", "two"), ["Alpha Two"]),
        (where("domains", "is_not_set"), ["Bravo"]),
        (where("fields.seats", "gte", 7), ["Alpha Two", "Bravo"]),
        (where("fields.seats", "one_of", [3, 7]), ["Alpha Elan", "Alpha Two"]),
        ({"not": where("fields.tier", "eq", "gold")}, ["Alpha Two", "Bravo"]),
        (where("crm_association", "eq", "17"), ["Bravo"]),
        ({"and": [where("name", "contains", "alpha"), where("fields.seats", "lt", 7)]}, ["Alpha Elan"]),
    ],
)
async def test_conditions(alice: Person, bob: Person, frank: Person, condition: Json, names: list[str]) -> None:
    """Conditions are on members of companies and their fields, and a sort by a field goes over pages."""
    await define(frank, "seats", "integer", "company")
    await define(frank, "tier", "one_of", "company")
    link = {"object_type": "company", "crm_object_id": "17", "source": "hubspot"}
    await create(alice, "Bravo", fields={"seats": 9}, crm_association=link)
    await create(alice, "Alpha Two", "two.test", fields={"seats": 7})
    await create(alice, "Alpha Elan", "one.test", fields={"seats": 3, "tier": "gold"})

    assert await found(bob, where=condition, sort=[{"field": "fields.seats"}], limit=1) == names
    assert await found(bob, where=condition, sort=[{"field": "name"}], limit=1) == names
    assert sorted(await found(bob, where=condition, sort=[{"field": "created_at"}])) == sorted(names)
    assert sorted(await found(bob, where=condition)) == sorted(names)


async def test_a_field_of_contacts_is_none_of_companies(bob: Person, frank: Person) -> None:
    """A member of contacts, and a field of contacts, is refused by name."""
    await define(frank, "seats", "integer", "contact")
    bad = {"or": [where("first_name", "eq", "Ada"), where("fields.seats", "eq", 1), where("domains", "eq", "no domain")]}
    response = await bob.post(URL, json={"where": bad})

    assert faults(response) == [
        ("where.or[0].field", "unknown_field"),
        ("where.or[1].field", "unknown_field"),
        ("where.or[2].value", "invalid_format"),
    ]
    assert "of companies" in response.json()["errors"][0]["message"]
