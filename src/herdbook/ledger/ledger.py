"""The queue of commands, and the writers that carry them out in batches.

Every write in a workspace goes through here: one sequence, and one transaction for as many waiting commands as there are, of
several workspaces at once. A batch first tries without a lock: it loads, applies, and saves on the condition that no sequence
has moved since. Where another process was faster, the workspaces' rows are locked before they are loaded, for a second, which
is fair to both. `docs/architecture.md` argues why, and says what happens when something breaks.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec

from herdbook import metrics
from herdbook.db.pool import CONNECTION_ERRORS, Connection, Pool
from herdbook.errors import Busy, KeyReused, NotFound, OutcomeUnknown, Refusal, Unavailable
from herdbook.ledger import batch
from herdbook.ledger.book import Book, Command, LongCommand, Need, Origin, Result
from herdbook.ledger.heads import Heads
from herdbook.ledger.idempotency import IDEMPOTENCY_RECORDS, IdempotencyKey, IdempotencyRecord

_log = logging.getLogger("herdbook.ledger")

_WRITERS: Final = 2
_BATCH_COMMANDS: Final = 128
_BATCH_WORKSPACES: Final = 64
_LOCKED_FOR_SECONDS: Final = 1.0
_PATIENCE_SECONDS: Final = 10.0
_NOT_NOW: Final = (*CONNECTION_ERRORS, asyncpg.InsufficientResourcesError)
_BEGIN_AGAIN: Final = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)


class Written(NamedTuple):
    """What became of a command: the object's version, the answer in JSON, whether it is the answer to an earlier request."""

    version: int
    body: bytes
    replayed: bool = False


class _Waiting:
    """A command in the queue."""

    __slots__ = ("command", "done", "key", "origin", "since", "workspace_id")

    def __init__(self, workspace_id: UUID, command: Command, origin: Origin, key: IdempotencyKey | None) -> None:
        self.workspace_id = workspace_id
        self.command = command
        self.origin = origin
        self.key = key
        self.since = time.perf_counter()
        self.done: asyncio.Future[Written] = asyncio.get_running_loop().create_future()

    def needs(self) -> Iterable[Need]:
        yield from self.command.needs()
        if self.key is not None:
            yield Need(IDEMPOTENCY_RECORDS, f"{self.origin.credential_id}:{self.key.key}")

    def answer(self, outcome: Written | Exception) -> None:
        # A caller who went away cancelled the future; what it asked for is done or refused all the same.
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
        else:
            self.done.set_result(outcome)


class _Trial:
    """One attempt at a batch: the books it wrote in, and what each command came to if it is saved."""

    def __init__(self) -> None:
        self.books: dict[UUID, Book] = {}
        self.outcomes: list[tuple[_Waiting, Written | Exception]] = []
        self.saving = False


class Ledger:
    """The way to write in all workspaces of one database."""

    def __init__(
        self, pool: Pool, queue_limit: int, patience_seconds: float = _PATIENCE_SECONDS, heads: Heads | None = None
    ) -> None:
        self._pool = pool
        self._queue_limit = queue_limit
        self._patience_seconds = patience_seconds
        self._heads = heads
        self._queues: dict[UUID, deque[_Waiting]] = {}
        self._ready: deque[UUID] = deque()
        self._held: set[UUID] = set()
        self._work = asyncio.Event()
        self._locked_until: dict[UUID, float] = {}
        self._closing = False
        self._writers: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Start the writers."""
        self._writers = [asyncio.create_task(self._write_batches(), name=f"ledger writer {n}") for n in range(_WRITERS)]

    async def close(self) -> None:
        """Refuse new commands, carry out those that wait, stop."""
        self._closing = True
        self._work.set()
        await asyncio.gather(*self._writers)

    async def write(self, workspace_id: UUID, command: Command, origin: Origin, key: IdempotencyKey | None = None) -> Written:
        """Carry out a command, and return once it is committed.

        Refusals: the command's own; Busy past the queue's limit; KeyReused; NotFound for a workspace that is not there;
        Unavailable and OutcomeUnknown when the database goes away.
        """
        if self._closing:
            raise Unavailable("The server is stopping. Nothing was written. Try again shortly.")
        queue = self._queues.get(workspace_id)
        if queue is None:
            queue = self._queues[workspace_id] = deque()
            if workspace_id not in self._held:
                self._ready.append(workspace_id)
        if len(queue) >= self._queue_limit:
            raise Busy(len(queue))
        waiting = _Waiting(workspace_id, command, origin, key)
        queue.append(waiting)
        metrics.QUEUE_LENGTH.inc()
        self._work.set()
        return await waiting.done

    async def _write_batches(self) -> None:
        while True:
            while not self._ready:
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()
            waiting = self._take()
            workspace_ids = {one.workspace_id for one in waiting}
            began = time.perf_counter()
            try:
                await self._carry_out(waiting, [])
            except Exception as error:
                _log.exception("a batch failed in a way that nobody foresaw")
                for one in waiting:
                    one.answer(error)
            finally:
                self._release(workspace_ids)
            metrics.BATCH_COMMANDS.observe(len(waiting))
            metrics.BATCH_WORKSPACES.observe(len(workspace_ids))
            metrics.WAIT_SECONDS.observe(began - waiting[0].since)
            metrics.COMMIT_SECONDS.observe(time.perf_counter() - began)

    def _take(self) -> list[_Waiting]:
        """Take the commands of the next batch, and hold their workspaces: each is in one batch at a time."""
        taken: list[_Waiting] = []
        for _ in range(min(len(self._ready), _BATCH_WORKSPACES)):
            workspace_id = self._ready.popleft()
            queue = self._queues[workspace_id]
            self._held.add(workspace_id)
            while queue and len(taken) < _BATCH_COMMANDS:
                taken.append(queue.popleft())
            if not queue:
                del self._queues[workspace_id]
            if len(taken) == _BATCH_COMMANDS:
                break
        metrics.QUEUE_LENGTH.dec(len(taken))
        return taken

    def _release(self, workspace_ids: Iterable[UUID]) -> None:
        for workspace_id in workspace_ids:
            self._held.discard(workspace_id)
            if workspace_id in self._queues:
                self._ready.append(workspace_id)
        if self._ready or self._closing:
            self._work.set()

    async def _carry_out(self, waiting: Sequence[_Waiting], doubts: list[_Trial]) -> None:
        """Try until every command of the batch is answered, or the database has been away for too long.

        `doubts` are earlier trials of these commands that may have been committed, or may yet be.
        """
        give_up_at: float | None = None
        lock = bool(doubts) or self._is_contended(waiting)
        while waiting:
            trial = _Trial()
            try:
                waiting = await self._attempt(waiting, trial, doubts, lock=lock)
            except _NOT_NOW as error:
                is_away = isinstance(error, CONNECTION_ERRORS)
                if trial.saving and is_away:
                    doubts.append(trial)
                now = time.monotonic()
                give_up_at = give_up_at or now + self._patience_seconds
                if now > give_up_at or not (is_away or doubts):
                    self._give_up(waiting, error, in_doubt=bool(doubts))
                    return
                await asyncio.sleep(0.05)
            except _BEGIN_AGAIN:
                _log.warning("the database asked to begin the batch again")
            except Exception as error:
                if trial.saving and not isinstance(error, asyncpg.PostgresError):
                    doubts.append(trial)
                await self._halve(waiting, error, doubts)
                return
            # Whatever stood in the way, the next attempt has the workspaces to itself before it looks.
            lock = True

    async def _halve(self, waiting: Sequence[_Waiting], error: Exception, doubts: Sequence[_Trial]) -> None:
        """Carry out the halves of what is left of a batch that failed, until the command at fault stands alone."""
        if len(waiting) == 1:
            waiting[0].answer(OutcomeUnknown() if doubts else error)
            return
        _log.warning("a batch failed and is halved", extra={"error": type(error).__name__})
        middle = len(waiting) // 2
        await self._carry_out(waiting[:middle], [*doubts])
        await self._carry_out(waiting[middle:], [*doubts])

    def _give_up(self, waiting: Sequence[_Waiting], error: Exception, *, in_doubt: bool) -> None:
        _log.error("the database is away; the batch is given up", extra={"error": repr(error), "in_doubt": in_doubt})
        refusal: Refusal = Unavailable("The database cannot be reached. Nothing was written. Try again shortly.")
        if in_doubt:
            refusal = OutcomeUnknown()
        elif isinstance(error, asyncpg.InsufficientResourcesError):
            refusal = Unavailable(f"The database cannot take more: {error}. Nothing was written.")
        for one in waiting:
            one.answer(refusal)

    async def _attempt(
        self, waiting: Sequence[_Waiting], trial: _Trial, doubts: Sequence[_Trial], *, lock: bool
    ) -> Sequence[_Waiting]:
        """Try a batch once; answer what is committed or refused, return the commands that came too late."""
        async with self._pool.acquire() as connection:
            if not lock:
                held = await self._work_through(connection, waiting, trial)
            else:
                async with connection.transaction():
                    await batch.lock(connection, {one.workspace_id for one in waiting})
                    if doubts:
                        waiting = await self._without_committed(connection, waiting, doubts)
                    held = await self._work_through(connection, waiting, trial)
        if self._heads is not None:
            # Also those that were too late: another process has moved them.
            self._heads.moved([book.workspace_id for book in trial.books.values() if book.changes])
        late: list[_Waiting] = []
        for one, outcome in trial.outcomes:
            if held is None or one.workspace_id in held:
                one.answer(outcome)
            else:
                late.append(one)
        if late:
            metrics.LATE_BATCHES.inc()
            until = time.monotonic() + _LOCKED_FOR_SECONDS
            self._locked_until.update((one.workspace_id, until) for one in late)
        return late

    async def _work_through(self, connection: Connection, waiting: Sequence[_Waiting], trial: _Trial) -> set[UUID] | None:
        """Load, apply and save; return the workspaces that were saved, or None where nothing was to be."""
        needs: dict[UUID, set[Need]] = {}
        for one in waiting:
            needs.setdefault(one.workspace_id, set()).update(one.needs())
        trial.books = await batch.load(connection, needs)
        for one in waiting:
            outcome = _outcome(trial.books.get(one.workspace_id), one)
            trial.outcomes.append((one, await outcome if isinstance(outcome, Coroutine) else outcome))
        changed = [book for book in trial.books.values() if book.put_rows]
        if not changed:
            return None
        trial.saving = True
        held = await batch.save(connection, changed)
        # A workspace in which nothing was changed was read at one moment, and that is all its answers claim.
        return held.union(trial.books.keys() - {book.workspace_id for book in changed})

    async def _without_committed(
        self, connection: Connection, waiting: Sequence[_Waiting], doubts: Sequence[_Trial]
    ) -> Sequence[_Waiting]:
        """Answer the commands of trials whose connection broke, where the change table shows that they were committed.

        It runs under the lock under which the rest is tried again. So a save of a broken connection that arrives only now
        finds the head moved, and writes nothing.
        """
        answered: set[_Waiting] = set()
        for trial in doubts:
            committed = {
                book.workspace_id
                for book in trial.books.values()
                if book.changes and await batch.was_committed(connection, book.changes[-1])
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


def _outcome(book: Book | None, one: _Waiting) -> Written | Exception | Coroutine[None, None, Written | Exception]:
    """Apply one command; a refusal, or a bug, is the outcome of that command alone. A long one takes turns with others."""
    if book is None:
        return NotFound("workspace")
    if one.key is not None:
        first = book.find(IDEMPOTENCY_RECORDS, f"{one.origin.credential_id}:{one.key.key}")
        if first is not None and first.fingerprint == one.key.fingerprint:
            return Written(first.version, bytes(first.answer), replayed=True)
        if first is not None:
            return KeyReused()
    if isinstance(one.command, LongCommand):
        return _outcome_in_turns(book, one, one.command)
    try:
        result = book.carry_out(one.command, one.origin)
    except Exception as error:
        return error
    return _written(book, one, result)


async def _outcome_in_turns(book: Book, one: _Waiting, command: LongCommand) -> Written | Exception:
    try:
        result = await book.carry_out_in_turns(command, one.origin)
    except Exception as error:
        return error
    return _written(book, one, result)


def _written(book: Book, one: _Waiting, result: Result) -> Written:
    """Encode what a command came to, and keep it under its Idempotency-Key, if it has one."""
    body = msgspec.json.encode(result.answer)
    if one.key is not None:
        book.put(
            IDEMPOTENCY_RECORDS,
            IdempotencyRecord(
                workspace_id=one.workspace_id,
                credential_id=one.origin.credential_id,
                key=one.key.key,
                fingerprint=one.key.fingerprint,
                at=book.at,
                version=result.version,
                answer=msgspec.Raw(body),
            ),
        )
    return Written(result.version, body)
