"""The deleted objects that had keys, such as addresses, so that an upsert finds those that it should restore."""

from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec

from herdbook.ledger.claims import UniqueKey
from herdbook.ledger.unit_of_work import RowT, Table, UnitOfWork


class FormerHolder(msgspec.Struct, frozen=True):
    """The object that was deleted last among those that had a key."""

    workspace_id: UUID
    key: str
    object_id: UUID


# `offset 0` forces a lookup by key, even in a plan that was made while the table was empty.
_LOAD: Final[LiteralString] = """
    select asked.workspace_id, asked.key, found.id as object_id
    from json_to_recordset($rows) as asked(workspace_id uuid, key text)
    cross join lateral (
        select c.id
        from $index h cross join lateral (
            select c.id, c.version from $table c
            where c.workspace_id = asked.workspace_id and c.id = h.$table_id offset 0
        ) as c
        where h.workspace_id = asked.workspace_id and h.$key = asked.key
        order by c.version desc
        limit 1
    ) as found
"""


def former_holders(index: LiteralString, key: LiteralString, table: LiteralString) -> Table[FormerHolder]:
    """Return the mapping of an index (workspace_id, key, object) of the deleted objects of a table."""
    load = _LOAD.replace("$index", index).replace("$key", key).replace("$table", table)
    return Table(row=FormerHolder, key=lambda holder: holder.key, load=load, save=None)


def former_holder(
    work: UnitOfWork, formers: Table[FormerHolder], unique_key: UniqueKey[Any], objects: Table[RowT], key: str
) -> RowT | None:
    """Return the object that was deleted last with a key, if no object has the key now."""
    deleted_now: list[Any] = []
    if work.get(unique_key.table, key) is not None:
        # An object lost the key in this batch.
        changed: list[Any] = work.changed_in(objects)
        deleted_now = [row for row in changed if may_come_back(row) and key in unique_key.keys(row.entry)]
    if deleted_now:
        return max(deleted_now, key=lambda row: row.version)
    former = work.get(formers, key)
    row: Any = None if former is None else work.get(objects, former.object_id)
    return row if row is not None and may_come_back(row) and key in unique_key.keys(row.entry) else None


def may_come_back(row: Any) -> bool:
    """Whether an object was deleted, and not merged into another one, which has its keys."""
    return row.deleted_at is not None and row.merged_into is None
