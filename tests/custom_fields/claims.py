"""The claims of unique values, computed anew from the rows of objects and the definitions of fields."""

from collections import Counter
from functools import partial
from typing import Any
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


async def assert_claimed(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Check that each active contact claims exactly the values of its unique fields, and that no two have the same."""
    fields = await pool.fetch("select object::text from field where workspace_id = $1 and deleted_at is null", workspace_id)
    defined = {field.key: field for each in fields if (field := msgspec.json.decode(each[0], type=Field))}
    rows = await pool.fetch("select id, own::text from contact where workspace_id = $1 and deleted_at is null", workspace_id)
    expected: set[tuple[str, UUID]] = set()
    for contact_id, own in rows:
        members: dict[str, Any] = {} if own is None else msgspec.json.decode(own)
        claimed = {
            compared for key, value in members.get("fields", {}).items() for compared in _claimed(defined.get(key), value)
        }
        assert claimed == set(members.get("unique_values", ())), (members, claimed)
        expected |= {(each, contact_id) for each in claimed}
    claims = await pool.fetch("select value, contact_id from contact_field_value where workspace_id = $1", workspace_id)
    assert {(value, contact_id) for value, contact_id in claims} == expected
    holders = Counter(value for value, _ in expected)
    assert not [value for value, count in holders.items() if count > 1]


def _claimed(field: Field | None, value: Any) -> list[str]:
    """Return the claim of a value, if its field is unique and the value has the form of its kind."""
    errors: list[FieldError] = []
    if field is None or not field.unique:
        return []
    kept = normal_value(field, value, "", errors)
    return [] if errors or kept is None else [unique_value(field, kept)]
