"""A unit of work: the rows of one workspace that a batch of commands reads and changes in memory.

A domain describes each of its tables to the ledger as a `Table`. A command names the rows it needs, and is then applied to
the unit of work in plain synchronous Python. The ledger saves the changed rows of the whole batch in one statement.
"""

import asyncio
import itertools
from collections.abc import Callable, Generator, Hashable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, LiteralString, NamedTuple, Protocol, TypeVar
from uuid import UUID

import msgspec

from herdbook.ledger.changes import Change, Entry
from herdbook.shared_schemas import shown_time


class Row(Protocol):
    """A row of tenant data: the workspace comes first."""

    @property
    def workspace_id(self) -> UUID: ...


RowT = TypeVar("RowT", bound=Row)


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
    """Whether a row may have megabytes, so that a batch loads few of them."""


class Need(NamedTuple):
    """A row that a command must see: its table, and its key without the workspace."""

    table: Table[Any]
    key: Hashable


class Result(NamedTuple):
    """The result of a command: the new version of its object, and the answer to its caller."""

    version: int
    answer: msgspec.Struct


class Command(Protocol):
    """One write that a caller requests, as data."""

    def needs(self) -> Iterable[Need]:
        """Return the rows that `apply` reads."""
        ...

    def apply(self, work: "UnitOfWork") -> Result:
        """Change the unit of work, or raise a refusal; the changes of a refused command are undone."""
        ...


class LongCommand(msgspec.Struct, frozen=True):
    """A command that takes long, so the event loop runs other tasks after each of its steps."""

    def needs(self) -> Iterable[Need]:
        """Return the rows that the steps read."""
        raise NotImplementedError

    def steps(self, work: "UnitOfWork") -> Generator[None, None, Result]:
        """Change the unit of work step by step, and return the result, or raise a refusal."""
        raise NotImplementedError

    def apply(self, work: "UnitOfWork") -> Result:
        """Run all steps at once."""
        steps = self.steps(work)
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                return ended.value


class Origin(msgspec.Struct, frozen=True):
    """The origin of a command: its request, and the credential of that request."""

    request_id: UUID
    credential_id: UUID


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
        self._rows: dict[tuple[Table[Any], Hashable], Row] = {}
        self._origin: Origin | None = None
        self._undo: list[tuple[tuple[Table[Any], Hashable], Row | None, bool]] = []

    def add_loaded(self, table: Table[RowT], row: RowT) -> None:
        """Add a row as it was loaded."""
        self._rows[table, table.key(row)] = row

    def get(self, table: Table[RowT], key: Hashable) -> RowT | None:
        """Return the row with the batch's changes so far; None if it does not exist or was not loaded."""
        return self._rows.get((table, key))  # type: ignore[return-value]  # `add_loaded` and `put` keep row and table together

    def put(self, table: Table[RowT], row: RowT) -> None:
        """Add a new row, or replace a changed one; the batch will save it."""
        key = (table, table.key(row))
        self._undo.append((key, self._rows.get(key), key in self.changed_rows))
        self._rows[key] = self.changed_rows[key] = row

    @property
    def rows_put(self) -> int:
        """The number of rows that the current command has put, and that were not taken back."""
        return len(self._undo)

    def changed_in(self, table: Table[RowT]) -> list[RowT]:
        """Return the rows of a table that the batch has put so far."""
        return [row for (changed_in, _), row in self.changed_rows.items() if changed_in is table]  # type: ignore[misc]  # as in `get`

    def record(self, entry: Entry) -> int:
        """Record a change; return the object's new version."""
        assert self._origin is not None, "only a command enters changes"
        self.seq += 1
        self.changes.append(
            Change(
                workspace_id=self.workspace_id,
                seq=self.seq,
                at=self.at,
                kind=entry.kind,
                object_id=entry.object_id,
                action=entry.action,
                request_id=self._origin.request_id,
                credential_id=self._origin.credential_id,
                previous=entry.previous,
                object=entry.object,
                previous_version=entry.previous_version,
                merged_into=entry.merged_into,
            )
        )
        return self.seq

    def carry_out(self, command: Command, origin: Origin) -> Result:
        """Apply a command completely or not at all: a refusal leaves the unit of work as it was."""
        self._origin = origin
        self._undo.clear()
        return self.attempt(command)

    async def carry_out_in_turns(self, command: LongCommand, origin: Origin) -> Result:
        """Apply a command as `carry_out` does, but yield to the event loop after each step.

        No other task changes the unit of work meanwhile, because it belongs to one batch.
        """
        self._origin = origin
        self._undo.clear()
        seq, entries = self.seq, len(self.changes)
        steps = command.steps(self)
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                return ended.value
            except BaseException:
                self._take_back_since(seq, entries, 0)
                raise
            await asyncio.sleep(0)

    def attempt(self, command: Command) -> Result:
        """Apply a part of the current command completely or not at all; earlier changes stay."""
        seq, entries, puts = self.seq, len(self.changes), len(self._undo)
        try:
            return command.apply(self)
        except BaseException:
            self._take_back_since(seq, entries, puts)
            raise

    def _take_back_since(self, seq: int, entries: int, puts: int) -> None:
        self.seq = seq
        del self.changes[entries:]
        for key, before, was_put in reversed(self._undo[puts:]):
            self._take_back(key, before, was_put=was_put)
        del self._undo[puts:]

    def _take_back(self, key: tuple[Table[Any], Hashable], before: Row | None, *, was_put: bool) -> None:
        if before is None:
            del self._rows[key]
        else:
            self._rows[key] = before
        if was_put and before is not None:
            self.changed_rows[key] = before
        else:
            del self.changed_rows[key]
