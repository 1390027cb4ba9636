"""Shared reads: one statement reads all single objects that are requested in the same turn of the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sequence
from functools import cache, partial
from typing import Any, Final, LiteralString, NamedTuple, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from herdbook.db.pool import PagePool, Pool
from herdbook.db.shards import MOST_UNITED, ShardMoved, Shards, require_here

T = TypeVar("T")

_MAX_AT_ONCE: Final = 256
# The node of a database that is not distributed.
_ONLY: Final = ""
# Iterations of the event loop between two statements of shared reads: an answer, and a request after it, take some.
_ITERATIONS: Final = 4


# The plan is made once, perhaps for an empty table. `coalesce` rules out the partial indexes, so the planner uses the key.
_FIND: Final[LiteralString] = """
    select asked.place, c.version, c.object$more
    from unnest($1::uuid[], $2::uuid[]) with ordinality as asked(workspace_id, id, place)
    join $table c on c.workspace_id = asked.workspace_id and c.id = asked.id
    where coalesce(c.deleted_at, 'infinity') = 'infinity' /* here */
"""

# The statement that finds active objects, given as two arrays of workspaces and ids, by their places in these (from 1).
Find: TypeAlias = LiteralString


class ObjectRead(NamedTuple):
    """An object as its row has it: its version, its JSON for the API, and the other selected columns."""

    version: int
    body: bytes
    more: Sequence[Any] = ()


@cache
def find_in(table: LiteralString, more: LiteralString = "") -> Find:
    """Return the statement that finds a table's active objects; `more` are other columns, each with a comma before it."""
    return _FIND.replace("$more", more).replace("$table", table)


class _Reads:
    """The pending reads that share one statement."""

    def __init__(self, read: "_Read") -> None:
        self._read_all = read
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
        # A distributed database reads from each of its nodes by itself.
        self._shards = pool.shards
        self._reads: dict[tuple[Find, str], _Reads] = {}
        self._shared: dict[Hashable, asyncio.Task[Any]] = {}

    async def find(self, find: Find, workspace_id: UUID, object_id: UUID) -> ObjectRead | None:
        """Return the object that the statement finds, or None."""
        if self._shards is None:
            return await self._reads_by(find).wait_for(workspace_id, object_id)
        return await self._shards.follow(
            workspace_id, lambda shard: self._reads_by(find, shard.node).wait_for(workspace_id, object_id)
        )

    async def find_each(self, find: Find, workspace_id: UUID, object_ids: Iterable[UUID]) -> list[ObjectRead | None]:
        """Return what `find` returns for each of several objects, in their order."""
        wanted = list(object_ids)

        def read(node: str) -> Awaitable[list[ObjectRead | None]]:
            reads = self._reads_by(find, node)
            return asyncio.gather(*(reads.wait_for(workspace_id, each) for each in wanted))

        if self._shards is None:
            return await read(_ONLY)
        return await self._shards.follow(workspace_id, lambda shard: read(shard.node))

    def _reads_by(self, find: Find, node: str = _ONLY) -> _Reads:
        key = (find, node)
        reads = self._reads.get(key)
        if reads is None:
            read = self._read_many if self._shards is None else partial(_read_on_node, self._shards, node)
            reads = self._reads[key] = _Reads(partial(read, find))
        return reads

    async def _read_many(
        self, find: Find, workspace_ids: Sequence[UUID], object_ids: Sequence[UUID]
    ) -> Sequence[ObjectRead | None]:
        return _in_places(await self.pool.fetch(find, workspace_ids, object_ids), len(object_ids))

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


async def _read_on_node(
    shards: Shards, node: str, find: Find, workspace_ids: Sequence[UUID], object_ids: Sequence[UUID]
) -> Sequence[ObjectRead | None]:
    """Read objects of workspaces that are in any shards of a node. Refusal: ShardMoved."""
    places = {shards.known(each) for each in workspace_ids}
    wanted = [shard for shard in shards.on(node) if shard in places]
    if len(wanted) < len(places):
        raise ShardMoved
    # All shards of a node are the same statement for every batch, unless they are very many.
    of_node = shards.on(node)
    first, *others = of_node if len(of_node) <= MOST_UNITED else wanted
    try:
        records = await first.fetch_with(others, find, workspace_ids, object_ids)
        if len(records) < len(object_ids):
            for shard in wanted:
                async with shard.acquire() as connection:
                    await require_here(connection)
    except ShardMoved:
        # Any of them may be the one that has moved.
        await shards.all()
        raise
    return _in_places(records, len(object_ids))


def _in_places(records: Sequence[asyncpg.Record], many: int) -> Sequence[ObjectRead | None]:
    found = {record[0]: ObjectRead(record[1], record[2], record[3:]) for record in records}
    return [found.get(place) for place in range(1, many + 1)]
