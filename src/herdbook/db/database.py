"""Shared reads: one statement reads all single objects that are requested in the same turn of the event loop."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Iterable, Sequence
from typing import Any, Final, LiteralString, NamedTuple, TypeVar
from uuid import UUID

from herdbook.db.pool import PagePool, Pool

T = TypeVar("T")

_MAX_AT_ONCE: Final = 256
# Iterations of the event loop between two statements of shared reads: an answer, and a request after it, take some.
_ITERATIONS: Final = 4


# The plan is made once, perhaps for an empty table. `coalesce` rules out the partial indexes, so the planner uses the key.
_FIND: Final[LiteralString] = """
    select asked.place, c.version, c.object$more
    from unnest($1::uuid[], $2::uuid[]) with ordinality as asked(workspace_id, id, place)
    join $table c on c.workspace_id = asked.workspace_id and c.id = asked.id
    where coalesce(c.deleted_at, 'infinity') = 'infinity'
"""


class ObjectRead(NamedTuple):
    """An object as its row has it: its version, its JSON for the API, and the other selected columns."""

    version: int
    body: bytes
    more: Sequence[Any] = ()


def find_in(table: LiteralString, more: LiteralString = "") -> LiteralString:
    """Return the statement that finds a table's active objects; `more` are other columns, each with a comma before it."""
    return _FIND.replace("$table", table).replace("$more", more)


class _Reads:
    """The pending reads that share one statement."""

    def __init__(self, pool: Pool, statement: LiteralString) -> None:
        self._pool = pool
        self._statement: LiteralString = statement
        self._waiting: list[tuple[UUID, UUID, asyncio.Future[ObjectRead | None]]] = []
        self._task: asyncio.Task[None] | None = None

    def wait_for(self, workspace_id: UUID, object_id: UUID) -> asyncio.Future[ObjectRead | None]:
        done: asyncio.Future[ObjectRead | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((workspace_id, object_id, done))
        if self._task is None:
            self._task = asyncio.create_task(self._read())
        return done

    async def _read(self) -> None:
        # Reads that arrive while a statement runs wait for the next one: the busier the server, the larger the batches.
        while self._waiting:
            batch, self._waiting = self._waiting[:_MAX_AT_ONCE], self._waiting[_MAX_AT_ONCE:]
            try:
                records = await self._pool.fetch(self._statement, [one[0] for one in batch], [one[1] for one in batch])
            except Exception as error:
                if isinstance(error, TimeoutError):
                    # Fail the reads that arrived meanwhile, too: they would wait as long again for the same database.
                    batch, self._waiting = batch + self._waiting, []
                for *_, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            found = {record[0]: ObjectRead(record[1], record[2], record[3:]) for record in records}
            for place, (*_, done) in enumerate(batch, start=1):
                if not done.done():
                    done.set_result(found.get(place))
            if self._waiting:
                # Clients that are answered now ask again, and their reads share the next statement.
                for _ in range(_ITERATIONS):
                    await asyncio.sleep(0)
        self._task = None


class Database:
    """The database for readers: `pages` are the connections for lists, whose statements are planned for each workspace."""

    def __init__(self, pool: Pool, pages: PagePool) -> None:
        self.pool = pool
        self.pages = pages
        self._reads: dict[LiteralString, _Reads] = {}
        self._shared: dict[Hashable, asyncio.Task[Any]] = {}

    async def find(self, statement: LiteralString, workspace_id: UUID, object_id: UUID) -> ObjectRead | None:
        """Return the object that the statement finds, or None.

        The statement takes the workspaces' and the objects' ids as arrays `$1` and `$2`. For each object that exists, it
        selects the index in these arrays (from 1), the version and the body.
        """
        return await self._reads_by(statement).wait_for(workspace_id, object_id)

    async def find_each(
        self, statement: LiteralString, workspace_id: UUID, object_ids: Iterable[UUID]
    ) -> list[ObjectRead | None]:
        """Return what `find` returns for each of several objects, in their order."""
        reads = self._reads_by(statement)
        return await asyncio.gather(*(reads.wait_for(workspace_id, each) for each in object_ids))

    def _reads_by(self, statement: LiteralString) -> _Reads:
        reads = self._reads.get(statement)
        if reads is None:
            reads = self._reads[statement] = _Reads(self.pool, statement)
        return reads

    async def shared(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of `read`; callers with the same key in the same turn of the event loop share one read."""
        reading = self._shared.get(key)
        if reading is None:
            reading = self._shared[key] = asyncio.create_task(self._begin(key, read))
        return await asyncio.shield(reading)

    async def _begin(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        # A later caller may know of a write that this read does not see, so it must read anew.
        del self._shared[key]
        return await read()
