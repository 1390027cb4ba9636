"""Helpers that define fields."""

from typing import Any, Final, NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.app import FIELD_HOLDERS
from herdbook.custom_fields.commands import ConvertValues, UpdateField
from herdbook.custom_fields.model import FieldKind, FieldUpdate
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
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


async def half_converted(frank: Person, ledger: Ledger, workspace_id: UUID) -> Defined:
    """Define a field that 150 of 300 contacts have a value of, give it another kind, and convert the values of one slice."""
    field = await define(frank, "number", "text")
    contacts: list[Json] = [{"fields": {"number": str(index)}} if index % 2 else {} for index in range(300)]
    operations = [{"action": "create", "contact": each} for each in contacts]
    assert (await frank.post("/api/herdbook/contacts/bulk", json={"atomic": True, "operations": operations})).status_code == 200
    field_id = ids.decoded(ids.FIELD, field.json["id"])
    assert field_id is not None
    origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
    await ledger.write(workspace_id, UpdateField(field_id, FieldUpdate(kind=FieldKind.INTEGER)), origin)
    await ledger.write(workspace_id, ConvertValues(field_id, FIELD_HOLDERS), origin)
    return field
