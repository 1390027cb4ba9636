"""Every SQL statement about exports."""

from collections.abc import Collection, Mapping, Sequence
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.db.pool import Pool
from herdbook.engagements.model import Details
from herdbook.engagements.store import decoded_details

_NAMES: Final[Mapping[str, LiteralString]] = {
    "company": "select c.id, c.object ->> 'name' from company c where c.workspace_id = $1 and c.id = any($2)",
    "tag": "select t.id, t.object ->> 'name' from tag t where t.workspace_id = $1 and t.id = any($2)",
}
_ACTIVE_NAMES: Final[Mapping[str, LiteralString]] = {
    "company": "c.object ->> 'name' from company c",
    "tag": "c.object ->> 'name' from tag c",
    "contact": "concat_ws(' ', c.object ->> 'first_name', c.object ->> 'last_name') from contact c",
    "user": "concat_ws(' ', c.object ->> 'first_name', c.object ->> 'last_name') from workspace_user c",
}
# The notes of an object are read in the order in which they were written.
_NOTES: Final[LiteralString] = """
    select l.$type_id, n.object ->> 'text'
    from $type_note l join note n on n.workspace_id = l.workspace_id and n.id = l.note_id
    where l.workspace_id = $1 and l.$type_id = any($2) and n.deleted_at is null
    order by l.$type_id, n.id
"""
_MOST_NOTES: Final[LiteralString] = """
    select coalesce(max(c.notes), 0) from (
        select count(*) as notes from $type_note l where l.workspace_id = $1 group by l.$type_id
    ) as c
"""
# A slice of the objects in the order of their ids: the longest lists among them, and the id to go on behind.
_LONGEST: Final[LiteralString] = """
    select max(coalesce(json_array_length(c.object -> $3), 0)), max(coalesce(json_array_length(c.object -> $4), 0)),
        max(coalesce(json_array_length(c.own -> 'external_ids'), 0)), (array_agg(c.id order by c.id desc))[1]
    from (select id, object, own from $type where workspace_id = $1 and id > $2 order by id limit 20000) as c
"""


async def names(pool: Pool, workspace_id: UUID, kind: str, object_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the names of companies or tags, of those that have one."""
    if not object_ids:
        return {}
    rows = await pool.fetch(_NAMES[kind], workspace_id, [*object_ids])
    return {row[0]: row[1] for row in rows if row[1] is not None}


async def notes(pool: Pool, workspace_id: UUID, kind: LiteralString, object_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """Return the texts of the notes on contacts or companies."""
    found: dict[UUID, list[str]] = {}
    for row in await pool.fetch(_NOTES.replace("$type", kind), workspace_id, object_ids):
        found.setdefault(row[0], []).append(row[1])
    return found


async def most_notes(pool: Pool, workspace_id: UUID, kind: LiteralString) -> int:
    """Return the number of notes of the contact or company that has most."""
    return await pool.fetchval(_MOST_NOTES.replace("$type", kind), workspace_id)


async def longest(pool: Pool, workspace_id: UUID, kind: LiteralString, first: str, second: str) -> Sequence[int]:
    """Return the lengths of the longest lists that contacts or companies have in two members, and of their own ids."""
    found, after = [0, 0, 0], ids.NIL
    while True:
        row = await pool.fetchrow(_LONGEST.replace("$type", kind), workspace_id, after, first, second)
        if row is None or row[3] is None:
            return found
        found, after = [*map(max, found, row[:3])], row[3]


async def names_of_active(pool: Pool, workspace_id: UUID, kind: str, object_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the names of active objects, empty for those without one."""
    if not object_ids:
        return {}
    condition: LiteralString = (
        " where c.workspace_id = $1 and c.id = any($2) and coalesce(c.deleted_at, 'infinity') = 'infinity'"
    )
    rows = await pool.fetch("select c.id, " + _ACTIVE_NAMES[kind] + condition, workspace_id, object_ids)
    return {row[0]: row[1] or "" for row in rows}


class StoredEngagement(NamedTuple):
    """An engagement as it is stored: the JSON that the API always shows, and the details."""

    id: UUID
    object: bytes
    details: Details


async def some_engagements(
    pool: Pool, workspace_id: UUID, engagement_ids: Sequence[UUID], *, sees_private: bool
) -> list[StoredEngagement]:
    """Return the active ones of some engagements, in no order."""
    rows = await pool.fetch(
        """
        select e.id, e.object, e.details
        from (select * from engagement where workspace_id = $1 and id = any($2) offset 0) as e
        where e.deleted_at is null and ($3 or not e.is_private)
        """,
        workspace_id,
        engagement_ids,
        sees_private,
    )
    return [StoredEngagement(row[0], row[1], decoded_details(row[2])) for row in rows]
