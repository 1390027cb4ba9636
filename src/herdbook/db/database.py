"""Shared reads: one statement reads all single objects that are requested in the same turn of the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sequence
from functools import cache, partial
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

from herdbook.db.distribution import Nodes
from herdbook.db.pool import PagePool, Pool

T = TypeVar("T")

_MAX_AT_ONCE: Final = 256
# Reads of so many workspaces are remembered, even if nobody waits for them.
_MOST_READS: Final = 10_000
# Iterations of the event loop between two statements of shared reads: an answer, and a request after it, take some.
_ITERATIONS: Final = 4


# The plan is made once, perhaps for an empty table. `coalesce` rules out the partial indexes, so the planner uses the key.
_FIND: Final[LiteralString] = """
    select $place, c.version, c.object$more from $source and coalesce(c.deleted_at, 'infinity') = 'infinity'
"""
_OF_MANY: Final[LiteralString] = """
    unnest($1::uuid[], $2::uuid[]) with ordinality as asked(workspace_id, id, place)
    join $table c on c.workspace_id = asked.workspace_id and c.id = asked.id
    where true
"""
_OF_ONE: Final[LiteralString] = "$table c where c.workspace_id = $1 and c.id = any($2::uuid[])"


class Find(NamedTuple):
    """The statement that finds active objects, given as two arrays of workspaces and ids, by their places in these (from 1).

    `of_one` finds objects of a single workspace by their ids.
    """

    of_many: LiteralString
    of_one: LiteralString


class ObjectRead(NamedTuple):
    """An object as its row has it: its version, its JSON for the API, and the other selected columns."""

    version: int
    body: bytes
    more: Sequence[Any] = ()


@cache
def find_in(table: LiteralString, more: LiteralString = "") -> Find:
    """Return the statement that finds a table's active objects; `more` are other columns, each with a comma before it."""
    find = _FIND.replace("$more", more)
    return Find(
        find.replace("$place", "asked.place").replace("$source", _OF_MANY).replace("$table", table),
        # The other columns may be selected from tables of the workspace.
        find.replace("$place", "c.id").replace("$source", _OF_ONE).replace("$table", table).replace("= c.workspace_id", "= $1"),
    )


class _Reads:
    """The pending reads that share one statement."""

    def __init__(self, read: "_Read") -> None:
        self._read_all = read
        self._waiting: list[tuple[UUID, UUID, asyncio.Future[ObjectRead | None]]] = []
        self._task: asyncio.Task[None] | None = None

    @property
    def is_at_work(self) -> bool:
        """Whether somebody waits for a read."""
        return self._task is not None

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
                found = await self._read_all([one[0] for one in batch], [one[1] for one in batch])
            except Exception as error:
                if isinstance(error, TimeoutError):
                    # Fail the reads that arrived meanwhile, too: they would wait as long again for the same database.
                    batch, self._waiting = batch + self._waiting, []
                for *_, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for read, (*_, done) in zip(found, batch, strict=True):
                if not done.done():
                    done.set_result(read)
            if self._waiting:
                # Clients that are answered now ask again, and their reads share the next statement.
                for _ in range(_ITERATIONS):
                    await asyncio.sleep(0)
        self._task = None


_Read: TypeAlias = Callable[[Sequence[UUID], Sequence[UUID]], Awaitable[Sequence[ObjectRead | None]]]


class Database:
    """The database for readers: `pages` are the connections for lists, whose statements are planned for each workspace."""

    def __init__(self, pool: Pool, pages: PagePool) -> None:
        self.pool = pool
        self.pages = pages
        self._nodes = Nodes(pool) if pool.is_distributed else None
        # A distributed database reads each workspace by itself.
        self._reads: dict[tuple[Find, UUID | None], _Reads] = {}
        self._shared: dict[Hashable, asyncio.Task[Any]] = {}

    async def find(self, find: Find, workspace_id: UUID, object_id: UUID) -> ObjectRead | None:
        """Return the object that the statement finds, or None."""
        return await self._reads_by(find, workspace_id).wait_for(workspace_id, object_id)

    async def find_each(self, find: Find, workspace_id: UUID, object_ids: Iterable[UUID]) -> list[ObjectRead | None]:
        """Return what `find` returns for each of several objects, in their order."""
        reads = self._reads_by(find, workspace_id)
        return await asyncio.gather(*(reads.wait_for(workspace_id, each) for each in object_ids))

    def _reads_by(self, find: Find, workspace_id: UUID) -> _Reads:
        key = (find, None if self._nodes is None else workspace_id)
        reads = self._reads.get(key)
        if reads is None:
            if len(self._reads) > _MOST_READS:
                self._reads = {key: reads for key, reads in self._reads.items() if reads.is_at_work}
            read = self._read_many if self._nodes is None else partial(self._read_one, self._nodes)
            reads = self._reads[key] = _Reads(partial(read, find))
        return reads

    async def _read_many(
        self, find: Find, workspace_ids: Sequence[UUID], object_ids: Sequence[UUID]
    ) -> Sequence[ObjectRead | None]:
        records = await self.pool.fetch(find.of_many, workspace_ids, object_ids)
        found = {record[0]: ObjectRead(record[1], record[2], record[3:]) for record in records}
        return [found.get(place) for place in range(1, len(object_ids) + 1)]

    async def _read_one(
        self, nodes: Nodes, find: Find, workspace_ids: Sequence[UUID], object_ids: Sequence[UUID]
    ) -> Sequence[ObjectRead | None]:
        async with await nodes.share_of(workspace_ids[0]):
            records = await self.pool.fetch(find.of_one, workspace_ids[0], object_ids)
        found = {record[0]: ObjectRead(record[1], record[2], record[3:]) for record in records}
        return [found.get(each) for each in object_ids]

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
