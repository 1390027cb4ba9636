"""Objects with a version: the steps that commands on contacts, companies and the other kinds share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import accumulate, takewhile
from typing import Any, ClassVar, Final, Generic, LiteralString, NamedTuple, Self, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import ids, shared_schemas
from herdbook.errors import Forbidden, NotFound, Stale, Taken
from herdbook.ledger.changes import Action, Entry, Erased, same
from herdbook.ledger.claims import HeldKey, UniqueKey, united
from herdbook.ledger.index_entries import Index, index_new, reindex, unindex
from herdbook.ledger.insertion import Columns, insertion
from herdbook.ledger.unit_of_work import LOAD_BYTES, Need, Removed, Result, Table, UnitOfWork
from herdbook.shared_schemas import Deleted


class ObjectRow(msgspec.Struct, frozen=True, kw_only=True):
    """The row of an object: its id, its version, and its form in the API. Each type adds the columns that its queries use."""

    workspace_id: UUID
    id: UUID
    version: int
    updated_at: datetime
    deleted_at: datetime | None
    object: Any

    @property
    def entry(self) -> Any:
        """The object as the ledger records it, with everything that is kept of it."""
        return self.object

    @classmethod
    def of(cls, work: UnitOfWork, object_id: UUID, version: int, before: Self | None, after: Any) -> Self:
        """Return the row for an entry, given the row before it, if any."""
        members = cls.columns(before, after)
        members.setdefault("object", after)
        return cls(
            workspace_id=work.workspace_id, id=object_id, version=version, updated_at=work.at, deleted_at=None, **members
        )

    @classmethod
    def columns(cls, before: Any, after: Any) -> dict[str, Any]:  # noqa: ARG003  # for the types that have more
        """Return the columns beside those of all rows, and `object` if that is not the entry itself."""
        return {}


class ObjectVersion(msgspec.Struct, frozen=True):
    """The version of an object, and when it was deleted, if it was."""

    workspace_id: UUID
    id: UUID
    version: int
    deleted_at: datetime | None


class Record:
    """The entry of an object that may have members which the vendor's operations neither show nor set.

    `own_type` has these members. An entry has them behind the others, in the same order. Without any of them it is the object
    that the vendor's operations show.
    """

    __slots__ = ()
    own_type: ClassVar[type[msgspec.Struct]]

    @property
    def own(self) -> Any:
        """The members that only herdbook's own operations show, or None if there are none."""
        members = {name: value for name in self.own_type.__struct_fields__ if (value := getattr(self, name)) is not UNSET}
        return self.own_type(**members) if members else None

    @property
    def shown(self) -> Any:
        """The object as the vendor's operations show it."""
        struct: Any = self
        return msgspec.structs.replace(struct, **dict.fromkeys(self.own_type.__struct_fields__, UNSET))

    def with_own(self, own: msgspec.Struct) -> Any:
        """Return the object with members that only herdbook's own operations show."""
        struct: Any = self
        return msgspec.structs.replace(struct, **msgspec.structs.asdict(own))


class RecordRow(ObjectRow, frozen=True, kw_only=True):
    """The row of an object whose own members have a column beside the object."""

    own: Any

    @property
    def entry(self) -> Any:
        return self.object if self.own is None else self.object.with_own(self.own)

    @staticmethod
    def own_columns(after: Record) -> dict[str, Any]:
        """Return the column of an entry's own members, and `object` if that is not the entry itself."""
        own = after.own
        return {"own": None} if own is None else {"own": own, "object": after.shown}


def whole(object_: bytes, own: bytes | None) -> bytes:
    """Return an object with its own members, which are kept in a column of their own, as the ledger records it."""
    return object_ if own is None else object_[:-1] + b"," + own[1:]


RowT = TypeVar("RowT", bound=ObjectRow)
EntryT = TypeVar("EntryT", bound=msgspec.Struct)


@dataclass(frozen=True, eq=False, kw_only=True)
class ObjectTable(Table[RowT]):
    """The table of a type of objects. `versions` reads what is known of a row without its object."""

    name: LiteralString
    versions: "Table[ObjectVersion]"


class EventData(NamedTuple):
    """An object as events show it, and the old values of the fields that an update changed."""

    object: bytes
    previous: bytes | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Events:
    """The events that webhooks send for changes of a type.

    `types` names them by the action of a change; other actions send none. `data` returns the data of the event for the object
    and the old values of an entry, or None if the entry sends no event. `condition` is an SQL condition on an entry `change`
    that tells whether it sends one; None if each of those actions does. `example_previous` are old values for `example`.
    `own_members` are left out, and an update of these alone sends no event, except to endpoints that ask for them.
    """

    types: Mapping[Action, str]
    example_previous: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: Callable[[bytes, bytes | None], EventData | None] = EventData
    condition: LiteralString | None = None
    own_members: Sequence[LiteralString] = ()

    @classmethod
    def of_changes(cls, name: str, *, is_erasable: bool = False, **others: Any) -> Self:
        """Return the events `v1.name.created`, `updated` and `deleted`. Restoring an object sends `created`, like a new one.

        Objects that can be erased also have `erased`.
        """
        created = f"v1.{name}.created"
        types = {
            Action.CREATED: created,
            Action.UPDATED: f"v1.{name}.updated",
            Action.DELETED: f"v1.{name}.deleted",
            Action.RESTORED: created,
            **({Action.ERASED: f"v1.{name}.erased"} if is_erasable else {}),
        }
        return cls(types=types, **others)

    def shown(self, object_: bytes, previous: bytes | None, *, with_own: bool) -> EventData | None:
        """Return the data of an entry's event, with own members or without, or None if the entry sends no event."""
        if self.own_members and not with_own:
            return self._vendors(object_, previous)
        return self.data(object_, previous)

    def sends(self, *, with_own: bool) -> LiteralString | None:
        """Return the SQL condition that tells whether an entry sends an event with own members, or one without."""
        return _changes_others(self.own_members) if self.own_members and not with_own else self.condition

    def _vendors(self, object_: bytes, previous: bytes | None) -> EventData | None:
        shown = _without(self.own_members, object_)
        if previous is None:
            return EventData(shown, None)
        changed = _without(self.own_members, previous)
        return None if changed == b"{}" else EventData(shown, changed)


def _changes_others(own_members: Sequence[LiteralString]) -> LiteralString:
    names: list[LiteralString] = ["'" + name + "'" for name in own_members]
    return (
        "change.previous is null or exists (select from json_object_keys(change.previous) as changed(name)"
        " where changed.name not in (" + ", ".join(names) + "))"
    )


def _without(own_members: Sequence[str], members: bytes) -> bytes:
    if not any(f'"{name}"'.encode() in members for name in own_members):
        return members
    decoded: dict[str, Any] = msgspec.json.decode(members, type=dict[str, msgspec.Raw])
    return msgspec.json.encode({name: value for name, value in decoded.items() if name not in own_members})


class HistoryNotes(NamedTuple):
    """Notes in the API document: on an object's history and, if the API restores objects, on what becomes of references."""

    history: str = ""
    restoring: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class ObjectType(Generic[RowT, EntryT]):
    """An object type of the ledger: each object has a row, and entries that record its history.

    `kind` is the letter of the type in the ledger. `name` and `plural` are its names in the API, and `prefix` begins its ids.
    `entry` is the struct that the ledger stores for an object; it holds everything that is kept of it. `example` is such an
    entry for documents and sample events. `indexes` are the indexes by which objects are found; the ledger keeps them up to
    date. `unique_keys` are the unique keys of the type. `context_fields` names the members of an entry that describe another
    object. `refers_to` are the types that its objects refer to: an undo brings those back first, and deletes them last. Reading
    needs all `read_scopes`, or one of them with `one_scope_reads`, and undoing all `write_scopes`; without any of these, no
    caller of the API can write such objects. `is_public` is an SQL condition on an entry `change` that tells whether the object
    is not private; None if no object of the type is private. `events` are the events of webhooks; None if there are none.
    `history` are notes on the operations that show an object's history and restore it; None if the API has no such operations.
    `blank` returns a new object without any field set, for its id and the time; None if requests create none. `patched` returns
    an object with the fields of a request body. `retired` returns the state that an undo gives an object which the undone
    request has created; None if the undo deletes it. `begin_tasks` notes the tasks that follow from a change, an undo or a
    restore. It takes the object's id and its states before, None if it was deleted, and after.
    """

    kind: LiteralString
    name: str
    plural: str
    prefix: str
    table: ObjectTable[RowT]
    entry: type[EntryT]
    example: Mapping[str, Any]
    indexes: tuple[Index[RowT], ...] = ()
    unique_keys: tuple[UniqueKey[EntryT], ...] = ()
    context_fields: frozenset[str] = frozenset()
    refers_to: "tuple[ObjectType[Any, Any], ...]" = ()
    read_scopes: tuple[str, ...]
    one_scope_reads: bool = False
    write_scopes: tuple[str, ...] = ()
    is_public: LiteralString | None = None
    events: Events | None = None
    history: HistoryNotes | None = None
    blank: Callable[[str, str], EntryT] | None = None
    patched: Callable[[EntryT, Any], EntryT] = shared_schemas.patched
    retired: Callable[[EntryT], EntryT] | None = None
    begin_tasks: Callable[[UnitOfWork, UUID, EntryT | None, EntryT], None] | None = None

    @property
    def noun(self) -> str:
        """The name of an object in messages."""
        return self.name.replace("_", " ")

    def may_be_read(self, may: Callable[[str], bool]) -> bool:
        """Whether a caller may read the objects. `may` tells whether the caller has a scope."""
        return (any if self.one_scope_reads else all)(map(may, self.read_scopes))

    def require_reader(self, may: Callable[[str], bool]) -> None:
        """Require that a caller may read the objects. `may` tells whether the caller has a scope. Refusal: Forbidden."""
        if not self.may_be_read(may):
            raise Forbidden(next(scope for scope in self.read_scopes if not may(scope)))

    @property
    def reading_scopes(self) -> tuple[str, ...]:
        """The scopes that every reader has."""
        return () if self.one_scope_reads else self.read_scopes

    @cached_property
    def shown(self) -> Any:
        """The type of an object in herdbook's own operations."""
        return next(field.type for field in msgspec.structs.fields(self.table.row) if field.name == "object")

    @cached_property
    def undo_order(self) -> tuple[int, str]:
        """The sort key of the types in an undo: each comes after those that it refers to."""
        return 1 + max((each.undo_order[0] for each in self.refers_to), default=-1), self.name

    @cached_property
    def merges(self) -> bool:
        """Whether objects of this type can be merged into one another."""
        return "merged_into" in self.table.row.__struct_fields__

    @cached_property
    def has_own(self) -> bool:
        """Whether objects of this type may have members that only herdbook's own operations show, in the column `own`."""
        return "own" in self.table.row.__struct_fields__

    @property
    def event_types(self) -> Iterable[str]:
        """The types of the events that webhooks send for changes of such objects, each once."""
        return () if self.events is None else dict.fromkeys(self.events.types.values())

    def held(self, entry: EntryT | None) -> list[HeldKey]:
        """Return the keys that an entry holds."""
        if entry is None:
            return []
        return [HeldKey(each, key, place) for each in self.unique_keys for place, key in enumerate(each.keys(entry))]

    def new(self, object_id: UUID, time: str, fields: msgspec.Struct) -> EntryT:
        """Return a new object with the fields of a request body."""
        assert self.blank is not None, "requests create such objects"
        return self.patched(self.blank(ids.encoded(self.prefix, object_id), time), fields)

    def key_needs(self, fields: msgspec.Struct) -> list[Need]:
        """Return the rows that a command must see to claim the keys in a request body."""
        return [held.need for held in self.held(self.new(ids.NIL, "", fields))] if self.unique_keys else []

    def claim(
        self,
        work: UnitOfWork,
        object_id: UUID,
        before: EntryT | None,
        after: EntryT,
        field_paths: Mapping[UniqueKey[Any], Callable[[int, str], str]] | None = None,
    ) -> None:
        """Claim the keys of an object's new state, and free those that only its old state had.

        `field_paths` may replace the field paths of unique keys. Refusal: Taken, with the errors of all unique keys.
        """
        refusals: list[Taken] = []
        for unique_key in self.unique_keys:
            old = [] if before is None else unique_key.keys(before)
            new = unique_key.keys(after)
            # Most objects have no key of most unique keys, and most updates change none.
            if old == new:
                continue
            field_path = None if field_paths is None else field_paths.get(unique_key)
            try:
                unique_key.claim(work, self, object_id, old, new, field_path)
            except Taken as taken:
                # The frames refer to this list, so a cycle would stay until the next garbage collection.
                refusals.append(taken.with_traceback(None))
        if refusals:
            raise united(refusals)

    def free(self, work: UnitOfWork, object_id: UUID, entry: EntryT) -> None:
        """Free the keys of an entry that the object holds."""
        for unique_key in self.unique_keys:
            unique_key.free(work, object_id, unique_key.keys(entry))


class ObjectTypes:
    """A list of object types, and how to find one by its kind."""

    def __init__(self, *types: ObjectType[Any, Any]) -> None:
        self._types = types
        self._by_kind = {each.kind: each for each in types}
        assert len(self._by_kind) == len({each.name for each in types}) == len(types), "kinds and names are unique"

    def __iter__(self) -> Iterator[ObjectType[Any, Any]]:
        return iter(self._types)

    def of(self, kind: str) -> ObjectType[Any, Any]:
        """Return the type with this letter."""
        return self._by_kind[kind]

    def named(self, name: str) -> ObjectType[Any, Any]:
        """Return the type with this name."""
        return next(each for each in self._types if each.name == name)


# Limits the bytes of objects that are changed together or not at all.
TOGETHER_BYTES: Final = 4 * LOAD_BYTES


def first_fitting(work: UnitOfWork, table: ObjectTable[Any], object_ids: Sequence[UUID]) -> Sequence[UUID]:
    """Return the first of some objects, at least one, that a slice of a long task may change together. They are loaded."""
    known = list(takewhile(lambda each: not work.is_left_out(Need(table, each)), object_ids))
    work.require(Need(table, each) for each in known or object_ids)
    sizes = accumulate(work.size_of(Need(table, each)) for each in known)
    many = sum(1 for size in sizes if size <= LOAD_BYTES)
    return known[: max(1, many)]


class TooLarge(Exception):
    """The objects that a command needs are too large to be loaded at once."""


def require_loaded_at_once(work: UnitOfWork) -> None:
    """Require that a load had no more bytes than a slice of a long task should change. It raises TooLarge."""
    if work.misses_left_out or work.bytes_loaded > LOAD_BYTES:
        work.miss_nothing()
        raise TooLarge


def active(work: UnitOfWork, table: Table[RowT], object_id: UUID | None) -> RowT | None:
    """Return the row of an object that exists and is not deleted, or None."""
    row = None if object_id is None else work.get(table, object_id)
    return None if row is None or row.deleted_at is not None else row


def all_active(work: UnitOfWork, table: Table[RowT], object_ids: Sequence[UUID | None]) -> list[RowT | None]:
    """Return what `active` does for each object. Rows that were not loaded are missed together."""
    work.get_all(table, [object_id for object_id in object_ids if object_id is not None])
    return [active(work, table, object_id) for object_id in object_ids]


def current(work: UnitOfWork, table: Table[RowT], object_id: UUID, if_version: frozenset[int] | None, name: str) -> RowT:
    """Return the row of the object that a command changes. Refusals: NotFound, and Stale for another version."""
    row = active(work, table, object_id)
    if row is None:
        raise NotFound(name, object_id=object_id)
    if if_version is not None and row.version not in if_version:
        raise Stale(row.version)
    return row


def created(work: UnitOfWork, object_type: ObjectType[RowT, EntryT], object_id: UUID, after: EntryT) -> Result:
    """Record a new object, and add its row."""
    entry = Entry(kind=object_type.kind, object_id=object_id, action=Action.CREATED, object=after)
    return _stored(work, object_type, entry, None, after)


def updated(work: UnitOfWork, object_type: ObjectType[RowT, EntryT], before: RowT, after: EntryT) -> Result:
    """Record the new state of an object, and replace its row; write nothing if nothing changed."""
    changed = _changed(before.entry, after)
    if not changed:
        return Result(before.version, before.object)
    return _updated(work, object_type, before, changed, stamped(work, after))


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
    old: Any = before.entry if last is None else last
    object_type.free(work, before.id, old)
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
    _put(work, object_type, before, msgspec.structs.replace(before, **marked))
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
    return _stored(work, object_type, entry, before, after)


def updated_silently(
    work: UnitOfWork, object_type: ObjectType[RowT, EntryT], before: RowT, told: EntryT, after: EntryT
) -> Result:
    """Record the new state of an object whose former state must not be kept; `told` is what may be kept of it."""
    return _updated(work, object_type, before, _changed(told, after), stamped(work, after))


def _updated(
    work: UnitOfWork, object_type: ObjectType[RowT, EntryT], before: RowT, changed: Mapping[str, Any], after: EntryT
) -> Result:
    """Record the new state of an object, given the old values of the members that changed."""
    # `updated_at` always changes.
    hidden = object_type.context_fields
    previous = {
        name: None if old is UNSET else old for name, old in changed.items() if name != "updated_at" and name not in hidden
    }
    entry = Entry(
        kind=object_type.kind,
        object_id=before.id,
        action=Action.UPDATED,
        object=after,
        previous=previous,
        previous_version=before.version,
    )
    return _stored(work, object_type, entry, before, after)


def erased(work: UnitOfWork, object_type: ObjectType[Any, Any], object_id: UUID, version: int) -> int:
    """Record that an object was erased, and remove its row. Its earlier entries stay, and its caller empties them.

    `remove_traces` frees the keys of a type that has some.
    """
    work.remove(object_type.table, object_id)
    return work.record(
        Entry(
            kind=object_type.kind,
            object_id=object_id,
            action=Action.ERASED,
            object=Erased(id=ids.encoded(object_type.prefix, object_id)),
            previous_version=version,
        )
    )


def remove_traces(work: UnitOfWork, object_type: ObjectType[RowT, Any], row: RowT) -> None:
    """Free the keys of an object whose row is removed, and remove its index entries."""
    if row.deleted_at is None:
        object_type.free(work, row.id, row.entry)
    unindex(work, object_type.indexes, row)


def _stored(
    work: UnitOfWork, object_type: ObjectType[RowT, EntryT], entry: Entry, before: RowT | None, after: EntryT
) -> Result:
    version = work.record(entry)
    # Only a row that shows the object as it is now can lend its columns.
    active_before = None if before is None or before.deleted_at is not None else before
    row = object_type.table.row.of(work, entry.object_id, version, active_before, after)
    _put(work, object_type, before, row)
    if object_type.begin_tasks is not None and before is not None:
        old: Any = None if active_before is None else active_before.entry
        object_type.begin_tasks(work, before.id, old, after)
    return Result(version, row.object)


def _put(work: UnitOfWork, object_type: ObjectType[RowT, Any], before: RowT | None, after: RowT) -> None:
    # A transcript has the id of its engagement, and so may be created where a deleted one still has its row.
    if before is None and not work.has_row(object_type.table, after.id):
        work.put_new(object_type.table, after)
        index_new(work, object_type.indexes, after)
    else:
        work.put(object_type.table, after)
        reindex(work, object_type.indexes, before, after)


def stamped(work: UnitOfWork, after: EntryT) -> EntryT:
    """Return an object with `updated_at` set to now, if it has that member."""
    if "updated_at" not in after.__struct_fields__:
        return after
    return msgspec.structs.replace(after, updated_at=work.time)


def _changed(before: msgspec.Struct, after: msgspec.Struct) -> dict[str, Any]:
    """Return the old values of the members that changed."""
    olds, news = msgspec.structs.astuple(before), msgspec.structs.astuple(after)
    # Most members are the very same objects as before.
    return {
        name: old
        for name, old, new in zip(before.__struct_fields__, olds, news, strict=True)
        if old is not new and not same(old, new)
    }


_CONFLICT: Final[LiteralString] = """
    on conflict (workspace_id, id) do update
    set version = excluded.version, updated_at = excluded.updated_at, deleted_at = excluded.deleted_at$sets,
        object = excluded.object
"""
_REMOVE: Final[LiteralString] = """
    $table_removed as (
        delete from $table t
        using json_to_recordset($rows) as r(workspace_id uuid, id uuid) join held on held.id = r.workspace_id
        where t.workspace_id = r.workspace_id and t.id = r.id
    )
"""
_OUTDATED: Final[LiteralString] = """
    select kept.workspace_id
    from json_to_recordset($rows) as kept(workspace_id uuid, id uuid, seen xid)
    left join $table c on c.workspace_id = kept.workspace_id and c.id = kept.id
    where c.xmin is distinct from kept.seen
"""
_LOAD: Final[LiteralString] = """
    from json_to_recordset($rows) as asked(workspace_id uuid, key uuid)
    join $table c on c.workspace_id = asked.workspace_id and c.id = asked.key
"""


# Reads rows in the order of `$rows` until they have very many bytes, and says how many it has looked up.
_LOAD_FIRST: Final[LiteralString] = """
    with recursive all_asked as materialized (
        select array_agg((a.value ->> 'workspace_id')::uuid order by a.place) as workspace_ids,
            array_agg((a.value ->> 'key')::uuid order by a.place) as ids
        from json_array_elements($rows) with ordinality as a(value, place)
    ), walk as (
        select 0 as many, 0::bigint as bytes
        union all
        select walk.many + 1, walk.bytes + coalesce((
            select octet_length(c.object::text)$columns from $table c
            where c.workspace_id = asked.workspace_id and c.id = asked.id
        ), 0)
        from walk cross join all_asked cross join lateral (
            select all_asked.workspace_ids[walk.many + 1] as workspace_id, all_asked.ids[walk.many + 1] as id
        ) as asked
        where walk.many < cardinality(all_asked.ids) and walk.bytes < $most
    ), counted as materialized (
        select max(many) as many from walk
    )
    select json_build_object('many', counted.many, 'rows', coalesce((
        select json_agg(r) from (
            select $selected
            from unnest(all_asked.workspace_ids[:counted.many], all_asked.ids[:counted.many]) as asked(workspace_id, id)
            join $table c on c.workspace_id = asked.workspace_id and c.id = asked.id
        ) as r
    ), '[]'))
    from counted cross join all_asked
"""
_BYTES: Final[LiteralString] = " + coalesce(octet_length(c.$name::text), 0)"


def object_table(row: type[RowT], table_name: LiteralString, columns: Columns, *, is_large: bool = False) -> ObjectTable[RowT]:
    """Return the mapping of a table of objects; `columns` are those beside the columns of all object tables."""
    of_table: Columns = {
        "id": "uuid",
        "version": "bigint",
        "updated_at": "timestamptz",
        "deleted_at": "timestamptz",
        **columns,
        "object": "json",
    }
    conflict = _CONFLICT.replace("$sets", _each(columns, ", $name = excluded.$name"))
    save = insertion(table_name + "_saved", table_name, of_table, conflict)
    add = insertion(table_name + "_added", table_name, of_table)
    load = "select " + row_columns(columns) + _LOAD.replace("$table", table_name)
    versions = Table(
        row=ObjectVersion,
        key=lambda each: each.id,
        load="select c.workspace_id, c.id, c.version, c.deleted_at" + _LOAD.replace("$table", table_name),
        save=None,
    )
    return ObjectTable(
        row=row,
        key=_id_of,
        load=load,
        load_first=_LOAD_FIRST.replace("$selected", row_columns(columns))
        .replace("$table", table_name)
        .replace("$columns", _each(columns, _BYTES)),
        save=save,
        is_large=is_large,
        additions=Table(row=row, key=_id_of, load=None, save=add),
        removals=removals_of(table_name),
        outdated=None if is_large else _OUTDATED.replace("$table", table_name),
        name=table_name,
        versions=versions,
    )


def _id_of(row: ObjectRow) -> UUID:
    return row.id


def removals_of(table_name: LiteralString) -> Table[Removed]:
    """Return the mapping that removes rows of a table by their ids."""
    return Table(row=Removed, key=lambda each: each.id, load=None, save=_REMOVE.replace("$table", table_name))


def row_columns(columns: Columns) -> LiteralString:
    """Return the columns that a select needs to build rows of a table; the table's alias is `c`."""
    return "c.workspace_id, c.id, c.version, c.updated_at, c.deleted_at" + _each(columns, ", c.$name") + ", c.object"


def _each(columns: Columns, pattern: LiteralString) -> LiteralString:
    stated: list[LiteralString] = [pattern.replace("$name", name).replace("$type", columns[name]) for name in columns]
    return "".join(stated)
