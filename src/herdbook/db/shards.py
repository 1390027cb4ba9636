"""The shards of a distributed database: the parts of all tables in which its workspaces are.

Statements for a workspace go to the node that has its shard, and to the tables of that shard, past the planner of Citus.
They are those of a database that is not distributed, under other names, and cost the same.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final, LiteralString, TypeAlias, TypeVar, cast
from uuid import UUID

import asyncpg
import msgspec

from herdbook.db.executor import Connection, Executor, Lender

T = TypeVar("T")
OpenOn: TypeAlias = Callable[[str, int], Awaitable[Lender]]

_MOST_KNOWN: Final = 50_000
# The shards of a node that a statement about several of them asks at once.
MOST_UNITED: Final = 32
# The statements of which a shard keeps the form that they have there.
_MOST_STATEMENTS: Final = 200
# The pause before a workspace that has moved is looked for again: not all nodes know of a move at the same moment.
MOVING_SECONDS: Final = 0.05
# The limit for waiting for a connection and using it, together, and for following a workspace.
PATIENCE_SECONDS: Final = 9.0


class DatabaseAway(ConnectionError):
    """The database could not be connected to, or a connection to it broke.

    Every OSError of a database connection becomes one of these. Any other OSError comes from a disk or another server, and says
    nothing about the database.
    """


class ShardMoved(DatabaseAway):
    """A workspace is no longer in the shard in which it was looked for. Nothing was written."""


class Shard:
    """The part of all tables in which some workspaces are. It is on one node, and each table has a table of its own there.

    Statements go to these tables directly, as on a database that is not distributed. A shard may move at any time, so a read
    has the comment `/* here */` among its conditions, in place of which a shard looks whether it is still there, and a write
    `/* held */`, which keeps the shard where it is until the transaction ends.
    """

    def __init__(self, open_on: OpenOn | None, shard_id: int, place: tuple[str, int], names: Mapping[str, str]) -> None:
        self._open_on = open_on
        self.place = place
        self._names = names
        self._named = re.compile(rf"\b((?:from|join|into|update)\s+)({'|'.join(names)})(?![.\w])")
        self._lent_by: Lender | None = None
        self.id = shard_id
        self.node = f"{place[0]}:{place[1]}"
        # Nobody else keeps them, so they go with the shard.
        self.statement = lru_cache(_MOST_STATEMENTS)(self.rename)

    @asynccontextmanager
    async def acquire(self, open_on: OpenOn | None = None) -> AsyncGenerator["ShardConnection"]:
        """Lend a connection to the node, whose statements are about this shard, or one of those that `open_on` opens.

        Refusal: ShardMoved, from within the block.
        """
        async with self._lent(open_on) as connection:
            yield ShardConnection(connection, self)

    @asynccontextmanager
    async def _lent(self, open_on: OpenOn | None = None, *, others: "Sequence[Shard]" = ()) -> AsyncGenerator[Connection]:
        if open_on is None:
            assert self._open_on is not None, "its connection is lent by somebody else"
            pool = self._lent_by = await self._open_on(*self.place)
        else:
            pool = await open_on(*self.place)
        try:
            async with pool.acquire() as connection:
                yield connection
        except asyncpg.PostgresError as error:
            if error.sqlstate == _HAS_MOVED or (error.sqlstate == _NO_SUCH_TABLE and not await _are_on(pool, (self, *others))):
                raise ShardMoved from None
            raise

    async def execute(self, query: LiteralString, *args: Any) -> str:
        """Run a statement."""
        async with self.acquire() as connection:
            return await connection.execute(query, *args)

    async def fetch(self, query: LiteralString, *args: Any) -> "list[asyncpg.Record]":
        """Run a statement and return its rows."""
        async with self.acquire() as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: LiteralString, *args: Any) -> asyncpg.Record | None:
        """Run a statement and return its first row."""
        async with self.acquire() as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: LiteralString, *args: Any) -> Any:
        """Run a statement and return its first value."""
        async with self.acquire() as connection:
            return await connection.fetchval(query, *args)

    async def fetch_with(self, others: "Sequence[Shard]", query: LiteralString, *args: Any) -> "list[asyncpg.Record]":
        """Run a statement here and in other shards of the node, as one statement, and return its rows. Refusal: ShardMoved."""
        shards = (self, *others)
        united = " union all ".join("(" + shard.statement(query) + ")" for shard in shards)
        async with self._lent(others=others) as connection:
            found = await connection.fetch(united, *args)
            # The tables of a shard that has moved stay for a while.
            if not await connection.fetchval(_all_here(shards)):
                raise ShardMoved
            return found

    def get_idle_size(self) -> int:
        """Return the number of connections to the node that nobody has."""
        return 0 if self._lent_by is None else self._lent_by.get_idle_size()

    def rename(self, query: str) -> LiteralString:
        """Return a statement with the names that tables have in this shard, made anew."""
        named = self._named.sub(self._renamed, query)
        for mark, condition in _CONDITIONS.items():
            named = named.replace(mark, condition.replace("$shard", str(self.id)))
        # The cast is safe: the names and the number are those that the database has made.
        return cast("LiteralString", named)

    def _renamed(self, named: re.Match[str]) -> str:
        return named[1] + self._names[named[2]]


class ShardConnection:
    """A connection to the node of a shard."""

    def __init__(self, connection: Connection, shard: Shard) -> None:
        self.connection = connection
        self.shard = shard
        self.transaction = connection.transaction
        self.is_in_transaction = connection.is_in_transaction
        self.close = connection.close
        self.terminate = connection.terminate

    async def execute(self, query: LiteralString, *args: Any) -> str:
        """Run a statement."""
        return await self.connection.execute(self.shard.statement(query), *args)

    async def executemany(self, command: LiteralString, args: Iterable[Sequence[Any]]) -> None:
        """Run a statement for each of several rows of parameters."""
        await self.connection.executemany(self.shard.statement(command), args)

    async def fetch(self, query: LiteralString, *args: Any) -> list[asyncpg.Record]:
        """Run a statement and return its rows."""
        return await self.connection.fetch(self.shard.statement(query), *args)

    async def fetchrow(self, query: LiteralString, *args: Any) -> asyncpg.Record | None:
        """Run a statement and return its first row."""
        return await self.connection.fetchrow(self.shard.statement(query), *args)

    async def fetchval(self, query: LiteralString, *args: Any) -> Any:
        """Run a statement and return its first value."""
        return await self.connection.fetchval(self.shard.statement(query), *args)


async def _are_on(pool: Lender, shards: Sequence[Shard]) -> bool:
    """Whether all of these shards are on their node. A table that is missing there is then a fault of the statement."""
    async with pool.acquire() as connection:
        found: bool = await connection.fetchval(_all_here(shards))
        return found


def _all_here(shards: Sequence[Shard]) -> LiteralString:
    """Return the statement that tells whether all of these shards are on the node that is asked."""
    return "select " + " and ".join("exists (" + shard.statement("select where true /* here */") + ")" for shard in shards)


async def require_here(connection: Executor) -> None:
    """Require that a shard has not moved: then it truly lacks what was not found in it. Refusal: ShardMoved."""
    if not await connection.fetchval("select exists (select where true /* here */)"):
        raise ShardMoved


def is_of_shard(query: str, args: Sequence[object]) -> bool:
    """Whether a statement is for the shard of a workspace, its first parameter: the comment in it says so."""
    return bool(args) and isinstance(args[0], UUID) and any(mark in query for mark in _CONDITIONS)


class Shards:
    """The shards that have the workspaces of a distributed database."""

    def __init__(self, coordinator: Executor, open_on: OpenOn | None = None) -> None:
        self._coordinator = coordinator
        self._open_on = open_on
        # The number of the shard of a workspace.
        self._of: dict[UUID, int] = {}
        self._shards: dict[int, Shard] = {}
        self._asked: set[UUID] = set()
        self._asking: asyncio.Task[None] | None = None

    def known(self, workspace_id: UUID) -> Shard | None:
        """Return the shard in which a workspace was last, if that is known."""
        shard_id = self._of.get(workspace_id)
        return None if shard_id is None else self._shards.get(shard_id)

    def has(self, shard_id: int) -> bool:
        """Whether a shard is known."""
        return shard_id in self._shards

    async def of(self, workspace_id: UUID) -> Shard:
        """Return the shard in which a workspace is, or would be. Refusal: ShardMoved if it is just being moved."""
        if (shard := self.known(workspace_id)) is None:
            self._asked.add(workspace_id)
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
            await asyncio.shield(self._asking)
            shard = self.known(workspace_id)
        if shard is None:
            raise ShardMoved
        return shard

    async def of_all(self, workspace_ids: Iterable[UUID]) -> Shard:
        """Return the shard in which several workspaces are. Refusal: ShardMoved if they are in several by now."""
        found = {await self.of(each) for each in workspace_ids}
        if len(found) > 1:
            raise ShardMoved
        return found.pop()

    async def follow(self, workspace_id: UUID, act: Callable[[Shard], Awaitable[T]]) -> T:
        """Act on the shard in which a workspace is, and again if it has moved meanwhile."""
        late_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await act(self.known(workspace_id) or await self.of(workspace_id))
            except ShardMoved:
                if time.monotonic() > late_at:
                    raise
                self.forget_all([workspace_id])
                await asyncio.sleep(MOVING_SECONDS)
            except DatabaseAway:
                # The node may be gone for good, and the workspace elsewhere by now.
                self.forget_all([workspace_id])
                raise

    async def run(self, workspace_id: UUID, act: Callable[[ShardConnection], Awaitable[T]], open_on: OpenOn | None = None) -> T:
        """Run a statement in the shard in which a workspace is, wherever that moves. Nothing is found only where it is.

        A statement is run again there if its result is empty, zero or false. One that writes must return something else once it
        has written, or be one that may run twice.
        """

        async def act_on(shard: Shard) -> T:
            async with shard.acquire(open_on) as connection:
                found = await act(connection)
                if not found:
                    await require_here(connection)
                return found

        return await self.follow(workspace_id, act_on)

    def forget_all(self, workspace_ids: Iterable[UUID]) -> None:
        """Forget where workspaces were, because they may have moved."""
        for workspace_id in workspace_ids:
            shard_id = self._of.pop(workspace_id, None)
            if shard_id is not None:
                self._shards.pop(shard_id, None)

    def on(self, node: str) -> list[Shard]:
        """Return the shards on a node that are known."""
        return sorted((shard for shard in self._shards.values() if shard.node == node), key=attrgetter("id"))

    async def all(self) -> list[Shard]:
        """Return all shards, wherever they are now. Refusal: ShardMoved if one was parted or copied meanwhile."""
        places = {
            record["shardid"]: f"{record['nodename']}:{record['nodeport']}"
            for record in await self._coordinator.fetch(
                """
                select s.shardid, n.nodename, n.nodeport
                from pg_dist_shard s
                join pg_dist_placement p on p.shardid = s.shardid
                join pg_dist_node n on n.groupid = p.groupid and n.noderole = 'primary'
                where s.logicalrelid = 'workspace'::regclass
                """
            )
        }
        for shard in [*self._shards.values()]:
            if places.get(shard.id) != shard.node:
                del self._shards[shard.id]
        await self._learn(places.keys() - self._shards.keys())
        if not places.keys() <= self._shards.keys():
            raise ShardMoved
        return [self._shards[each] for each in sorted(places)]

    async def _learn(self, shard_ids: Collection[int]) -> None:
        if shard_ids:
            for record in await self._coordinator.fetch(_NAMES, [*shard_ids]):
                names = msgspec.json.decode(record["names"])
                node = (record["nodename"], record["nodeport"])
                self._shards[record["id"]] = Shard(self._open_on, record["id"], node, names)

    async def _ask(self) -> None:
        # All that ask in one iteration of the event loop share a statement.
        await asyncio.sleep(0)
        asked, self._asked, self._asking = self._asked, set(), None
        found = await self._coordinator.fetch(
            """
            select asked.id, get_shard_id_for_distribution_column('workspace', asked.id) as shard_id
            from unnest($1::uuid[]) as asked(id)
            """,
            [*asked],
        )
        await self._learn({record["shard_id"] for record in found} - self._shards.keys())
        if len(self._of) > _MOST_KNOWN:
            self._of.clear()
        self._of.update((record["id"], record["shard_id"]) for record in found)


# Somebody who moves a shard holds this lock in another mode while its last changes are copied, and has changed the tables of
# placements when it lets go. The function looks at these anew, and not at how they were when the statement began.
HOLD_SHARD: Final[LiteralString] = """
    create or replace function herdbook_hold_shard(shard bigint) returns boolean language plpgsql as $function$
    begin
        perform lock_shard_metadata(5, array[shard]);
        if not exists (
            select from pg_dist_placement p join pg_dist_local_group g on g.groupid = p.groupid
            where p.shardid = shard
        ) then
            raise exception 'the shard % has moved', shard using errcode = 'HB001';
        end if;
        return true;
    end
    $function$
"""
_CONDITIONS: Final = {
    "/* here */": """
        and exists (
            select from pg_dist_placement p join pg_dist_local_group g on g.groupid = p.groupid
            where p.shardid = $shard
        )
    """,
    "/* held */": "and (select herdbook_hold_shard($shard))",
}
# The error of the function, and that of a table which is not there.
_HAS_MOVED: Final = "HB001"
_NO_SUCH_TABLE: Final = "42P01"

# The tables that all nodes have are in one shard each. A statement writes to one node, so a shard that has copies is not known.
_NAMES: Final[LiteralString] = """
    select s.shardid as id, n.nodename, n.nodeport, (
        select json_object_agg(other.logicalrelid::regclass::text, shard_name(other.logicalrelid, other.shardid))
        from pg_dist_shard other
        join pg_dist_partition o on o.logicalrelid = other.logicalrelid
        where (o.colocationid = t.colocationid and other.shardminvalue = s.shardminvalue)
            or (o.partmethod = 'n' and o.repmodel = 't')
    ) as names
    from pg_dist_shard s
    join pg_dist_partition t on t.logicalrelid = s.logicalrelid
    join pg_dist_placement p on p.shardid = s.shardid
    join pg_dist_node n on n.groupid = p.groupid and n.noderole = 'primary'
    where s.shardid = any($1::bigint[]) and (select count(*) from pg_dist_placement c where c.shardid = s.shardid) = 1
"""
