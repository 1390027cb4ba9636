"""Index entries: keys under which an object is found, such as the words of its name, or its company.

They have their own tables, so that only a write that changes them touches these indexes. A command finds objects by them in
ranges, in the order of the objects' ids.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, LiteralString, TypeVar
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.ledger.changes import same
from herdbook.ledger.row_statements import RowStatement, of_row
from herdbook.ledger.unit_of_work import Need, NotLoaded, Table, UnitOfWork


class IndexEntry(msgspec.Struct, frozen=True):
    """Whether an object is found by a key: a word, or the id of another object."""

    workspace_id: UUID
    key: str | UUID
    object_id: UUID
    is_there: bool


class _Entries(msgspec.Struct):
    """Index entries of an object that are alike but for their keys. The database reads them together faster than one by one."""

    workspace_id: UUID
    object_id: UUID
    is_there: bool
    keys: list[str | UUID]


def _packed(entries: Sequence[IndexEntry]) -> Sequence[_Entries]:
    found: dict[tuple[UUID, UUID, bool], _Entries] = {}
    for each in entries:
        place = (each.workspace_id, each.object_id, each.is_there)
        if (entry := found.get(place)) is None:
            found[place] = _Entries(*place, [each.key])
        else:
            entry.keys.append(each.key)
    return [*found.values()]


class IndexRange(msgspec.Struct, frozen=True):
    """The first objects after one id that are found by a key, in the order of their ids; `most` of them if there are more.

    `key` is text here, also if it is an id.
    """

    workspace_id: UUID
    key: str
    after: UUID
    most: int
    object_ids: tuple[UUID, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class IndexTable(Table[IndexEntry]):
    """A table of index entries, which is only written; `ranges` reads it."""

    ranges: Table[IndexRange]

    def needs(self, keys: Iterable[str | UUID]) -> list[Need]:
        """Return the rows that a command must see to find the first objects of these keys."""
        return [self.range_after(key, ids.NIL, MIN_RANGE) for key in keys]

    def range_after(self, key: str | UUID, after: UUID, most: int) -> Need:
        """Return the need for the first objects of a key that follow an id."""
        return Need(self.ranges, (str(key), after, most))


RowT = TypeVar("RowT")
KeyT = TypeVar("KeyT", str, UUID)


@dataclass(frozen=True, eq=False)
class Index(Generic[RowT]):
    """An index of objects: `keys` returns the keys by which the object of a row is found.

    `source` returns the part of a row that the keys are made of: while that stays the same, no keys are computed. The index has
    active objects, or deleted ones if `is_of_deleted`.
    """

    table: IndexTable
    source: Callable[[RowT], object]
    keys: Callable[[RowT], AbstractSet[str] | AbstractSet[UUID]]
    is_of_deleted: bool = False


# A range has this many objects if there are so many, and more if the batch has removed some of them.
MIN_RANGE: Final = 500
_LOAD: Final[LiteralString] = """
    select asked.workspace_id, asked.key ->> 0 as key, asked.key ->> 1 as after, (asked.key ->> 2)::int as most, array(
        select t.$object from $table t
        where t.workspace_id = asked.workspace_id and t.$key = (asked.key ->> 0)::$type
            and t.$object > (asked.key ->> 1)::uuid
        order by t.$object
        limit (asked.key ->> 2)::int
    ) as object_ids
    from json_to_recordset($rows) as asked(workspace_id uuid, key json)
"""
_FORGET: Final[LiteralString] = """
    delete from $table t$using where t.workspace_id = $workspace and t.$key = $of_key and t.$object = $of_object
"""
_LEARN: Final[LiteralString] = "insert into $table (workspace_id, $key, $object) $entry on conflict do nothing"
_SAVE: Final[LiteralString] = (
    """
    $table_entry as (
        select r.workspace_id, k.key, r.object_id, r.is_there
        from json_to_recordset($rows) as r(
            workspace_id uuid, object_id uuid, is_there boolean, keys $type[]
        )
        join held on held.id = r.workspace_id
        cross join lateral unnest(r.keys) as k(key)
    ), $table_forgotten as (
    """
    + _FORGET.replace("$using", " using $table_entry r")
    .replace("$workspace", "r.workspace_id")
    .replace("$of_key", "r.key")
    .replace("$of_object", "r.object_id")
    + " and not r.is_there), $table_learned as ("
    + _LEARN.replace("$entry", "select workspace_id, key, object_id from $table_entry where is_there")
    + ")"
)


def _is_there(entry: IndexEntry) -> bool:
    return entry.is_there


def _is_gone(entry: IndexEntry) -> bool:
    return not entry.is_there


def index_table(table_name: LiteralString, key: LiteralString, key_type: LiteralString, object_id: LiteralString) -> IndexTable:
    """Return the mapping of a table (workspace_id, key, object_id) whose primary key is all three columns."""

    def stated(sql: LiteralString) -> LiteralString:
        return sql.replace("$table", table_name).replace("$key", key).replace("$type", key_type).replace("$object", object_id)

    of_key, of_object = of_row("key", key_type), of_row("object_id", "uuid")
    forget = (
        _FORGET.replace("$using", "").replace("$workspace", "$1").replace("$of_key", of_key).replace("$of_object", of_object)
    )
    learn = _LEARN.replace("$entry", "values ($1, " + of_key + ", " + of_object + ")")
    ranges = Table(row=IndexRange, key=lambda found: (found.key, found.after, found.most), load=stated(_LOAD), save=None)
    return IndexTable(
        row=IndexEntry,
        key=lambda entry: (entry.key, entry.object_id),
        load=None,
        save=stated(_SAVE),
        of_one=(
            RowStatement(stated(forget), _is_gone),
            RowStatement(stated(learn), _is_there),
        ),
        ranges=ranges,
        packed=_packed,
    )


def reindex(work: UnitOfWork, indexes: Iterable[Index[Any]], before: Any, after: Any) -> None:
    """Bring the index entries of an object from one row to the next; there may be no row before."""
    was_deleted = None if before is None else before.deleted_at is not None
    is_deleted = after.deleted_at is not None
    for index in indexes:
        was_there, is_there = was_deleted is index.is_of_deleted, is_deleted is index.is_of_deleted
        if was_there is is_there and (not is_there or same(index.source(before), index.source(after))):
            continue
        old = index.keys(before) if was_there else frozenset[Any]()
        new = index.keys(after) if is_there else frozenset[Any]()
        for key in old ^ new:
            work.put(index.table, IndexEntry(work.workspace_id, key, after.id, is_there=key in new))


def unindex(work: UnitOfWork, indexes: Iterable[Index[Any]], row: Any) -> None:
    """Remove the index entries of an object whose row is removed."""
    is_deleted = row.deleted_at is not None
    for index in indexes:
        if is_deleted is index.is_of_deleted:
            for key in index.keys(row):
                work.put(index.table, IndexEntry(work.workspace_id, key, row.id, is_there=False))


class IndexReader:
    """The objects that the keys of an index find, as the batch has them when this is created."""

    def __init__(self, work: UnitOfWork, index: IndexTable) -> None:
        self._work = work
        self._index = index
        self._changed: dict[str | UUID, dict[UUID, bool]] = {}
        for entry in work.changed_in(index):
            self._changed.setdefault(entry.key, {})[entry.object_id] = entry.is_there

    def first(self, keys: Iterable[KeyT], most: int) -> dict[KeyT, list[UUID]]:
        """Return the first objects that each key finds, at most so many of each, in the order of their ids.

        Ranges of all keys that were not loaded are missed at once, and so loaded together.
        """
        found: dict[KeyT, list[UUID]] = {}
        missing: list[Need] = []
        for key in keys:
            try:
                found[key] = list(islice(self._found(key), most))
            except NotLoaded as missed:
                missing += missed.needs
        self._work.require(missing)
        return found

    def _found(self, key: str | UUID) -> Iterator[UUID]:
        changed = self._changed.get(key, {})
        after, most = ids.NIL, MIN_RANGE
        while True:
            found: IndexRange | None = self._work.get(*self._index.range_after(key, after, most))
            assert found is not None, "a range without objects has a row, too"
            stored = found.object_ids
            is_last = len(stored) < most
            added = {each for each, is_there in changed.items() if is_there and each > after and (is_last or each < stored[-1])}
            yield from sorted(added.union(each for each in stored if changed.get(each, True)))
            if is_last:
                return
            after = stored[-1]
            # However many objects earlier commands of the batch have removed, the next range has enough others.
            most = MIN_RANGE + sum(not is_there and each > after for each, is_there in changed.items())
