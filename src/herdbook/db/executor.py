"""The types of all that runs statements."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, LiteralString, Protocol

import asyncpg


class Executor(Protocol):
    """Runs statements. They are typed as literals, so that no computed string can be one."""

    async def execute(self, query: LiteralString, *args: Any) -> str: ...

    async def fetch(self, query: LiteralString, *args: Any) -> list[asyncpg.Record]: ...

    async def fetchrow(self, query: LiteralString, *args: Any) -> asyncpg.Record | None: ...

    async def fetchval(self, query: LiteralString, *args: Any) -> Any: ...


class Connection(Executor, Protocol):
    """A connection."""

    async def executemany(self, command: LiteralString, args: Iterable[Sequence[Any]]) -> None: ...

    def transaction(self) -> AbstractAsyncContextManager[Any]: ...

    def is_in_transaction(self) -> bool: ...

    async def close(self) -> None: ...

    def terminate(self) -> None: ...


class Lender(Protocol):
    """Lends connections one by one."""

    def acquire(self) -> AbstractAsyncContextManager[Connection]: ...

    def get_idle_size(self) -> int: ...
