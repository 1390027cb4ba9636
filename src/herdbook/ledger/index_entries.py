"""Links: index entries by which an object is found, such as the words of its name, or its company.

They have their own tables, so that only a write that changes them touches these indexes.
"""

from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Generic, LiteralString, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from herdbook.ledger.unit_of_work import Table, UnitOfWork


class IndexEntry(msgspec.Struct, frozen=True):
    """Whether an object is found by a key: a word, or the id of another object."""

    workspace_id: UUID
    key: str | UUID
    object_id: UUID
    is_there: bool


IndexTable: TypeAlias = Table[IndexEntry]
RowT = TypeVar("RowT")


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

    def has(self, row: Any) -> bool:
        """Whether the index has the object of a row."""
        return row is not None and (row.deleted_at is not None) == self.is_of_deleted


_SAVE: Final[LiteralString] = """
    $table_entry as (
        select r.workspace_id, r.key, r.object_id, r.is_there
        from json_to_recordset($rows) as r(workspace_id uuid, key $type, object_id uuid, is_there boolean)
        join held on held.id = r.workspace_id
    ), $table_forgotten as (
        delete from $table t using $table_entry e
        where t.workspace_id = e.workspace_id and t.$key = e.key and t.$object = e.object_id and not e.is_there
    ), $table_learned as (
        insert into $table (workspace_id, $key, $object)
        select workspace_id, key, object_id from $table_entry where is_there
        on conflict do nothing
    )
"""


def index_table(table_name: LiteralString, key: LiteralString, key_type: LiteralString, object_id: LiteralString) -> IndexTable:
    """Return the write-only mapping of a table (workspace_id, key, object_id) whose primary key is all three columns."""
    save = _SAVE.replace("$table", table_name).replace("$key", key).replace("$type", key_type).replace("$object", object_id)
    return Table(row=IndexEntry, key=lambda entry: (entry.key, entry.object_id), load=None, save=save)


def reindex(work: UnitOfWork, indexes: Iterable[Index[Any]], before: Any, after: Any) -> None:
    """Bring the index entries of an object from one row to the next; there may be no row before."""
    for index in indexes:
        was_there, is_there = index.has(before), index.has(after)
        if was_there and is_there and index.source(before) == index.source(after):
            continue
        old = index.keys(before) if was_there else frozenset[Any]()
        new = index.keys(after) if is_there else frozenset[Any]()
        for key in old ^ new:
            work.put(index.table, IndexEntry(work.workspace_id, key, after.id, is_there=key in new))
