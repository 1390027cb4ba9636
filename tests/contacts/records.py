"""Helpers that read and change the whole of a contact."""

from typing import Any

import httpx

from tests.cast import Json, Person, Thing


def record_of(contact: Thing) -> str:
    """Return the URL of the whole of a contact."""
    return f"/api/herdbook/contacts/{contact.id}/record"


async def read(person: Person, contact: Thing) -> Json:
    """Return the whole of a contact."""
    response = await person.get(record_of(contact))
    assert response.status_code == 200, response.text
    return response.json()


async def change(person: Person, contact: Thing, **members: Any) -> httpx.Response:
    """Change some members of the whole of a contact."""
    response = await person.patch(record_of(contact), json=members)
    assert response.status_code == 200, response.text
    return response


async def known_as(person: Person, *external_ids: str, **members: Any) -> Thing:
    """Create a contact with external ids."""
    return Thing(await person.post("/api/v2/contacts", json={"external_ids": external_ids, **members}))


async def ids_of(person: Person, contact: Thing) -> list[str]:
    """Return the external ids of a contact."""
    return (await read(person, contact)).get("external_ids", [])
