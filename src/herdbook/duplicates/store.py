"""Every SQL statement about duplicates."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.db.distribution import fetch_everywhere, fetch_of
from herdbook.db.pool import Executor
from herdbook.ledger.unit_of_work import Table

# Limits the values in `too_common`, and the changes that are looked through at once.
MAX_TOO_COMMON: Final = 20
_MAX_CHANGES: Final = 20_000


class Search(NamedTuple):
    """How far the search for duplicates has come, and the present state of the workspace.

    `seq` is the last change that is taken in, and `scanned_to` the last object that the first pass has looked at, None once it
    has looked at all. `reading` says how objects were read, and is empty if nobody has asked for duplicates. `head` is the last
    change, and `trimmed` the last one that is no longer kept. `too_common` has keys that too many objects have, with what they
    mean in words. `region` is the workspace's, for phone numbers, and `fields` are
    those of the fields that are compared which are not archived.
    """

    seq: int
    scanned_to: UUID | None
    reading: str
    too_common: Mapping[int, str]
    head: int
    trimmed: int
    region: str | None
    fields: tuple[str, ...]


class StoredObject(NamedTuple):
    """An object as its row has it; `is_active` unless it was deleted. `numbers` are its phone numbers with a country code."""

    id: UUID
    object: bytes
    own: bytes | None
    is_active: bool
    numbers: Sequence[str] | None = None


class Pair(NamedTuple):
    """Two objects, the lesser id first, and how likely they are the same, of a thousand."""

    score: int
    one_id: UUID
    other_id: UUID


class Step(NamedTuple):
    """A step of a search: where it began, where it ends, and what it found of the objects between."""

    before: Search
    seq: int
    scanned_to: UUID | None
    too_common: Mapping[int, str]
    # The keys of each object that is active, and what each key of `lost` was a key of.
    keys: Mapping[UUID, Collection[int]]
    gone: Collection[UUID]
    learned: Collection[tuple[UUID, int]]
    lost: Collection[tuple[UUID, int]]
    pairs: Collection[Pair]
    parted: Collection[tuple[UUID, UUID]]


async def read_search(statements: Executor, workspace_id: UUID, object_type: str, fields: Sequence[str]) -> Search:
    """Return how far a search has come that compares some fields. The fields are named as in the ledger's claims."""
    record = await statements.fetchrow(
        """
        select coalesce(s.seq, 0), s.scanned_to, coalesce(s.reading, ''), coalesce(s.too_common, '{}'),
            w.seq, coalesce(t.seq, 0), w.region, array(
                select k.key from field_key k cross join lateral (
                    select f.is_archived from field f
                    where f.workspace_id = $1 and f.id = k.field_id and f.deleted_at is null limit 1
                ) as f
                where k.workspace_id = $1 and k.key = any($3) and not f.is_archived order by k.key
            )
        from workspace w
        left join duplicate_search s on s.workspace_id = $1 and s.object_type = $2
        left join change_trimmed t on t.workspace_id = $1
        where w.id = $1
        """,
        workspace_id,
        object_type,
        fields,
    )
    assert record is not None, "the caller belongs to the workspace"
    seq, scanned_to, reading, too_common, head, trimmed, region, known = record
    told = {int(key): words for key, _, words in (each.partition(" ") for each in too_common) if _is_key(key)}
    return Search(seq, scanned_to, reading, told, head, trimmed, region, tuple(known))


# The last release had the words alone.
_is_key: Final = re.compile(r"-?\d+").fullmatch


async def begin_search(statements: Executor, workspace_id: UUID, object_type: str, reading: str) -> None:
    """Begin a search, or begin it again."""
    await statements.execute(
        """
        insert into duplicate_search (workspace_id, object_type, seq, scanned_to, reading)
        select w.id, $2, w.seq, $3, $4 from workspace w where w.id = $1
        on conflict (workspace_id, object_type) do update
        set seq = excluded.seq, scanned_to = excluded.scanned_to, reading = excluded.reading, too_common = '{}'
        """,
        workspace_id,
        object_type,
        ids.NIL,
        reading,
    )


async def searches_behind(statements: Executor, workspace_ids: Sequence[UUID]) -> list[tuple[UUID, str]]:
    """Return the searches of these workspaces that have something to take in."""
    found = await fetch_of(
        statements,
        workspace_ids,
        """
        select s.workspace_id, s.object_type from duplicate_search s join workspace w on w.id = s.workspace_id
        where s.workspace_id = any($1) and (s.seq < w.seq or s.scanned_to is not null)
        """,
    )
    return [(record[0], record[1]) for record in found.records]


async def first_passes(statements: Executor) -> list[tuple[UUID, str]]:
    """Return the searches of all workspaces whose first pass is not over."""
    found = await fetch_everywhere(
        statements, "select workspace_id, object_type from duplicate_search where scanned_to is not null"
    )
    return [(record[0], record[1]) for record in found.records]


async def next_objects(
    statements: Executor, table: LiteralString, workspace_id: UUID, after: UUID, limit: int
) -> list[StoredObject]:
    """Return the first objects of a table whose ids follow one, deleted ones, too."""
    statement = _SELECT.replace("$numbers", _NUMBERS[table]).replace("$source", table)
    records = await statements.fetch(
        statement + " c where c.workspace_id = $1 and c.id > $2 order by c.id limit $3", workspace_id, after, limit
    )
    return [StoredObject(*record) for record in records]


# To read a number takes longer than all else, and the row of a contact has most of them as they were read.
_NUMBERS: Final[Mapping[str, LiteralString]] = {"contact": "c.phone_numbers_e164", "company": "null::text[]"}
_SELECT: Final[LiteralString] = "select c.id, c.object, c.own, c.deleted_at is null, $numbers from $source"


async def changed_ids(
    statements: Executor, workspace_id: UUID, kind: str, search: Search, members: Sequence[str], limit: int
) -> tuple[list[UUID], int]:
    """Return the objects of a kind that changed in one of these members since, and the last change that was looked at."""
    until = min(search.seq + _MAX_CHANGES, search.head)
    records = await statements.fetch(
        """
        select c.object_id, c.seq from change c
        where c.workspace_id = $1 and c.seq > $2 and c.seq <= $3 and c.kind::text = $4 and (
            c.action <> 'u' or c.previous is null
            or exists (select from json_object_keys(c.previous) as changed(name) where changed.name = any($5))
        )
        order by c.seq limit $6
        """,
        workspace_id,
        search.seq,
        until,
        kind,
        members,
        limit,
    )
    return [*dict.fromkeys(record[0] for record in records)], records[-1][1] if len(records) == limit else until


async def objects(
    statements: Executor, table: LiteralString, workspace_id: UUID, object_ids: Collection[UUID]
) -> list[StoredObject]:
    """Return the objects of a table with these ids, deleted ones, too."""
    statement = _SELECT.replace("$numbers", _NUMBERS[table]).replace("$source", _WITH_IDS.replace("$table", table))
    return [StoredObject(*record) for record in await statements.fetch(statement, workspace_id, [*object_ids])]


_WITH_IDS: Final[LiteralString] = """
    unnest($2::uuid[]) as asked(id) cross join lateral (
        select * from $table c where c.workspace_id = $1 and c.id = asked.id limit 1
    ) as c
"""


async def keys_of(statements: Executor, workspace_id: UUID, object_ids: Collection[UUID]) -> dict[UUID, frozenset[int]]:
    """Return the keys of those of these objects that have been looked at."""
    records = await statements.fetch(
        """
        select o.id, o.keys from unnest($2::uuid[]) as asked(id) cross join lateral (
            select o.id, o.keys from duplicate_object o where o.workspace_id = $1 and o.id = asked.id limit 1
        ) as o
        """,
        workspace_id,
        [*object_ids],
    )
    return {record[0]: frozenset(record[1]) for record in records}


async def sharing(statements: Executor, workspace_id: UUID, limits: Mapping[int, int]) -> dict[int, list[UUID]]:
    """Return the objects that have each key, at most one more than its limit."""
    records = await statements.fetch(
        """
        select asked.key, found.object_ids from unnest($2::bigint[], $3::bigint[]) as asked(key, most) cross join lateral (
            select array(
                select k.object_id from duplicate_key k where k.workspace_id = $1 and k.key = asked.key limit asked.most + 1
            ) as object_ids
        ) as found
        where cardinality(found.object_ids) > 0
        """,
        workspace_id,
        [*limits],
        [*limits.values()],
    )
    return {record[0]: record[1] for record in records}


async def pairs_of(statements: Executor, workspace_id: UUID, object_ids: Collection[UUID], least: int = 0) -> list[Pair]:
    """Return the pairs of some objects with any others that have at least a score, each once."""
    records = await statements.fetch(
        """
        select p.score, p.one_id, p.other_id from unnest($2::uuid[]) as asked(id) cross join lateral (
            select p.score, p.one_id, p.other_id from duplicate_pair p
            where p.workspace_id = $1 and p.one_id = asked.id and p.score >= $3
            union all
            select p.score, p.one_id, p.other_id from duplicate_pair p
            where p.workspace_id = $1 and p.other_id = asked.id and p.score >= $3
        ) as p
        """,
        workspace_id,
        [*object_ids],
        least,
    )
    return [*{Pair(*record) for record in records}]


async def best_pairs(
    statements: Executor, workspace_id: UUID, object_type: str, least: int, after: Pair | None, limit: int
) -> list[Pair]:
    """Return the pairs that have at least a score, the most likely first, behind one if it is given."""
    records = await statements.fetch(
        """
        (
            select p.score, p.one_id, p.other_id from duplicate_pair p
            where p.workspace_id = $1 and p.object_type = $2 and p.score = $4 and p.score >= $3
                and (p.one_id, p.other_id) > ($5, $6)
            order by p.one_id, p.other_id limit $7
        )
        union all
        (
            select p.score, p.one_id, p.other_id from duplicate_pair p
            where p.workspace_id = $1 and p.object_type = $2 and p.score < $4 and p.score >= $3
            order by p.score desc, p.one_id, p.other_id limit $7
        )
        order by score desc, one_id, other_id limit $7
        """,
        workspace_id,
        object_type,
        least,
        *(after or Pair(_ABOVE_ALL, ids.NIL, ids.NIL)),
        limit,
    )
    return [Pair(*record) for record in records]


_ABOVE_ALL: Final = 1001


async def distinct_among(
    statements: Executor, table: LiteralString, workspace_id: UUID, object_ids: Collection[UUID]
) -> set[tuple[UUID, UUID]]:
    """Return the pairs of these objects that are not the same: somebody has said so of them, or of any merged into them."""
    records = await statements.fetch(
        _DISTINCT.replace("$table", table),
        workspace_id,
        [*object_ids],
    )
    return {(min(record), max(record)) for record in map(tuple, records)}


# `union` ends where undoing has turned a chain of merges into a circle.
_MERGED: Final[LiteralString] = """
    with recursive merged as (
        select asked.id as survivor, asked.id from unnest($2::uuid[]) as asked(id)
        union
        select merged.survivor, c.id from merged cross join lateral (
            select c.id from $table c
            where c.workspace_id = $1 and c.merged_into = merged.id and c.merged_into is not null offset 0
        ) as c
    )
"""
_DISTINCT: Final[LiteralString] = (
    _MERGED
    + """
    select one.survivor, other.survivor
    from merged as one cross join lateral (
        select d.other_id from distinct_pair d where d.workspace_id = $1 and d.one_id = one.id offset 0
    ) as d
    join merged as other on other.id = d.other_id
    """
)


async def set_distinct(
    statements: Executor, workspace_id: UUID, object_type: str, pairs: Sequence[tuple[UUID, UUID]], credential_id: UUID
) -> None:
    """Remember that the objects of each pair, the lesser id first, are not the same."""
    await statements.execute(
        """
        insert into distinct_pair (workspace_id, one_id, other_id, object_type, credential_id)
        select $1, d.one_id, d.other_id, $4, $5 from unnest($2::uuid[], $3::uuid[]) as d(one_id, other_id)
        on conflict do nothing
        """,
        workspace_id,
        *_columns(pairs, 2),
        object_type,
        credential_id,
    )


class DistinctPair(NamedTuple):
    """Two objects that are not the same, and when somebody has said so."""

    at: datetime
    one_id: UUID
    other_id: UUID


async def distinct_pairs(
    statements: Executor,
    table: LiteralString,
    workspace_id: UUID,
    object_type: str,
    after: DistinctPair | None,
    limit: int,
) -> list[DistinctPair]:
    """Return pairs of active objects that are not the same, the last that was said first, behind one if it is given."""
    records = await statements.fetch(
        _DISTINCT_PAIRS.replace("$table", table),
        workspace_id,
        object_type,
        *(after or (None, None, None)),
        limit,
    )
    return [DistinctPair(*record) for record in records]


_DISTINCT_PAIRS: Final[LiteralString] = """
    select d.at, d.one_id, d.other_id from distinct_pair d
    where d.workspace_id = $1 and d.object_type = $2
        and ($3::timestamptz is null or (d.at, d.one_id, d.other_id) < ($3::timestamptz, $4::uuid, $5::uuid))
        and exists (select from $table c where c.workspace_id = $1 and c.id = d.one_id and c.deleted_at is null offset 0)
        and exists (select from $table c where c.workspace_id = $1 and c.id = d.other_id and c.deleted_at is null offset 0)
    order by d.at desc, d.one_id desc, d.other_id desc limit $6
"""


async def forget_distinct(statements: Executor, table: LiteralString, workspace_id: UUID, object_ids: Collection[UUID]) -> None:
    """Forget what was said of these objects among each other, and of those that were merged into them."""
    await statements.execute(
        _FORGET_DISTINCT.replace("$table", table),
        workspace_id,
        [*object_ids],
    )


_FORGET_DISTINCT: Final[LiteralString] = (
    _MERGED
    + """
    delete from distinct_pair d
    where d.workspace_id = $1
        and d.one_id = any(array(select id from merged)) and d.other_id = any(array(select id from merged))
    """
)


async def save_step(statements: Executor, workspace_id: UUID, object_type: str, step: Step) -> bool:
    """Save a step of a search, unless another process has taken one meanwhile. Return whether it was saved."""
    before = step.before
    done = await statements.fetchval(
        """
        with held as (
            update duplicate_search s set seq = $5, scanned_to = $6, too_common = $7
            where s.workspace_id = $1 and s.object_type = $2 and s.seq = $3 and s.scanned_to is not distinct from $4
                and s.reading = $8
            returning true
        ), objects_gone as (
            delete from duplicate_object o using unnest($9::uuid[]) as gone(id)
            where exists (select from held) and o.workspace_id = $1 and o.id = gone.id
        ), objects_learned as (
            insert into duplicate_object (workspace_id, id, keys)
            select $1, r.id, array(select value::bigint from json_array_elements_text(r.keys))
            from json_to_recordset($10) as r(id uuid, keys json) where exists (select from held)
            on conflict (workspace_id, id) do update set keys = excluded.keys
        ), keys_lost as (
            delete from duplicate_key k using unnest($11::uuid[], $12::bigint[]) as lost(id, key)
            where exists (select from held) and k.workspace_id = $1 and k.key = lost.key and k.object_id = lost.id
        ), keys_learned as (
            insert into duplicate_key (workspace_id, key, object_id)
            select $1, learned.key, learned.id from unnest($13::uuid[], $14::bigint[]) as learned(id, key)
            where exists (select from held)
            on conflict do nothing
        ), pairs_parted as (
            delete from duplicate_pair p using unnest($15::uuid[], $16::uuid[]) as parted(one_id, other_id)
            where exists (select from held)
                and p.workspace_id = $1 and p.one_id = parted.one_id and p.other_id = parted.other_id
        ), pairs_found as (
            insert into duplicate_pair (workspace_id, one_id, other_id, object_type, score)
            select $1, found.one_id, found.other_id, $2, found.score
            from unnest($17::smallint[], $18::uuid[], $19::uuid[]) as found(score, one_id, other_id)
            where exists (select from held)
            on conflict (workspace_id, one_id, other_id) do update set score = excluded.score
            where duplicate_pair.score <> excluded.score
        )
        select exists (select from held)
        """,
        workspace_id,
        object_type,
        before.seq,
        before.scanned_to,
        step.seq,
        step.scanned_to,
        [f"{key} {words}" for key, words in step.too_common.items()],
        before.reading,
        [*step.gone],
        _keys_in_json(step.keys),
        *_columns(step.lost, 2),
        *_columns(step.learned, 2),
        *_columns(step.parted, 2),
        *_columns(step.pairs, 3),
    )
    return bool(done)


def _keys_in_json(keys: Mapping[UUID, Collection[int]]) -> bytes:
    return msgspec.json.encode([{"id": object_id, "keys": [*each]} for object_id, each in keys.items()])


def _columns(rows: Iterable[Sequence[Any]], many: int) -> list[list[Any]]:
    """Return the columns of some rows, as many as the rows have."""
    columns: list[list[Any]] = [[] for _ in range(many)]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


class ForgottenDuplicate(msgspec.Struct, frozen=True):
    """An object that is erased, so that nothing of it may stay among the duplicates."""

    workspace_id: UUID
    id: UUID


# A search that has read the object before finds the erasure in the ledger, and removes what it had just saved.
FORGOTTEN_DUPLICATES: Final = Table(
    row=ForgottenDuplicate,
    key=lambda forgotten: forgotten.id,
    load=None,
    save="""
        duplicate_forgotten as (
            select r.* from json_to_recordset($rows) as r(workspace_id uuid, id uuid) join held on held.id = r.workspace_id
        ), duplicate_key_forgotten as (
            delete from duplicate_key k
            using duplicate_forgotten r join duplicate_object o on o.workspace_id = r.workspace_id and o.id = r.id
            where k.workspace_id = r.workspace_id and k.key = any(o.keys) and k.object_id = r.id
        ), duplicate_object_forgotten as (
            delete from duplicate_object o using duplicate_forgotten r where o.workspace_id = r.workspace_id and o.id = r.id
        ), duplicate_pair_forgotten as (
            delete from duplicate_pair p using duplicate_forgotten r
            where p.workspace_id = r.workspace_id and (p.one_id = r.id or p.other_id = r.id)
        ), distinct_pair_forgotten as (
            delete from distinct_pair d using duplicate_forgotten r
            where d.workspace_id = r.workspace_id and (d.one_id = r.id or d.other_id = r.id)
        )
    """,
)
