"""How the tests of lists create contacts, and look at pages of them."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, TypeAlias

from tests.cast import Json, Person, Thing

URL: Final = "/api/v2/contacts"
_MOST_PAGES: Final = 200
Params: TypeAlias = Mapping[str, Any]


async def create(person: Person, *names: str) -> list[Thing]:
    """Create contacts with these first names, one after the other."""
    return [Thing(await person.post(URL, json={"first_name": name})) for name in names]


async def listed(person: Person, params: Params | None = None) -> list[str]:
    """Return the first names on a page."""
    response = await person.get(URL, params=params)
    assert response.status_code == 200, response.text
    return [contact["first_name"] for contact in response.json()["data"]]


async def pages(person: Person, params: Params) -> AsyncGenerator[list[Json]]:
    """Walk through a list to its end, by its cursors."""
    page = (await person.get(URL, params=params)).json()
    yield page["data"]
    for _ in range(_MOST_PAGES):
        if not page["has_more"]:
            break
        page = (await person.get(URL, params={"cursor": page["next_cursor"]})).json()
        yield page["data"]
    assert page["next_cursor"] is None, "the walk has an end"


async def walked(person: Person, params: Params) -> list[str]:
    """Return the first names on all pages."""
    return [contact["first_name"] async for page in pages(person, params) for contact in page]
