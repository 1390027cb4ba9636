"""The names by which people know objects."""

from typing import Any

import msgspec


class _Address(msgspec.Struct):
    """An e-mail address of a user or a contact."""

    email: str


class _Domain(msgspec.Struct):
    """A domain of a company."""

    domain: str


class Named(msgspec.Struct):
    """The parts of an object by which people know it."""

    id: str
    name: str | None = None
    title: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    emails: tuple[_Address, ...] = ()
    domains: tuple[_Domain, ...] = ()


def name_of(record: Any) -> str:
    """Return the name or the title of an object, or an address or domain that stands for it."""
    name = getattr(record, "name", None) or getattr(record, "title", None) or ""
    full = " ".join(part for part in (getattr(record, "first_name", None), getattr(record, "last_name", None)) if part)
    addresses = [each.email for each in getattr(record, "emails", ())]
    domains = [each.domain for each in getattr(record, "domains", ())]
    return next((text for text in (name, full, *addresses[:1], *domains[:1]) if text.strip()), "No name")
