"""GET /herdbook/fields."""

import httpx

from tests.cast import Person, faults
from tests.custom_fields.definitions import URL, define


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(URL)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_sees_nothing(charlie: Person, frank: Person) -> None:
    """A list shows only the fields of its own workspace."""
    await define(frank, "tier")

    assert (await charlie.get(URL)).json()["data"] == []


async def test_all_are_listed(bob: Person, frank: Person) -> None:
    """A list has the fields of both types of objects, archived ones included, and a filter has those of one type."""
    person, company = await define(frank, "tier"), await define(frank, "tier", object_type="company")
    archived = (await frank.patch(company.url, json={"archived": True})).json()
    listed = (await bob.get(URL)).json()["data"]
    filtered = (await bob.get(URL, params={"filter[object_type][eq]": "company"})).json()["data"]

    assert sorted(each["id"] for each in listed) == sorted([person.json["id"], archived["id"]])
    assert filtered == [archived]


async def test_an_unknown_type_is_refused(bob: Person) -> None:
    """A filter by a type that has no fields is refused by name."""
    response = await bob.get(URL, params={"filter[object_type][eq]": "tag"})

    assert (response.status_code, faults(response)) == (400, [("filter[object_type][eq]", "invalid_format")])
