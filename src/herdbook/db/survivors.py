"""The objects that replace merged ones."""

from collections.abc import Collection
from typing import Final, LiteralString
from uuid import UUID

from herdbook.db.pool import Executor

# Undoing can turn a chain of merges into a circle. `union` ends there, because it takes each object once. The limits force a
# lookup per object, by the whole key.
_SURVIVORS: Final[LiteralString] = """
    with recursive goes_on as (
        select c.id as merged_id, c.id, c.merged_into, c.deleted_at
        from unnest($2::uuid[]) as asked(id) cross join lateral (
            select c.id, c.merged_into, c.deleted_at from $table c
            where c.workspace_id = $1 and c.id = asked.id and c.deleted_at is not null limit 1
        ) as c
        union
        select goes_on.merged_id, c.id, c.merged_into, c.deleted_at
        from goes_on cross join lateral (
            select c.id, c.merged_into, c.deleted_at from $table c
            where c.workspace_id = $1 and c.id = goes_on.merged_into limit 1
        ) as c
        where goes_on.deleted_at is not null
    )
    select merged_id, id from goes_on where deleted_at is null
"""


async def survivors(
    statements: Executor, table: LiteralString, workspace_id: UUID, object_ids: Collection[UUID]
) -> dict[UUID, UUID]:
    """Return the active object that replaces each merged one of a table, directly or through other merged objects."""
    select = _SURVIVORS.replace("$table", table)
    records = await statements.fetch(select, workspace_id, list(object_ids))
    return {record["merged_id"]: record["id"] for record in records}
