"""The queue of commands, and the writers that carry them out in batches.

Every write in a workspace goes through here. One transaction takes all commands that wait, of several workspaces at once. A
batch first tries without a lock: it loads, applies, and saves on the condition that no sequence has moved since. If another
process was faster, batches lock the workspaces' rows before loading them, for a second, which is fair to both processes.
`docs/architecture.md` explains why, and what happens when something breaks.

No caller waits longer than the patience, whatever the database does: late callers are answered while the batch still waits.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from types import CoroutineType
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook import metrics
from herdbook.db.pool import CONNECTION_ERRORS, Connection, Pool
from herdbook.db.shards import MOVING_SECONDS, Shard, ShardMoved, Shards, require_here
from herdbook.errors import (
    DATABASE_IS_FULL,
    DISK_IS_FULL,
    AnswerErased,
    Busy,
    KeyReused,
    NotFound,
    OutcomeUnknown,
    Refusal,
    Unavailable,
)
from herdbook.ledger.batch import (
    SavedRows,
    load,
    load_ahead,
    load_more,
    load_more_ahead,
    lock_all,
    lock_at_once,
    save,
    was_committed,
)
from herdbook.ledger.idempotency import IDEMPOTENCY_RECORDS, IdempotencyKey, IdempotencyRecord
from herdbook.ledger.kept import MAX_COMMANDS, Kept
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.ledger.unit_of_work import Command, LongCommand, Need, NotLoaded, Origin, Result, Savepoint, UnitOfWork

_log = logging.getLogger("herdbook.ledger")

_WRITERS: Final = 2
# While a batch is younger than this, the other writer begins none: what comes meanwhile makes one large batch, which costs each
# command less than two small ones. A batch that takes longer, as when a row is locked, keeps nobody waiting.
_YOUNG_SECONDS: Final = 0.01
_BATCH_COMMANDS: Final = 128
_BATCH_WORKSPACES: Final = 64
# Limits the bodies of a batch's requests, and separately the bytes of the large rows that it reads and writes, unless a single
# command has more. A row of a table that is marked as large counts before it is loaded.
BATCH_BYTES: Final = 1_048_576
LARGE_ROW_BYTES: Final = BATCH_BYTES // 2
# A batch yields to other tasks after commands that need or write this many rows.
TURN_ROWS: Final = 100
# A batch leaves its further commands for the next attempt once those before them have missed this many rows.
MAX_MISSED_ROWS: Final = 500
_LOCKED_FOR_SECONDS: Final = 1.0
# Limits how often more rows are loaded for one command after all earlier ones of its workspace are applied. Each load gets all
# rows that the command has missed so far, so honest commands need a few loads: one for each step of a path from row to row.
MAX_LOADS: Final = 16
_PATIENCE_SECONDS: Final = 10.0
_LOOK_EVERY_SECONDS: Final = 0.25
# The pause before the first retry; it doubles with each further one.
_PAUSE_SECONDS: Final = 0.05
_MAX_PAUSE_SECONDS: Final = 1.0
# The pause before a workspace with a locked row is tried again; its writer serves other workspaces meanwhile.
_ASIDE_SECONDS: Final = 0.25
_NOT_NOW: Final = (*CONNECTION_ERRORS, asyncpg.InsufficientResourcesError)
_BEGIN_AGAIN: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


class Written(NamedTuple):
    """The result of a command: the object's version, the answer in JSON, and whether an earlier request got this answer."""

    version: int
    body: bytes
    replayed: bool = False


class _Waiting:
    """A command in the queue."""

    __slots__ = (
        "bytes_loaded",
        "command",
        "done",
        "is_sent",
        "key",
        "large_needs",
        "needs",
        "origin",
        "since",
        "size",
        "workspace_id",
    )

    def __init__(self, workspace_id: UUID, command: Command, origin: Origin, key: IdempotencyKey | None, size: int) -> None:
        self.workspace_id = workspace_id
        self.command = command
        self.origin = origin
        self.key = key
        # The bytes of its request's body.
        self.size = size
        # The bytes of large rows that an earlier batch has loaded for it and had no room for.
        self.bytes_loaded = 0
        self.needs = [*command.needs()]
        self.large_needs = {(workspace_id, need) for need in self.needs if need.table.is_large}
        if key is not None:
            self.needs.append(Need(IDEMPOTENCY_RECORDS, f"{origin.credential_id}:{key.key}"))
        self.since = time.perf_counter()
        # Whether a save with its changes is running, or broke and may still reach the database.
        self.is_sent = False
        self.done: asyncio.Future[Written] = asyncio.get_running_loop().create_future()

    def answer(self, outcome: Written | Exception) -> None:
        # Done already: the caller went away and cancelled it, or waited too long and was answered.
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class _Room:
    """The room for commands in a batch: it is limited in number and in bytes."""

    def __init__(self) -> None:
        self._commands = 0
        self._bytes = 0
        self._large: set[tuple[UUID, Need]] = set()

    def fits(self, one: _Waiting) -> bool:
        """Whether there is room for another command."""
        if not self._commands:
            return True
        return self._commands < _BATCH_COMMANDS and self._bytes + self._bytes_of(one) <= BATCH_BYTES

    def take(self, one: _Waiting) -> None:
        """Take a command's room."""
        self._commands += 1
        self._bytes += self._bytes_of(one)
        self._large |= one.large_needs

    def _bytes_of(self, one: _Waiting) -> int:
        size = one.size + one.bytes_loaded
        # Commands that need the same row share it.
        return size + LARGE_ROW_BYTES * len(one.large_needs - self._large) if one.large_needs else size


class TooManyLoads(Exception):
    """A command has a bug: it asks for rows that were not loaded again and again."""

    def __init__(self, command: Command) -> None:
        super().__init__(f"`{type(command).__name__}` still asks for rows after {MAX_LOADS} further loads.")


class _Missed(NamedTuple):
    """The rows that a workspace's commands miss, and the state of its unit of work before the first such command."""

    savepoint: Savepoint
    needs: set[Need]


class _Ahead(NamedTuple):
    """A command that was applied while the batch before it was saved, its unit of work, and its outcome if that holds."""

    one: _Waiting
    work: UnitOfWork
    outcome: Written


class _Trial:
    """One attempt at a batch: its units of work, and the outcome of each command if the batch is saved."""

    def __init__(self) -> None:
        self.begin_again()

    def begin_again(self) -> None:
        """Begin, without any outcome."""
        self.units: dict[UUID, UnitOfWork] = {}
        self.outcomes: list[tuple[_Waiting, Written | Exception]] = []
        # The workspaces whose changes are in the save, once it runs.
        self.saved_ids: frozenset[UUID] = frozenset()
        # The rows that the save has written, once it ran.
        self.saved_rows: SavedRows | None = None
        # Whether the rows were kept since earlier batches, and not loaded.
        self.is_of_kept = False
        self.later: list[_Waiting] = []
        self._loads: dict[_Waiting, int] = {}
        self._missed_rows: dict[_Waiting, int] = {}
        self._all_missed = 0
        # The rows that commands have missed so far, and the bytes of those that were loaded and put.
        self._missed: dict[_Waiting, list[Need]] = {}
        self._counted: set[tuple[UUID, Need]] = set()
        self._bytes_loaded = 0
        self._bytes_put = 0

    def note_rows(self, saved: SavedRows) -> None:
        """Note the rows that the save has written."""
        self.saved_rows = saved

    def take_over(self, waiting: Sequence[_Waiting], ahead: Iterable[_Ahead]) -> Sequence[_Waiting]:
        """Take over what was applied ahead, if the rows are as it has seen them. Return the commands that must be applied."""
        done: set[_Waiting] = set()
        for each in ahead:
            loaded = self.units.get(each.work.workspace_id)
            if loaded is not None and not each.one.done.done() and each.work.catch_up(loaded):
                self.units[each.work.workspace_id] = each.work
                self.outcomes.append((each.one, each.outcome))
                done.add(each.one)
        return [one for one in waiting if one not in done] if done else waiting

    @property
    def is_large(self) -> bool:
        """Whether large rows left some commands for later."""
        return bool(self.later) and any(work.has_large for work in self.units.values())

    def with_room(self, waiting: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Return the commands whose large rows the batch has room for, and leave the others for `later`.

        Once a command has no room, the later ones of its workspace have none either, because they must follow it.
        """
        if not any(work.has_large for work in self.units.values()):
            return waiting
        full: set[UUID] = set()
        fitting: list[_Waiting] = []
        for one in waiting:
            needs = {(one.workspace_id, need) for need in (*one.needs, *self._missed.get(one, ()))}
            work = self.units.get(one.workspace_id)
            sizes = {} if work is None else {each: size for each in needs if (size := work.size_of(each[1]))}
            size = sum(size for each, size in sizes.items() if each not in self._counted)
            is_first = not fitting and not self.outcomes
            is_left_out = work is not None and any(work.is_left_out(need) for _, need in needs)
            if one.workspace_id in full or (
                not is_first and (is_left_out or (size and self._bytes_loaded + size > BATCH_BYTES))
            ):
                full.add(one.workspace_id)
                one.bytes_loaded = max(sum(sizes.values()), BATCH_BYTES // 4 if is_left_out else 0)
                self.later.append(one)
            else:
                self._bytes_loaded += size
                self._counted.update(sizes)
                fitting.append(one)
        return fitting

    async def apply(self, waiting: Sequence[_Waiting]) -> tuple[list[_Waiting], dict[UUID, set[Need]]]:
        """Apply commands. Return those to be applied again, and the rows that must be loaded before, by workspace.

        After a command that misses rows, the later ones of its workspace are applied only to find what they miss as well. Then
        all of these are taken back, because each must see what the ones before it do. Once very many rows were missed, or large
        ones were put, the commands after these are left for `later`, so that the save does not become very large.
        """
        again: list[_Waiting] = []
        missed: dict[UUID, _Missed] = {}
        rows = 0
        is_full = False
        for one in waiting:
            # Skip callers that were answered meanwhile: the answer says that nothing was written.
            if one.done.done():
                continue
            is_full = is_full or (self._all_missed >= MAX_MISSED_ROWS and one not in self._missed_rows)
            if is_full or self._bytes_put > BATCH_BYTES:
                self.later.append(one)
                continue
            work = self.units.get(one.workspace_id)
            outcome = _outcome(work, one)
            if isinstance(outcome, CoroutineType):
                outcome = await outcome
            if isinstance(outcome, NotLoaded):
                outcome = self._note_missed(one, outcome, missed)
            if one.workspace_id in missed:
                again.append(one)
            else:
                self.outcomes.append((one, outcome))
                self._bytes_put += 0 if work is None else work.bytes_put
            rows += 1 + len(one.needs) + self._missed_rows.get(one, 0) + (0 if work is None else work.rows_put)
            if rows > TURN_ROWS:
                rows = 0
                await asyncio.sleep(0)
        for workspace_id, (savepoint, _) in missed.items():
            self.units[workspace_id].roll_back(savepoint)
        return again, {workspace_id: needs for workspace_id, (_, needs) in missed.items()}

    def _note_missed(self, one: _Waiting, outcome: NotLoaded, missed: dict[UUID, _Missed]) -> Exception:
        """Note the rows that a command misses. Return its outcome, which is final if it has missed rows too often."""
        # Before the earlier commands are applied, it may miss other rows each time.
        if one.workspace_id not in missed:
            loads = self._loads[one] = self._loads.get(one, 0) + 1
            if loads > MAX_LOADS:
                return TooManyLoads(one.command)
        self._missed_rows[one] = self._missed_rows.get(one, 0) + len(outcome.needs)
        self._all_missed += len(outcome.needs)
        self._missed.setdefault(one, []).extend(outcome.needs)
        savepoint = self.units[one.workspace_id].savepoint()
        missed.setdefault(one.workspace_id, _Missed(savepoint, set())).needs.update(outcome.needs)
        return outcome


class _Batch:
    """The commands that a writer has taken, and the connection that it currently uses for them."""

    def __init__(self, waiting: Sequence[_Waiting]) -> None:
        self.waiting = waiting
        self.connection: Connection | None = None


class _Lane:
    """The workspaces whose commands wait for the same writers."""

    def __init__(self) -> None:
        self.ready: deque[UUID] = deque()
        self.work = asyncio.Event()
        # Its writers end once nothing is ready.
        self.is_over = False
        # Until when the batch is young that began last, and whether it has ended.
        self.young_until = 0.0
        self.ended = asyncio.Event()


class Trouble(NamedTuple):
    """A failure of writes: its first and its last time, by `time.monotonic()`, and the error."""

    since: float
    last: float
    error: Exception


class Ledger:
    """The only way to write in the workspaces of one database."""

    def __init__(
        self,
        pool: Pool,
        queue_limit: int,
        patience_seconds: float = _PATIENCE_SECONDS,
        notifier: ChangeNotifier | None = None,
        kept: Kept | None = None,
    ) -> None:
        self._pool = pool
        self._queue_limit = queue_limit
        self._patience_seconds = patience_seconds
        self._notifier = notifier
        self._queues: dict[UUID, deque[_Waiting]] = {}
        # A distributed database has a lane for each of its shards.
        self._shards = pool.shards
        self._local = _Lane()
        self._lanes: dict[int | None, _Lane] = {None: self._local}
        self._placing: set[asyncio.Task[None]] = set()
        self._held: set[UUID] = set()
        self._locked_until: dict[UUID, float] = {}
        self._blocked: set[UUID] = set()
        self._aside: set[UUID] = set()
        self._batches: set[_Batch] = set()
        self._ahead: dict[UUID, asyncio.Task[_Ahead | None]] = {}
        self._kept = kept or Kept()
        self._closing = False
        self._writers: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self.trouble: Trouble | None = None

    def open(self) -> None:
        """Start the writers."""
        self._start_writers(self._local, _WRITERS)
        self._watch = asyncio.create_task(self._look_again(), name="ledger watch")

    def _start_writers(self, lane: "_Lane", many: int) -> None:
        for _ in range(many):
            writer = asyncio.create_task(self._write_batches(lane), name=f"ledger writer {len(self._writers)}")
            self._writers.add(writer)
            writer.add_done_callback(self._writers.discard)

    def _make_ready(self, workspace_id: UUID) -> None:
        """Let the next free writer take the commands of a workspace."""
        if self._shards is None:
            self._add_to(self._local, workspace_id)
        elif (shard := self._shards.known(workspace_id)) is not None:
            self._add_to(self._lane_of(shard), workspace_id)
        else:
            task = asyncio.create_task(self._place(self._shards, workspace_id), name="ledger place")
            self._placing.add(task)
            task.add_done_callback(self._placing.discard)

    async def _place(self, shards: Shards, workspace_id: UUID) -> None:
        shard = None
        # The writer meets the same failure, and tells those who wait.
        with contextlib.suppress(Exception):
            shard = await shards.of(workspace_id)
        self._add_to(self._lane_of(shard), workspace_id)

    def _lane_of(self, shard: Shard | None) -> "_Lane":
        # It stays the same when the shard moves to another node.
        shard_id = None if shard is None else shard.id
        lane = self._lanes.get(shard_id)
        if lane is None:
            self._end_lanes()
            lane = self._lanes[shard_id] = _Lane()
            self._start_writers(lane, _WRITERS)
        return lane

    def _end_lanes(self) -> None:
        """End the lanes of shards that are no more: each that is parted leaves one."""
        for shard_id in [*self._lanes]:
            if shard_id is not None and self._shards is not None and not self._shards.has(shard_id):
                lane = self._lanes.pop(shard_id)
                lane.is_over = True
                lane.work.set()

    def _add_to(self, lane: "_Lane", workspace_id: UUID) -> None:
        lane.ready.append(workspace_id)
        lane.work.set()

    async def close(self) -> None:
        """Refuse new commands, carry out those that callers wait for, and stop. This takes no longer than the patience."""
        self._closing = True
        for lane in self._lanes.values():
            lane.work.set()
        while pending := self._writers.copy():
            await asyncio.wait(pending, timeout=_LOOK_EVERY_SECONDS)
            # Callers may have gone meanwhile. Their commands are not worth waiting for a database that is away.
            if not any(_is_awaited(waiting) for waiting in (*self._queues.values(), *(each.waiting for each in self._batches))):
                self._cut()
                for writer in pending:
                    writer.cancel()
        ahead = [*self._ahead.values()]
        for workspace_id in [*self._ahead]:
            self._drop_ahead(workspace_id)
        # The pool is closed next, and each of them has a connection of it.
        await asyncio.gather(*ahead, return_exceptions=True)
        if self._watch is not None:
            self._watch.cancel()

    def waiting_in(self, workspace_id: UUID) -> int:
        """Return how many writes of a workspace wait in the queue of this worker."""
        return len(self._queues.get(workspace_id, ()))

    async def write(
        self, workspace_id: UUID, command: Command, origin: Origin, key: IdempotencyKey | None = None, size: int = 0
    ) -> Written:
        """Carry out a command, and return once it is committed. `size` is the length of its request's body, in bytes.

        Refusals: the command's own; Busy past the queue's limit; KeyReused; AnswerErased; NotFound for an unknown workspace;
        Unavailable and OutcomeUnknown when the database goes away.
        """
        # The future is no variable here: the traceback of a refusal would refer to it, and it refers to the refusal.
        return await self._queued(workspace_id, command, origin, key, size)

    def _queued(
        self, workspace_id: UUID, command: Command, origin: Origin, key: IdempotencyKey | None, size: int
    ) -> asyncio.Future[Written]:
        if self._closing:
            raise Unavailable("The server is stopping. Nothing was written. Try again shortly.")
        queue = self._queues.get(workspace_id)
        if queue is None:
            queue = self._queues[workspace_id] = deque()
            if workspace_id not in self._held:
                self._make_ready(workspace_id)
        if len(queue) >= self._queue_limit:
            raise Busy(len(queue))
        waiting = _Waiting(workspace_id, command, origin, key, size)
        queue.append(waiting)
        return waiting.done

    async def _write_batches(self, lane: "_Lane") -> None:
        while True:
            while not lane.ready:
                if lane.is_over or (self._closing and not self._queues):
                    return
                lane.work.clear()
                await lane.work.wait()
            if self._can_grow(lane):
                await _until_old(lane)
                continue
            waiting, workspace_ids = self._take(lane.ready)
            batch = _Batch(waiting)
            self._batches.add(batch)
            began = time.perf_counter()
            lane.young_until = young_until = 0.0 if any(map(_is_long, waiting)) else began + _YOUNG_SECONDS
            try:
                await self._carry_out(batch, waiting, [])
            except Exception as error:
                _log.exception("a batch failed with an unexpected error")
                for one in waiting:
                    one.answer(error)
            finally:
                self._batches.discard(batch)
                if lane.young_until == young_until:
                    lane.young_until = 0.0
                lane.ended.set()
                self._release(workspace_ids)
            if waiting:
                metrics.BATCH_COMMANDS.observe(len(waiting))
                metrics.BATCH_WORKSPACES.observe(len(workspace_ids))
                metrics.WAIT_SECONDS.observe(began - waiting[0].since)
                metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)

    def _can_grow(self, lane: "_Lane") -> bool:
        """Whether what is ready may wait for more: it begins with no long command, and another batch is young and has none."""
        if self._closing or lane.young_until < time.perf_counter():
            return False
        queue = self._queues[lane.ready[0]]
        return not queue or not _is_long(queue[0])

    def _take(self, ready: deque[UUID]) -> tuple[list[_Waiting], set[UUID]]:
        """Take the commands of the next batch, and hold their workspaces: each is in one batch at a time.

        A blocked workspace has a batch of its own, so that no other one waits with it. Commands without a waiting caller are
        dropped.
        """
        taken: list[_Waiting] = []
        room = _Room()
        workspace_ids: set[UUID] = set()
        for _ in range(min(len(ready), _BATCH_WORKSPACES)):
            workspace_id = ready[0]
            queue = self._queues[workspace_id]
            if workspace_ids and (workspace_id in self._blocked or (queue and not room.fits(queue[0]))):
                break
            ready.popleft()
            self._held.add(workspace_id)
            workspace_ids.add(workspace_id)
            while queue and room.fits(queue[0]):
                one = queue.popleft()
                if not one.done.done():
                    room.take(one)
                    taken.append(one)
            if not queue:
                del self._queues[workspace_id]
            if queue or workspace_id in self._blocked:
                break
        return taken, workspace_ids

    def _release(self, workspace_ids: Iterable[UUID]) -> None:
        for workspace_id in workspace_ids:
            self._held.discard(workspace_id)
            if workspace_id not in self._queues:
                self._drop_ahead(workspace_id)
            if workspace_id in self._aside:
                asyncio.get_running_loop().call_later(_ASIDE_SECONDS, self._bring_back, workspace_id)
            elif workspace_id in self._queues:
                self._make_ready(workspace_id)
        if self._closing:
            for lane in self._lanes.values():
                lane.work.set()

    def _put_aside(self, waiting: Sequence[_Waiting]) -> None:
        """Put commands back for a while, because rows of their workspaces are locked."""
        self._put_back(waiting)
        self._aside.update(one.workspace_id for one in waiting)

    def _put_back(self, waiting: Sequence[_Waiting]) -> None:
        """Put commands back at the front of their queues."""
        for one in reversed(waiting):
            self._queues.setdefault(one.workspace_id, deque()).appendleft(one)

    def _bring_back(self, workspace_id: UUID) -> None:
        self._aside.discard(workspace_id)
        self._make_ready(workspace_id)

    async def _look_again(self) -> None:
        """Answer callers that have waited too long, and cut batches without a waiting caller, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            try:
                self._look()
            except Exception:
                # Without this task, callers would wait for ever.
                _log.exception("a look at the waiting callers failed with an unexpected error")

    def _look(self) -> None:
        before = time.perf_counter() - max(self._patience_seconds, _LOOK_EVERY_SECONDS)
        late: list[_Waiting] = []
        for queue in self._queues.values():
            while queue and queue[0].since <= before:
                late.append(queue.popleft())
        metrics.QUEUE_LENGTH.set(sum(map(len, self._queues.values())))
        late += [one for batch in self._batches for one in batch.waiting if one.since <= before]
        self._give_up([one for one in late if not one.done.done()])
        self._cut(before)
        self._kept.forget_old()

    def _cut(self, before: float = math.inf) -> None:
        """Cut the connections of batches that began to wait before a time and have no waiting caller any more."""
        for batch in self._batches:
            if batch.connection is not None and batch.waiting[0].since <= before and not _is_awaited(batch.waiting):
                connection, batch.connection = batch.connection, None
                # The pool has taken the connection back if it is closed already.
                with contextlib.suppress(asyncpg.InterfaceError):
                    connection.terminate()

    def _give_up(self, waiting: Sequence[_Waiting]) -> None:
        """Refuse commands that cannot be carried out now. Once answered, a command that was not sent never will be."""
        if not waiting:
            return
        error = None if self.trouble is None else repr(self.trouble.error)
        in_doubt = sum(one.is_sent for one in waiting)
        _log.error("writes are given up", extra={"writes": len(waiting), "in_doubt": in_doubt, "error": error})
        for one in waiting:
            is_blocked = one.workspace_id in self._blocked
            reason = "Rows of this workspace are locked in the database" if is_blocked else _reason(self.trouble)
            one.answer(OutcomeUnknown() if one.is_sent else Unavailable(f"{reason}. Nothing was written. Try again shortly."))

    def _note_failure(self, waiting: Iterable[_Waiting], error: Exception) -> None:
        if isinstance(error, _BEGIN_AGAIN):
            _log.warning("the database asked to begin the batch again", extra={"error": type(error).__name__})
            return
        if self._shards is not None:
            # The node may be gone for good, and the workspaces elsewhere by now.
            self._shards.forget_all(one.workspace_id for one in waiting)
        now = time.monotonic()
        if self.trouble is None:
            _log.error("writes fail: the database is away or does not accept them", extra={"error": repr(error)})
        self.trouble = Trouble(now if self.trouble is None else self.trouble.since, now, error)
        metrics.FAILED_BATCHES.labels(type(error).__name__).inc()
        metrics.WRITES_FAIL.set(1)

    def _note_success(self) -> None:
        if self.trouble is not None:
            _log.warning("writes succeed again", extra={"failed_for_seconds": round(time.monotonic() - self.trouble.since, 1)})
            self.trouble = None
            metrics.WRITES_FAIL.set(0)

    async def _carry_out(self, batch: _Batch, waiting: Sequence[_Waiting], doubts: list[_Trial]) -> None:
        """Try until every command of the batch is answered.

        `doubts` are earlier trials of these commands that may have been committed, or may still be.
        """
        lock = bool(doubts) or self._is_contended(waiting)
        pause = _PAUSE_SECONDS
        has_failed = False
        while waiting := [one for one in waiting if not one.done.done()]:
            trial = _Trial()
            try:
                waiting = await self._attempt(batch, waiting, trial, doubts, lock=lock)
                if trial.is_large and not doubts:
                    # Others have their turn, and the next batch takes no more than it has room for.
                    self._put_back(waiting)
                    return
                lock = bool(doubts) or self._is_contended(waiting)
            except ShardMoved:
                await self._follow(batch, waiting, doubts)
                return
            except Exception as error:
                self._forget({one.workspace_id for one in waiting})
                is_away = isinstance(error, CONNECTION_ERRORS)
                is_unwritten = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
                if trial.saved_ids and not is_unwritten and (is_away or not isinstance(error, asyncpg.PostgresError)):
                    doubts.append(trial)
                _note_doubt(waiting, doubts)
                if isinstance(error, asyncpg.LockNotAvailableError):
                    await self._part(batch, waiting, doubts)
                    return
                if not isinstance(error, (*_NOT_NOW, *_BEGIN_AGAIN)):
                    await self._halve(batch, waiting, error, doubts)
                    return
                self._note_failure(waiting, error)
                if isinstance(error, _NOT_NOW) and not (is_away or doubts):
                    self._refuse(waiting, error)
                    return
                if has_failed:
                    self._give_up([one for one in waiting if one.since <= time.perf_counter() - self._patience_seconds])
                has_failed = True
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # so that two processes do not collide again
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)
                # The next attempt locks the workspaces before it loads them.
                lock = True

    async def _part(self, batch: _Batch, waiting: Sequence[_Waiting], doubts: Sequence[_Trial]) -> None:
        """Carry out each workspace's commands by themselves. Only the workspace whose rows are locked has to wait."""
        workspaces = _by_workspace(waiting)
        if len(workspaces) > 1:
            for commands in workspaces.values():
                await self._carry_out(batch, commands, [*doubts])
            return
        _log.warning("rows of a workspace are locked; writes to others go on")
        self._blocked.update(workspaces)
        if not doubts:
            self._put_aside(waiting)
            return
        # Only this batch knows that these commands may have been committed, so it keeps them.
        await asyncio.sleep(_ASIDE_SECONDS)
        await self._carry_out(batch, waiting, [*doubts])

    async def _follow(self, batch: _Batch, waiting: Sequence[_Waiting], doubts: Sequence[_Trial]) -> None:
        """Have commands carried out in the shards in which their workspaces are now. They may be in different ones."""
        assert self._shards is not None, "only a shard moves"
        _note_doubt(waiting, doubts)
        workspaces = _by_workspace(waiting)
        # The rows that were kept name the transactions of another node.
        self._kept.note_shared(workspaces)
        self._forget(workspaces.keys())
        await asyncio.sleep(MOVING_SECONDS)
        self._shards.forget_all(workspaces)
        if not doubts:
            self._put_back(waiting)
            return
        # Only this batch knows that these commands may have been committed, so it keeps them.
        for commands in workspaces.values():
            await self._carry_out(batch, commands, [*doubts])

    async def _halve(self, batch: _Batch, waiting: Sequence[_Waiting], error: Exception, doubts: Sequence[_Trial]) -> None:
        """Carry out the two halves of a failed batch, recursively, until the command at fault is alone."""
        if len(waiting) == 1:
            waiting[0].answer(OutcomeUnknown() if waiting[0].is_sent else error)
            return
        _log.warning("a batch failed and is split into halves", extra={"error": type(error).__name__})
        middle = len(waiting) // 2
        await self._carry_out(batch, waiting[:middle], [*doubts])
        await self._carry_out(batch, waiting[middle:], [*doubts])

    def _refuse(self, waiting: Sequence[_Waiting], error: Exception) -> None:
        # Not the database's own message: it names files.
        refusal = Unavailable(DISK_IS_FULL if isinstance(error, asyncpg.DiskFullError) else DATABASE_IS_FULL)
        for one in waiting:
            one.answer(refusal)

    async def _attempt(
        self, batch: _Batch, waiting: Sequence[_Waiting], trial: _Trial, doubts: Sequence[_Trial], *, lock: bool
    ) -> Sequence[_Waiting]:
        """Try a batch once; answer committed and refused commands, return those that begin again, or were left for later."""
        workspace_ids = {one.workspace_id for one in waiting}
        is_blocked = not self._blocked.isdisjoint(workspace_ids)
        lender = self._pool if self._shards is None else await self._shards.of_all(workspace_ids)
        async with lender.acquire() as connection:
            batch.connection = connection
            try:
                if lock or is_blocked:
                    async with connection.transaction():
                        if is_blocked:
                            await lock_at_once(connection)
                        await lock_all(connection, workspace_ids)
                        if doubts:
                            waiting = await self._without_committed(connection, waiting, doubts)
                        again = await self._work_through(connection, waiting, trial)
                else:
                    await self._apply_to_kept(waiting, trial)
                    again = await self._work_through(connection, waiting, trial)
            finally:
                batch.connection = None
        self._blocked -= workspace_ids
        if trial.saved_ids:
            self._note_success()
        self._keep(trial, again)
        if self._notifier is not None:
            # Late workspaces included: another process has moved their heads.
            self._notifier.notify([work.workspace_id for work in trial.units.values() if work.changes])
        for one, outcome in trial.outcomes:
            if one.workspace_id not in again:
                one.answer(outcome)
        late = [one for one in waiting if one.workspace_id in again]
        _note_doubt(late, doubts)
        left = {*late, *trial.later}
        # One that was late because of what was kept is loaded next, which tells more than a lock.
        if late and not trial.is_of_kept:
            metrics.LATE_BATCHES.inc()
            until = time.monotonic() + _LOCKED_FOR_SECONDS
            self._locked_until.update((one.workspace_id, until) for one in late)
        return [one for one in waiting if one in left]

    async def _work_through(self, connection: Connection, waiting: Sequence[_Waiting], trial: _Trial) -> set[UUID]:
        """Load, apply and save; return the workspaces where nothing was saved, so that their commands begin again."""
        again = set[UUID]() if trial.is_of_kept else await self._load_and_apply(connection, waiting, trial)
        # A caller that was answered meanwhile was told that nothing was written.
        again.update(one.workspace_id for one, _ in trial.outcomes if one.done.done())
        changed = [work for work in trial.units.values() if work.changed_rows and work.workspace_id not in again]
        if changed:
            trial.saved_ids = frozenset(work.workspace_id for work in changed)
            for one, _ in trial.outcomes:
                if one.workspace_id in trial.saved_ids:
                    one.is_sent = True
            # The many rows of a long command would push out those that somebody changes again soon.
            is_small = len(trial.outcomes) <= MAX_COMMANDS and not any(_is_long(one) for one, _ in trial.outcomes)
            if len(changed) == 1 and not again and not trial.later:
                self._begin_ahead(changed[0])
            note_rows = trial.note_rows if is_small else None
            again |= trial.saved_ids - await save(connection, changed, note_rows)
        # Unchanged workspaces need not begin again: their answers only claim what was read at one moment.
        return again

    async def _load_and_apply(self, connection: Connection, waiting: Sequence[_Waiting], trial: _Trial) -> set[UUID]:
        """Load and apply; return the workspaces that another process has changed between two loads."""
        ahead = await self._applied_ahead(waiting)
        needs = _needs_of(waiting)
        for each in ahead:
            needs[each.one.workspace_id].update(each.work.seen)
        trial.units = await load(connection, needs, self._kept.note_time)
        if len(trial.units) < len(needs):
            await require_here(connection)
        waiting = trial.take_over(waiting, ahead)
        again: set[UUID] = set()
        waiting, missed = await trial.apply(trial.with_room(waiting))
        loads = 0
        while missed:
            loads += 1
            again |= await load_more(connection, trial.units, missed, loads)
            waiting, missed = await trial.apply(trial.with_room([one for one in waiting if one.workspace_id not in again]))
        return again

    async def _apply_to_kept(self, waiting: Sequence[_Waiting], trial: _Trial) -> None:
        """Apply commands to what was kept, if that has all that they need, and if the save will tell whether it was right.

        A workspace in which nothing is to be saved must be loaded, because its answers claim what is stored.
        """
        if len(waiting) > MAX_COMMANDS or any(map(_is_long, waiting)):
            return
        units = self._kept.units(_needs_of(waiting))
        if units is None:
            return
        trial.units = units
        _, missed = await trial.apply(waiting)
        trial.is_of_kept = not missed and not trial.later and all(work.changed_rows for work in units.values())
        if not trial.is_of_kept:
            trial.begin_again()

    def _begin_ahead(self, before: UnitOfWork) -> None:
        """Begin to apply the command that waits in a workspace while the batch before it is saved, if it is such a one."""
        queue = self._queues.get(before.workspace_id)
        self._drop_ahead(before.workspace_id)
        # A save has a connection of its own, and so may others who wait for one.
        if queue and _goes_ahead(queue[0]) and self._lender(before.workspace_id).get_idle_size() > 0:
            task = asyncio.create_task(self._apply_ahead(before, queue[0]), name="ledger ahead")
            self._ahead[before.workspace_id] = task

    async def _apply_ahead(self, before: UnitOfWork, one: _Waiting) -> _Ahead | None:
        """Apply a command to the rows that there will be once a unit of work is saved. Return None if this cannot be told."""
        try:
            async with self._lender(before.workspace_id).acquire() as connection:
                work = await load_ahead(connection, before, one.needs)
                loads = 0
                while work is not None and loads <= MAX_LOADS:
                    outcome = _outcome(work, one)
                    if isinstance(outcome, CoroutineType):
                        outcome = await outcome
                    if not isinstance(outcome, NotLoaded):
                        return _Ahead(one, work, outcome) if isinstance(outcome, Written) else None
                    loads += 1
                    if not await load_more_ahead(connection, work, before, outcome.needs):
                        break
        except Exception as error:
            # The command is applied again behind the save, whose outcome tells of all that is wrong.
            _log.debug("nothing was applied ahead", extra={"error": type(error).__name__})
        return None

    def _lender(self, workspace_id: UUID) -> Pool | Shard:
        """Return who lends the connections of a workspace that was saved lately."""
        return (None if self._shards is None else self._shards.known(workspace_id)) or self._pool

    async def _applied_ahead(self, waiting: Iterable[_Waiting]) -> list[_Ahead]:
        """Return what was applied ahead of the commands of a batch: of each workspace its first command."""
        firsts: dict[UUID, _Waiting] = {}
        for one in waiting:
            firsts.setdefault(one.workspace_id, one)
        found: list[_Ahead] = []
        for workspace_id, first in firsts.items():
            task = self._ahead.pop(workspace_id, None)
            ahead = None if task is None else await task
            if ahead is not None and ahead.one is first:
                found.append(ahead)
        return found

    def _drop_ahead(self, workspace_id: UUID) -> None:
        task = self._ahead.pop(workspace_id, None)
        if task is not None:
            task.cancel()

    def _keep(self, trial: _Trial, again: AbstractSet[UUID]) -> None:
        """Keep what a batch has loaded and saved, for those after it. In the workspaces of `again`, nothing was saved."""
        self._kept.note_shared(again & trial.saved_ids)
        self._forget(again)
        for work in trial.units.values():
            if work.workspace_id not in again:
                at = work.at if work.workspace_id in trial.saved_ids else work.loaded_at
                self._kept.note_head(work.workspace_id, work.seq, at)
            self._kept.forget_rows(work)
        if trial.saved_rows is not None:
            self._kept.note_rows(trial.saved_rows)

    def _forget(self, workspace_ids: AbstractSet[UUID]) -> None:
        """Forget what was known of workspaces in which a save was in vain, or may have been."""
        self._kept.forget_heads(workspace_ids)
        for workspace_id in workspace_ids:
            self._drop_ahead(workspace_id)

    async def _without_committed(
        self, connection: Connection, waiting: Sequence[_Waiting], doubts: Sequence[_Trial]
    ) -> Sequence[_Waiting]:
        """Answer the commands of trials whose connection broke, if the change table shows that they were committed.

        It runs under the same lock as the next attempt. A save of a broken connection that arrives later finds the head moved,
        and writes nothing.
        """
        answered: set[_Waiting] = set()
        for trial in doubts:
            committed = {
                work.workspace_id
                for work in trial.units.values()
                if work.changes and await was_committed(connection, work.changes[-1])
            }
            for one, outcome in trial.outcomes:
                if one.workspace_id in committed:
                    one.answer(outcome)
                    answered.add(one)
        return [one for one in waiting if one not in answered]

    def _is_contended(self, waiting: Sequence[_Waiting]) -> bool:
        if not self._locked_until:
            return False
        now = time.monotonic()
        self._locked_until = {key: until for key, until in self._locked_until.items() if until > now}
        return any(one.workspace_id in self._locked_until for one in waiting)


def _reason(trouble: Trouble | None) -> str:
    is_read_only = trouble is not None and isinstance(trouble.error, asyncpg.ReadOnlySQLTransactionError)
    return "The database takes no writes now" if is_read_only else "The database cannot be reached"


async def _until_old(lane: _Lane) -> None:
    """Wait until the batch that began last has ended, or is young no more."""
    lane.ended.clear()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(lane.young_until - time.perf_counter()):
            await lane.ended.wait()


def _is_long(one: _Waiting) -> bool:
    return isinstance(one.command, LongCommand)


def _goes_ahead(one: _Waiting) -> bool:
    return isinstance(one.command, LongCommand) and one.command.goes_ahead and one.key is None and not one.done.done()


def _needs_of(waiting: Iterable[_Waiting]) -> dict[UUID, set[Need]]:
    """Return the rows that commands need, by workspace."""
    needs: dict[UUID, set[Need]] = {}
    for one in waiting:
        needs.setdefault(one.workspace_id, set()).update(one.needs)
    return needs


def _by_workspace(waiting: Iterable[_Waiting]) -> dict[UUID, list[_Waiting]]:
    workspaces: dict[UUID, list[_Waiting]] = {}
    for one in waiting:
        workspaces.setdefault(one.workspace_id, []).append(one)
    return workspaces


def _is_awaited(waiting: Iterable[_Waiting]) -> bool:
    return any(not one.done.done() for one in waiting)


def _note_doubt(waiting: Iterable[_Waiting], doubts: Sequence[_Trial]) -> None:
    """Note of which commands an earlier save may have been committed, or may still be."""
    for one in waiting:
        one.is_sent = any(one.workspace_id in trial.saved_ids for trial in doubts)


def _outcome(work: UnitOfWork | None, one: _Waiting) -> "Written | Exception | CoroutineType[None, None, Written | Exception]":
    """Apply one command; a refusal or a bug is the outcome of this command alone. A long command yields to other tasks."""
    if work is None:
        return NotFound("workspace")
    if one.key is not None:
        first = work.get(IDEMPOTENCY_RECORDS, f"{one.origin.credential_id}:{one.key.key}")
        if first is not None and first.is_of(one.key):
            return AnswerErased() if first.is_erased else Written(first.version, bytes(first.answer), replayed=True)
        if first is not None:
            return KeyReused()
    if isinstance(one.command, LongCommand):
        return _outcome_in_turns(work, one, one.command)
    try:
        result = work.carry_out(one.command, one.origin)
    except Exception as error:
        return _failed(error)
    return _written(work, one, result)


async def _outcome_in_turns(work: UnitOfWork, one: _Waiting, command: LongCommand) -> Written | Exception:
    try:
        result = await work.carry_out_in_turns(command, one.origin)
    except Exception as error:
        return _failed(error)
    return _written(work, one, result)


def _failed(error: Exception) -> Exception:
    """Return the outcome of a command that failed; a refusal is without its frames, and so is an attempt that missed rows.

    The frames refer to the command, which refers to its outcome. All would stay until the next garbage collection.
    """
    if isinstance(error, (Refusal, NotLoaded)):
        error.__context__ = None
        error.__traceback__ = None
    return error


def _written(work: UnitOfWork, one: _Waiting, result: Result) -> Written:
    """Encode the result of a command, and store it under its Idempotency-Key, if it has one."""
    body = msgspec.json.encode(result.answer)
    if one.key is not None:
        work.put(
            IDEMPOTENCY_RECORDS,
            IdempotencyRecord(
                workspace_id=one.workspace_id,
                credential_id=one.origin.credential_id,
                key=one.key.key,
                fingerprint=one.key.fingerprint,
                at=work.at,
                version=result.version,
                answer=msgspec.Raw(body),
                canonical_fingerprint=one.key.canonical_fingerprint,
            ),
        )
    return Written(result.version, body)
