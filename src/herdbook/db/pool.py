"""Connections to PostgreSQL, and time limits for getting and using one."""

import asyncio
import contextlib
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Final, LiteralString, Protocol, cast

import asyncpg

from herdbook.db.executor import Connection, Executor
from herdbook.db.shards import PATIENCE_SECONDS, DatabaseAway, Shards, is_of_shard
from herdbook.faults import OperatorFault

# After one of these, the statement may or may not have taken effect.
CONNECTION_ERRORS: Final = (
    DatabaseAway,
    TimeoutError,
    asyncpg.InterfaceError,
    # asyncpg raises this if the server has ended a session and the connection is used before asyncpg notices.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.TooManyConnectionsError,
    # A primary that became a replica keeps its sessions, and takes no writes.
    asyncpg.ReadOnlySQLTransactionError,
)

# More of them are no faster on a few cores, and let a write wait for its connection.
_LISTS_AT_ONCE: Final = 3
# The connections that lists leave to others, as many as there are writers. A server may have three connections in all.
_LEFT_TO_OTHERS: Final = 2
_GIVE_BACK_SECONDS: Final = 0.5
_CLOSE_SECONDS: Final = 2.0
_CONNECT_SECONDS: Final = 5.0
# A node has a copy of each table for each of its shards, and a statement for each of these.
_STATEMENTS_OF_NODE: Final = 1_000

# Settings that a pooler takes from its clients, too.
_OF_CLIENT: Final = {"application_name": "herdbook", "timezone": "UTC"}
SESSION_OF_ROLE: Final = {
    "jit": "off",
    "synchronous_commit": "on",
    # Every statement here is written for an index. Most plans are made once (planning costs more than most statements take),
    # perhaps while a table is still empty, and must still be good when it has a million rows.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
    # A process that stops in the middle of a batch must not lock its workspaces for ever.
    "idle_in_transaction_session_timeout": "10s",
    # The server ends a slow statement; the client gives up only on a server that does not answer at all.
    "statement_timeout": "8s",
    # A row that somebody has locked, say by hand, must not delay writes to other rows.
    "lock_timeout": "1s",
}
_SESSION: Final = _OF_CLIENT | SESSION_OF_ROLE
# asyncpg asks the catalog for types, and to hide the parts of tables there takes seconds.
_OF_NODE: Final = {"citus.override_table_visibility": "off"}
# No caller waits longer for a node that does not answer than for another database.
# Tables that are copied to all nodes have keys between them. Their writes must come to a node by one connection.
_DISTRIBUTED: Final = _OF_NODE | {
    # A plan for any parameters cannot tell which node has the workspace. Citus 14.0.1 leaks memory at each use of a kept one.
    "plan_cache_mode": "force_custom_plan",
    "citus.node_connection_timeout": "5s",
    "citus.multi_shard_modify_mode": "sequential",
}


# The role has the settings of the server's sessions if those come through a pooler. Commands must be free of them.
_OTHER_SESSION: Final = {
    "application_name": "herdbook",
    **dict.fromkeys(("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin"), "on"),
    **dict.fromkeys(("idle_in_transaction_session_timeout", "statement_timeout", "lock_timeout"), "0"),
    "plan_cache_mode": "auto",
}


class DatabaseUrlInvalid(OperatorFault):
    """The address of the database cannot be read."""

    def __init__(self) -> None:
        super().__init__(
            "The database's URL cannot be read. It looks like postgresql://user:password@host:5432/database; "
            "in a password, characters other than letters and digits are percent-encoded."
        )


class OwnConnection(Connection, Protocol):
    """A connection outside the pool, which also copies many rows at once."""

    async def copy_from_query(self, query: LiteralString, *, output: Callable[[bytes], Awaitable[None]]) -> str: ...

    async def copy_to_table(
        self, table_name: LiteralString, *, columns: Sequence[str], source: AsyncIterable[bytes]
    ) -> str: ...


class Pool(Executor, Protocol):
    """Connections that are opened together and lent one by one, each for a few seconds, after which TimeoutError is raised."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]: ...

    async def close(self) -> None: ...

    def terminate(self) -> None: ...

    def get_size(self) -> int: ...

    def get_idle_size(self) -> int: ...

    @property
    def shards(self) -> Shards | None:
        """The shards of a database that keeps each workspace on one of several nodes."""
        ...


class PagePool(Pool, Protocol):
    """Connections for lists: best for statements that are planned for each execution."""

    @property
    def planning_once(self) -> Pool:
        """The pool that plans each statement once: this one, unless it was opened to plan anew."""
        ...

    @property
    def turns(self) -> asyncio.Semaphore:
        """The turns of lists on `planning_once`: they must leave connections to those who write."""
        ...


async def connect(database_url: str, node: tuple[str, int] | None = None) -> OwnConnection:
    """Open a single connection outside the pool, to a node instead of the URL's host if one is named.

    Refusal: DatabaseUrlInvalid.
    """
    connection = await connect_plainly(database_url, _OTHER_SESSION | (_OF_NODE if node else {}), node)
    await _pass_json_through(connection)
    return cast("OwnConnection", connection)


async def connect_plainly(
    database_url: str, settings: dict[str, str] = _OF_CLIENT, node: tuple[str, int] | None = None
) -> "asyncpg.Connection[asyncpg.Record]":
    """Open a single connection, and run no statement on it. Refusal: DatabaseUrlInvalid."""
    host, port = node or (None, None)
    try:
        return await asyncpg.connect(database_url, host=host, port=port, timeout=10, server_settings=settings)
    except OSError as error:
        raise _of_database(error) from None
    except ValueError:
        # Drop the original message: it quotes parts of the URL, perhaps of its password.
        raise DatabaseUrlInvalid from None


async def open_pool(database_url: str, size: int, *, planning_once: Pool | None = None, is_pooled: bool = False) -> PagePool:
    """Open `size` connections, all at once, so that no request waits for a new one.

    Those that come through a pooler (`is_pooled`) have the settings of their role, and not their own.

    With `planning_once`, another pool, each execution is planned for its own parameters. Use it for statements whose best plan
    depends on the size of the workspace, which a plan for all workspaces cannot know. Planning costs more than many statements
    take, so give the others to `planning_once`.
    """
    planned = _SESSION if planning_once is None else _SESSION | {"plan_cache_mode": "force_custom_plan"}
    settings = _OF_CLIENT if is_pooled else planned
    of_nodes = settings if is_pooled else settings | _DISTRIBUTED
    # Shards are plain tables, so sessions for these have the settings of any other database.
    open_on = partial(_opened, database_url, size, settings | _OF_NODE, max_cached_statements=_STATEMENTS_OF_NODE)
    if planning_once is not None and planning_once.shards is not None:
        return _Pool(await _opened(database_url, size, of_nodes), size, planning_once, open_on)
    pool = _Pool(await _opened(database_url, size, settings), size, planning_once)
    try:
        if planning_once is not None or not await is_distributed(pool):
            return pool
    except BaseException:
        pool.terminate()
        raise
    pool.terminate()
    return _Pool(await _opened(database_url, size, of_nodes), size, None, open_on)


async def _opened(
    database_url: str,
    size: int,
    settings: dict[str, str],
    node: tuple[str, int] | None = None,
    max_cached_statements: int = 100,
) -> Any:
    host, port = node or (None, None)
    try:
        return await asyncpg.create_pool(
            database_url,
            # These take precedence over those of the URL.
            host=host,
            port=port,
            statement_cache_size=max_cached_statements,
            min_size=size,
            max_size=size,
            init=_pass_json_through,
            reset=_leave_as_is,
            max_inactive_connection_lifetime=0,
            server_settings=settings,
            timeout=_CONNECT_SECONDS,
        )
    except OSError as error:
        raise _of_database(error) from None


async def is_distributed(statements: Executor) -> bool:
    """Whether the database keeps each workspace on one of several nodes, which is what Citus is for."""
    found: bool = await statements.fetchval("select to_regclass('pg_dist_partition') is not null")
    return found


class _Pool:
    """A pool of asyncpg with time limits: by itself, it would wait for ever for a database that hangs."""

    def __init__(
        self, pool: Any, size: int, planning_once: Pool | None, open_on: Callable[..., Awaitable[Any]] | None = None
    ) -> None:
        self.pool = pool
        self._size = size
        self._open_on = open_on
        # One process knows one place of a workspace, however many pools it has.
        of_process = None if planning_once is None else planning_once.shards
        self.shards = Shards(self, self.on_node) if open_on is not None and of_process is None else of_process
        self._nodes: dict[tuple[str, int], _Pool] = {}
        self._opening: dict[tuple[str, int], asyncio.Task[_Pool]] = {}
        self.planning_once: Pool = planning_once or self
        self.turns = asyncio.Semaphore(max(1, min(_LISTS_AT_ONCE, self.planning_once.get_size() - _LEFT_TO_OTHERS)))
        # The connections that nobody has. While there are any, nobody waits for one. If it is below zero, so many wait.
        self.free = size
        # Those of them that asyncpg was not given back, because to give back and to borrow takes longer than a short statement.
        self.at_hand: list[Any] = []
        # Counts how often all connections were given up. Those that somebody had meanwhile are cut afterwards.
        self.generation = 0
        # Pools that only read, which no server refuses. They go where this one goes, and so do their connections to a node.
        self.readers: list[_Pool] = []
        self._writers: _Pool | None = None
        if isinstance(planning_once, _Pool):
            self._writers = planning_once
            planning_once.readers.append(self)

    async def leave(self) -> None:
        """Give up all connections, because new ones may lead to a server that takes writes."""
        for connection in self.at_hand:
            connection.terminate()
        await self.pool.expire_connections()
        self.generation += 1

    def acquire(self) -> "_Lent":
        return _Lent(self)

    async def execute(self, query: LiteralString, *args: Any) -> str:
        if self.shards is not None and is_of_shard(query, args):
            return await self.shards.run(args[0], lambda connection: connection.execute(query, *args), self.on_node)
        async with _Lent(self) as connection:
            return await connection.execute(query, *args)

    async def fetch(self, query: LiteralString, *args: Any) -> list[asyncpg.Record]:
        if self.shards is not None and is_of_shard(query, args):
            return await self.shards.run(args[0], lambda connection: connection.fetch(query, *args), self.on_node)
        async with _Lent(self) as connection:
            return await connection.fetch(query, *args)

    async def fetchrow(self, query: LiteralString, *args: Any) -> asyncpg.Record | None:
        if self.shards is not None and is_of_shard(query, args):
            return await self.shards.run(args[0], lambda connection: connection.fetchrow(query, *args), self.on_node)
        async with _Lent(self) as connection:
            return await connection.fetchrow(query, *args)

    async def fetchval(self, query: LiteralString, *args: Any) -> Any:
        if self.shards is not None and is_of_shard(query, args):
            return await self.shards.run(args[0], lambda connection: connection.fetchval(query, *args), self.on_node)
        async with _Lent(self) as connection:
            return await connection.fetchval(query, *args)

    async def on_node(self, host: str, port: int) -> "_Pool":
        """Return connections to a node, as many as these. All who ask share them."""
        node = (host, port)
        while (found := self._nodes.get(node)) is None:
            if node not in self._opening:
                self._opening[node] = asyncio.create_task(self._opened_on(node))
            await asyncio.shield(self._opening[node])
        return found

    async def _opened_on(self, node: tuple[str, int]) -> "_Pool":
        try:
            assert self._open_on is not None, "only a distributed database has nodes"
            writers = None if self._writers is None else await self._writers.on_node(*node)
            found = self._nodes[node] = _Pool(await self._open_on(node=node), self._size, writers)
        finally:
            del self._opening[node]
        return found

    async def close(self) -> None:
        """Close all connections; cut those to a database that does not answer."""
        for opening in [*self._opening.values()]:
            opening.cancel()
        await asyncio.gather(*(node.close() for node in self._nodes.values()))
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self.at_hand:
                    await self.pool.release(self.at_hand.pop())
                await self.pool.close()
        except CONNECTION_ERRORS:
            self.terminate()

    def terminate(self) -> None:
        """Cut all connections at once."""
        self.pool.terminate()
        for node in self._nodes.values():
            node.terminate()

    def get_size(self) -> int:
        return self.pool.get_size()

    def get_idle_size(self) -> int:
        return self.pool.get_idle_size() + sum(map(_is_open, self.at_hand))


class _Lent:
    """A connection for the length of the block, and at most `PATIENCE_SECONDS`."""

    __slots__ = ("_connection", "_end", "_generation", "_is_late", "_pool")

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool
        self._is_late = False
        self._generation = pool.generation

    async def __aenter__(self) -> Connection:
        loop = asyncio.get_running_loop()
        late_at = loop.time() + PATIENCE_SECONDS
        at_hand = self._pool.at_hand
        if at_hand and _is_open(at_hand[-1]):
            self._pool.free -= 1
            self._connection = at_hand.pop()
            self._end = loop.call_at(late_at, self._cut)
            return cast("Connection", self._connection)
        while at_hand:
            # The database has gone away, so the others are probably closed, too.
            await self._pool.pool.release(at_hand.pop())
        # A free connection that is broken is opened again, in a shorter time.
        limit = contextlib.nullcontext() if self._pool.free > 0 else asyncio.timeout_at(late_at)
        self._pool.free -= 1
        try:
            async with limit:
                self._connection = await self._pool.pool.acquire()
        except BaseException as error:
            self._pool.free += 1
            if isinstance(error, OSError):
                raise _of_database(error) from None
            raise
        self._end = loop.call_at(late_at, self._cut)
        return cast("Connection", self._connection)

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._end.cancel()
        pool = self._pool
        if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
            self._connection.terminate()
            for each in (pool, *pool.readers):
                await each.leave()
        elif self._generation != pool.generation and _is_open(self._connection):
            self._connection.terminate()
        if error is None and pool.free >= 0 and _is_open(self._connection):
            pool.at_hand.append(self._connection)
            pool.free += 1
            return
        # The release cancels an interrupted statement on the server. If the server does not answer, the connection is closed.
        try:
            await self._pool.pool.release(self._connection, timeout=None if error is None else _GIVE_BACK_SECONDS)
        except CONNECTION_ERRORS:
            pass
        finally:
            self._pool.free += 1
        if self._is_late and isinstance(error, (OSError, *CONNECTION_ERRORS)):
            raise TimeoutError("the database did not answer in time") from error
        if isinstance(error, OSError):
            raise _of_database(error) from None

    def _cut(self) -> None:
        # Not `cancel`: that waits for the server, too.
        self._is_late = True
        self._connection.terminate()


def _is_open(connection: Any) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool has taken it back, because it was closed.
        return False


def _of_database(error: OSError) -> OSError:
    """Return a network error as DatabaseAway; keep a TimeoutError."""
    return error if isinstance(error, (TimeoutError, DatabaseAway)) else DatabaseAway(str(error))


async def _pass_json_through(connection: Any) -> None:
    # JSON passes through as bytes: msgspec encodes and decodes it, straight from and to typed structs.
    try:
        await connection.set_type_codec("json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")
    except BaseException:
        # Otherwise asyncpg closes it, which waits for a server that does not answer.
        connection.terminate()
        raise


async def _leave_as_is(connection: Any) -> None:
    """Reset nothing: our statements leave no state in the session, and a reset costs a round trip."""
