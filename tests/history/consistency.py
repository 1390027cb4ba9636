"""Unique keys and index entries derive from the rows of objects."""

from uuid import UUID

import asyncpg

from evidence.rows import differing


async def assert_consistent(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Check that columns, unique keys and index entries are exactly those that the rows imply."""
    found = await differing(pool, workspace_id)
    assert not found, found[:5]
