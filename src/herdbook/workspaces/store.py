"""The SQL of a workspace's settings."""

from uuid import UUID

from herdbook.db.pool import Executor


async def region_of(statements: Executor, workspace_id: UUID) -> str | None:
    """Return the default region of a workspace for phone numbers, if it has one."""
    region: str | None = await statements.fetchval("select region from workspace where id = $1", workspace_id)
    return region


async def set_region(statements: Executor, workspace_id: UUID, region: str | None) -> bool:
    """Set or remove the default region of a workspace. Return whether the workspace exists."""
    done = await statements.execute("update workspace set region = $2 where id = $1", workspace_id, region)
    return done == "UPDATE 1"
