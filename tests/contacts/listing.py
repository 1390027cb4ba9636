"""Helpers that create contacts and read pages of them."""

from typing import Final

from tests.cast import Person, Thing
from tests.listing import Listing

URL: Final = "/api/v2/contacts"
_CONTACTS: Final = Listing(URL, "first_name")
listed: Final = _CONTACTS.listed
pages: Final = _CONTACTS.pages
walked: Final = _CONTACTS.walked


async def create(person: Person, *names: str) -> list[Thing]:
    """Create contacts with these first names, in order."""
    return [Thing(await person.post(URL, json={"first_name": name})) for name in names]
