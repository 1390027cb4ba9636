"""The SQL about the status of the database and of a workspace."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from herdbook.db.pool import Executor


class DatabaseFacts(NamedTuple):
    """The version of the database, its size in bytes, and the time of its start."""

    version: str
    size: int
    started_at: datetime


async def database_facts(statements: Executor) -> DatabaseFacts:
    """Return the facts about the database."""
    record: asyncpg.Record | None = await statements.fetchrow(
        "select current_setting('server_version'), pg_database_size(current_database()), pg_postmaster_start_time()"
    )
    assert record is not None, "it is one row"
    return DatabaseFacts(*record)


async def tasks_under_way(statements: Executor, workspace_id: UUID) -> dict[str, int]:
    """Return the unfinished tasks of a workspace: how many objects each is still about."""
    records = await statements.fetch(
        "select task, count(*) from unfinished where workspace_id = $1 group by task order by task", workspace_id
    )
    return {record[0]: record[1] for record in records}
