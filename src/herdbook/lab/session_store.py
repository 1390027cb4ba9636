"""Connections to the lab's database whose sessions have the clock of a workspace."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, LiteralString, Protocol, cast

import asyncpg

from herdbook.db.pool import Connection, PagePool, Pool
from herdbook.lab import store
from herdbook.lab.clock import Clock
from herdbook.lab.gate import Closing, Gate
from herdbook.ledger.batch import SAVED

# Commits that faults hold at once, in all workspaces. Others wait for their turn, without a connection.
MOST_HELD_COMMITS: Final = 3


class _Session(Connection, Protocol):
    def get_server_pid(self) -> int: ...


class Sessions:
    """The clocks of the sessions, by the process that serves each: a connection that is opened again has another one."""

    def __init__(self) -> None:
        self.clocks: dict[int, tuple[str, str]] = {}
        # The sessions that copy.
        self.copying: set[int] = set()
        # Each commit that is held keeps a connection from all other workspaces.
        self.holding = asyncio.Semaphore(MOST_HELD_COMMITS)


class ClockedPool:
    """The connections of a pool, while a workspace has them."""

    def __init__(self, pool: Pool, sessions: Sessions, clock: Clock) -> None:
        self._pool = pool
        self._sessions = sessions
        self._clock = clock
        self.shards = pool.shards

    async def execute(self, query: LiteralString, *args: Any) -> str:
        """Run a statement."""
        async with self.acquire() as connection:
            return await connection.execute(query, *args)

    async def fetch(self, query: LiteralString, *args: Any) -> list[asyncpg.Record]:
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

    async def close(self) -> None:
        """Do nothing: the connections are lent."""

    def terminate(self) -> None:
        """Do nothing: the connections are lent."""

    def get_size(self) -> int:
        """Return the number of connections."""
        return self._pool.get_size()

    def get_idle_size(self) -> int:
        """Return the number of connections that nobody has."""
        return self._pool.get_idle_size()

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection whose session has the clock."""
        return self._acquired()

    @asynccontextmanager
    async def _acquired(self) -> AsyncGenerator[Connection]:
        async with self._pool.acquire() as connection:
            process, clock = cast("_Session", connection).get_server_pid(), self._clock.as_settings
            if self._sessions.clocks.get(process) != clock:
                await store.set_clock(connection, *clock)
                self._sessions.clocks[process] = clock
            yield connection


class ClockedPages(ClockedPool):
    """The connections of lists, while a workspace has them."""

    def __init__(self, pages: PagePool, sessions: Sessions, clock: Clock, planning_once: ClockedPool) -> None:
        super().__init__(pages, sessions, clock)
        self.planning_once: Pool = planning_once
        self.turns = pages.turns


def pools(pool: Pool, pages: PagePool, sessions: Sessions, clock: Clock) -> tuple[ClockedPool, ClockedPages]:
    """Return the connections of a workspace, and those for its lists."""
    own = ClockedPool(pool, sessions, clock)
    return own, ClockedPages(pages, sessions, clock, own)


class LedgerPool(ClockedPool):
    """The connections of a ledger, whose commits are held while faults say so, and not while somebody wants to be alone."""

    def __init__(self, pool: Pool, sessions: Sessions, clock: Clock, gate: Gate) -> None:
        super().__init__(pool, sessions, clock)
        self._holding = sessions.holding
        self._gate = gate
        # The seconds of the faults that hold commits now.
        self.held_seconds: list[float] = []

    def acquire(self) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection whose session has the clock."""
        return self._acquired_to_hold() if self.held_seconds else self._acquired()

    @asynccontextmanager
    async def _acquired_to_hold(self) -> AsyncGenerator[Connection]:
        seconds = max(self.held_seconds)
        is_held = False
        # Before it has a connection, because others need that meanwhile.
        with suppress(Closing):
            async with self._gate.until_closed():
                is_held = await self._holding.acquire()
        try:
            async with self._acquired() as connection:
                yield cast("Connection", _Slow(connection, self._gate, seconds)) if is_held else connection
        finally:
            if is_held:
                self._holding.release()


class _Slow:
    """A connection that waits between a save of the ledger and its commit, while the rows are locked."""

    def __init__(self, connection: Connection, gate: Gate, seconds: float) -> None:
        self._connection = connection
        self._gate = gate
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, query: LiteralString, *args: Any) -> list[asyncpg.Record]:
        """Run a statement; one that saves is committed later."""
        if not query.endswith(SAVED):
            return await self._connection.fetch(query, *args)
        async with self._connection.transaction():
            records = await self._connection.fetch(query, *args)
            await self._gate.pause(self._seconds)
        return records


@asynccontextmanager
async def copying(pool: Pool, sessions: Sessions) -> AsyncGenerator[Connection]:
    """Lend a connection that copies workspaces. It is of a pool for that alone."""
    async with pool.acquire() as connection:
        process = cast("_Session", connection).get_server_pid()
        if process not in sessions.copying:
            await store.leave_triggers_out(connection)
            sessions.copying.add(process)
        yield connection
