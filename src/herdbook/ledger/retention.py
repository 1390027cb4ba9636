"""Retention: old entries are deleted from the beginning of each ledger, a slice at a time.

A slice is one statement, which deletes entries and notes how far it came. The next slice begins after it, and readers always
know which entries are gone. Nobody is locked out, because writers touch none of these rows. If two processes come to the same
slice, the second waits for the first, and finds the entries deleted.
"""

import functools
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from herdbook.db.pool import Executor
from herdbook.db.slices import SLICE, each_slice, each_slice_of_workspaces

# Entries that a disabled webhook endpoint has not received are kept for this many more days.
KEPT_FOR_DISABLED_DAYS: Final = 30


async def trim_ledgers(statements: Executor, days: int) -> None:
    """Delete entries that are older than this many days and no longer needed, workspace by workspace."""
    await each_slice_of_workspaces(statements, lambda part, workspace_ids: trim_ledgers_of(part, workspace_ids, days))


async def trim_ledgers_of(statements: Executor, workspace_ids: Sequence[UUID], days: int) -> None:
    """Delete old entries of some workspaces, as `trim_ledgers` does."""
    await _mark(statements, workspace_ids)
    for workspace_id in await ledgers_with_old_entries(statements, workspace_ids, days):
        await each_slice(functools.partial(trim_slice, statements, workspace_id, days))


async def _mark(statements: Executor, workspace_ids: Sequence[UUID]) -> None:
    """Note the heads of ledgers once a day. Entries that a wrong clock dated ahead count as old when a later mark is old."""
    await statements.execute(
        """
        insert into change_mark (workspace_id, at, seq)
        select w.id, now(), w.seq from workspace w
        where w.id = any($1) and not exists (
            select from change_mark m
            where m.workspace_id = w.id and (m.seq = w.seq or (m.at > now() - interval '1 day' and m.at <= now()))
            offset 0
        ) /* held */
        """,
        workspace_ids,
    )


async def ledgers_with_old_entries(statements: Executor, workspace_ids: Sequence[UUID], days: int) -> list[UUID]:
    """Return the workspaces whose first entry is old; only these have something to trim."""
    records = await statements.fetch(
        """
        select w.id from workspace w
        left join lateral (
            select t.seq from change_trimmed t where t.workspace_id = w.id limit 1
        ) as trimmed on true
        left join lateral (
            select c.seq, c.at from change c
            where c.workspace_id = w.id and c.seq > coalesce(trimmed.seq, 0) and c.seq <= coalesce(trimmed.seq, 0) + $3
            order by c.seq limit 1
        ) as first on true
        where w.id = any($1) and w.seq > coalesce(trimmed.seq, 0)
            and not coalesce(first.at >= now() - make_interval(days => $2) and not (
                first.at > now() + interval '1 day' and first.seq <= (
                    select coalesce(max(m.seq), 0) from change_mark m
                    where m.workspace_id = w.id and m.at < now() - make_interval(days => $2)
                )
            ), false)
        """,
        workspace_ids,
        days,
        SLICE,
    )
    return [record["id"] for record in records]


async def trim_slice(statements: Executor, workspace_id: UUID, days: int) -> int:
    """Delete the oldest entries of a workspace, up to the first that is younger or must still be delivered to an endpoint.

    A disabled endpoint may never be enabled again, so entries are kept for it only `KEPT_FOR_DISABLED_DAYS` longer. The same
    statement notes which entries it has missed, and forgets what the endpoint has answered: an erasure finds that by entries.

    Return the number of entries, deleted by this process or by another one at the same time.
    """
    # With an offset, the planner takes endpoints by their key, and with an array, deliveries; without, a plan from while the
    # tables were empty would take all at once.
    trimmed: int = await statements.fetchval(
        """
        with old as materialized (
            select w.id, coalesce(t.seq, 0) as trimmed, marked.seq as marked, least(w.seq, coalesce(t.seq, 0) + $3, (
                select c.seq - 1 from change c
                where c.workspace_id = $1 and c.seq > coalesce(t.seq, 0) and c.seq <= coalesce(t.seq, 0) + $3
                    and c.at >= now() - make_interval(days => $2)
                    and not (c.at > now() + interval '1 day' and c.seq <= marked.seq)
                order by c.seq limit 1
            )) as last
            from workspace w
            left join change_trimmed t on t.workspace_id = w.id
            cross join lateral (
                select coalesce(max(m.seq), 0) as seq from change_mark m
                where m.workspace_id = $1 and m.at < now() - make_interval(days => $2)
            ) as marked
            where w.id = $1 /* held */
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
                offset 0
            ))
        ), slice as materialized (
            select trimmed, least(last, (select min(delivered) from reader where is_enabled), (
                select c.seq - 1 from change c
                where c.workspace_id = $1 and c.seq > old.trimmed and c.seq <= old.last
                    and c.seq > (select min(delivered) from reader where not is_enabled)
                    and c.at >= now() - make_interval(days => $2::integer + $4::integer)
                    and not (c.at > now() + interval '1 day' and c.seq <= old.marked)
                order by c.seq limit 1
            )) as last
            from old
        ), forgotten as (
            delete from change c using slice where c.workspace_id = $1 and c.seq > slice.trimmed and c.seq <= slice.last
            returning c.request_id
        ), undone_forgotten as (
            delete from undone_request u using forgotten where u.workspace_id = $1 and u.request_id = forgotten.request_id
        ), unmarked as (
            delete from change_mark m using slice where m.workspace_id = $1 and m.seq < slice.last
        ), missed as (
            update webhook_reader r
            set missed_from = coalesce(r.missed_from, reader.delivered + 1), missed_to = slice.last
            from reader, slice
            where r.workspace_id = $1 and r.endpoint_id = reader.endpoint_id and not reader.is_enabled
                and slice.last > slice.trimmed and slice.last > reader.delivered
        ), expired as (
            update webhook_delivery set state = 'expired', next_attempt_at = null, attempts = '[]'
            where workspace_id = $1 and endpoint_id = any(array(select endpoint_id from reader where not is_enabled))
                and state = 'waiting' and seq <= (select last from slice)
        ), noted as (
            insert into change_trimmed as t (workspace_id, seq, at_seq, at)
            select $1, last, last, (select c.at from change c where c.workspace_id = $1 and c.seq = slice.last)
            from slice where last > trimmed
            on conflict (workspace_id) do update
            set seq = excluded.seq, at_seq = excluded.at_seq, at = coalesce(excluded.at, t.at)
            where excluded.seq > t.seq
        )
        select greatest(last - trimmed, 0) from slice
        """,
        workspace_id,
        days,
        SLICE,
        KEPT_FOR_DISABLED_DAYS,
    )
    return trimmed
