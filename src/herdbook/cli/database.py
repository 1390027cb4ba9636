"""The database of a command: the one that is running, or one that is started for as long as the command lasts."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from herdbook.cli.environment import CommandFailed
from herdbook.db.migrate import missing
from herdbook.db.pool import Connection, connect
from herdbook.embedded import EmbeddedPostgres, running
from herdbook.settings import DatabaseSettings

T = TypeVar("T")


@contextmanager
def database(settings: DatabaseSettings) -> Generator[str]:
    """The address of the database, for as long as the block lasts."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    if not (settings.data_dir / "postgres").exists():
        raise CommandFailed(
            f"There is no herdbook data in `{settings.data_dir}`. Name the folder with --data-dir, "
            "or an external database with --database-url; `herdbook serve` creates a new one."
        )
    url = running(settings.data_dir)
    if url is not None:
        yield url
        return
    server = EmbeddedPostgres(settings.data_dir)
    try:
        yield server.start()
    finally:
        server.stop()


def with_connection(settings: DatabaseSettings, work: Callable[[Connection], Awaitable[T]]) -> T:
    """Do some work on a connection to a database whose schema is up to date."""

    async def connected(url: str) -> T:
        connection = await connect(url)
        try:
            if await connection.fetchval("select to_regclass('migration') is null") or await missing(connection):
                raise CommandFailed("The database's schema is not up to date. Run `herdbook migrate` first.")
            return await work(connection)
        finally:
            await connection.close()

    with database(settings) as url:
        return asyncio.run(connected(url))
