"""Connections to PostgreSQL."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Final, LiteralString, Protocol, cast

import asyncpg

# What it means that a statement did not come back: it may have been carried out, or not.
CONNECTION_ERRORS: Final = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
)

_SESSION: Final = {
    "application_name": "herdbook",
    "timezone": "UTC",
    "jit": "off",
    "synchronous_commit": "on",
    # Every statement here is made for an index. Most plans are made once (planning costs more than most of them take), perhaps
    # while a table is still empty, and must hold when it has a million rows.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "max_parallel_workers_per_gather": "0",
    # A process that stops in the middle of a batch must not hold its workspaces for ever.
    "idle_in_transaction_session_timeout": "10s",
}


class Statements(Protocol):
    """What runs statements. They are typed as literals, so that nothing computed can be one."""

    async def execute(self, query: LiteralString, *args: Any) -> str: ...

    async def fetch(self, query: LiteralString, *args: Any) -> list[asyncpg.Record]: ...

    async def fetchrow(self, query: LiteralString, *args: Any) -> asyncpg.Record | None: ...

    async def fetchval(self, query: LiteralString, *args: Any) -> Any: ...


class Connection(Statements, Protocol):
    """A connection."""

    def transaction(self) -> AbstractAsyncContextManager[Any]: ...

    async def close(self) -> None: ...


class Pool(Statements, Protocol):
    """Connections that are opened together, and lent one by one."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]: ...

    async def close(self) -> None: ...

    def get_size(self) -> int: ...

    def get_idle_size(self) -> int: ...


async def connect(database_url: str) -> Connection:
    """Open one connection, for an errand."""
    connection = await asyncpg.connect(database_url, timeout=10)
    await _pass_json_through(connection)
    return cast("Connection", connection)


async def open_pool(database_url: str, size: int, *, plan_anew: bool = False) -> Pool:
    """Open `size` connections, all at once, so that no request waits for one to be made.

    With `plan_anew`, each statement is planned for the parameters it comes with. It is for those whose best plan depends on how
    large the workspace is, which a plan for all workspaces cannot know.
    """
    pool = await asyncpg.create_pool(
        database_url,
        min_size=size,
        max_size=size,
        init=_pass_json_through,
        reset=_leave_as_is,
        max_inactive_connection_lifetime=0,
        server_settings=_SESSION | {"plan_cache_mode": "force_custom_plan"} if plan_anew else _SESSION,
        command_timeout=30,
    )
    return cast("Pool", pool)


async def _pass_json_through(connection: Any) -> None:
    # JSON comes and goes as bytes: msgspec encodes and decodes it, straight from and to typed structs.
    await connection.set_type_codec("json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")


async def _leave_as_is(connection: Any) -> None:
    """Reset nothing: no statement of ours leaves anything behind in its session, and the reset is a round trip."""
