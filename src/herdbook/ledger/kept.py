"""The heads of workspaces and the rows that this process has written last, so that a batch may be applied without a load.

Each may be out of date, because other processes write, too. The save finds out: it compares the heads, as always, and each kept
row with the table, by the transaction that wrote it last. That tells of changes which moved no head, too, such as those of a
migration. A save that finds a difference writes nothing, and the batch begins again with a load.
"""

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from herdbook.ledger.batch import SavedRows, decoded_row
from herdbook.ledger.unit_of_work import LARGE_BYTES, Need, Table, UnitOfWork

# The most commands of a batch that is applied to what was kept. Many commands share a load, which costs each of them no more
# than to keep its row.
MAX_COMMANDS: Final = 2
# Rows have personal data. Another process may erase a person, so none is kept for long.
ROW_SECONDS: Final = 60.0
MAX_BYTES: Final = 16 * 1_048_576
# The bytes of a row beside its text.
_ROW_BYTES: Final = 400
_MAX_HEADS: Final = 10_000
# The time of the database is worked out from an earlier answer of it for so long.
_CLOCK_SECONDS: Final = 1.0
# After a machine was suspended, its clocks differ by the time that it was.
_CLOCKS_DIFFER_SECONDS: Final = 0.01
# A workspace in which another process writes is loaded each time, because a save that finds a difference is in vain.
SHARED_SECONDS: Final = 60.0


class _Head(NamedTuple):
    seq: int
    at: datetime


class _Row(NamedTuple):
    text: bytes
    transaction: int
    until: float


class _Clock(NamedTuple):
    """The time of the database, and those of two clocks of this process when that came."""

    at: datetime
    monotonic: float
    wall: float


class Kept:
    """The heads and the rows that a process keeps from one batch to the next."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._heads: dict[UUID, _Head] = {}
        # The row that was written first comes first.
        self._rows: dict[tuple[UUID, tuple[Table[Any], Hashable]], _Row] = {}
        self._bytes = 0
        self._clock: _Clock | None = None
        # The workspace that was noted first comes first. There may be thousands, so that no write looks at all of them.
        self._shared_until: dict[UUID, float] = {}

    def units(self, needs: Mapping[UUID, Collection[Need]]) -> dict[UUID, UnitOfWork] | None:
        """Return units of work with the rows needed, or None unless the time, all heads and all rows are known."""
        now = self._now()
        if now is None:
            return None
        if any((workspace_id, need) not in self._rows for workspace_id, wanted in needs.items() for need in wanted):
            return None
        units: dict[UUID, UnitOfWork] = {}
        for workspace_id, wanted in needs.items():
            head = self._heads.get(workspace_id)
            if head is None:
                return None
            work = UnitOfWork(workspace_id, head.seq, head.at, max(now, head.at + timedelta(microseconds=1)))
            for need in wanted:
                row = self._rows[workspace_id, need]
                work.add_kept(need, decoded_row(need.table, row.text), row.transaction)
            units[workspace_id] = work
        return units

    def note_time(self, now: datetime) -> None:
        """Note the time of the database, which has just come."""
        self._clock = _Clock(now, self._monotonic(), self._wall())

    def note_head(self, workspace_id: UUID, seq: int, at: datetime) -> None:
        """Note where the head of a workspace is, unless another process has written there lately."""
        shared_until = self._shared_until.get(workspace_id)
        if shared_until is not None and shared_until > self._monotonic():
            return
        # Take it out first, so that the head that was noted first comes first.
        self._heads.pop(workspace_id, None)
        self._heads[workspace_id] = _Head(seq, at)
        if len(self._heads) > _MAX_HEADS:
            del self._heads[next(iter(self._heads))]

    def note_rows(self, saved: SavedRows) -> None:
        """Note rows that a committed transaction has written."""
        until = self._monotonic() + ROW_SECONDS
        for workspace_id, need, text in saved.rows:
            if len(text) <= LARGE_BYTES:
                self._rows[workspace_id, need] = _Row(text, saved.transaction, until)
                self._bytes += len(text) + _ROW_BYTES
        while self._bytes > MAX_BYTES:
            self._drop(next(iter(self._rows)))

    def forget_rows(self, work: UnitOfWork) -> None:
        """Forget the rows that a unit of work has changed."""
        if self._rows:
            for place in work.changed_rows:
                self._drop((work.workspace_id, place))

    def forget_heads(self, workspace_ids: Iterable[UUID]) -> None:
        """Forget heads, because nobody knows whether they have moved."""
        for workspace_id in workspace_ids:
            self._heads.pop(workspace_id, None)

    def note_shared(self, workspace_ids: Collection[UUID]) -> None:
        """Note that other processes write in workspaces."""
        self.forget_heads(workspace_ids)
        until = self._monotonic() + SHARED_SECONDS
        for workspace_id in workspace_ids:
            self._shared_until.pop(workspace_id, None)
            self._shared_until[workspace_id] = until

    def forget_old(self) -> None:
        """Forget the rows that were kept long enough, and which workspaces were shared long ago."""
        now = self._monotonic()
        while self._rows and next(iter(self._rows.values())).until < now:
            self._drop(next(iter(self._rows)))
        while self._shared_until and next(iter(self._shared_until.values())) < now:
            del self._shared_until[next(iter(self._shared_until))]

    def _drop(self, place: tuple[UUID, tuple[Table[Any], Hashable]]) -> None:
        row = self._rows.pop(place, None)
        if row is not None:
            self._bytes -= len(row.text) + _ROW_BYTES

    def _now(self) -> datetime | None:
        """Return the time of the database, or None if it is too long ago that this was known."""
        if self._clock is None:
            return None
        passed = self._monotonic() - self._clock.monotonic
        if passed > _CLOCK_SECONDS or abs(self._wall() - self._clock.wall - passed) > _CLOCKS_DIFFER_SECONDS:
            return None
        return self._clock.at + timedelta(seconds=passed)
