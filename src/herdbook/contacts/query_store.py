"""The SQL of queries for contacts.

A query reads its contacts in one of two ways. If a condition that every match meets holds for few contacts, an index finds
these, and they are checked and sorted here. Otherwise an index is walked in the order of the sort until the page is full.
Either way, a page looks at a limited number of contacts.
"""

import itertools
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import fields, ids
from herdbook.contacts.conditions import Comparison, Condition, Member, SortKey, names, required
from herdbook.contacts.model import LabelledContactRecord
from herdbook.custom_fields.model import Field
from herdbook.custom_fields.values import MAX_INDEXED
from herdbook.db.placeholders import placeholder
from herdbook.db.pool import Pool
from herdbook.errors import FieldError, Invalid
from herdbook.ledger.object_types import whole
from herdbook.shared_schemas import shown_time
from herdbook.tags import store as tags

# Up to this many contacts that an index finds are all checked. With more, a walk meets a match soon.
FEW: Final = 2000
# A page looks at this many contacts at most, and so does a count.
MAX_LOOKED_AT: Final = 10_000
_SLICE: Final = 500
_MAX_LOOKUPS: Final = 5
# Conditions on lists of values are checked in a walk's statement, up to this many.
_MAX_PROBES: Final = 5


class QueryPlace(msgspec.Struct, frozen=True, array_like=True):
    """The place of a contact in the order: the texts that it is sorted by, its id, and its version."""

    keys: tuple[str | None, ...]
    id: UUID
    version: int


class Query(NamedTuple):
    """A query: the condition, the members to sort by, and the place where the last page ended."""

    where: Condition | None
    sort: tuple[SortKey, ...]
    limit: int
    after: QueryPlace | None = None


class Matches(NamedTuple):
    """The contacts of a page in order, and the place where the next page goes on; None if there is none."""

    contact_ids: list[UUID]
    next_place: QueryPlace | None


class Count(NamedTuple):
    """The number of matches that were counted, and whether these are all."""

    matches: int
    is_exact: bool


RecordT = TypeVar("RecordT", LabelledContactRecord, LabelledContactRecord | None)
_decode: Final = msgspec.json.Decoder(LabelledContactRecord).decode
# Gives others their turn of the event loop.
Breathe: TypeAlias = Callable[[], Awaitable[None]]

_LOOKUPS: Final[Mapping[str, LiteralString]] = {
    "email": "select l.contact_id from contact_email l where l.workspace_id = $1 and l.address = any($2) limit $3",
    "word": "select l.contact_id from contact_word l where l.workspace_id = $1 and l.word = any($2) limit $3",
    "external_id": """
        select l.contact_id from contact_external_id l where l.workspace_id = $1 and l.external_id = any($2) limit $3
    """,
    "company": "select l.contact_id from company_contact l where l.workspace_id = $1 and l.company_id = any($2) limit $3",
    "tag": "select l.contact_id from contact_tag l where l.workspace_id = $1 and l.tag_id = any($2) limit $3",
    "crm": """
        select c.id from contact c where c.workspace_id = $1 and c.crm_object_id = any($2) and c.deleted_at is null limit $3
    """,
    "first_name": """
        select c.id from contact c where c.workspace_id = $1 and c.first_name_word = any($2) and c.deleted_at is null limit $3
    """,
    "last_name": """
        select c.id from contact c where c.workspace_id = $1 and c.last_name_word = any($2) and c.deleted_at is null limit $3
    """,
}
_FIELD_LOOKUP: Final[LiteralString] = """
    select l.contact_id
    from unnest($2::text[], $3::text[]) as asked(least, most)
    cross join lateral (
        select f.contact_id from contact_field f
        where f.workspace_id = $1 and f.key >= asked.least and f.key < asked.most
        limit $4
    ) as l
    limit $4
"""
# `limit` within keeps a subquery from being read as a whole.
_PROBES: Final[Mapping[str, LiteralString]] = {
    "company": "c.company_id = any($value::uuid[])",
    "tag": """(
        select true from contact_tag l
        where l.workspace_id = $1 and l.tag_id = any($value::text[]) and l.contact_id = c.id limit 1
    )""",
    "word": """(
        select true from contact_word l
        where l.workspace_id = $1 and l.word = any($value::text[]) and l.contact_id = c.id limit 1
    )""",
    "field": """(
        select true from contact_field l
        where l.workspace_id = $1 and l.key = any($value::text[]) and l.contact_id = c.id limit 1
    )""",
    "crm": "c.crm_object_id = any($value::text[])",
    "first_name": "c.first_name_word = any($value::text[])",
    "last_name": "c.last_name_word = any($value::text[])",
}


async def definitions(pool: Pool, workspace_id: UUID) -> list[Field]:
    """Return the definitions of the fields of contacts, archived ones included."""
    records = await pool.fetch(
        "select f.object from field f where f.workspace_id = $1 and f.object_type = 'contact' and f.deleted_at is null",
        workspace_id,
    )
    return [msgspec.json.decode(record[0], type=Field) for record in records]


async def page(pool: Pool, workspace_id: UUID, query: Query, breathe: Breathe) -> Matches:
    """Return a page of matches. Refusal: Invalid, if there are too many contacts for a sort without an index."""
    reader = _Reader(pool, workspace_id, query, breathe)
    found: list[QueryPlace] = []
    async for place in await reader.matches():
        if len(found) == query.limit:
            return Matches([each.id for each in found], found[-1])
        found.append(place)
    return Matches([each.id for each in found], reader.stopped_at)


async def count(pool: Pool, workspace_id: UUID, query: Query, breathe: Breathe) -> Count:
    """Count the matches on all pages, among as many contacts as a page looks at. Refusal: as for a page."""
    if query.where is None:
        number: int = await pool.fetchval(
            "select count(*) from (select from contact c where c.workspace_id = $1 and c.deleted_at is null limit $2) as few",
            workspace_id,
            MAX_LOOKED_AT + 1,
        )
        return Count(min(number, MAX_LOOKED_AT), number <= MAX_LOOKED_AT)
    reader = _Reader(pool, workspace_id, query._replace(after=None), breathe)
    number = 0
    async for _ in await reader.matches():
        number += 1
    return Count(number, reader.stopped_at is None)


async def shown(
    pool: Pool, workspace_id: UUID, contact_ids: Sequence[UUID], shown_fields: Collection[str]
) -> tuple[LabelledContactRecord, ...]:
    """Return whole contacts in the order of their ids here, with the values of these fields. A deleted one is left out."""
    rows = await pool.fetch(_BY_ID, workspace_id, contact_ids)
    records = await _with_existing_tags(pool, workspace_id, [_decode(whole(row[2], row[3])) for row in rows])
    found = {row[0]: record for row, record in zip(rows, records, strict=True)}
    return tuple(_shown(found[contact_id], shown_fields) for contact_id in contact_ids if contact_id in found)


def _shown(record: LabelledContactRecord, shown_fields: Collection[str]) -> LabelledContactRecord:
    if record.fields is not UNSET:
        values = {key: value for key, value in record.fields.items() if key in shown_fields}
        record = msgspec.structs.replace(record, fields=values or UNSET)
    return record.labelled


# `offset 0` forces a lookup by key.
_BY_ID: Final[LiteralString] = """
    select c.id, c.version, c.object, c.own
    from (select * from contact c where c.workspace_id = $1 and c.id = any($2) offset 0) as c
    where c.deleted_at is null
"""


async def _with_existing_tags(pool: Pool, workspace_id: UUID, records: list[RecordT]) -> list[RecordT]:
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
    """Reads the matches of a query in its order."""

    def __init__(self, pool: Pool, workspace_id: UUID, query: Query, breathe: Breathe) -> None:
        self._pool = pool
        self._workspace_id = workspace_id
        self._query = query
        self._breathe = breathe
        self._required = required(query.where)
        # The place at which the reading stopped, if it did not come to the end.
        self.stopped_at: QueryPlace | None = None

    async def matches(self) -> AsyncGenerator[QueryPlace]:
        """Return the places of the matches, in order. Refusal: Invalid (sort)."""
        sort = self._query.sort
        walks = len(sort) == 1 and _walks(sort[0].member)
        few = await self._few(FEW if walks else MAX_LOOKED_AT, or_all=not walks)
        if few is not None:
            return self._sorted(few)
        if walks:
            return self._walked(sort[0])
        message = (
            f"`sort` is by a member without an index, or by several, which is for at most {MAX_LOOKED_AT:,} contacts. "
            "Narrow `where`, or sort by one field, by `created_at` or by `updated_at`."
        )
        raise Invalid([FieldError("sort", "too_many_matches", message)])

    async def _few(self, most: int, *, or_all: bool) -> list[UUID] | None:
        """Return the contacts that an index finds for a condition which every match meets, if there are at most so many."""
        best: list[UUID] | None = None
        looked_up = 0
        for comparison in self._required:
            if looked_up == _MAX_LOOKUPS:
                break
            found = await self._looked_up(comparison, most + 1)
            looked_up += found is not None
            if found is not None and len(found) <= most and (best is None or len(found) < len(best)):
                best = found
        if best is None and or_all:
            rows = await self._pool.fetch(
                "select c.id from contact c where c.workspace_id = $1 and c.deleted_at is null limit $2",
                self._workspace_id,
                most + 1,
            )
            best = [row[0] for row in rows] if len(rows) <= most else None
        return best if best is None else [*dict.fromkeys(best)]

    async def _looked_up(self, comparison: Comparison, limit: int) -> list[UUID] | None:
        """Return up to so many contacts that an index finds for a comparison, or None if there is no index for it."""
        index = comparison.member.lookup
        if (ranges := comparison.ranges) is not None:
            rows = await self._pool.fetch(
                _FIELD_LOOKUP, self._workspace_id, [least for least, _ in ranges], [most for _, most in ranges], limit
            )
        elif index is not None and (keys := comparison.keys) is not None:
            rows = await self._pool.fetch(_LOOKUPS[index], self._workspace_id, _asked(index, keys), limit)
        else:
            return None
        return [row[0] for row in rows]

    async def _sorted(self, contact_ids: Sequence[UUID]) -> AsyncGenerator[QueryPlace]:
        """Check these contacts, and yield the places of the matches in order."""
        places: list[QueryPlace] = []
        for first in range(0, len(contact_ids), _SLICE):
            rows = await self._pool.fetch(_BY_ID, self._workspace_id, contact_ids[first : first + _SLICE])
            records = await self._matching([whole(row[2], row[3]) for row in rows])
            places += [
                QueryPlace(tuple(key.member.sort_text(record) for key in self._query.sort), row[0], row[1])
                for row, record in zip(rows, records, strict=True)
                if record is not None
            ]
        after = self._query.after
        if after is not None:
            places = [place for place in places if (place.keys, place.id) != (after.keys, after.id)] + [after]
        # Each sort keeps the order of equals, so the last key comes first.
        places.sort(key=lambda place: place.id.bytes, reverse=self._query.sort[-1].is_descending)
        for index, key in reversed([*enumerate(self._query.sort)]):
            places.sort(key=lambda place, index=index: place.keys[index] or "", reverse=key.is_descending)
            places.sort(key=lambda place, index=index: place.keys[index] is None)
        start = 0 if after is None else next(index for index, place in enumerate(places) if place is after) + 1
        for place in places[start:]:
            yield place

    async def _walked(self, key: SortKey) -> AsyncGenerator[QueryPlace]:
        """Walk the index of a sort, and yield the places of the matches in order."""
        after, looked_at, size = self._query.after, 0, min(4 * self._query.limit, _SLICE)
        is_behind = after is not None and after.keys[0] is None
        while True:
            rows = await self._pool.fetch(*self._walk(key, after, size, is_behind=is_behind))
            records = await self._matching([None if row[4] is None else whole(row[4], row[5]) for row in rows])
            for row, record in zip(rows, records, strict=True):
                after = QueryPlace((_key_of(key.member, row[0], row[3]),), row[1], row[2])
                if record is not None and (not is_behind or key.member.sort_text(record) is None):
                    yield after
            looked_at += len(rows)
            if len(rows) == size:
                if looked_at >= MAX_LOOKED_AT:
                    self.stopped_at = after
                    return
                size = _SLICE
            elif is_behind or not self._has_behind(key.member):
                return
            else:
                # The contacts without a value come behind those with one.
                is_behind, after = True, None

    def _has_behind(self, member: Member) -> bool:
        """Whether contacts without a value of the member may match."""
        return bool(member.field_key) and all(each.member.name != member.name for each in self._required)

    async def _matching(self, objects: Sequence[bytes | None]) -> list[LabelledContactRecord | None]:
        """Return the contacts of these that meet the condition, and None for the others."""
        await self._breathe()
        where = self._query.where
        records = [None if each is None else _decode(each) for each in objects]
        if "tag_ids" in names(where):
            records = await _with_existing_tags(self._pool, self._workspace_id, records)
        return [record if record is not None and (where is None or where.holds(record)) else None for record in records]

    def _walk(self, key: SortKey, after: QueryPlace | None, size: int, *, is_behind: bool) -> tuple[LiteralString, Any]:
        """Return the statement of the next contacts of a walk, with its parameters."""
        statement = _Statement(self._workspace_id, size)
        fits: LiteralString = "c.deleted_at is null"
        for condition in self._probes(statement):
            fits += " and " + condition
        columns: LiteralString = ", c.id, c.version, c.updated_at, case when " + fits + " then c.object end, c.own "
        direction: LiteralString = " desc" if key.is_descending else " asc"
        comparison: LiteralString = " < (" if key.is_descending else " > ("
        if key.member.field_key and not is_behind:
            least, most = self._range(key.member)
            entries: LiteralString = (
                "select f.key, f.contact_id from contact_field f where f.workspace_id = $1 and f.key >= "
                + statement.parameter(least)
                + " and f.key < "
                + statement.parameter(most)
            )
            if after is not None:
                at, tie = statement.parameter(after.keys[0]), statement.parameter(after.id)
                entries += " and (f.key, f.contact_id)" + comparison + at + ", " + tie + ")"
            order: LiteralString = " order by f.key" + direction + ", f.contact_id" + direction
            # `offset 0` forces a lookup by key.
            sql = (
                "select f.key" + columns + "from (" + entries + order + " limit $2) as f cross join lateral ("
                "select * from contact c where c.workspace_id = $1 and c.id = f.contact_id offset 0) as c" + order
            )
            return sql, *statement.values
        if key.member.name == "updated_at":
            sql = "select null" + columns + "from contact c where c.workspace_id = $1 and c.deleted_at is null"
            if after is not None:
                at = statement.parameter(fields.parsed_time(after.keys[0] or ""))
                sql += " and (c.updated_at, c.version)" + comparison + at + ", " + statement.parameter(after.version) + ")"
            return sql + " order by c.updated_at" + direction + ", c.version" + direction + " limit $2", *statement.values
        # Deleted contacts count as looked at, so that many of them do not make a page slow.
        sql = "select null" + columns + "from contact c where c.workspace_id = $1"
        if after is not None:
            sql += " and (c.id)" + comparison + statement.parameter(after.id) + ")"
        return sql + " order by c.id" + direction + " limit $2", *statement.values

    def _range(self, member: Member) -> tuple[str, str]:
        """Return the range of the entries of a field that a match may have."""
        # These two follow `=` and `#`.
        least, most = member.field_key + member.sign, member.field_key + (">" if member.sign == "=" else "$")
        for comparison in self._required:
            ranges = comparison.ranges
            if comparison.member.name == member.name and ranges is not None and len(ranges) == 1:
                least, most = max(least, ranges[0][0]), min(most, ranges[0][1])
        return least, most

    def _probes(self, statement: "_Statement") -> Iterator[LiteralString]:
        """Yield conditions that every match meets, and that the database checks by an index."""
        for comparison in itertools.islice((each for each in self._required if each.op in ("eq", "one_of")), _MAX_PROBES):
            if comparison.member.field_key:
                cut = [comparison.member.field_key + text[: MAX_INDEXED + 1] for text in comparison.values]
                yield "coalesce(" + _PROBES["field"].replace("$value", statement.parameter(cut)) + ", false)"
            elif (index := comparison.member.lookup) in _PROBES and (keys := comparison.keys) is not None:
                value = statement.parameter(_asked(index, keys))
                yield "coalesce(" + _PROBES[index].replace("$value", value) + ", false)"


class _Statement:
    """The parameters of a statement: `$1` is the workspace, `$2` the number of rows."""

    def __init__(self, workspace_id: UUID, size: int) -> None:
        self.values: list[Any] = [workspace_id, size]

    def parameter(self, value: Any) -> LiteralString:
        """Add a parameter; return its placeholder."""
        self.values.append(value)
        return placeholder(len(self.values))


def _walks(member: Member) -> bool:
    """Whether there is an index in the order of a member."""
    return bool(member.field_key) or member.name in ("created_at", "updated_at")


def _key_of(member: Member, key: str | None, updated_at: datetime) -> str | None:
    if member.field_key:
        return key
    return shown_time(updated_at) if member.name == "updated_at" else ""


def _asked(index: str, keys: Sequence[str]) -> Sequence[Any]:
    """Return keys as the parameter of a lookup."""
    return ids.decoded_all(ids.COMPANY, keys) if index == "company" else keys
