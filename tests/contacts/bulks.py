"""Helpers that write many contacts at once."""

from collections.abc import Sequence
from typing import Any, Final

import httpx
import pytest

from tests.cast import Json, Person

BULK: Final = "/api/herdbook/contacts/bulk"

both_forms = pytest.mark.parametrize("atomic", [False, True], ids=["each", "all"])


def create(*addresses: str, **members: Any) -> Json:
    """Return an operation that creates a contact with these addresses."""
    return {"action": "create", "contact": {"emails": [{"email": address} for address in addresses], **members}}


def update(contact_id: str, **members: Any) -> Json:
    """Return an operation that updates a contact."""
    return {"action": "update", "id": contact_id, "contact": members}


def delete(contact_id: str) -> Json:
    """Return an operation that deletes a contact."""
    return {"action": "delete", "id": contact_id}


def upsert(*addresses: str, primary: str | None = None, **members: Any) -> Json:
    """Return an operation that upserts a contact with these addresses, one of which may be marked."""
    emails = [{"email": address} | ({"is_primary": True} if address == primary else {}) for address in addresses]
    return {"action": "upsert", "contact": {"emails": emails, **members}}


async def write(person: Person, *operations: Json, atomic: bool = False, url: str = BULK, **options: Any) -> httpx.Response:
    """Send operations, on contacts unless the URL says otherwise."""
    return await person.post(url, json={"atomic": atomic, "operations": operations}, **options)


async def results(person: Person, *operations: Json, atomic: bool = False, **options: Any) -> list[Json]:
    """Send operations; return their results."""
    response = await write(person, *operations, atomic=atomic, **options)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer == {"object": "bulk_result", "atomic": atomic, "results": answer["results"]}
    assert [result["index"] for result in answer["results"]] == list(range(len(operations)))
    return answer["results"]


async def result(person: Person, operation: Json) -> Json:
    """Send one operation; return its result."""
    (found,) = await results(person, operation)
    return found


def verdicts(found: Sequence[Json]) -> list[str]:
    """Return the results of operations, each as one word."""
    return [each["result"] for each in found]


def addresses(contact: Json) -> list[str]:
    """Return the addresses of a contact; a star marks the primary one."""
    return [item["email"] + "*" * item["is_primary"] for item in contact["emails"]]


def numbers(contact: Json) -> list[str]:
    """Return the phone numbers of a contact; a star marks the primary one."""
    return [item["phone_number"] + "*" * item["is_primary"] for item in contact["phone_numbers"]]
