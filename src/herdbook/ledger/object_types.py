"""Objects with a version: the steps that commands on contacts, companies and the other kinds share."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, LiteralString, Protocol, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids
from herdbook.errors import NotFound, Stale
from herdbook.ledger.changes import Action, Entry, Kind
from herdbook.ledger.claims import UniqueKey
from herdbook.ledger.unit_of_work import Result, Table, UnitOfWork
from herdbook.shared_schemas import Deleted

# The nil id. Malformed ids are looked up as this one, so that they get the same 404 as unknown ids, after the body is checked.


class ObjectRow(Protocol):
    """The row of an object: its id, its version, and its form in the API."""

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
EntryT = TypeVar("EntryT", bound=msgspec.Struct)
# Types by name, of the columns that a table has beside those of all object tables.
Columns: TypeAlias = dict[LiteralString, LiteralString]


@dataclass(frozen=True, eq=False, kw_only=True)
class ObjectType(Generic[RowT, EntryT]):
    """An object type of the ledger: each object has a row, and entries that record its history.

    `entry` is the struct that the ledger stores for an object; it holds everything that is kept of it. `row` returns the row
    for an entry, given the row before it, if any; `to_entry` returns the entry for a row. `reindex` updates the index entries
    of an object from one row to the next; None stands for no entries. `reindex_deleted` does the same for the index of deleted
    objects. `unique_key` is the unique key of the type, if any; `unique_values` returns the keys that an entry holds, and
    `field_path` the path of the field with the key of this index. `context_fields` names the members of an entry that describe
    another object. Reading needs all `read_scopes`; without a `write_scope`, no caller of the API can write such objects.
    """

    kind: Kind
    name: str
    prefix: str
    table_name: LiteralString
    table: Table[RowT]
    entry: type[EntryT]
    row: Callable[[UnitOfWork, UUID, int, RowT | None, EntryT], RowT]
    to_entry: Callable[[RowT], EntryT]
    reindex: Callable[[UnitOfWork, RowT | None, RowT | None], None] = lambda _, __, ___: None
    reindex_deleted: Callable[[UnitOfWork, RowT | None, RowT | None], None] = lambda _, __, ___: None
    read_scopes: tuple[str, ...]
    write_scope: str | None = None
    unique_key: UniqueKey | None = None
    unique_values: Callable[[EntryT], list[str]] = lambda _: []
    field_path: Callable[[int], str] = str
    context_fields: frozenset[str] = frozenset()


def active(work: UnitOfWork, table: Table[RowT], object_id: UUID | None) -> RowT | None:
    """Return the row of an object that exists and is not deleted, or None."""
    row = work.get(table, object_id)
    return None if row is None or row.deleted_at is not None else row


def current(work: UnitOfWork, table: Table[RowT], object_id: UUID, if_version: frozenset[int] | None, name: str) -> RowT:
    """Return the row of the object that a command changes. Refusals: NotFound, and Stale for another version."""
    row = active(work, table, object_id)
    if row is None:
        raise NotFound(name)
    if if_version is not None and row.version not in if_version:
        raise Stale(row.version)
    return row


def claim(
    work: UnitOfWork, object_type: ObjectType[Any, EntryT], object_id: UUID, before: EntryT | None, after: EntryT
) -> None:
    """Claim the keys of an object's new state, and free those that only its old state had. Refusal: Taken."""
    assert object_type.unique_key is not None, "the type has a unique key"
    old = [] if before is None else object_type.unique_values(before)
    object_type.unique_key.claim(work, object_id, old, object_type.unique_values(after), object_type.field_path)


def created(work: UnitOfWork, object_type: ObjectType[RowT, EntryT], object_id: UUID, after: EntryT) -> Result:
    """Record a new object, and add its row."""
    entry = Entry(kind=object_type.kind, object_id=object_id, action=Action.CREATED, object=after)
    return _stored(work, object_type, object_id, entry, None, after)


def updated(work: UnitOfWork, object_type: ObjectType[RowT, EntryT], before: RowT, after: EntryT) -> Result:
    """Record the new state of an object, and replace its row; write nothing if nothing changed."""
    old = object_type.to_entry(before)
    if after == old:
        return Result(before.version, before.object)
    after = stamped(work, after)
    entry = Entry(
        kind=object_type.kind,
        object_id=before.id,
        action=Action.UPDATED,
        object=after,
        previous=_previous(old, after, object_type.context_fields),
        previous_version=before.version,
    )
    return _stored(work, object_type, before.id, entry, before, after)


def deleted(
    work: UnitOfWork,
    object_type: ObjectType[RowT, EntryT],
    before: RowT,
    merged_into: UUID | None = None,
    last: EntryT | None = None,
) -> Result:
    """Record that an object was deleted, free its keys, remove its index entries, and mark its row.

    `last` is its last state, if that has more than the row shows.
    """
    old = object_type.to_entry(before) if last is None else last
    if object_type.unique_key is not None:
        object_type.unique_key.free(work, before.id, object_type.unique_values(old))
    object_type.reindex(work, before, None)
    version = work.record(
        Entry(
            kind=object_type.kind,
            object_id=before.id,
            action=Action.DELETED,
            object=old,
            previous_version=before.version,
            merged_into=merged_into,
        )
    )
    marked: dict[str, Any] = {"version": version, "updated_at": work.at, "deleted_at": work.at}
    if merged_into is not None:
        marked["merged_into"] = merged_into
    row: Any = before
    row = msgspec.structs.replace(row, **marked)
    work.put(object_type.table, row)
    object_type.reindex_deleted(work, None, row)
    return Result(version, Deleted(ids.encoded(object_type.prefix, before.id), object_type.name))


def restored(work: UnitOfWork, object_type: ObjectType[RowT, EntryT], before: RowT, after: EntryT) -> Result:
    """Record that a deleted object is restored to this state, and add its row. The caller has claimed the state's keys."""
    after = stamped(work, after)
    entry = Entry(
        kind=object_type.kind,
        object_id=before.id,
        action=Action.RESTORED,
        object=after,
        previous_version=before.version,
        merged_into=getattr(before, "merged_into", None),
    )
    object_type.reindex_deleted(work, before, None)
    return _stored(work, object_type, before.id, entry, None, after)


def _stored(
    work: UnitOfWork, object_type: ObjectType[RowT, EntryT], object_id: UUID, entry: Entry, before: RowT | None, after: EntryT
) -> Result:
    version = work.record(entry)
    row = object_type.row(work, object_id, version, before, after)
    work.put(object_type.table, row)
    object_type.reindex(work, before, row)
    return Result(version, row.object)


def stamped(work: UnitOfWork, after: EntryT) -> EntryT:
    """Return an object with `updated_at` set to now, if it has that member."""
    if "updated_at" not in after.__struct_fields__:
        return after
    return msgspec.structs.replace(after, updated_at=work.time)


def _previous(before: msgspec.Struct, after: msgspec.Struct, context_fields: AbstractSet[str]) -> dict[str, Any]:
    """Return the old values of the members that changed, null for absent ones. `updated_at` is left out: it always changes."""
    changed: dict[str, Any] = {}
    for name in before.__struct_fields__:
        old = getattr(before, name)
        if old != getattr(after, name) and name != "updated_at" and name not in context_fields:
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


def object_table(row: type[RowT], table_name: LiteralString, columns: Columns, *, is_large: bool = False) -> Table[RowT]:
    """Return the mapping of a table of objects; `columns` are those beside the columns of all object tables."""
    save = (
        _SAVE.replace("$table", table_name)
        .replace("$names", _each(columns, ", $name"))
        .replace("$values", _each(columns, ", r.$name"))
        .replace("$types", _each(columns, ", $name $type"))
        .replace("$sets", _each(columns, ", $name = excluded.$name"))
    )
    load = "select " + row_columns(columns) + _LOAD.replace("$table", table_name)
    return Table(row=row, key=lambda each: each.id, load=load, save=save, is_large=is_large)


def row_columns(columns: Columns) -> LiteralString:
    """Return the columns that a select needs to build rows of a table; the table's alias is `c`."""
    return "c.workspace_id, c.id, c.version, c.updated_at, c.deleted_at" + _each(columns, ", c.$name") + ", c.object"


def _each(columns: Columns, pattern: LiteralString) -> LiteralString:
    stated: list[LiteralString] = [pattern.replace("$name", name).replace("$type", columns[name]) for name in columns]
    return "".join(stated)
