"""Objects with a version: what commands about contacts, companies and the others do alike."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, LiteralString, Protocol, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook.errors import NotFound, Stale
from herdbook.ledger.book import Book, Result, Shelf
from herdbook.ledger.changes import Action, Kind
from herdbook.wire import Deleted

# What is no id is looked up as this one, which is nobody's, so that it is refused where an unknown id is: after the body.
NOBODY: Final = UUID(int=0)


class ObjectRow(Protocol):
    """The row of an object: where it is in the ledger, and how the API shows it."""

    @property
    def workspace_id(self) -> UUID: ...
    @property
    def id(self) -> UUID: ...
    @property
    def version(self) -> int: ...
    @property
    def deleted_at(self) -> datetime | None: ...
    @property
    def object(self) -> Any: ...


RowT = TypeVar("RowT", bound=ObjectRow)
StructT = TypeVar("StructT", bound=msgspec.Struct)
# The columns of a table beside those that all have: their types by their names.
Columns: TypeAlias = dict[LiteralString, LiteralString]


def active(book: Book, shelf: Shelf[RowT], object_id: UUID | None) -> RowT | None:
    """Return the row of an object that is there and not deleted, else None."""
    row = book.find(shelf, object_id)
    return None if row is None or row.deleted_at is not None else row


def current(book: Book, shelf: Shelf[RowT], object_id: UUID, if_version: frozenset[int] | None, name: str) -> RowT:
    """Return the row of an object that a command is about. Refusals: NotFound, and Stale for another version."""
    row = active(book, shelf, object_id)
    if row is None:
        raise NotFound(name)
    if if_version is not None and row.version not in if_version:
        raise Stale(row.version)
    return row


def updated(
    book: Book, kind: Kind, before: RowT, after: StructT, put: Callable[[Book, UUID, int, RowT | None, StructT], None]
) -> Result:
    """Enter what an update made of an object, and have `put` lay its row; what changes nothing writes nothing."""
    if after == before.object:
        return Result(before.version, before.object)
    after = msgspec.structs.replace(after, updated_at=book.time)
    version = book.enter(kind, before.id, Action.UPDATED, previous(before.object, after), after)
    put(book, before.id, version, before, after)
    return Result(version, after)


def deleted(book: Book, kind: Kind, shelf: Shelf[Any], before: ObjectRow) -> Result:
    """Enter that an object was deleted, and lay its row with the mark."""
    shown = before.object
    version = book.enter(kind, before.id, Action.DELETED, None, shown)
    row: Any = before
    book.put(shelf, msgspec.structs.replace(row, version=version, updated_at=book.at, deleted_at=book.at))
    return Result(version, Deleted(shown.id, shown.object.value))


def previous(before: msgspec.Struct, after: msgspec.Struct) -> dict[str, Any]:
    """Return the old values of the members that changed, null for those that were not there; the time tells itself."""
    changed: dict[str, Any] = {}
    for name in before.__struct_fields__:
        old = getattr(before, name)
        if old != getattr(after, name) and name != "updated_at":
            changed[name] = None if old is UNSET else old
    return changed


_SAVE: Final[LiteralString] = """
    $table_saved as (
        insert into $table (workspace_id, id, version, updated_at, deleted_at$names, object)
        select r.workspace_id, r.id, r.version, r.updated_at, r.deleted_at$values, r.object
        from json_to_recordset($rows) as r(
            workspace_id uuid, id uuid, version bigint, updated_at timestamptz, deleted_at timestamptz$types, object json
        )
        join held on held.id = r.workspace_id
        on conflict (workspace_id, id) do update
        set version = excluded.version, updated_at = excluded.updated_at, deleted_at = excluded.deleted_at$sets,
            object = excluded.object
    )
"""
_LOAD: Final[LiteralString] = """
    from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    join $table c on c.workspace_id = asked.workspace_id and c.id = asked.key
"""


def object_shelf(row: type[RowT], table: LiteralString, columns: Columns) -> Shelf[RowT]:
    """Return the shelf of a table of objects: the columns that all have, and the others by name and type."""
    save = (
        _SAVE.replace("$table", table)
        .replace("$names", _each(columns, ", $name"))
        .replace("$values", _each(columns, ", r.$name"))
        .replace("$types", _each(columns, ", $name $type"))
        .replace("$sets", _each(columns, ", $name = excluded.$name"))
    )
    load = "select " + row_columns(columns) + _LOAD.replace("$table", table)
    return Shelf(row=row, key=lambda each: each.id, load=load, save=save)


def row_columns(columns: Columns) -> LiteralString:
    """Return what a statement selects of a table that it calls `c` to have rows of its shelf."""
    return "c.workspace_id, c.id, c.version, c.updated_at, c.deleted_at" + _each(columns, ", c.$name") + ", c.object"


def _each(columns: Columns, pattern: LiteralString) -> LiteralString:
    stated: list[LiteralString] = [pattern.replace("$name", name).replace("$type", columns[name]) for name in columns]
    return "".join(stated)
