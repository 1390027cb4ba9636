"""`herdbook workspaces`: tenants."""

from typing import Annotated

from cyclopts import App, Parameter

from herdbook import ids
from herdbook.auth import store
from herdbook.cli.database import with_connection
from herdbook.cli.environment import CommandFailed, environment, require_name
from herdbook.cli.tables import new_table, show
from herdbook.first_start import create_owned_workspace
from herdbook.phone_numbers import region_named
from herdbook.settings import DatabaseSettings
from herdbook.workspaces.store import set_region

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
    workspace_id = with_connection(database, lambda connection: create_owned_workspace(connection, name))
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
