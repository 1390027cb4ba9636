"""Links: index entries by which an object is found, such as the words of its name, or its company.

They have their own tables, so that only a write that changes them touches these indexes.
"""

from collections.abc import Set as AbstractSet
from typing import Final, LiteralString, TypeAlias, TypeVar
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
Key = TypeVar("Key", str, UUID)

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


def reindex(work: UnitOfWork, table: IndexTable, object_id: UUID, before: AbstractSet[Key], after: AbstractSet[Key]) -> None:
    """Replace the keys by which an object is found."""
    for key in before ^ after:
        work.put(table, IndexEntry(work.workspace_id, key, object_id, is_there=key in after))
