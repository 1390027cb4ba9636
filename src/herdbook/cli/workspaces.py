"""`herdbook workspaces`: tenants."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Final

import asyncpg
from cyclopts import App, Parameter
from rich.filesize import decimal

from herdbook import ids
from herdbook.auth import store
from herdbook.cli.database import database as open_database
from herdbook.cli.database import with_connection, workspace_called
from herdbook.cli.environment import CommandFailed, environment, require_name
from herdbook.cli.tables import new_table, show
from herdbook.db import distribution
from herdbook.db.pool import CONNECTION_ERRORS, Connection, connect
from herdbook.faults import OperatorFault
from herdbook.first_start import create_owned_workspace
from herdbook.phone_numbers import region_named
from herdbook.settings import DatabaseSettings
from herdbook.workspaces.store import set_region

_WAKE_SECONDS: Final = 0.05
_PROGRESS_SECONDS: Final = 2.0

app = App(name="workspaces", help="Create, change and list workspaces: tenants with separate data.", version_flags=[])


@app.command
def create(name: str, *, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """Create a workspace, and print its id.

    Parameters
    ----------
    name
        The name that people see.

    """
    require_name(name, "A workspace needs a name, so that people can tell it from others.")
    with open_database(database) as url:
        workspace_id = with_connection(
            DatabaseSettings(database_url=url), lambda connection: create_owned_workspace(url, connection, name)
        )
    environment.say(ids.encoded(ids.WORKSPACE, workspace_id))


@app.command(name="set")
def set_workspace(
    workspace: str, *, region: str, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()
) -> None:
    """Set the default region of a workspace: the country whose phone numbers need no country code.

    Parameters
    ----------
    workspace
        The id of the workspace.
    region
        Two letters (ISO 3166-1), such as `GB`, or `none` to remove the region.

    """
    workspace_id = ids.decoded(ids.WORKSPACE, workspace)
    code = region_named(region)
    if code is None and region.lower() != "none":
        raise CommandFailed(f"There is no region `{region}`. Use two letters such as `GB`, or `none`.")
    if workspace_id is None or not with_connection(database, lambda connection: set_region(connection, workspace_id, code)):
        raise CommandFailed(f"There is no workspace `{workspace}`. `herdbook workspaces list` shows all.")


@app.command(name="list")
def list_workspaces(*, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """List the workspaces."""
    table = new_table("Workspace", "Name", "Created", "Changes", "Region")
    for workspace in with_connection(database, store.list_workspaces):
        workspace_id = ids.encoded(ids.WORKSPACE, workspace.id)
        table.add_row(
            workspace_id,
            workspace.name,
            f"{workspace.created_at:%Y-%m-%d %H:%M}",
            str(workspace.changes),
            workspace.region or "",
        )
    show(table)


@app.command
def where(*, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """List the nodes of a distributed database that have the workspaces.

    The size is that of all workspaces that are kept together with one; the last column has their number.
    """
    table = new_table("Workspace", "Name", "Node", "Changes", "Size", "Together")
    for place in with_connection(database, distribution.places):
        size = decimal(place.bytes)
        table.add_row(
            ids.encoded(ids.WORKSPACE, place.workspace_id),
            place.name,
            place.node,
            str(place.changes),
            size,
            str(place.workspaces),
        )
    show(table)


@app.command
def move(
    workspace: str,
    node: str,
    *,
    alone: Annotated[bool, Parameter(negative="")] = False,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Move a workspace to another node of a distributed database, while it is in use.

    Those that are kept together with it move, too. Their writes pause for a moment at the end.

    Parameters
    ----------
    workspace
        The id of the workspace.
    node
        The name of the node, as `herdbook workspaces where` shows it.
    alone
        Part the workspace from those that are kept together with it, which stay. Writes of all of these pause for seconds.

    """

    async def moved(connection: Connection) -> bool:
        workspace_id = await workspace_called(connection, workspace)
        async with asyncio.TaskGroup() as tasks:
            watch = tasks.create_task(_watch(url))
            try:
                return await distribution.move(connection, workspace_id, node, environment.say, is_parted=alone)
            finally:
                watch.cancel()

    with open_database(database) as url:
        try:
            has_moved = with_connection(DatabaseSettings(database_url=url), moved)
        except* OperatorFault as faults:
            raise faults.exceptions[0] from None
    environment.say(f"Moved to {node}." if has_moved else f"It is on {node} already.")


async def _watch(url: str) -> None:
    """Have a move go on as soon as it can, and show every few seconds how much of it is done, until it is cancelled.

    The move goes on without it.
    """

    async def show_progress(connection: Connection) -> None:
        done, total = await distribution.moved_bytes(connection)
        if total:
            environment.say(f"{decimal(done)} of {decimal(total)}")

    # To ask all nodes takes long on a busy machine, and writes wait for the other one.
    await asyncio.gather(_repeat(url, _WAKE_SECONDS, distribution.wake), _repeat(url, _PROGRESS_SECONDS, show_progress))


async def _repeat(url: str, seconds: float, act: Callable[[Connection], Awaitable[None]]) -> None:
    while True:
        with suppress(*CONNECTION_ERRORS, asyncpg.PostgresError):
            connection = await connect(url)
            try:
                while True:
                    await asyncio.sleep(seconds)
                    await act(connection)
            finally:
                await connection.close()
        await asyncio.sleep(seconds)
