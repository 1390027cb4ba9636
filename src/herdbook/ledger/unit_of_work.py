"""A unit of work: the rows of one workspace that a batch of commands reads and changes in memory.

A domain describes each of its tables to the ledger as a `Table`. A command names the rows it needs, and is then applied to
the unit of work in plain synchronous Python. If it asks for a row that was not loaded, the ledger loads the row and applies
the command again. The ledger saves the changed rows of the whole batch in one statement.
"""

import asyncio
import itertools
from collections.abc import Callable, Collection, Generator, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Generic, LiteralString, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec

from herdbook.ledger.changes import Change, Entry
from herdbook.shared_schemas import shown_time
from herdbook.turns import finished


class Row(Protocol):
    """A row of tenant data: the workspace comes first."""

    @property
    def workspace_id(self) -> UUID: ...


RowT = TypeVar("RowT", bound=Row)
# A load leaves out further rows of a table once those before them have very many bytes.
LOAD_BYTES: Final = 4_194_304
# The bytes of rows with fewer do not count: a batch has a limited number of them.
LARGE_BYTES: Final = 4096


class Removed(msgspec.Struct, frozen=True):
    """A row that the batch removes, in place of the row itself."""

    workspace_id: UUID
    id: UUID


@dataclass(frozen=True, eq=False)
class Table(Generic[RowT]):
    """One table, as the ledger loads and saves it.

    `key` returns a row's primary key without the workspace. `load` is a query that selects the members of `row`, by their
    names, for the JSON array `$rows` of `{"workspace_id", "key"}`; None if the ledger only writes the table. `save` holds
    common table expressions that write the rows of the JSON array `$rows`; None if the ledger only reads the table. Each
    expression must join `held`, the ids of the workspaces that no other process has changed since they were loaded, so that
    a batch that comes too late writes nothing.
    """

    row: type[RowT]
    key: Callable[[RowT], Hashable]
    load: LiteralString | None
    save: LiteralString | None
    number: int = field(default_factory=itertools.count().__next__, init=False)
    """Its position in the order of all tables."""
    is_large: bool = field(default=False, kw_only=True)
    """Whether a row may have megabytes. A batch loads few of them, as far as its commands name them as needs."""
    load_first: LiteralString | None = field(default=None, kw_only=True)
    """Loads the first of many rows, until they have `$most` bytes; the result has them as `rows`, and as `many` how many it has
    looked up. None if the rows of the table have few bytes."""
    additions: "Table[Any] | None" = field(default=None, kw_only=True)
    """Writes rows that are known to be new, for less. None if `save` writes these, too."""
    removals: "Table[Removed] | None" = field(default=None, kw_only=True)
    """Removes rows. None if no command removes rows of this table."""
    outdated: LiteralString | None = field(default=None, kw_only=True)
    """Selects, for the JSON array `$rows` of `{"workspace_id", "id", "seen"}`, the workspaces with rows that were written since
    the transactions `seen`. None if rows of this table are never kept from one batch to the next."""


class Need(NamedTuple):
    """A row that a command must see: its table, and its key without the workspace."""

    table: Table[Any]
    key: Hashable


class NotLoaded(Exception):
    """A command asked for rows that were not loaded. The ledger loads them and applies the command again."""

    def __init__(self, needs: frozenset[Need]) -> None:
        super().__init__(needs)
        self.needs = needs


class Result(NamedTuple):
    """The result of a command: the new version of its object, and the answer to its caller."""

    version: int
    answer: msgspec.Struct


class Command(Protocol):
    """One write that a caller requests, as data."""

    def needs(self) -> Iterable[Need]:
        """Return the rows that `apply` is known to read. Each row left out costs a round trip, but changes no result."""
        ...

    def apply(self, work: "UnitOfWork") -> Result:
        """Change the unit of work, or raise a refusal; the changes of a refused command are undone.

        If rows were not loaded, it is called again, with all its changes undone, once they are.
        """
        ...


class LongCommand(msgspec.Struct, frozen=True):
    """A command that takes long, so the event loop runs other tasks after each of its steps.

    One that `goes_ahead` is applied while the batch before it is saved, if it waits already. It is applied again unless that
    batch was saved, and all rows that it has seen are as it has seen them.
    """

    goes_ahead: ClassVar[bool] = False

    def needs(self) -> Iterable[Need]:
        """Return the rows that the steps are known to read."""
        raise NotImplementedError

    def steps(self, work: "UnitOfWork") -> Generator[None, None, Result]:
        """Change the unit of work step by step, and return the result, or raise a refusal."""
        raise NotImplementedError

    def apply(self, work: "UnitOfWork") -> Result:
        """Run all steps at once."""
        return finished(self.steps(work))


class Origin(msgspec.Struct, frozen=True):
    """The origin of a command: its request, and the credential of that request."""

    request_id: UUID
    credential_id: UUID


class Savepoint(msgspec.Struct, frozen=True):
    """A state of a unit of work to return to: its sequence, its number of entries, and the length of its log of puts."""

    seq: int
    entries: int
    puts: int


_UNKNOWN: Final = object()
_encode: Final = msgspec.json.Encoder().encode


class UnitOfWork:
    """The rows of one workspace during one batch."""

    def __init__(self, workspace_id: UUID, loaded_seq: int, loaded_at: datetime, at: datetime) -> None:
        self.workspace_id = workspace_id
        self.loaded_seq = self.seq = loaded_seq
        self.loaded_at = loaded_at
        self.at = at
        self.time = shown_time(at)
        self.changes: list[Change] = []
        self.changed_rows: dict[tuple[Table[Any], Hashable], Row] = {}
        # Maps what was looked up to the row, or to None if there is no such row.
        self._loaded: dict[tuple[Table[Any], Hashable], Row | None] = {}
        # Loads have left these out, because the rows before them had very many bytes.
        self._left_out: set[Need] = set()
        # The rows of objects that the batch creates.
        self.new_rows: set[tuple[Table[Any], Hashable]] = set()
        # The rows that were not loaded, but kept since an earlier batch, with the transactions that wrote them.
        self.kept: dict[Need, int] = {}
        # The bytes of large rows, as they were loaded.
        self._sizes: dict[tuple[Table[Any], Hashable], int] = {}
        self._missing: set[Need] = set()
        # The tables in which rows were put, also those of which all were taken back.
        self._changed_tables: set[Table[Any]] = set()
        # The rows that the batch before this one has put, if it is not saved yet, and what was seen meanwhile.
        self._before: dict[tuple[Table[Any], Hashable], Row] = {}
        self._seen: dict[tuple[Table[Any], Hashable], Row | None] | None = None
        self._origin: Origin | None = None
        self._undo: list[tuple[tuple[Table[Any], Hashable], Row | None]] = []
        self._start = self.savepoint()

    @classmethod
    def ahead_of(cls, before: "UnitOfWork", now: datetime) -> "UnitOfWork":
        """Return the unit of work that follows one which is being saved. It has the rows that this one has put."""
        work = cls(before.workspace_id, before.seq, before.at, max(now, before.at + timedelta(microseconds=1)))
        work._before = before.changed_rows
        work._changed_tables = {table for table, _ in before.changed_rows}
        work._seen = {}
        return work

    @property
    def seen(self) -> Collection[Need]:
        """The rows that commands have seen ahead of the save of the batch before."""
        return [Need(*place) for place in self._seen or ()]

    def catch_up(self, loaded: "UnitOfWork") -> bool:
        """Take over what was loaded after the batch before this one was saved, if all that was seen ahead of that is so."""
        if (loaded.loaded_seq, loaded.loaded_at) != (self.loaded_seq, self.loaded_at) or self.has_large or loaded.has_large:
            return False
        rows = loaded._loaded  # noqa: SLF001  # of the same class
        if any(not _is_as_loaded(row, rows.get(place, _UNKNOWN)) for place, row in (self._seen or {}).items()):
            return False
        self._before, self._seen = {}, None
        # The rows that were loaded before the save may be out of date, as far as no command has seen them.
        self._loaded = rows
        return True

    def note_looked_up(self, needs: Iterable[Need]) -> None:
        """Note that rows were looked up. Those that are not added as loaded do not exist."""
        self._loaded.update(dict.fromkeys(needs))

    def note_left_out(self, needs: Iterable[Need]) -> None:
        """Note that a load has left out rows. A further load may have them."""
        self._left_out.update(needs)

    def is_left_out(self, need: Need) -> bool:
        """Whether a load has left out a row, and none has had it since."""
        return need in self._left_out and need not in self._loaded

    def add_loaded(self, table: Table[RowT], row: RowT, size: int = 0) -> None:
        """Add a row as it was loaded. `size` is the number of its bytes, 0 if nobody has counted these."""
        place = (table, table.key(row))
        self._loaded[place] = row
        if size > LARGE_BYTES:
            self._sizes[place] = size

    def add_kept(self, need: Need, row: Row, seen: int) -> None:
        """Add a row that was kept since the transaction `seen` wrote it. The save looks whether the table still has it so."""
        self._loaded[need] = row
        self.kept[need] = seen

    @property
    def has_large(self) -> bool:
        """Whether rows are large, or were left out."""
        return bool(self._sizes) or bool(self._left_out)

    @property
    def bytes_loaded(self) -> int:
        """The bytes of all large rows that were loaded."""
        return sum(self._sizes.values())

    def size_of(self, need: Need) -> int:
        """Return the bytes of a large row, as it was loaded; those of others do not count."""
        return self._sizes.get((need.table, need.key), 0)

    def get(self, table: Table[RowT], key: Hashable) -> RowT | None:
        """Return the row with the batch's changes so far, or None if it does not exist. Raise NotLoaded if that is unknown."""
        place = (table, key)
        # `add_loaded` and `put` keep row and table together.
        row: Any = self.changed_rows.get(place)
        if row is None:
            row = self._stored(place)
            if row is _UNKNOWN:
                self.require([Need(table, key)])
        return None if type(row) is Removed else row

    def _stored(self, place: tuple[Table[Any], Hashable]) -> Any:
        """Return a row as it was before this batch."""
        if self._seen is None:
            return self._loaded.get(place, _UNKNOWN)
        row: Any = self._before.get(place)
        if row is None:
            row = self._loaded.get(place, _UNKNOWN)
        if row is not _UNKNOWN:
            self._seen[place] = row
        return row

    def get_all(self, table: Table[RowT], keys: Collection[Hashable]) -> list[RowT | None]:
        """Return what `get` does for each key. All rows that were not loaded are missed at once, and so loaded together."""
        try:
            return [self.get(table, key) for key in keys]
        except NotLoaded:
            self.require(Need(table, key) for key in keys)
            raise

    def get_if_loaded(self, table: Table[RowT], key: Hashable) -> RowT | None:
        """Return what `get` does, or None if the row was not loaded."""
        place = (table, key)
        row: Any = self.changed_rows.get(place) or self._stored(place)
        return None if row is _UNKNOWN or type(row) is Removed else row

    def has_row(self, table: Table[Any], key: Hashable) -> bool:
        """Whether a row is known to exist, or to have existed when the batch began. A row that was not loaded is not known."""
        place = (table, key)
        if self.changed_rows.get(place) is not None:
            return True
        stored = self._stored(place)
        return stored is not None and stored is not _UNKNOWN

    def require(self, needs: Iterable[Need]) -> None:
        """Raise NotLoaded if it is unknown of any of these rows whether they exist."""
        missing = [
            need
            for need in needs
            if need not in self._loaded and need not in self.changed_rows and (not self._before or need not in self._before)
        ]
        if missing:
            self._missing.update(missing)
            raise NotLoaded(frozenset(missing))

    @property
    def misses_left_out(self) -> bool:
        """Whether the current command has missed a row that a load left out."""
        return not self._missing.isdisjoint(self._left_out)

    def miss_nothing(self) -> None:
        """Note that the current command fails, whatever the rows are that it has missed."""
        self._missing.clear()

    def put(self, table: Table[RowT], row: RowT) -> None:
        """Add a new row, or replace a changed one; the batch will save it."""
        self._put((table, table.key(row)), row)

    def put_new(self, table: Table[RowT], row: RowT) -> None:
        """Add the row of an object that the current command creates, under an id of which there is no row."""
        self.new_rows.add((table, table.key(row)))
        self.put(table, row)

    @property
    def rows_put(self) -> int:
        """The number of rows that the current command has put, and that were not taken back."""
        return len(self._undo) - self._start.puts

    @property
    def bytes_put(self) -> int:
        """The bytes that the large rows which the current command has put had when they were loaded."""
        if not self._sizes:
            return 0
        return sum(self._sizes.get(place, 0) for place, _ in self._undo[self._start.puts :])

    def has_changed(self, table: Table[Any], key: Hashable) -> bool:
        """Whether the batch has put or removed a row, so that what the database has of it is out of date."""
        return (table, key) in self.changed_rows or (table, key) in self._before

    def changed_in(self, table: Table[RowT]) -> list[RowT]:
        """Return the rows of a table that the batch has put so far."""
        if table not in self._changed_tables:
            return []
        changed = self.changed_rows if not self._before else self._before | self.changed_rows
        return [
            row  # type: ignore[misc]  # as in `get`
            for (changed_in, _), row in changed.items()
            if changed_in is table and type(row) is not Removed
        ]

    def all_put_in(self, table: Table[RowT]) -> Iterator[RowT]:
        """Yield the rows of a table that the batch before has put, if it is not saved yet, and then those that this one has."""
        if table in self._changed_tables:
            for rows in (self._before, self.changed_rows):
                yield from (row for (put_in, _), row in rows.items() if put_in is table)  # type: ignore[misc]  # as in `get`

    def remove(self, table: Table[RowT], object_id: UUID) -> None:
        """Remove the row with this id; the batch will delete it."""
        self._put((table, object_id), Removed(self.workspace_id, object_id))

    @property
    def origin(self) -> Origin:
        """The origin of the current command."""
        assert self._origin is not None, "only a command enters changes"
        return self._origin

    def record(self, entry: Entry) -> int:
        """Record a change; return the object's new version."""
        self.seq += 1
        self.changes.append(
            Change(
                workspace_id=self.workspace_id,
                seq=self.seq,
                at=self.at,
                kind=entry.kind,
                object_id=entry.object_id,
                action=entry.action,
                request_id=self.origin.request_id,
                credential_id=self.origin.credential_id,
                previous=entry.previous,
                object=entry.object,
                previous_version=entry.previous_version,
                merged_into=entry.merged_into,
            )
        )
        return self.seq

    def carry_out(self, command: Command, origin: Origin) -> Result:
        """Apply a command completely or not at all: a refusal leaves the unit of work as it was, and so does NotLoaded."""
        self._begin(origin)
        try:
            result = command.apply(self)
        except Exception:
            self._take_back()
            raise
        if self._missing:
            self._take_back()
        return result

    async def carry_out_in_turns(self, command: LongCommand, origin: Origin) -> Result:
        """Apply a command as `carry_out` does, but yield to the event loop after each step.

        No other task changes the unit of work meanwhile, because it belongs to one batch.
        """
        self._begin(origin)
        steps = command.steps(self)
        try:
            while True:
                next(steps)
                await asyncio.sleep(0)
        except StopIteration as ended:
            if self._missing:
                self._take_back()
            return ended.value
        except Exception:
            self._take_back()
            raise

    def attempt(self, command: Command) -> Result:
        """Apply a part of the current command completely or not at all; earlier changes stay.

        An attempt that raises NotLoaded has no outcome yet. The current command may go on, to find the rows that its other
        parts miss; whatever it returns or raises then, it is applied again.
        """
        start = self.savepoint()
        try:
            return command.apply(self)
        except BaseException:
            self.roll_back(start)
            raise

    def savepoint(self) -> Savepoint:
        """Return the current state, for `roll_back`."""
        return Savepoint(self.seq, len(self.changes), len(self._undo))

    def roll_back(self, savepoint: Savepoint) -> None:
        """Take back all changes since a savepoint. The rows loaded since then stay."""
        self.seq = savepoint.seq
        del self.changes[savepoint.entries :]
        for key, before in reversed(self._undo[savepoint.puts :]):
            if before is None:
                del self.changed_rows[key]
            else:
                self.changed_rows[key] = before
        del self._undo[savepoint.puts :]

    def _put(self, place: tuple[Table[Any], Hashable], row: Row) -> None:
        self._undo.append((place, self.changed_rows.get(place)))
        self.changed_rows[place] = row
        self._changed_tables.add(place[0])

    def _begin(self, origin: Origin) -> None:
        self._origin = origin
        self._missing.clear()
        self._start = self.savepoint()

    def _take_back(self) -> None:
        """Take back the current command. If it missed rows, raise NotLoaded in place of whatever it returned or raised."""
        self.roll_back(self._start)
        if self._missing:
            raise NotLoaded(frozenset(self._missing))


def _is_as_loaded(seen: Any, loaded: Any) -> bool:
    """Whether a row that was seen ahead of its save is the one that was loaded after it."""
    if loaded is _UNKNOWN:
        return False
    if type(seen) is Removed:
        return loaded is None
    return seen is loaded or (seen is not None and loaded is not None and _encode(seen) == _encode(loaded))
