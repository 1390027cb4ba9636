"""Every SQL statement about saved views."""

from collections.abc import Collection, Sequence
from typing import Final, LiteralString
from uuid import UUID

import asyncpg

from herdbook.db.pool import Executor
from herdbook.views.model import MAX_VIEWS, ViewRow

_SELECT: Final[LiteralString] = (
    "select id, object_type, owner_id, name, is_shared, content, created_at, updated_at, updated_by from saved_view"
)


async def list_views(
    statements: Executor, workspace_id: UUID, user_id: UUID | None, object_types: Collection[str]
) -> Sequence[ViewRow]:
    """Return the views of the team and of a user, of some types of objects, by name."""
    records = await statements.fetch(
        _SELECT
        + """
        where workspace_id = $1 and object_type = any($3) and (is_shared or owner_id = $2)
        order by lower(name), id
        """,
        workspace_id,
        user_id,
        [*object_types],
    )
    return [ViewRow(*record) for record in records]


async def find(statements: Executor, workspace_id: UUID, user_id: UUID | None, view_id: UUID) -> ViewRow | None:
    """Return a view of the team or of a user, or None."""
    record: asyncpg.Record | None = await statements.fetchrow(
        _SELECT + " where workspace_id = $1 and id = $3 and (is_shared or owner_id = $2)", workspace_id, user_id, view_id
    )
    return None if record is None else ViewRow(*record)


async def create(statements: Executor, workspace_id: UUID, view: ViewRow) -> bool:
    """Save a view. Return whether its owner may have one more."""
    done = await statements.execute(
        """
        insert into saved_view (workspace_id, id, object_type, owner_id, name, is_shared, content)
        select $1, $2, $3, $4, $5, $6, $7
        where (select count(*) from saved_view where workspace_id = $1 and owner_id is not distinct from $4) < $8
        """,
        workspace_id,
        view.id,
        view.object_type,
        view.owner_id,
        view.name,
        view.is_shared,
        view.content,
        MAX_VIEWS,
    )
    return done == "INSERT 0 1"


async def update(statements: Executor, workspace_id: UUID, view: ViewRow) -> None:
    """Change a view. One that was deleted meanwhile stays deleted."""
    await statements.execute(
        """
        update saved_view set name = $3, is_shared = $4, content = $5, updated_at = now(), updated_by = $6
        where workspace_id = $1 and id = $2
        """,
        workspace_id,
        view.id,
        view.name,
        view.is_shared,
        view.content,
        view.updated_by,
    )


async def delete(statements: Executor, workspace_id: UUID, view_id: UUID) -> None:
    """Delete a view."""
    await statements.execute("delete from saved_view where workspace_id = $1 and id = $2", workspace_id, view_id)
