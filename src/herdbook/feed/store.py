"""All SQL statements of the change feed."""

import functools
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

from herdbook.db.pool import Pool
from herdbook.ledger.changes import Action
from herdbook.ledger.object_types import ObjectType

# The number of entries that a page scans if most of them do not match.
LOOKED_AT: Final = 20_000
# The maximum bytes of JSON on a page, except that its last entry may exceed it: transcripts are long.
PAGE_BYTES: Final = 2_000_000
# PostgreSQL's compression shrinks a value by at most this factor.
_MAX_COMPRESSED: Final = 256


class View(NamedTuple):
    """The part of the feed that a caller may see."""

    object_types: tuple[ObjectType[Any, Any], ...]
    sees_private: bool
    sees_details: bool


class _Reach(NamedTuple):
    """The limits of a statement: entries, and bytes of JSON, which only the last entry may exceed."""

    limit: int
    most_bytes: int


class FeedEntry(NamedTuple):
    """A ledger entry. `object` and `previous` are as stored."""

    seq: int
    at: datetime
    object_type: ObjectType[Any, Any]
    action: Action
    object_id: UUID
    request_id: UUID
    credential_id: UUID
    is_client: bool
    merged_into: UUID | None
    object: bytes
    previous: bytes | None


class FeedPage(NamedTuple):
    """Entries after a position. All entries up to `position` were scanned; those up to `trimmed` are no longer kept."""

    entries: Sequence[FeedEntry]
    position: int
    head: int
    trimmed: int


async def read_head(pool: Pool, workspace_id: UUID) -> int:
    """Return the number of a workspace's last change."""
    seq: int = await pool.fetchval("select seq from workspace where id = $1", workspace_id)
    return seq


async def page(pool: Pool, workspace_id: UUID, after: int, view: View, limit: int, most_bytes: int = PAGE_BYTES) -> FeedPage:
    """Return entries after a position: at most `limit`, and only the last one may exceed `most_bytes` of JSON.

    Uncompressed objects have known sizes, so one statement reads all of them. A compressed object may be as large as
    compression allows, so these are read by several statements. This way at most one entry is read and not returned.
    """
    until = after + LOOKED_AT
    piece = await _piece(pool, workspace_id, (after, until), view, _Reach(limit, most_bytes))
    entries, position, head, trimmed = [*piece.entries], piece.position, piece.head, piece.trimmed
    left = _Reach(limit - len(entries), most_bytes - _size(piece))
    while position < min(until, head) and left.limit > 0 and left.most_bytes > 0:
        piece = await _piece(pool, workspace_id, (position, until), view, left)
        if piece.trimmed > position:
            # Entries after the last one read were trimmed meanwhile. The next page is refused.
            break
        entries += piece.entries
        position = piece.position
        left = _Reach(left.limit - len(piece.entries), left.most_bytes - _size(piece))
    return FeedPage(entries, position, head, trimmed)


def _size(page: FeedPage) -> int:
    return sum(len(entry.object) + len(entry.previous or b"") for entry in page.entries)


_PIECE: Final[LiteralString] = """
    select found.seq, found.at, found.kind::text, found.action::text, found.object_id, found.request_id,
        found.credential_id, coalesce((select true from oauth_client o where o.id = found.credential_id), false),
        found.merged_into,
        case when found.size <= $7 then found.object end, case when found.size <= $7 then found.previous end,
        w.seq, coalesce(t.seq, 0)
    from workspace w
    left join change_trimmed t on t.workspace_id = w.id
    left join (
        select c.*, coalesce(
            sum(
                pg_column_size(c.object) * case when pg_column_compression(c.object) is null then 1 else $8::int end
                + coalesce(pg_column_size(c.previous), 0)
                * case when pg_column_compression(c.previous) is null then 1 else $8::int end
            ) over (order by c.seq rows between unbounded preceding and 1 preceding), 0
        ) as size
        from (
            select * from change
            where workspace_id = $1 and seq > $2 and seq <= $3
                and kind::text = any($4)
                and ($5 or $is_public)
            order by seq limit $6
        ) c
    ) found on true
    where w.id = $1
    order by found.seq
"""


@functools.cache
def _statement(guarded: tuple[ObjectType[Any, Any], ...]) -> LiteralString:
    """Return the statement for a part of the feed in which these types may have private objects."""
    cases: list[LiteralString] = [" when '" + each.kind + "' then " + (each.is_public or "true") for each in guarded]
    return _PIECE.replace("$is_public", "case kind::text" + "".join(cases) + " else true end" if cases else "true")


async def _piece(pool: Pool, workspace_id: UUID, between: tuple[int, int], view: View, reach: _Reach) -> FeedPage:
    """Return entries between two positions from a single statement, so that all data are from the same moment.

    An object that might exceed the page is not loaded, but left to the next statement.
    """
    by_kind = {each.kind: each for each in view.object_types}
    records = await pool.fetch(
        _statement(tuple(each for each in view.object_types if each.is_public is not None)),
        workspace_id,
        *between,
        list(by_kind),
        view.sees_private,
        *reach,
        _MAX_COMPRESSED,
    )
    head, trimmed = records[0][11:]
    # Without entries, one row holds only the head; entries that do not fit come without their objects.
    found = [record for record in records if record[0] is not None]
    entries = [
        FeedEntry(record[0], record[1], by_kind[record[2]], Action(record[3]), *record[4:11])
        for record in found
        if record[9] is not None
    ]
    is_full = len(found) == reach.limit or len(entries) < len(found)
    return FeedPage(entries, entries[-1].seq if is_full else min(between[1], head), head, trimmed)
