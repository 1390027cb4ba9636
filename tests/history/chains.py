"""Invariants between the entries of an object, and between its last entry and its row."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from herdbook.custom_fields.store import FIELD
from herdbook.ledger.changes import Action, same
from herdbook.ledger.object_types import ObjectType
from herdbook.ledger.unit_of_work import UnitOfWork
from herdbook.object_types import OBJECT_TYPES
from herdbook.users.store import USER
from herdbook.webhook_endpoints.store import WEBHOOK_ENDPOINT

# Columns that entries leave out.
_NOT_TOLD: Final[dict[ObjectType[Any, Any], set[str]]] = {
    FIELD: {"converted_to", "former", "converting", "unclaimed"},
    USER: {"phone_number_e164"},
    WEBHOOK_ENDPOINT: {"secret", "former_secret", "former_secret_until"},
}


async def assert_chained(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Check that each entry names the one before it, and that each row matches its last entry."""
    last: dict[tuple[ObjectType[Any, Any], UUID], asyncpg.Record] = {}
    trimmed: int = await pool.fetchval("select seq from change_trimmed where workspace_id = $1", workspace_id) or 0
    entries = await pool.fetch(
        """
        select seq, at, kind::text, action::text, object_id, object, previous_version, merged_into
        from change where workspace_id = $1 order by seq
        """,
        workspace_id,
    )
    for entry in entries:
        place, before = (OBJECT_TYPES.of(entry["kind"]), entry["object_id"]), entry["previous_version"]
        # A transcript may be created again after the first one was undone.
        known = None if Action(entry["action"]) is Action.CREATED or place not in last else last[place]["seq"]
        assert (None if before is None or before <= trimmed else before) == known
        last[place] = entry
    for object_type in OBJECT_TYPES:
        for record in await pool.fetch(
            f"select to_json(c) from {object_type.table.name} c where workspace_id = $1", workspace_id
        ):
            row = msgspec.json.decode(record[0], type=object_type.table.row)
            if row.version <= trimmed:
                continue
            entry = last.pop((object_type, row.id))
            assert (row.version, row.updated_at) == (entry["seq"], entry["at"])
            assert (row.deleted_at is not None) == (Action(entry["action"]) is Action.DELETED)
            if row.deleted_at is None:
                assert getattr(row, "merged_into", None) is None
                _assert_row_is(object_type, row, entry)
            else:
                assert getattr(row, "merged_into", None) == entry["merged_into"]
    assert last == {}, "each entry is of an object that has a row"


def _assert_row_is(object_type: ObjectType[Any, Any], row: Any, entry: asyncpg.Record) -> None:
    moment = datetime.now(UTC)
    state = msgspec.json.decode(entry["object"], type=object_type.entry)
    made = object_type.table.row.of(UnitOfWork(row.workspace_id, 0, moment, moment), row.id, row.version, None, state)
    for name in row.__struct_fields__:
        if name not in _NOT_TOLD.get(object_type, set()) | {"updated_at"}:
            assert same(getattr(row, name), getattr(made, name)), name
