"""Every SQL statement about the request log."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final, LiteralString
from uuid import UUID

import msgspec

from herdbook import ids, sources
from herdbook.db.pool import Executor, Pool
from herdbook.db.slices import SLICE, each_slice, each_slice_of_workspaces
from herdbook.request_log.model import (
    MOST_REQUESTS,
    ChangeRow,
    KeptRequest,
    RequestFilter,
    RequestRow,
)

_LOGGED: Final[LiteralString] = """
    select r.workspace_id, r.id, r.credential_id, r.operation, r.method, r.path, r.query, r.status, r.milliseconds,
        coalesce(k.name, o.name), k.user_id, o.id is not null
    from request_log r
    left join lateral (select k.name, k.user_id from credential k where k.id = r.credential_id limit 1) as k on true
    left join lateral (select o.id, o.name from oauth_client o where o.id = r.credential_id limit 1) as o on true
"""


def _row(record: Sequence[Any]) -> RequestRow:
    return RequestRow(KeptRequest(*record[:9]), *record[9:])


async def add(statements: Executor, requests: Sequence[KeptRequest]) -> None:
    """Write requests. They are sent as one JSON text, which is encoded much faster than as many parameters."""
    await statements.execute(
        """
        insert into request_log
            (workspace_id, id, credential_id, operation, method, path, query, status, milliseconds)
        select * from json_to_recordset($1::json) as sent (
            workspace_id uuid, id uuid, credential_id uuid, operation text, method text, path text, query text,
            status smallint, milliseconds real
        ) where true /* held */
        """,
        msgspec.json.encode(requests),
    )


async def page(statements: Executor, workspace_id: UUID, wanted: RequestFilter, before: UUID, limit: int) -> list[RequestRow]:
    """Return requests of a workspace, the latest first."""
    records = await statements.fetch(
        _LOGGED
        + """
        where r.workspace_id = $1 and r.id < $2 and ($3::uuid is null or r.credential_id = $3)
            and ($4::text is null or strpos(r.path, $4) > 0) and r.status between $5 and $6
            and ($7::uuid is null or r.id = $7)
        order by r.id desc limit $8
        """,
        workspace_id,
        before,
        wanted.credential_id,
        wanted.path,
        *wanted.statuses,
        wanted.id,
        limit,
    )
    return [_row(tuple(record)) for record in records]


async def find(statements: Executor, workspace_id: UUID, request_id: UUID) -> RequestRow | None:
    """Return a request, or None if the log does not have it."""
    record = await statements.fetchrow(_LOGGED + "where r.workspace_id = $1 and r.id = $2", workspace_id, request_id)
    return None if record is None else _row(tuple(record))


async def changes_of(statements: Executor, workspace_id: UUID, request_id: UUID, limit: int) -> list[ChangeRow]:
    """Return the first changes that a request made."""
    # `offset 0` has the planner use the index on requests, of which each has few changes.
    records = await statements.fetch(
        """
        select c.seq, c.at, c.kind::text || c.action::text, c.object_id
        from (select * from change where request_id = $2 offset 0) as c
        where c.workspace_id = $1 order by c.seq limit $3
        """,
        workspace_id,
        request_id,
        limit,
    )
    return [ChangeRow(*record) for record in records]


async def request_of_entry(statements: Executor, workspace_id: UUID, seq: int) -> UUID | None:
    """Return the request that made an entry of the ledger, if that is still kept."""
    found: UUID | None = await statements.fetchval(
        "select request_id from change where workspace_id = $1 and seq = $2", workspace_id, seq
    )
    return found


async def trim(pool: Pool, hours: int) -> None:
    """Delete the requests that are older than this, and all but the latest of each workspace."""

    async def look(part: Executor, workspace_ids: list[UUID]) -> None:
        records = await part.fetch(
            """
            select w.id from workspace w
            where w.id = any($1) and exists (select from request_log r where r.workspace_id = w.id)
            """,
            workspace_ids,
        )
        await trim_these(pool, [record["id"] for record in records], hours)

    await each_slice_of_workspaces(pool, look)


async def trim_these(pool: Pool, workspace_ids: Collection[UUID], hours: int) -> None:
    """Do as `trim` does in some workspaces."""
    for workspace_id in workspace_ids:
        await trim_one(pool, workspace_id, hours)


async def trim_one(pool: Pool, workspace_id: UUID, hours: int) -> None:
    """Delete the requests of a workspace that are older than this, and all but the latest."""
    oldest = ids.least_id(sources.now() - timedelta(hours=hours))
    last_of_too_many: UUID | None = await pool.fetchval(
        "select id from request_log where workspace_id = $1 order by id desc offset $2 limit 1", workspace_id, MOST_REQUESTS
    )
    below = oldest if last_of_too_many is None else max(oldest, UUID(int=last_of_too_many.int + 1))
    await each_slice(partial(_trim_slice, pool, workspace_id, below))


async def _trim_slice(statements: Executor, workspace_id: UUID, below: UUID) -> int:
    deleted: int = await statements.fetchval(
        """
        with old as (
            delete from request_log where workspace_id = $1 and id in (
                select id from request_log where workspace_id = $1 and id < $2 order by id limit $3
            ) returning 1
        )
        select count(*) from old
        """,
        workspace_id,
        below,
        SLICE,
    )
    return deleted
