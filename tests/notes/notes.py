"""Helpers that write and list notes."""

from html.parser import HTMLParser
from typing import Any

import httpx

from tests.cast import Json, Person, Thing


class Parsed(HTMLParser):
    """The elements and the attributes of some HTML, as a browser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs


def notes_of(place: Thing) -> str:
    """Return the URL of the notes on a contact or a company."""
    return f"{place.url.replace('/v2/', '/herdbook/')}/notes"


async def write(person: Person, place: Thing, text: str, **members: Any) -> httpx.Response:
    """Write a note on a contact or a company."""
    return await person.post(notes_of(place), json={"text": text, **members})


async def noted(person: Person, place: Thing, text: str, **members: Any) -> Thing:
    """Return a new note on a contact or a company."""
    return Thing(await write(person, place, text, **members))


async def listed(person: Person, place: Thing, **params: Any) -> Json:
    """Return a page of the notes on a contact or a company."""
    response = await person.get(notes_of(place), params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def texts(person: Person, place: Thing, **params: Any) -> list[str]:
    """Return the texts of the notes on a contact or a company, in the order of the list."""
    return [each["text"] for each in (await listed(person, place, **params))["data"]]
