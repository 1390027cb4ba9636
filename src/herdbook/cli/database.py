"""The database of a command: the running one, or one that is started for the duration of the command."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from herdbook import ids
from herdbook.auth.store import list_workspaces
from herdbook.cli.environment import CommandFailed
from herdbook.db.migrate import missing
from herdbook.db.pool import Connection, OwnConnection, connect, open_pool
from herdbook.embedded import DataFolderInUse, EmbeddedPostgres, has_data, running
from herdbook.errors import Refusal
from herdbook.ledger.ledger import Ledger, Written
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.settings import DatabaseSettings

T = TypeVar("T")


@contextmanager
def database(settings: DatabaseSettings) -> Generator[str]:
    """Yield the address of the database, which runs at least until the block ends."""
    if settings.database_url is not None:
        yield settings.direct_url or settings.database_url
        return
    if not has_data(settings.data_dir):
        raise CommandFailed(
            f"There is no herdbook data in `{settings.data_dir}`. Choose the folder with --data-dir, "
            "or an external database with --database-url; `herdbook serve` creates a new one."
        )
    url = running(settings.data_dir)
    if url is not None:
        yield url
        return
    server = EmbeddedPostgres(settings.data_dir)
    try:
        yield _started_or_found(server)
    finally:
        server.stop()


def _started_or_found(server: EmbeddedPostgres) -> str:
    try:
        return server.start()
    except DataFolderInUse:
        # Another server was starting, and is running by now.
        url = running(server.data_dir)
        if url is None:
            raise
        return url


def carry_out(settings: DatabaseSettings, workspace: str | None, command: Command) -> Written:
    """Execute a command in a workspace's ledger, and return the result."""

    async def work(connection: Connection) -> UUID:
        return await workspace_called(connection, workspace)

    async def written(url: str, workspace_id: UUID) -> Written:
        pool = await open_pool(url, size=2)
        ledger = Ledger(pool, queue_limit=1)
        ledger.open()
        try:
            # Access to the database's files is enough; no credential is needed.
            origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
            return await ledger.write(workspace_id, command, origin)
        except Refusal as refusal:
            raise CommandFailed(refusal.detail) from None
        finally:
            await ledger.close()
            await pool.close()

    with database(settings) as url:
        workspace_id = with_connection(DatabaseSettings(database_url=url), work)
        return asyncio.run(written(url, workspace_id))


async def workspace_called(connection: Connection, text: str | None) -> UUID:
    """Return the id of the named workspace, or of the only one if none is named."""
    known = [workspace.id for workspace in await list_workspaces(connection)]
    if text is None:
        if len(known) != 1:
            raise CommandFailed(
                f"There are {len(known)} workspaces. Name one with --workspace; `herdbook workspaces list` shows them."
            )
        return known[0]
    workspace_id = ids.decoded(ids.WORKSPACE, text)
    if workspace_id is None or workspace_id not in known:
        raise CommandFailed(f"There is no workspace `{text}`. `herdbook workspaces list` shows all workspaces.")
    return workspace_id


def with_connection(settings: DatabaseSettings, work: Callable[[OwnConnection], Awaitable[T]]) -> T:
    """Run `work` on a connection to a database whose schema is up to date."""

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
