"""Connections to PostgreSQL."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, LiteralString, Protocol, cast

import asyncpg


class DatabaseAway(ConnectionError):
    """The database could not be connected to, or a connection to it broke.

    It is an OSError that comes from here. Any other one is of a disk or of another server, and says nothing of the database.
    """


# What it means that a statement did not come back: it may have been carried out, or not.
CONNECTION_ERRORS: Final = (
    DatabaseAway,
    TimeoutError,
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
    connection = await _connect(database_url, timeout=10)
    await _pass_json_through(connection)
    return cast("Connection", connection)


async def open_pool(database_url: str, size: int, *, plan_anew: bool = False) -> Pool:
    """Open `size` connections, all at once, so that no request waits for one to be made.

    With `plan_anew`, each statement is planned for the parameters it comes with. It is for those whose best plan depends on how
    large the workspace is, which a plan for all workspaces cannot know.
    """
    pool = await asyncpg.create_pool(
        database_url,
        connect=_connect,
        connection_class=_Connection,
        min_size=size,
        max_size=size,
        init=_pass_json_through,
        reset=_leave_as_is,
        max_inactive_connection_lifetime=0,
        server_settings=_SESSION | {"plan_cache_mode": "force_custom_plan"} if plan_anew else _SESSION,
        command_timeout=30,
    )
    return cast("Pool", pool)


class _Telling:
    """A block in which errors of the network are the database's."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, TimeoutError):
            raise DatabaseAway(str(error)) from error


_TELLING: Final = _Telling()


async def _connect(*args: Any, **options: Any) -> Any:
    with _TELLING:
        return await asyncpg.connect(*args, **options)


class _Connection(asyncpg.Connection[Any] if TYPE_CHECKING else asyncpg.Connection):
    """A connection whose errors tell that they are the database's."""

    async def execute(self, *args: Any, **options: Any) -> str:
        with _TELLING:
            return await super().execute(*args, **options)

    async def fetch(self, *args: Any, **options: Any) -> list[Any]:
        with _TELLING:
            return await super().fetch(*args, **options)

    async def fetchrow(self, *args: Any, **options: Any) -> Any:
        with _TELLING:
            return await super().fetchrow(*args, **options)

    async def fetchval(self, *args: Any, **options: Any) -> Any:
        with _TELLING:
            return await super().fetchval(*args, **options)


async def _pass_json_through(connection: Any) -> None:
    # JSON comes and goes as bytes: msgspec encodes and decodes it, straight from and to typed structs.
    await connection.set_type_codec("json", schema="pg_catalog", encoder=bytes, decoder=bytes, format="binary")


async def _leave_as_is(connection: Any) -> None:
    """Reset nothing: no statement of ours leaves anything behind in its session, and the reset is a round trip."""
