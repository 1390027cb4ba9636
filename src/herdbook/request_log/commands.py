"""The chore that writes the collected requests."""

import asyncio
import logging
from collections.abc import Collection, Sequence
from typing import Final
from uuid import UUID

import asyncpg

from herdbook import metrics
from herdbook.db.distribution import each_part_of
from herdbook.db.pool import CONNECTION_ERRORS, Executor, Pool
from herdbook.http.request_log import RequestLog
from herdbook.request_log import store
from herdbook.request_log.model import KeptRequest, kept

_log: Final = logging.getLogger("herdbook.app")
# The requests that are made ready before others have a turn, and those that one statement writes.
_AT_ONCE: Final = 100
_IN_ONE_STATEMENT: Final = 1000
# The database finds these faults in a row. Any other failure would meet both halves of the rows as well.
_OF_ONE_REQUEST: Final = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


async def write(pool: Pool, log: RequestLog) -> None:
    """Write the requests that were collected; those that the database does not take are dropped and counted."""
    ready: list[KeptRequest] = []
    for number, request in enumerate(log.take(), 1):
        ready.append(kept(request))
        if not number % _AT_ONCE:
            await asyncio.sleep(0)
    for start in range(0, len(ready), _IN_ONE_STATEMENT):
        await _write_some(pool, ready[start : start + _IN_ONE_STATEMENT])


async def _write_some(pool: Pool, requests: Sequence[KeptRequest]) -> None:
    by_workspace: dict[UUID, list[KeptRequest]] = {}
    for request in requests:
        by_workspace.setdefault(request.workspace_id, []).append(request)

    async def add(part: Executor, workspace_ids: Collection[UUID]) -> None:
        await _add(part, [request for each in workspace_ids for request in by_workspace[each]])
        for each in workspace_ids:
            del by_workspace[each]

    try:
        await each_part_of(pool, by_workspace, add)
    except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
        # Nothing waits for the database, because requests that wait would fill the memory.
        _note_missing([request for of_workspace in by_workspace.values() for request in of_workspace], error)


async def trim_grown(pool: Pool, log: RequestLog, hours: int) -> None:
    """Delete old requests, and those that are too many, where this process has written some: nowhere else are there more."""
    await store.trim_these(pool, log.take_grown(), hours)


async def _add(statements: Executor, requests: Sequence[KeptRequest]) -> None:
    """Write requests; if one of them is at fault, the others are written without it."""
    try:
        await store.add(statements, requests)
    except _OF_ONE_REQUEST as error:
        middle = len(requests) // 2
        if not middle:
            _note_missing(requests, error)
            return
        await _add(statements, requests[:middle])
        await _add(statements, requests[middle:])


def _note_missing(requests: Sequence[KeptRequest], error: Exception) -> None:
    metrics.REQUESTS_NOT_LOGGED.inc(len(requests))
    _log.warning("requests are missing in the request log", extra={"requests": len(requests), "error": repr(error)})
