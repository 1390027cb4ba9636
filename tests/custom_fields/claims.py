"""The claims of unique values, computed anew from the rows of objects and the definitions of fields."""

from collections import Counter
from functools import partial
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from herdbook.app import FIELD_HOLDERS
from herdbook.custom_fields.commands import ConvertValues
from herdbook.custom_fields.model import Field
from herdbook.custom_fields.store import CONVERT_VALUES
from herdbook.custom_fields.values import normal_value, unique_value
from herdbook.errors import FieldError
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish


async def convert(pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger) -> None:
    """Do what the server's chore does."""
    await finish(pool, ledger, CONVERT_VALUES, partial(ConvertValues, holders=FIELD_HOLDERS))


_ROWS: Final = {
    "contact": (
        "select id, own::text from contact where workspace_id = $1 and deleted_at is null",
        "select value, contact_id from contact_field_value where workspace_id = $1",
    ),
    "company": (
        "select id, own::text from company where workspace_id = $1 and deleted_at is null",
        "select value, company_id from company_field_value where workspace_id = $1",
    ),
}


async def assert_claimed(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID, object_type: str = "contact") -> None:
    """Check that each active object claims exactly the values of its unique fields, and that no two have the same.

    An object may have come back while a field was archived and another one had its value, which it then does not claim.
    """
    fields = await pool.fetch(
        "select object::text from field where workspace_id = $1 and object_type = $2 and deleted_at is null",
        workspace_id,
        object_type,
    )
    defined = {field.key: field for each in fields if (field := msgspec.json.decode(each[0], type=Field))}
    archived = await pool.fetch(
        "select object ->> 'key' from change where workspace_id = $1 and kind = 'f' and object ->> 'archived' = 'true'",
        workspace_id,
    )
    were_archived = {each[0] for each in archived}
    active, held = _ROWS[object_type]
    expected: set[tuple[str, UUID]] = set()
    for object_id, own in await pool.fetch(active, workspace_id):
        members: dict[str, Any] = {} if own is None else msgspec.json.decode(own)
        claimed = {
            compared for key, value in members.get("fields", {}).items() for compared in _claimed(defined.get(key), value)
        }
        listed = set[str](members.get("unique_values", ()))
        unlisted = {each for each in claimed - listed if each.partition("=")[0] not in were_archived}
        assert listed <= claimed, (members, claimed)
        assert not unlisted, (members, claimed)
        expected |= {(each, object_id) for each in listed}
    assert {(value, object_id) for value, object_id in await pool.fetch(held, workspace_id)} == expected
    holders = Counter(value for value, _ in expected)
    assert not [value for value, count in holders.items() if count > 1]


def _claimed(field: Field | None, value: Any) -> list[str]:
    """Return the claim of a value, if its field is unique and the value has the form of its kind."""
    errors: list[FieldError] = []
    if field is None or not field.unique:
        return []
    kept = normal_value(field, value, "", errors)
    return [] if errors or kept is None else [unique_value(field, kept)]
