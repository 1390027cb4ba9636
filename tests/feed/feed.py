"""Helpers that read the feed."""

from typing import Any, Final

from tests.cast import Json, Person

URL: Final = "/api/herdbook/changes"


async def read(person: Person, **params: Any) -> Json:
    """Return a page of the feed."""
    response = await person.get(URL, params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def told(person: Person, **params: Any) -> list[str]:
    """Return the types of the changes on a page."""
    return [change["type"] for change in (await read(person, **params))["data"]]


async def now(person: Person) -> int:
    """Return the position at which the feed ends now."""
    return (await read(person, after="now"))["position"]


async def walked(person: Person, **params: Any) -> list[Json]:
    """Return all changes after a position, page by page."""
    met: list[Json] = []
    page: Json = {"has_more": True, "position": params.pop("after", 0)}
    while page["has_more"]:
        page = await read(person, after=page["position"], **params)
        met += page["data"]
    return met
