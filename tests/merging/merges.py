"""Helpers that merge contacts and inspect the result."""

from typing import Any, Final

import httpx

from tests.cast import Json, Person, Thing
from tests.engagements.calls import URL as ENGAGEMENTS
from tests.engagements.calls import Made, call

CONTACTS: Final = "/api/v2/contacts"


def url_of(target: Thing) -> str:
    """Return the URL that merges other contacts into a contact."""
    return f"/api/herdbook/contacts/{target.id}/merge"


async def merge(person: Person, target: Thing, *sources: Thing | str, **options: Any) -> httpx.Response:
    """Merge contacts into another one."""
    body = {"from": [source if isinstance(source, str) else source.id for source in sources]}
    return await person.post(url_of(target), json=body, **options)


async def merged(person: Person, target: Thing, *sources: Thing) -> Json:
    """Merge contacts into another one; return the resulting contact."""
    response = await merge(person, target, *sources)
    assert response.status_code == 200, response.text
    return response.json()["contact"]


async def contact(person: Person, *addresses: str, **members: Any) -> Thing:
    """Create a contact."""
    return Thing(await person.post(CONTACTS, json={"emails": [{"email": each} for each in addresses], **members}))


async def engage(person: Person, title: str, *contacts: Thing, **members: Any) -> Made:
    """Create an engagement with contacts."""
    made = Made(await person.post(ENGAGEMENTS, json=call(title, title=title, **members)))
    await person.put(f"{made.url}/contacts", json={"contact_ids": [each.id for each in contacts]})
    return made


async def engaged(person: Person, engagement: Made) -> list[str]:
    """Return an engagement's existing contacts."""
    response = await person.get(engagement.url, params={"expand": "contacts"})
    return [each["id"] for each in response.json()["contacts"]]


async def titles(person: Person, of: Thing) -> set[str]:
    """Return the titles of a contact's engagements."""
    listed = (await person.get(f"{of.url}/engagements", params={"limit": 100})).json()
    return {each["title"] for each in listed["data"]}
