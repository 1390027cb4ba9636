"""`herdbook clients`: OAuth clients."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX
from herdbook.cli.database import with_connection, workspace_called
from herdbook.cli.environment import CommandFailed, environment, require_name
from herdbook.cli.tables import new_table, show
from herdbook.db.pool import Connection
from herdbook.errors import Invalid
from herdbook.oauth import store
from herdbook.settings import DatabaseSettings

app = App(name="clients", help="Create, list and revoke OAuth clients: programs of third parties.", version_flags=[])


@app.command
def create(
    name: str,
    *,
    scope: Annotated[Sequence[str], Parameter(negative=())],
    redirect_uri: Annotated[Sequence[str], Parameter(negative=())] = (),
    public: Annotated[bool, Parameter(negative=())] = False,
    workspace: str | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Create an OAuth client, and print its id and its secret. The secret is shown only once.

    Parameters
    ----------
    name
        The name that users see.
    scope
        A scope that it may ask for, such as contacts:read; repeat the option for more. `workspace:admin` is not possible.
    redirect_uri
        An exact URI that users may be sent to with a code; repeat the option for more. Without any, the client acts for no
        user, and gets its tokens only by `client_credentials`.
    public
        Create it without a secret: for a program on users' own devices or in their browsers, where nothing stays secret.
    workspace
        The workspace's id; not needed if there is only one.

    """
    require_name(name, "A client needs a name, so that users know who gets access.")

    async def work(connection: Connection) -> None:
        workspace_id = await workspace_called(connection, workspace)
        # Show the secret before the commit: a client whose secret cannot be shown must not exist.
        async with connection.transaction():
            client = await store.create_client(connection, workspace_id, name, scope, redirect_uri, is_public=public)
            secret = "" if public else f"\nclient_secret={client.client_secret}"
            environment.say(f"client_id={client.client_id}{secret}")

    try:
        with_connection(database, work)
    except Invalid as refusal:
        raise CommandFailed(refusal.detail) from None


@app.command(name="list")
def list_clients(
    *, workspace: str | None = None, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()
) -> None:
    """List the OAuth clients. Their secrets are not stored, so they cannot be shown.

    Parameters
    ----------
    workspace
        The workspace's id; without it, the clients of all workspaces.

    """

    async def work(connection: Connection) -> list[store.ListedClient]:
        workspace_id = None if workspace is None else await workspace_called(connection, workspace)
        return await store.list_clients(connection, workspace_id)

    table = new_table("Client", "Name", "Workspace", "Scopes", "Redirect URIs", "Last used", "State")
    for client in with_connection(database, work):
        table.add_row(
            ids.encoded(CLIENT_PREFIX, client.id),
            client.name,
            ids.encoded(ids.WORKSPACE, client.workspace_id),
            " ".join(client.scopes),
            " ".join(client.redirect_uris),
            "never" if client.last_used_at is None else f"{client.last_used_at:%Y-%m-%d %H:%M}",
            "works" if client.revoked_at is None else f"revoked {client.revoked_at:%Y-%m-%d %H:%M}",
        )
    show(table)


@app.command
def revoke(client: str, *, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """Revoke an OAuth client. It gets no more tokens, and its tokens stop working everywhere within 5 seconds.

    Parameters
    ----------
    client
        The client's id, as `herdbook clients list` shows it.

    """
    client_id: UUID | None = ids.decoded(CLIENT_PREFIX, client)

    async def work(connection: Connection) -> bool:
        return client_id is not None and await store.revoke_client(connection, client_id)

    if not with_connection(database, work):
        raise CommandFailed("There is no such client. `herdbook clients list` shows all clients.")
    environment.say("Revoked.")
