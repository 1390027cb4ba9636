"""Helpers that create contacts and companies, and list those that may be the same."""

from typing import Any, Final

from tests.cast import Json, Person, Thing

URL: Final = "/api/herdbook/duplicates"


async def contact(person: Person, first_name: str, last_name: str, *addresses: str, **members: Any) -> Thing:
    """Create a contact."""
    body = {"first_name": first_name, "last_name": last_name, "emails": [{"email": each} for each in addresses], **members}
    return Thing(await person.post("/api/v2/contacts", json=body))


async def company(person: Person, name: str, *domains: str) -> Thing:
    """Create a company."""
    body = {"name": name, "domains": [{"domain": each} for each in domains]}
    return Thing(await person.post("/api/v2/companies", json=body))


def phone(*numbers: str) -> list[Json]:
    """Return phone numbers as a request has them."""
    return [{"phone_number": each} for each in numbers]


async def listed(person: Person, **asked: Any) -> Json:
    """Return the first page of duplicates."""
    response = await person.get(URL, params=asked)
    assert response.status_code == 200, response.text
    return response.json()


async def groups(person: Person, **asked: Any) -> list[set[str]]:
    """Return the ids of each group of the first page."""
    return [{each["id"] for each in group["objects"]} for group in (await listed(person, **asked))["data"]]


async def reasons(person: Person, **asked: Any) -> list[str]:
    """Return the reasons of the most likely pair."""
    return (await listed(person, **asked))["data"][0]["pairs"][0]["reasons"]


async def all_groups(person: Person, **asked: Any) -> list[set[str]]:
    """Return the ids of each group of all pages."""
    found: list[set[str]] = []
    cursor = ""
    while True:
        page = await listed(person, cursor=cursor, **asked)
        found += [{each["id"] for each in group["objects"]} for group in page["data"]]
        if not page["has_more"]:
            return found
        cursor = page["next_cursor"]
