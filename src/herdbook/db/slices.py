"""Deletion in slices: old rows are deleted a few at a time, so that no statement takes long, however many there are."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from uuid import UUID

from herdbook import ids
from herdbook.db.distribution import each_part
from herdbook.db.pool import Executor

SLICE: Final = 2000


async def each_slice_of_workspaces(statements: Executor, look: Callable[[Executor, list[UUID]], Awaitable[object]]) -> None:
    """Call `look` with the ids of all workspaces, as many at a time as one statement may look through.

    It is given who runs statements about these: a database, or the shard in which they are. A node that is away costs only its
    own. Refusal: DatabaseAway, once all others are done.
    """

    async def look_at_part(part: Executor) -> None:
        async for workspace_ids in _slices(part):
            await look(part, workspace_ids)

    await each_part(statements, look_at_part)


async def _slices(statements: Executor) -> AsyncIterator[list[UUID]]:
    workspace_ids = [ids.NIL]
    while workspace_ids:
        records = await statements.fetch("select id from workspace where id > $1 order by id limit 2000", workspace_ids[-1])
        workspace_ids = [record["id"] for record in records]
        if workspace_ids:
            yield workspace_ids


async def each_slice(delete: Callable[[], Awaitable[int]]) -> None:
    """Delete slice after slice until one is not full; `delete` returns how many rows it deleted."""
    deleted = SLICE
    while deleted == SLICE:
        began = time.monotonic()
        deleted = await delete()
        # Leave four fifths of the time to others, however much there is to delete.
        await asyncio.sleep(4 * (time.monotonic() - began))
