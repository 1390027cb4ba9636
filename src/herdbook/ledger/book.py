"""The book: the rows that a batch of commands reads and changes, in memory, while their workspace is the batch's alone.

A domain describes each of its tables to the ledger as a `Shelf`. A command names the rows it needs, and is then applied to
the book in plain synchronous Python. What it puts there is saved by the ledger, in one statement for the whole batch.
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
from herdbook.wire import shown_time


class Row(Protocol):
    """A row of tenant data: the workspace comes first."""

    @property
    def workspace_id(self) -> UUID: ...


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True, eq=False)
class Shelf(Generic[RowT]):
    """One table, as the ledger loads and saves it.

    `key` gives the part of a row's primary key behind the workspace. `load` is a query for the members of `row`, under their
    names, of the rows that the JSON array `$rows` of `{"workspace_id", "key"}` asks for; None where the ledger only writes.
    `save` holds common table expressions that write the rows of the JSON array `$rows`; each must join `held`, the ids of the
    workspaces that the batch still has to itself, so that nothing is written where the batch came too late. None where the
    ledger only reads.
    """

    row: type[RowT]
    key: Callable[[RowT], Hashable]
    load: LiteralString | None
    save: LiteralString | None
    number: int = field(default_factory=itertools.count().__next__, init=False)
    """Its place among all shelves."""


class Need(NamedTuple):
    """A row that a command must see: its shelf, and the part of its key behind the workspace."""

    shelf: Shelf[Any]
    key: Hashable


class Result(NamedTuple):
    """What a command comes to: the version of the object it was about, and what its caller reads."""

    version: int
    answer: msgspec.Struct


class Command(Protocol):
    """One write that a caller asks for, as data."""

    def needs(self) -> Iterable[Need]:
        """Name the rows that `apply` looks at."""
        ...

    def apply(self, book: "Book") -> Result:
        """Do it in the book, or raise the refusal; what a refused command put there is taken back."""
        ...


class LongCommand(msgspec.Struct, frozen=True):
    """A command that takes its time, so that others have a turn after each of its steps."""

    def needs(self) -> Iterable[Need]:
        """Name the rows that the steps look at."""
        raise NotImplementedError

    def steps(self, book: "Book") -> Generator[None, None, Result]:
        """Do it in the book, step by step, and return what it comes to, or raise the refusal."""
        raise NotImplementedError

    def apply(self, book: "Book") -> Result:
        """Do it at once."""
        steps = self.steps(book)
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                return ended.value


class Origin(msgspec.Struct, frozen=True):
    """Where a command comes from: the request, and the credential that asked."""

    request_id: UUID
    credential_id: UUID


class Book:
    """One workspace's rows during one batch."""

    def __init__(self, workspace_id: UUID, loaded_seq: int, loaded_at: datetime, at: datetime) -> None:
        self.workspace_id = workspace_id
        self.loaded_seq = self.seq = loaded_seq
        self.loaded_at = loaded_at
        self.at = at
        self.time = shown_time(at)
        self.changes: list[Change] = []
        self.put_rows: dict[tuple[Shelf[Any], Hashable], Row] = {}
        self._rows: dict[tuple[Shelf[Any], Hashable], Row] = {}
        self._origin: Origin | None = None
        self._undo: list[tuple[tuple[Shelf[Any], Hashable], Row | None, bool]] = []

    def lay(self, shelf: Shelf[RowT], row: RowT) -> None:
        """Lay out a row as it was loaded."""
        self._rows[shelf, shelf.key(row)] = row

    def find(self, shelf: Shelf[RowT], key: Hashable) -> RowT | None:
        """Return the row as the batch has it by now, or None where there is none."""
        return self._rows.get((shelf, key))  # type: ignore[return-value]  # `lay` and `put` keep row and shelf together

    def put(self, shelf: Shelf[RowT], row: RowT) -> None:
        """Put a row in its place, new or changed."""
        place = (shelf, shelf.key(row))
        self._undo.append((place, self._rows.get(place), place in self.put_rows))
        self._rows[place] = self.put_rows[place] = row

    def put_on(self, shelf: Shelf[RowT]) -> list[RowT]:
        """Return the rows that the batch has put on a shelf by now."""
        return [row for (put_on, _), row in self.put_rows.items() if put_on is shelf]  # type: ignore[misc]  # as in `find`

    def enter(self, entry: Entry) -> int:
        """Enter a change; return the version that it gives the object."""
        assert self._origin is not None, "changes are entered by commands"
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
        """Apply a command whole, or not at all: a refusal leaves the book as it was."""
        self._origin = origin
        self._undo.clear()
        return self.attempt(command)

    async def carry_out_in_turns(self, command: LongCommand, origin: Origin) -> Result:
        """Apply a command as `carry_out` does, and let others have a turn after each step: the book is its batch's alone."""
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
        """Apply a command that is a part of the one that is carried out, whole or not at all; what was done before it stays."""
        seq, entries, puts = self.seq, len(self.changes), len(self._undo)
        try:
            return command.apply(self)
        except BaseException:
            self._take_back_since(seq, entries, puts)
            raise

    def _take_back_since(self, seq: int, entries: int, puts: int) -> None:
        self.seq = seq
        del self.changes[entries:]
        for place, before, was_put in reversed(self._undo[puts:]):
            self._take_back(place, before, was_put=was_put)
        del self._undo[puts:]

    def _take_back(self, place: tuple[Shelf[Any], Hashable], before: Row | None, *, was_put: bool) -> None:
        if before is None:
            del self._rows[place]
        else:
            self._rows[place] = before
        if was_put and before is not None:
            self.put_rows[place] = before
        else:
            del self.put_rows[place]
