"""The SQL of queries.

A query reads its objects in one of two ways. If a condition that every match meets holds for few objects, an index finds
these, and they are checked and sorted. Otherwise an index is walked in the order of the sort until the page is full. If an
index finds the objects of a condition, the database keeps their ids during the walk, and passes over all others without
reading them. Either way, a page looks at a limited number of objects.
"""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import fields, ids
from herdbook.custom_fields.model import Field
from herdbook.custom_fields.values import without_values
from herdbook.db.placeholders import placeholder
from herdbook.db.pool import Pool
from herdbook.errors import FieldError, Invalid
from herdbook.ledger.object_types import ObjectType, whole
from herdbook.querying.conditions import (
    BY_AGE,
    Comparison,
    Condition,
    ConditionReader,
    Group,
    Member,
    SortKey,
    names,
    required,
)
from herdbook.shared_schemas import shown_time
from herdbook.tags import store as tags

# Up to this many objects that an index finds are read and sorted. With more, a walk meets a match soon.
FEW: Final = 500
# The database sorts up to this many by their columns, if a walk in the order of the sort meets recently used pages alone.
MAX_SORTED: Final = 1500
# It sorts up to this many if each step of the walk reads a page somewhere in the table, or each step to find them does.
MAX_SORTED_BY_NAME: Final = 5000
# A walk of which each step reads a page somewhere in the table gives way to a sort after so many entries without a full page.
# Up to the second number of objects are then sorted, by as many statements as the third one says.
MAX_WALKED_BY_NAME: Final = 8000
MAX_SORTED_AT_LAST: Final = 20_000
_MAX_SORTS: Final = 4
# The database keeps the ids of up to this many objects during a walk. More are so common that it checks each object it meets.
MAX_KEPT: Final = 10_000
# Fewer than this many are read by one statement, so that the database need not sort them.
_FEW_READ: Final = 100
# A page looks at this many objects at most, and so does a count.
MAX_LOOKED_AT: Final = 10_000
# The database passes over this many entries of an index at most, if it keeps the ids of those that may match.
MAX_PASSED: Final = 100_000
_SLICE: Final = 500
_MAX_LOOKUPS: Final = 5
# Conditions on lists of values are checked in a walk's statement, up to this many.
_MAX_PROBES: Final = 5


class QueryPlace(msgspec.Struct, frozen=True, array_like=True):
    """The place of an object in the order: the texts that it is sorted by, its id, and its version.

    `forms` are the forms of the values that it is sorted by. An earlier release made cursors without them.
    """

    keys: tuple[str | None, ...]
    id: UUID
    version: int
    forms: tuple[str, ...] | None = None


class Definitions(NamedTuple):
    """The definitions of the fields of a type, archived ones included, and the keys of those that are being converted."""

    fields: list[Field]
    moving: frozenset[str]


class Query(NamedTuple):
    """A query: the condition, the members to sort by, and the place where the last page ended."""

    where: Condition | None
    sort: tuple[SortKey, ...]
    limit: int
    after: QueryPlace | None = None


class Matches(NamedTuple):
    """The objects of a page in order, and the place where the next page goes on; None if there is none.

    `records` are those of the objects that were read whole.
    """

    object_ids: list[UUID]
    records: dict[UUID, Any]
    next_place: QueryPlace | None


class Count(NamedTuple):
    """The number of matches that were counted, and whether these are all."""

    matches: int
    is_exact: bool


_TOO_MANY: Final = (
    f"`sort` begins with a member that has no index, which is for at most {MAX_LOOKED_AT:,} objects. Narrow `where`, or sort "
    "by a field, a name, `company_id`, `created_at` or `updated_at` first."
)
# Gives others their turn of the event loop.
Breathe: TypeAlias = Callable[[], Awaitable[None]]

# `$type` stands for the name of a type, which begins the names of its tables.
_LOOKUPS: Final[Mapping[str, LiteralString]] = {
    "word": "select l.$type_id from $type_word l where l.workspace_id = $1 and l.word = any($keys) limit $most",
    "tag": "select l.$type_id from $type_tag l where l.workspace_id = $1 and l.tag_id = any($keys) limit $most",
    "crm": """
        select c.id from $type c where c.workspace_id = $1 and c.crm_object_id = any($keys) and c.deleted_at is null limit $most
    """,
    "updated_at": """
        select c.id from $type c where c.workspace_id = $1 and c.updated_at = any($keys) and c.deleted_at is null limit $most
    """,
}
_FIELD_LOOKUP: Final[LiteralString] = """
    select l.$type_id
    from unnest($least::text[], $end::text[]) as asked(least, most)
    cross join lateral (
        select f.$type_id from $type_field f
        where f.workspace_id = $1 and f.key >= asked.least and f.key < asked.most
        limit $most
    ) as l
    limit $most
"""
# The columns of an object that a walk of its table shows. Virtual ones would be computed for each entry.
_OBJECT: Final[LiteralString] = "f.id, f.version, f.deleted_at, f.object, f.own, f.crm_object_id"
# `limit` within keeps a subquery from being read as a whole.
_PROBES: Final[Mapping[str, LiteralString]] = {
    "tag": """(
        select true from $type_tag l
        where l.workspace_id = $1 and l.tag_id = any($value::text[]) and l.$type_id = c.id limit 1
    )""",
    "word": """(
        select true from $type_word l
        where l.workspace_id = $1 and l.word = any($value::text[]) and l.$type_id = c.id limit 1
    )""",
    "field": """(
        select true from $type_field l
        where l.workspace_id = $1 and l.key = any($value::text[]) and l.$type_id = c.id limit 1
    )""",
    "crm": "c.crm_object_id = any($value::text[])",
}


class Walk(NamedTuple):
    """An index in the order of a member: its entries `f` with a key, and the object of each.

    `is_alone` says that an entry has no more than a key and an object, so that objects with the same key come in the order of
    their ids. `is_scattered` says that an entry has no id, and that its objects are anywhere in the table. `is_own` says that
    an index of the objects' table is walked, so that each entry is an object that was read already.
    """

    entries: LiteralString
    key: LiteralString
    object_id: LiteralString
    is_alone: bool = True
    is_scattered: bool = False
    is_own: bool = False


_WALKS: Final[Mapping[str, Walk]] = {
    "field": Walk("$type_field f where f.workspace_id = $1", "f.key", "f.$type_id"),
    "updated_at": Walk(
        "$type f where f.workspace_id = $1 and f.deleted_at is null", "f.updated_at", "f.id", is_alone=False, is_own=True
    ),
    # Deleted objects count as looked at, so that many of them do not make a page slow.
    "created_at": Walk("$type f where f.workspace_id = $1", "f.id", "f.id", is_own=True),
}


# The objects that an index has found, in place of a table.
FOUND: Final[LiteralString] = """(
    select c.* from (select distinct l.id from ($found) as l(id)) as l
    cross join lateral (select * from $type c where c.workspace_id = $1 and c.id = l.id offset 0) as c
) f where """
# The same of objects that an index has found.
_AMONG: Final[Mapping[str, Walk]] = {
    "updated_at": Walk(FOUND + "f.deleted_at is null", "f.updated_at", "f.id", is_alone=False),
    "created_at": Walk(FOUND + "f.deleted_at is null", "f.id", "f.id"),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class QueriedType:
    """A type of objects that queries find.

    `members` returns the members that all its objects may have, for the workspace's default region for numbers. `record` is the
    whole of an object as its record shows it, and `shown` returns it in this form. `lookups`, `probes` and `walks` are indexes
    beside those that all types have, by the names that members give them: SQL that finds objects by keys (`$keys`, at most
    `$most`), conditions on an object `c` that has one of the keys `$value`, and entries in the order of a member. `among` are
    such ones of the objects that an index has found. `probed` are the columns that these conditions look at.
    """

    object_type: ObjectType[Any, Any]
    members: Callable[[str | None], Iterable[Member]]
    record: type[msgspec.Struct]
    shown: Callable[[Any], Any] = lambda record: record
    lookups: Mapping[str, LiteralString] = field(default_factory=dict[str, LiteralString])
    probes: Mapping[str, LiteralString] = field(default_factory=dict[str, LiteralString])
    walks: Mapping[str, Walk] = field(default_factory=dict[str, Walk])
    among: Mapping[str, Walk] = field(default_factory=dict[str, Walk])
    probed: LiteralString = ""

    @cached_property
    def decode(self) -> Callable[[bytes], Any]:
        """The function that decodes an object with its own members."""
        return msgspec.json.Decoder(self.record).decode

    def sql(self, statement: LiteralString) -> LiteralString:
        """Return a statement with the names of the type's tables."""
        return statement.replace("$type", self.object_type.table.name)

    def lookup(self, index: str) -> LiteralString:
        """Return the SQL that finds objects by keys of an index."""
        lookups: dict[str, LiteralString] = {**self.lookups, **_LOOKUPS}
        return self.sql(lookups[index])

    def probe(self, index: str) -> LiteralString | None:
        """Return the condition on an object that has one of several keys of an index, if there is one."""
        probes: dict[str, LiteralString] = {**self.probes, **_PROBES}
        return self.sql(probes[index]) if index in probes else None

    def walk(self, index: str | None) -> Walk | None:
        """Return the index in the order of a member, if there is one."""
        return self._named({**self.walks, **_WALKS}.get(index or ""))

    def walk_among(self, index: str | None) -> Walk | None:
        """Return the order of a member among objects that an index has found, if the database can sort them."""
        return self._named({**self.among, **_AMONG}.get(index or ""))

    def _named(self, walk: Walk | None) -> Walk | None:
        if walk is None:
            return None
        return walk._replace(entries=self.sql(walk.entries), key=self.sql(walk.key), object_id=self.sql(walk.object_id))

    def reader(self, definitions: Iterable[Field], region: str | None) -> ConditionReader:
        """Return a reader of conditions in a workspace."""
        return ConditionReader(self.object_type.plural, self.members(region), definitions, region)


async def definitions(pool: Pool, workspace_id: UUID, queried: QueriedType) -> Definitions:
    """Return the definitions of the fields of a type."""
    records = await pool.fetch(
        """
        select f.object, f.key, f.converting is not null and exists (
            select from unfinished u
            where u.workspace_id = $1 and u.task = 'convert_values' and u.object_id = f.id
        )
        from field f where f.workspace_id = $1 and f.object_type = $2 and f.deleted_at is null
        """,
        workspace_id,
        queried.object_type.name,
    )
    return Definitions([_definition(each[0]) for each in records], frozenset(each[1] for each in records if each[2]))


# Each query reads all definitions, and these change seldom.
@lru_cache(maxsize=2000)
def _definition(encoded: bytes) -> Field:
    return msgspec.json.decode(encoded, type=Field)


async def page(pool: Pool, workspace_id: UUID, queried: QueriedType, query: Query, breathe: Breathe) -> Matches:
    """Return a page of matches. Refusal: Invalid, if there are too many objects for a sort without an index."""
    reader = _Reader(pool, workspace_id, queried, query, breathe)
    found: list[QueryPlace] = []
    records: dict[UUID, Any] = {}
    async for place in await reader.matches():
        if len(found) == query.limit:
            return Matches([each.id for each in found], records, found[-1])
        found.append(place)
        if place.id in reader.records:
            records[place.id] = reader.records[place.id]
    return Matches([each.id for each in found], records, reader.stopped_at)


async def count(pool: Pool, workspace_id: UUID, queried: QueriedType, query: Query, breathe: Breathe) -> Count:
    """Count the matches on all pages, among as many objects as a page looks at. Refusal: as for a page."""
    if query.where is None:
        number: int = await pool.fetchval(
            queried.sql(
                "select count(*) from (select from $type c where c.workspace_id = $1 and c.deleted_at is null limit $2) as few"
            ),
            workspace_id,
            MAX_LOOKED_AT + 1,
        )
        return Count(min(number, MAX_LOOKED_AT), number <= MAX_LOOKED_AT)
    reader = _Reader(pool, workspace_id, queried, query._replace(after=None), breathe)
    number = 0
    async for _ in await reader.matches():
        number += 1
    return Count(number, reader.stopped_at is None)


async def shown(
    pool: Pool, workspace_id: UUID, queried: QueriedType, matches: Matches, shown_fields: Collection[str]
) -> tuple[Any, ...]:
    """Return the whole objects of a page, with the values of these fields. One that was deleted meanwhile is left out."""
    found = dict(matches.records)
    if missing := [each for each in matches.object_ids if each not in found]:
        rows = await pool.fetch(queried.sql(_BY_ID), workspace_id, missing)
        found |= {row[0]: queried.decode(whole(row[2], row[3])) for row in rows}
    present = [found[each] for each in matches.object_ids if each in found]
    records = await _with_existing_tags(pool, workspace_id, present)
    hidden = [{key for key in record.fields or () if key not in shown_fields} for record in records]
    return tuple(queried.shown(without_values(record, keys)) for record, keys in zip(records, hidden, strict=True))


# `offset 0` forces a lookup by key.
_BY_ID: Final[LiteralString] = """
    select c.id, c.version, c.object, c.own
    from (select * from $type c where c.workspace_id = $1 and c.id = any($2) offset 0) as c
    where c.deleted_at is null
"""


async def _with_existing_tags(pool: Pool, workspace_id: UUID, records: list[Any]) -> list[Any]:
    """Return records without tags that are deleted. There is no record in place of some."""
    tagged = {index: record for index, record in enumerate(records) if record is not None and record.tag_ids is not UNSET}
    named = {tag_id for record in tagged.values() for tag_id in record.tag_ids or ()}
    existing = set(await tags.existing(pool, workspace_id, [*named])) if named else named
    if existing != named:
        for index, record in tagged.items():
            kept = tuple(each for each in record.tag_ids or () if each in existing)
            records[index] = msgspec.structs.replace(record, tag_ids=kept or UNSET)
    return records


class _Reader:
    """Reads the matches of a query in its order. `looked_at` is the number of objects that the page has looked at before."""

    def __init__(  # the parts of one query
        self,
        pool: Pool,
        workspace_id: UUID,
        queried: QueriedType,
        query: Query,
        breathe: Breathe,
        looked_at: int = 0,
    ) -> None:
        self._pool = pool
        self._queried = queried
        self._workspace_id = workspace_id
        self._query = query
        self._breathe = breathe
        self._required = required(query.where)
        self.looked_at = looked_at
        # The comparison whose objects the database sorts.
        self._among: Comparison | None = None
        # The comparison whose objects the database keeps during a walk.
        self._kept: Comparison | None = None
        self._passed = 0
        # The entries that a walk may still pass over before it gives way to a sort; None if it does not.
        self._patience: int | None = None
        # The statements that may still sort many objects; None if they are few.
        self._sorts: int | None = None
        # The objects of the last slice that were read whole.
        self.records: dict[UUID, Any] = {}
        # The place at which the reading stopped, if it did not come to the end.
        self.stopped_at: QueryPlace | None = None

    async def matches(self) -> AsyncGenerator[QueryPlace]:
        """Return the places of the matches, in order. Refusal: Invalid (sort)."""
        walk = self._queried.walk(self._query.sort[0].member.walk)
        among = None if walk is None else self._queried.walk_among(self._query.sort[0].member.walk)
        number, fewest = await self._fewest(MAX_LOOKED_AT if walk is None else MAX_KEPT, has_walk=walk is not None)
        by = None if fewest is None else self._queried.walk(fewest.member.walk)
        is_costly = by is not None and by.is_scattered
        most = MAX_LOOKED_AT if walk is None else FEW
        if walk is not None and among is not None:
            most = MAX_SORTED_BY_NAME if walk.is_scattered or is_costly else MAX_SORTED
        if fewest is not None and number <= (most if among is None else min(_FEW_READ, FEW)):
            statement = _Statement(self._workspace_id)
            rows = await self._pool.fetch(self._lookup(fewest, statement, most), *statement.values)
            return self._sorted([*dict.fromkeys(row[0] for row in rows)])
        if walk is None:
            return self._sorted(await self._all())
        if fewest is not None and among is not None and number <= most:
            self._among, walk = fewest, among
        elif not is_costly:
            self._kept = fewest
        if walk.is_scattered and among is not None and any(True for _ in self._looked_up(has_walk=True)):
            return self._walked_or_sorted(walk, among)
        return self._walked(walk)

    async def _walked_or_sorted(self, walk: Walk, among: Walk) -> AsyncGenerator[QueryPlace]:
        """Walk an index; if matches do not come soon, sort all objects that another index finds, unless they are too many."""
        self._patience = MAX_WALKED_BY_NAME
        async for place in self._walked(walk):
            yield place
        if self.stopped_at is None or self._patience > 0:
            return
        self._patience = None
        self._query, self.stopped_at = self._query._replace(after=self.stopped_at), None
        _, fewest = await self._fewest(MAX_SORTED_AT_LAST, has_walk=True)
        if fewest is not None:
            self._among, self._kept, self._sorts, walk = fewest, None, _MAX_SORTS, among
        async for place in self._walked(walk):
            yield place

    async def _fewest(self, most: int, *, has_walk: bool) -> tuple[int, Comparison | None]:
        """Return the comparison that every match meets and for which an index finds fewest objects, with their number.

        There is none if an index finds more than so many for each.
        """
        number, fewest = most, None
        for comparison in itertools.islice(self._looked_up(has_walk=has_walk), _MAX_LOOKUPS):
            statement = _Statement(self._workspace_id)
            lookup = self._lookup(comparison, statement, number + 1)
            found: int = await self._pool.fetchval("select count(*) from (" + lookup + ") as l", *statement.values)
            if found <= number:
                number, fewest = found, comparison
        return number, fewest

    async def _all(self) -> list[UUID]:
        """Return all objects. Refusal: Invalid (sort), if there are too many."""
        rows = await self._pool.fetch(
            self._queried.sql("select c.id from $type c where c.workspace_id = $1 and c.deleted_at is null limit $2"),
            self._workspace_id,
            MAX_LOOKED_AT + 1,
        )
        if len(rows) > MAX_LOOKED_AT:
            raise Invalid([FieldError("sort", "too_many_matches", _TOO_MANY)])
        return [row[0] for row in rows]

    def _looked_up(self, *, has_walk: bool) -> Iterator[Comparison]:
        """Yield the comparisons whose objects an index finds, without one that a walk meets alone."""
        first = self._query.sort[0].member
        for each in self._required:
            if each.ranges is not None:
                if not has_walk or each.member.name != first.name or len(each.values) > 1:
                    yield each
            elif each.member.lookup is not None and each.keys is not None:
                yield each

    def _lookup(self, comparison: Comparison, statement: "_Statement", most: int) -> LiteralString:
        """Return the SQL that finds up to so many objects for a comparison by an index."""
        index, lookup = comparison.member.lookup or "", self._queried.sql(_FIELD_LOOKUP)
        if (ranges := comparison.ranges) is not None:
            lookup = lookup.replace("$least", statement.parameter([least for least, _ in ranges]))
            lookup = lookup.replace("$end", statement.parameter([end for _, end in ranges]))
        else:
            lookup = self._queried.lookup(index)
            lookup = lookup.replace("$keys", statement.parameter(_asked(index, comparison.keys or [])))
        return lookup.replace("$most", statement.parameter(most) + "::bigint")

    async def _sorted(self, object_ids: Sequence[UUID]) -> AsyncGenerator[QueryPlace]:
        """Check these objects, and yield the places of the matches in order."""
        places: list[QueryPlace] = []
        for first in range(0, len(object_ids), _SLICE):
            rows = await self._pool.fetch(self._queried.sql(_BY_ID), self._workspace_id, object_ids[first : first + _SLICE])
            records = await self._matching([whole(row[2], row[3]) for row in rows])
            places += [
                self._place_of(record, row[0], row[1]) for row, record in zip(rows, records, strict=True) if record is not None
            ]
        for place in self._in_order(places, self._query.after):
            yield place

    def _place_of(self, record: Any, object_id: UUID, version: int) -> QueryPlace:
        return QueryPlace(tuple(key.member.sort_text(record) for key in self._query.sort), object_id, version)

    def _in_order(self, places: list[QueryPlace], after: QueryPlace | None) -> list[QueryPlace]:
        """Return those of the places that follow another one, in order."""
        if after is not None:
            places = [place for place in places if (place.keys, place.id) != (after.keys, after.id)] + [after]
        last = self._query.sort[-1]
        # Contacts that were changed at once are in the order of their changes.
        is_by_version = last.member.name == "updated_at"
        # Each sort keeps the order of equals, so the last key comes first.
        places.sort(key=lambda place: place.version if is_by_version else place.id.int, reverse=last.is_descending)
        for index, key in reversed([*enumerate(self._query.sort)]):
            places.sort(key=lambda place, index=index: place.keys[index] or "", reverse=key.is_descending)
            places.sort(key=lambda place, index=index: place.keys[index] is None)
        start = 0 if after is None else next(index for index, place in enumerate(places) if place is after) + 1
        return places[start:]

    def _walked(self, walk: Walk) -> AsyncGenerator[QueryPlace]:
        """Walk an index, and yield the places of the matches."""
        is_in_order = len(self._query.sort) == 1 and (walk.is_alone or self._query.sort[0].member.name == "updated_at")
        return self._walked_in_order(walk) if is_in_order else self._walked_in_parts(walk)

    async def _walked_in_order(self, walk: Walk) -> AsyncGenerator[QueryPlace]:
        """Walk an index whose entries are in the order of the sort."""
        key, after, size = self._query.sort[0], self._query.after, self._first_size
        if after is None or after.keys[0] is not None:
            while True:
                rows = await self._fetch(walk, size, after=after)
                records = await self._matching_rows(rows)
                for row, record in zip(rows, records, strict=True):
                    after = QueryPlace((self._key_of(key.member, row[0]),), row[1], row[2])
                    if record is not None:
                        yield after
                if self._has_ended(rows, size):
                    break
                if self._has_stopped:
                    self.stopped_at = after
                    return
                size = min(4 * size, _SLICE)
            after = None
        async for place in self._without_value(after):
            yield place

    async def _walked_in_parts(self, walk: Walk) -> AsyncGenerator[QueryPlace]:
        """Walk an index in the order of the first key, and sort the matches within each key."""
        after, size = self._query.after, self._first_size
        start, is_begun = None if after is None else after.keys[0], True
        while after is None or after.keys[0] is not None:
            rows = await self._fetch(walk, size, start=start, is_begun=is_begun)
            has_ended = self._has_ended(rows, size)
            keys = [self._key_of(self._query.sort[0].member, row[0]) for row in rows]
            if not has_ended and keys[0] == keys[-1]:
                # The objects with this key are many, and are a query of their own.
                start, is_begun = keys[-1], False
                async for place in self._part(start, after if after is not None and after.keys[0] == start else None):
                    yield place
                if self._has_stopped and self.stopped_at is None:
                    self.stopped_at = self._end_of(start)
            else:
                # The last key may go on in the next slice.
                whole_keys = len(rows) if has_ended else keys.index(keys[-1])
                for place in await self._sorted_by_key(rows[:whole_keys], keys, after):
                    yield place
                if has_ended:
                    break
                start, is_begun = keys[-1], True
                end = keys[whole_keys - 1]
                # A page that ends where it began would never end.
                if self._has_stopped and (after is None or end != after.keys[0]):
                    self.stopped_at = self._end_of(end)
            if self.stopped_at is not None:
                return
            size = min(4 * size, _SLICE)
        async for place in self._without_value(after if after is not None and after.keys[0] is None else None):
            yield place

    async def _sorted_by_key(self, rows: Sequence[Any], keys: Sequence[str], after: QueryPlace | None) -> list[QueryPlace]:
        """Return the places of the matches among the objects of whole keys, in order."""
        records = await self._matching_rows(rows)
        places: dict[str, list[QueryPlace]] = {}
        for row, key, record in zip(rows, keys, records, strict=False):
            if record is not None:
                place = self._place_of(record, row[1], row[2])
                # The object is at the key of the index, should its record say another by now.
                places.setdefault(key, []).append(msgspec.structs.replace(place, keys=(key, *place.keys[1:])))
        return [
            place
            for key, some in places.items()
            for place in self._in_order(some, after if after is not None and after.keys[0] == key else None)
        ]

    def _end_of(self, key: str) -> QueryPlace:
        """Return the place behind all objects with this first key."""
        last = ids.NIL if self._query.sort[-1].is_descending else UUID(int=2**128 - 1)
        return QueryPlace((key, *[None] * (len(self._query.sort) - 1)), last, 0 if last == ids.NIL else 2**63 - 1)

    async def _without_value(self, after: QueryPlace | None) -> AsyncGenerator[QueryPlace]:
        """Yield the places of the matches without a value of the first key, which come behind those with one."""
        member = self._query.sort[0].member
        # A comparison with a value says that there is one.
        if member.walk in ("created_at", "updated_at") or any(each.member.name == member.name for each in self._required):
            return
        async for place in self._part(None, after):
            yield place

    async def _part(self, key: str | None, after: QueryPlace | None) -> AsyncGenerator[QueryPlace]:
        """Yield the places of the matches with this first key, sorted by the other ones."""
        query, first = self._query, self._query.sort[0]
        same = Comparison(first.member, "sorts_as", () if key is None else (key,))
        where = same if query.where is None else Group((same, query.where), is_any=False)
        rest = query.sort[1:] or (SortKey(BY_AGE, first.is_descending),)
        if after is not None:
            after = msgspec.structs.replace(
                after, keys=after.keys[1:] or (ids.encoded(self._queried.object_type.prefix, after.id),)
            )
        part = Query(where, rest, query.limit, after)
        reader = _Reader(self._pool, self._workspace_id, self._queried, part, self._breathe, self.looked_at)
        async for place in await reader.matches():
            self.records = reader.records
            yield self._of_part(key, place)
        self.looked_at = reader.looked_at
        if reader.stopped_at is not None:
            self.stopped_at = self._of_part(key, reader.stopped_at)

    def _of_part(self, key: str | None, place: QueryPlace) -> QueryPlace:
        return msgspec.structs.replace(place, keys=(key, *(place.keys if self._query.sort[1:] else ())))

    @property
    def _first_size(self) -> int:
        return min(self._query.limit + 1, _SLICE)

    def _has_ended(self, rows: Sequence[Any], size: int) -> bool:
        """Count entries as looked at, or as passed; return whether the index had no more."""
        reach, last = self._reach, rows[-1]["number"] if rows else 0
        if self._patience is not None:
            self._patience -= last
        if self._sorts is not None:
            self._sorts -= 1
        if self._kept is not None:
            self.looked_at += len(rows)
            self._passed += last
        elif self._among is None:
            self.looked_at += last
        return len(rows) < size and last < reach

    @property
    def _has_stopped(self) -> bool:
        is_over = self._patience is not None and self._patience <= 0
        return is_over or self._sorts == 0 or self.looked_at >= MAX_LOOKED_AT or self._passed >= MAX_PASSED

    @property
    def _reach(self) -> int:
        """The number of entries that the next statement passes over at most."""
        if self._among is not None:
            return MAX_LOOKED_AT
        left = MAX_LOOKED_AT - self.looked_at if self._kept is None else MAX_PASSED - self._passed
        return max(left if self._patience is None else min(left, self._patience), 1)

    async def _matching(self, objects: Sequence[bytes | None]) -> list[Any]:
        """Return the objects of these that meet the condition, and None for the others."""
        await self._breathe()
        where = self._query.where
        records = [None if each is None else self._queried.decode(each) for each in objects]
        if "tag_ids" in names(where):
            records = await _with_existing_tags(self._pool, self._workspace_id, records)
        return [record if record is not None and (where is None or where.holds(record)) else None for record in records]

    async def _matching_rows(self, rows: Sequence[Any]) -> list[Any]:
        records = await self._matching([_whole_of(row) for row in rows])
        self.records = {row[1]: record for row, record in zip(rows, records, strict=True) if record is not None}
        return records

    async def _fetch(
        self, walk: Walk, size: int, *, after: QueryPlace | None = None, start: str | None = None, is_begun: bool = False
    ) -> Sequence[Any]:
        """Return the next entries whose objects may match: those behind a place, or a key, or from it on if `is_begun`.

        They are at most `size`. If the statement has passed over as many entries as it may, the last of these is returned, too.
        """
        key = self._query.sort[0]
        statement = _Statement(self._workspace_id, size)
        source = walk.entries
        if self._among is not None:
            most = MAX_SORTED_BY_NAME if self._sorts is None else MAX_SORTED_AT_LAST
            source = source.replace("$found", self._lookup(self._among, statement, 2 * most))
        reach = statement.parameter(self._reach) + "::bigint"
        found: LiteralString = "true"
        if self._kept is not None:
            # `is true` keeps the database from joining: it looks each id up in a set of its own.
            found = "(e.id in (" + self._lookup(self._kept, statement, 2 * MAX_KEPT) + ")) is true"
        fits: LiteralString = "c.deleted_at is null"
        for condition in self._probes(statement):
            fits += " and " + condition
        direction: LiteralString = " desc" if key.is_descending else " asc"
        comparison: LiteralString = " <" if key.is_descending else " >"
        # An index by time has the version behind it.
        tie: LiteralString = walk.object_id if walk.is_alone else "f.version"
        has_tie = walk.is_alone or key.member.name == "updated_at"
        columns: LiteralString = _OBJECT + self._queried.probed
        shown: LiteralString = columns + ", " if walk.is_own else walk.object_id + " as id, "
        entries: LiteralString = "select " + walk.key + " as key, " + shown
        entries += (tie if has_tie else "null") + " as tie from " + source
        least, most = self._range(key.member)
        if least is not None:
            entries += " and " + walk.key + " >= " + statement.parameter(self._parameter(key.member, least))
        if most is not None:
            entries += " and " + walk.key + " < " + statement.parameter(self._parameter(key.member, most))
        if after is not None and after.keys[0] is not None:
            at = statement.parameter(self._parameter(key.member, after.keys[0]))
            behind = statement.parameter(after.id if walk.is_alone else after.version)
            entries += " and (" + walk.key + ", " + tie + ")" + comparison + " (" + at + ", " + behind + ")"
        if start is not None:
            at = statement.parameter(self._parameter(key.member, start))
            entries += " and " + walk.key + comparison + ("= " if is_begun else " ") + at
        # The same order on each level lets the database stop as soon as it has the rows.
        order: LiteralString = "order by $each.key" + direction
        if has_tie:
            order += ", $each.tie" + direction
        by_place, by_entry = order.replace("$each", "f"), order.replace("$each", "e")
        entries += " order by " + walk.key + direction + (", " + tie + direction if has_tie else "") + " limit " + reach
        numbered: LiteralString = "select e.*, " + found + " as found, row_number() over (" + by_entry + ") as number from ("
        # `offset 0` forces a lookup by key, and lets `fits` be found once.
        objects: LiteralString = "select c.version, c.object, c.own, " + fits + " as fits from "
        found_there: LiteralString = "(select " + columns + ") as c"
        objects += found_there if walk.is_own else "$type c where c.workspace_id = $1 and c.id = f.id"
        objects += " offset 0"
        return await self._pool.fetch(
            "select f.key, f.id, c.version, case when f.found and c.fits then c.object end, "
            "case when f.found and c.fits then c.own end, f.number from ("
            + (numbered + entries + ") as e) as f cross join lateral (" + self._queried.sql(objects) + ") as c ")
            + ("where (f.found or f.number = " + reach + ") and (c.fits or f.number = " + reach + ") ")
            + (by_place + " limit $2"),
            *statement.values,
        )

    def _range(self, member: Member) -> tuple[str | None, str | None]:
        """Return the range of the keys that a match may have, each end None if it is open."""
        least, most = None, None
        if member.field_key:
            # These two follow `=` and `#`.
            least, most = member.field_key + member.sign, member.field_key + (">" if member.sign == "=" else "$")
        for comparison in self._required:
            if comparison.member.name == member.name:
                first, last = comparison.ends
                least = max((each for each in (least, first) if each is not None), default=None)
                most = min((each for each in (most, last) if each is not None), default=None)
        return least, most

    def _probes(self, statement: "_Statement") -> Iterator[LiteralString]:
        """Yield conditions that every match meets, and that the database checks without reading much."""
        for key in {each.member.field_key for each in self._required if each.op != "sorts_as" and each.member.field_key}:
            # To look for the text takes a tenth of the time of reading the JSON. Few objects have it in a value, and these are
            # checked like all others.
            yield "strpos(c.own::text, " + statement.parameter(f'"{key}":') + ") > 0"
        checked = (each for each in self._required if each.op in ("eq", "one_of", "sorts_as") and each.values)
        for comparison in itertools.islice(checked, _MAX_PROBES):
            if comparison in (self._kept, self._among):
                continue
            if comparison.member.field_key:
                index, keys = "field", comparison.entries
            else:
                index, keys = comparison.member.lookup or "", comparison.keys
            if keys is not None and (probe := self._queried.probe(index)) is not None:
                yield "coalesce(" + probe.replace("$value", statement.parameter(_asked(index, keys))) + ", false)"

    def _key_of(self, member: Member, key: Any) -> str:
        """Return the key of an index as the text that its member is sorted by."""
        match member.walk:
            case "created_at":
                return ids.encoded(self._queried.object_type.prefix, key)
            case "updated_at":
                return shown_time(key)
            case "company_id":
                return ids.encoded(ids.COMPANY, key)
            case _:
                return key

    def _parameter(self, member: Member, text: str) -> Any:
        """Return a text that a member is sorted by as the key of its index."""
        match member.walk:
            case "created_at":
                return ids.decoded(self._queried.object_type.prefix, text)
            case "updated_at":
                return fields.parsed_time(text)
            case "company_id":
                return ids.decoded(ids.COMPANY, text)
            case _:
                return text


class _Statement:
    """The parameters of a statement: `$1` is the workspace."""

    def __init__(self, workspace_id: UUID, *others: Any) -> None:
        self.values: list[Any] = [workspace_id, *others]

    def parameter(self, value: Any) -> LiteralString:
        """Add a parameter; return its placeholder."""
        self.values.append(value)
        return placeholder(len(self.values))


def _whole_of(row: Any) -> bytes | None:
    return None if row[3] is None else whole(row[3], row[4])


def _asked(index: str, keys: Sequence[str]) -> Sequence[Any]:
    """Return keys as the parameter of a lookup."""
    if index == "updated_at":
        return [fields.parsed_time(key) for key in keys]
    return ids.decoded_all(ids.COMPANY, keys) if index == "company" else keys
