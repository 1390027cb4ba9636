"""The names by which people know objects."""

from collections.abc import Iterator
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
    return next((text for text in _names(record) if text.strip()), "No name")


def _names(record: Any) -> Iterator[str]:
    yield getattr(record, "name", None) or getattr(record, "title", None) or ""
    yield " ".join(filter(None, (getattr(record, "first_name", None), getattr(record, "last_name", None))))
    yield from (each.email for each in getattr(record, "emails", ())[:1])
    yield from (each.domain for each in getattr(record, "domains", ())[:1])
