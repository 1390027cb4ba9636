"""Helpers that define fields."""

from typing import Any, Final, NamedTuple

from tests.cast import Json, Person

URL: Final = "/api/herdbook/fields"


class Defined(NamedTuple):
    """A field that was defined: its definition, its URL, and the request that defined it."""

    json: Json
    url: str
    request_id: str


async def define(person: Person, key: str, kind: str = "text", object_type: str = "contact", **members: Any) -> Defined:
    """Define a field."""
    if kind in ("one_of", "several_of"):
        members.setdefault("options", [{"id": each, "label": each.title()} for each in ("gold", "silver", "bronze")])
    field = {"object_type": object_type, "key": key, "label": key.title(), "kind": kind, **members}
    response = await person.post(URL, json=field)
    assert response.status_code == 201, response.text
    return Defined(response.json(), f"{URL}/{response.json()['id']}", response.headers["X-Request-Id"])
