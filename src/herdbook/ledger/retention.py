"""Old entries are forgotten: each ledger from its beginning, a slice at a time.

A slice is one statement, which deletes what it has looked at and notes how far that was. So the next one begins behind it, and
whoever reads knows, in the same moment, what is no longer there. Nobody is locked out: writers touch none of these rows, and
of two processes that come to the same slice, the second finds it deleted once the first is done.
"""

import asyncio
import time
from typing import Final
from uuid import UUID

from herdbook.db.pool import Pool, Statements

SLICE: Final = 2000
# What a disabled webhook endpoint has not been told is kept for so many days more.
KEPT_FOR_DISABLED_DAYS: Final = 30


async def trim_ledgers(pool: Pool, days: int) -> None:
    """Forget what is older than so many days and not needed any more, workspace by workspace."""
    for workspace in await pool.fetch("select id from workspace"):
        trimmed = SLICE
        while trimmed == SLICE:
            began = time.monotonic()
            trimmed = await trim_slice(pool, workspace["id"], days)
            # Others work beside it, so where there is much to forget, four fifths of the time are theirs alone.
            await asyncio.sleep(4 * (time.monotonic() - began))


async def trim_slice(statements: Statements, workspace_id: UUID, days: int) -> int:
    """Forget the oldest entries of a workspace, up to the first that is younger or is still to be delivered somewhere.

    To an endpoint that is disabled nothing may ever be delivered again, so for it entries are kept so many days longer, and no
    more. What it was not told of them is noted in the same statement.
    Return how many there were, deleted by this process or by another one at the same time.
    """
    trimmed: int = await statements.fetchval(
        """
        with old as materialized (
            select w.id, coalesce(t.seq, 0) as trimmed, least(w.seq, coalesce(t.seq, 0) + $3, (
                select c.seq - 1 from change c
                where c.workspace_id = $1 and c.seq > coalesce(t.seq, 0) and c.seq <= coalesce(t.seq, 0) + $3
                    and c.at >= now() - make_interval(days => $2)
                order by c.seq limit 1
            )) as last
            from workspace w left join change_trimmed t on t.workspace_id = w.id
            where w.id = $1
        ), reader as materialized (
            select r.endpoint_id, r.is_enabled, least(r.position, (
                select min(d.seq) - 1 from webhook_delivery d
                where d.workspace_id = r.workspace_id and d.endpoint_id = r.endpoint_id and d.state = 'waiting'
            )) as delivered
            from old join webhook_reader r on r.workspace_id = old.id
            where old.last > old.trimmed and (r.is_enabled or exists (
                select from webhook_endpoint e
                where e.workspace_id = r.workspace_id and e.id = r.endpoint_id
                    and coalesce(e.deleted_at, 'infinity') = 'infinity'
            ))
        ), slice as materialized (
            select trimmed, least(last, (select min(delivered) from reader where is_enabled), (
                select c.seq - 1 from change c
                where c.workspace_id = $1 and c.seq > old.trimmed and c.seq <= old.last
                    and c.seq > (select min(delivered) from reader where not is_enabled)
                    and c.at >= now() - make_interval(days => $2::integer + $4::integer)
                order by c.seq limit 1
            )) as last
            from old
        ), forgotten as (
            delete from change c using slice where c.workspace_id = $1 and c.seq > slice.trimmed and c.seq <= slice.last
        ), missed as (
            update webhook_reader r
            set missed_from = coalesce(r.missed_from, reader.delivered + 1), missed_to = slice.last
            from reader, slice
            where r.workspace_id = $1 and r.endpoint_id = reader.endpoint_id and not reader.is_enabled
                and slice.last > slice.trimmed and slice.last > reader.delivered
        ), expired as (
            update webhook_delivery d set state = 'expired', next_attempt_at = null
            from reader, slice
            where d.workspace_id = $1 and d.endpoint_id = reader.endpoint_id and not reader.is_enabled
                and d.state = 'waiting' and d.seq <= slice.last
        ), noted as (
            insert into change_trimmed (workspace_id, seq)
            select $1, last from slice where last > trimmed
            on conflict (workspace_id) do update set seq = greatest(change_trimmed.seq, excluded.seq)
        )
        select greatest(last - trimmed, 0) from slice
        """,
        workspace_id,
        days,
        SLICE,
        KEPT_FOR_DISABLED_DAYS,
    )
    return trimmed
