"""`herdbook workspaces`: tenants."""

from typing import Annotated

from cyclopts import App, Parameter

from herdbook import ids
from herdbook.auth import store
from herdbook.cli.database import with_connection
from herdbook.cli.environment import environment, require_name
from herdbook.cli.tables import new_table, show
from herdbook.first_start import create_owned_workspace
from herdbook.settings import DatabaseSettings

app = App(name="workspaces", help="Create and list workspaces: tenants with separate data.", version_flags=[])


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


@app.command(name="list")
def list_workspaces(*, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """List the workspaces."""
    table = new_table("Workspace", "Name", "Created", "Changes")
    for workspace in with_connection(database, store.list_workspaces):
        workspace_id = ids.encoded(ids.WORKSPACE, workspace.id)
        table.add_row(workspace_id, workspace.name, f"{workspace.created_at:%Y-%m-%d %H:%M}", str(workspace.changes))
    show(table)
