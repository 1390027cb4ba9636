"""Every SQL statement of the change feed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from herdbook.db.pool import Pool
from herdbook.ledger.changes import Action, Kind

# So many entries a page looks at, where most are none of those asked for.
LOOKED_AT: Final = 20_000
# So many bytes of objects, as they are stored, a page has, but for its last entry: transcripts are long.
_MOST_BYTES: Final = 2_000_000


class View(NamedTuple):
    """What a caller is to be told of."""

    kinds: tuple[Kind, ...]
    sees_private: bool
    sees_details: bool


class Entry(NamedTuple):
    """An entry of a ledger. `object` and `previous` are as they were entered."""

    seq: int
    at: datetime
    kind: Kind
    action: Action
    object_id: UUID
    request_id: UUID
    credential_id: UUID
    is_client: bool
    merged_into: UUID | None
    object: bytes
    previous: bytes | None


class Page(NamedTuple):
    """Entries behind a position; all up to `position` were looked at. Those up to `trimmed` are no longer kept."""

    entries: Sequence[Entry]
    position: int
    head: int
    trimmed: int


async def read_head(pool: Pool, workspace_id: UUID) -> int:
    """Return the number of a workspace's last change."""
    seq: int = await pool.fetchval("select seq from workspace where id = $1", workspace_id)
    return seq


async def page(pool: Pool, workspace_id: UUID, after: int, view: View, limit: int) -> Page:
    """Return entries behind a position: one statement, so that it is one moment in which all this is so.

    An object whose size goes beyond what a page takes stays where it is stored, and is left to the next page.
    """
    records = await pool.fetch(
        """
        select found.seq, found.at, found.kind::text, found.action::text, found.object_id, found.request_id,
            found.credential_id, coalesce((select true from oauth_client o where o.id = found.credential_id), false),
            found.merged_into,
            case when found.size <= $7 then found.object end, case when found.size <= $7 then found.previous end,
            w.seq, coalesce(t.seq, 0)
        from workspace w
        left join change_trimmed t on t.workspace_id = w.id
        left join (
            select c.*, coalesce(
                sum(pg_column_size(c.object) + coalesce(pg_column_size(c.previous), 0))
                    over (order by c.seq rows between unbounded preceding and 1 preceding), 0
            ) as size
            from (
                select * from change
                where workspace_id = $1 and seq > $2 and seq <= $2 + $3
                    and kind::text = any($4)
                    and ($5 or case kind::text
                        when 'e' then object ->> 'is_private' = 'false'
                        when 'r' then (
                            select not e.is_private from engagement e where e.workspace_id = $1 and e.id = change.object_id
                        )
                        when 'n' then (
                            select not e.is_private
                            from transcript_comment n
                            join engagement e on e.workspace_id = n.workspace_id and e.id = n.engagement_id
                            where n.workspace_id = $1 and n.id = change.object_id
                        )
                        else true
                    end)
                order by seq limit $6
            ) c
        ) found on true
        where w.id = $1
        order by found.seq
        """,
        workspace_id,
        after,
        LOOKED_AT,
        [kind.value for kind in view.kinds],
        view.sees_private,
        limit,
        _MOST_BYTES,
    )
    head, trimmed = records[0][11:]
    # A row stands for the head alone where there are no entries, and entries that do not fit come without their objects.
    found = [record for record in records if record[0] is not None]
    entries = [
        Entry(record[0], record[1], Kind(record[2]), Action(record[3]), *record[4:11])
        for record in found
        if record[9] is not None
    ]
    is_full = len(found) == limit or len(entries) < len(found)
    return Page(entries, entries[-1].seq if is_full else min(after + LOOKED_AT, head), head, trimmed)
