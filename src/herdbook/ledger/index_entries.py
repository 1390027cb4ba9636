"""Index entries: keys under which an object is found, such as the words of its name, or its company.

They have their own tables, so that only a write that changes them touches these indexes. A command finds objects by them in
ranges, in the order of the objects' ids.
"""

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, LiteralString, TypeVar
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.ledger.changes import same
from herdbook.ledger.unit_of_work import Need, NotLoaded, Table, UnitOfWork


class IndexEntries(msgspec.Struct, frozen=True):
    """The keys by which an object is found from now on, and those by which it is not any more."""

    workspace_id: UUID
    object_id: UUID
    learned: tuple[str | UUID, ...]
    forgotten: tuple[str | UUID, ...]


class NewEntries(msgspec.Struct, frozen=True):
    """The keys by which an object is found that the batch creates."""

    workspace_id: UUID
    object_id: UUID
    learned: tuple[str | UUID, ...]


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
class IndexTable(Table[IndexEntries]):
    """A table of index entries, which is only written; `ranges` reads it, and `of_new` writes those of new objects."""

    ranges: Table[IndexRange]
    of_new: Table[NewEntries]

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
    delete from $table t using $changed cross join lateral unnest(r.forgotten) as k(key)
    where t.workspace_id = r.workspace_id and t.$key = k.key and t.$object = r.object_id
"""
_LEARN: Final[LiteralString] = """
    insert into $table (workspace_id, $key, $object)
    select r.workspace_id, k.key, r.object_id from $changed cross join lateral unnest(r.learned) as k(key)
"""
_SAVE: Final[LiteralString] = (
    """
    $table_entry as (
        select r.workspace_id, r.object_id, r.learned, r.forgotten
        from json_to_recordset($rows) as r(workspace_id uuid, object_id uuid, learned $type[], forgotten $type[])
        join held on held.id = r.workspace_id
    ), $table_forgotten as (
    """
    + _FORGET
    + "), $table_learned as ("
    + _LEARN
    + " on conflict do nothing)"
).replace("$changed", "$table_entry r")
# A new object has no entries yet. Without `on conflict`, an entry costs half as much.
_ADD: Final[LiteralString] = (
    "$table_added as ("
    + _LEARN.replace(
        "$changed",
        "json_to_recordset($rows) as r(workspace_id uuid, object_id uuid, learned $type[])"
        " join held on held.id = r.workspace_id",
    )
    + ")"
)


def index_table(table_name: LiteralString, key: LiteralString, key_type: LiteralString, object_id: LiteralString) -> IndexTable:
    """Return the mapping of a table (workspace_id, key, object_id) whose primary key is all three columns."""

    def stated(sql: LiteralString) -> LiteralString:
        return sql.replace("$table", table_name).replace("$key", key).replace("$type", key_type).replace("$object", object_id)

    ranges = Table(row=IndexRange, key=lambda found: (found.key, found.after, found.most), load=stated(_LOAD), save=None)
    return IndexTable(
        row=IndexEntries,
        key=_object_of,
        load=None,
        save=stated(_SAVE),
        ranges=ranges,
        of_new=Table(row=NewEntries, key=_object_of, load=None, save=stated(_ADD)),
    )


def _object_of(entries: IndexEntries | NewEntries) -> UUID:
    return entries.object_id


def index_new(work: UnitOfWork, indexes: Iterable[Index[Any]], row: Any) -> None:
    """Add the index entries of an object that is created."""
    for index in indexes:
        if not index.is_of_deleted and (keys := index.keys(row)):
            work.put(index.table.of_new, NewEntries(work.workspace_id, row.id, tuple(keys)))


def reindex(work: UnitOfWork, indexes: Iterable[Index[Any]], before: Any, after: Any) -> None:
    """Bring the index entries of an object from one row to the next; without a row before, all of them that are missing."""
    was_deleted = None if before is None else before.deleted_at is not None
    is_deleted = after.deleted_at is not None
    for index in indexes:
        was_there, is_there = was_deleted is index.is_of_deleted, is_deleted is index.is_of_deleted
        if was_there is is_there and (not is_there or same(index.source(before), index.source(after))):
            continue
        old = index.keys(before) if was_there else frozenset[Any]()
        new = index.keys(after) if is_there else frozenset[Any]()
        if old != new:
            _change(work, index.table, after.id, new - old, old - new)


def unindex(work: UnitOfWork, indexes: Iterable[Index[Any]], row: Any) -> None:
    """Remove the index entries of an object whose row is removed."""
    is_deleted = row.deleted_at is not None
    for index in indexes:
        if is_deleted is index.is_of_deleted and (keys := index.keys(row)):
            _change(work, index.table, row.id, frozenset[Any](), keys)


def _change(
    work: UnitOfWork, table: IndexTable, object_id: UUID, learned: AbstractSet[Any], forgotten: AbstractSet[Any]
) -> None:
    """Change the keys by which an object is found, in addition to the batch's changes of these so far."""
    added: Any = work.changed_rows.get((table.of_new, object_id))
    if added is not None:
        # The save would not find entries that it adds itself.
        keys = (set(added.learned) - forgotten) | learned
        work.put(table.of_new, NewEntries(work.workspace_id, object_id, tuple(keys)))
        return
    so_far: Any = work.changed_rows.get((table, object_id))
    if so_far is not None:
        learned, forgotten = (set(so_far.learned) - forgotten) | learned, (set(so_far.forgotten) - learned) | forgotten
    work.put(table, IndexEntries(work.workspace_id, object_id, tuple(learned), tuple(forgotten)))


class IndexReader:
    """The objects that the keys of an index find, as the batch has them when this is created."""

    def __init__(self, work: UnitOfWork, index: IndexTable) -> None:
        self._work = work
        self._index = index
        self._changed: dict[str | UUID, dict[UUID, bool]] = {}
        for added in work.all_put_in(index.of_new):
            self._note(added.object_id, added.learned, is_there=True)
        for entries in work.all_put_in(index):
            self._note(entries.object_id, entries.learned, is_there=True)
            self._note(entries.object_id, entries.forgotten, is_there=False)

    def _note(self, object_id: UUID, keys: Iterable[str | UUID], *, is_there: bool) -> None:
        for key in keys:
            self._changed.setdefault(key, {})[object_id] = is_there

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
