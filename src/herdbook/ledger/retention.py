"""Old entries are forgotten: each ledger from its beginning, a slice at a time.

A slice is one statement, which deletes what it has looked at and notes how far that was. So the next one begins behind it, and
whoever reads knows, in the same moment, what is no longer there. Nobody is locked out: writers touch none of these rows, and
of two processes that come to the same slice, the second finds it deleted once the first is done.
"""

import functools
from uuid import UUID

from herdbook.db.pool import Pool, Statements
from herdbook.db.slices import SLICE, each_slice


async def trim_ledgers(pool: Pool, days: int) -> None:
    """Forget what is older than so many days and not needed any more, workspace by workspace."""
    for workspace in await pool.fetch("select id from workspace"):
        await _mark(pool, workspace["id"])
        await each_slice(functools.partial(trim_slice, pool, workspace["id"], days))


async def _mark(statements: Statements, workspace_id: UUID) -> None:
    """Note how far a ledger goes today. What a clock that was ahead has dated is old once the mark behind it is."""
    await statements.execute(
        """
        insert into change_mark (workspace_id, at, seq)
        select w.id, now(), w.seq from workspace w
        where w.id = $1 and not exists (
            select from change_mark m where m.workspace_id = $1 and m.at > now() - interval '1 day' and m.at <= now()
        )
        """,
        workspace_id,
    )


async def trim_slice(statements: Statements, workspace_id: UUID, days: int) -> int:
    """Forget the oldest entries of a workspace, up to the first that is younger or is still to be delivered somewhere.

    Return how many there were, deleted by this process or by another one at the same time.
    """
    trimmed: int = await statements.fetchval(
        """
        with place as materialized (
            select w.seq as head, coalesce(t.seq, 0) as trimmed,
                (
                    select min(least(r.position, (
                        select min(d.seq) - 1 from webhook_delivery d
                        where d.workspace_id = r.workspace_id and d.endpoint_id = r.endpoint_id and d.state = 'waiting'
                    )))
                    from webhook_reader r where r.workspace_id = $1 and r.is_enabled
                ) as delivered,
                coalesce((
                    select max(m.seq) from change_mark m
                    where m.workspace_id = $1 and m.at < now() - make_interval(days => $2)
                ), 0) as marked
            from workspace w left join change_trimmed t on t.workspace_id = w.id
            where w.id = $1
        ), slice as materialized (
            select trimmed, least(head, delivered, trimmed + $3, (
                select c.seq - 1 from change c
                where c.workspace_id = $1 and c.seq > place.trimmed and c.seq <= place.trimmed + $3
                    and c.at >= now() - make_interval(days => $2)
                    and not (c.at > now() + interval '1 day' and c.seq <= place.marked)
                order by c.seq limit 1
            )) as last
            from place
        ), forgotten as (
            delete from change c using slice where c.workspace_id = $1 and c.seq > slice.trimmed and c.seq <= slice.last
        ), unmarked as (
            delete from change_mark m using slice where m.workspace_id = $1 and m.seq < slice.last
        ), noted as (
            insert into change_trimmed (workspace_id, seq, at_seq, at)
            select $1, last, last, (select c.at from change c where c.workspace_id = $1 and c.seq = slice.last)
            from slice where last > trimmed
            on conflict (workspace_id) do update
            set seq = excluded.seq, at_seq = excluded.at_seq, at = coalesce(excluded.at, change_trimmed.at)
            where excluded.seq > change_trimmed.seq
        )
        select greatest(last - trimmed, 0) from slice
        """,
        workspace_id,
        days,
        SLICE,
    )
    return trimmed
