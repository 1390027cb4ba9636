"""Reads that many share: of single objects, all that wait in one turn of the event loop are read by one statement."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable, Sequence
from typing import Any, Final, LiteralString, NamedTuple, TypeVar
from uuid import UUID

from herdbook.db.pool import Pool

T = TypeVar("T")

_MOST_AT_ONCE: Final = 256


# Planned once, perhaps for an empty table: written like this, no partial index comes into question, and the key is taken.
_FIND: Final[LiteralString] = """
    select asked.place, c.version, c.object$more
    from unnest($1::uuid[], $2::uuid[]) with ordinality as asked(workspace_id, id, place)
    join $table c on c.workspace_id = asked.workspace_id and c.id = asked.id
    where coalesce(c.deleted_at, 'infinity') = 'infinity'
"""


class Found(NamedTuple):
    """An object as it stands in its row: its version, what the API shows of it, and what else was selected."""

    version: int
    body: bytes
    more: Sequence[Any] = ()


def find_in(table: LiteralString, more: LiteralString = "") -> LiteralString:
    """Return the statement that finds active objects of a table; `more` are other columns to select, each behind a comma."""
    return _FIND.replace("$table", table).replace("$more", more)


class _Reads:
    """The reads by one statement."""

    def __init__(self, pool: Pool, statement: LiteralString) -> None:
        self._pool = pool
        self._statement: LiteralString = statement
        self._waiting: list[tuple[UUID, UUID, asyncio.Future[Found | None]]] = []
        self._task: asyncio.Task[None] | None = None

    def wait_for(self, workspace_id: UUID, object_id: UUID) -> asyncio.Future[Found | None]:
        done: asyncio.Future[Found | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((workspace_id, object_id, done))
        if self._task is None:
            self._task = asyncio.create_task(self._read())
        return done

    async def _read(self) -> None:
        # While one statement is under way, those who come wait for the next: the busier the server, the more they share.
        while self._waiting:
            batch, self._waiting = self._waiting[:_MOST_AT_ONCE], self._waiting[_MOST_AT_ONCE:]
            try:
                records = await self._pool.fetch(self._statement, [one[0] for one in batch], [one[1] for one in batch])
            except Exception as error:
                if isinstance(error, TimeoutError):
                    # Those who came meanwhile have waited for the same database, and would for as long again.
                    batch, self._waiting = batch + self._waiting, []
                for *_, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            found = {record[0]: Found(record[1], record[2], record[3:]) for record in records}
            for place, (*_, done) in enumerate(batch, start=1):
                if not done.done():
                    done.set_result(found.get(place))
        self._task = None


class Database:
    """The database as readers see it: `pages` are connections for lists, which are planned for each workspace."""

    def __init__(self, pool: Pool, pages: Pool) -> None:
        self.pool = pool
        self.pages = pages
        self._reads: dict[LiteralString, _Reads] = {}
        self._shared: dict[Hashable, asyncio.Task[Any]] = {}

    async def find(self, statement: LiteralString, workspace_id: UUID, object_id: UUID) -> Found | None:
        """Return the object that the statement finds, or None.

        The statement takes the workspaces' and the objects' ids as arrays `$1` and `$2`, and selects, for each that is there,
        its place in them (from 1), its version and its body.
        """
        reads = self._reads.get(statement)
        if reads is None:
            reads = self._reads[statement] = _Reads(self.pool, statement)
        return await reads.wait_for(workspace_id, object_id)

    async def shared(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what a read returns; all who ask for the same in one turn of the event loop share it."""
        reading = self._shared.get(key)
        if reading is None:
            reading = self._shared[key] = asyncio.create_task(self._begin(key, read))
        return await asyncio.shield(reading)

    async def _begin(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> T:
        # Who comes from now on may know of more than this read is sure to find.
        del self._shared[key]
        return await read()
