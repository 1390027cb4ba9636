"""`herdbook keys`: API keys."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from cyclopts import App, Parameter

from herdbook import ids
from herdbook.api_keys import commands
from herdbook.api_keys.commands import NewKey
from herdbook.auth import store
from herdbook.auth.keys import PREFIX
from herdbook.cli.database import with_connection, workspace_called
from herdbook.cli.environment import CommandFailed, environment
from herdbook.cli.tables import new_table, show
from herdbook.db.pool import Connection
from herdbook.errors import Invalid
from herdbook.settings import DatabaseSettings

app = App(name="keys", help="Create, list and revoke API keys.", version_flags=[])


@app.command
def create(
    name: str,
    *,
    scope: Annotated[Sequence[str], Parameter(negative=())],
    workspace: str | None = None,
    expires: datetime | None = None,
    user: str | None = None,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Create an API key, and print it. It is shown only once.

    Parameters
    ----------
    name
        The purpose of the key.
    scope
        A scope of the key, such as contacts:read; repeat the option for more. `workspace:admin` allows everything.
    workspace
        The workspace's id; not needed if there is only one.
    expires
        The time when the key stops working, such as 2027-01-31; UTC unless it has an offset. Default: never.
    user
        The id of the user that the key acts for: the author of its comments, the owner of its engagements. The key stops
        working when that user is no longer active. Default: the first active user of the workspace.

    """
    if expires is not None and expires.tzinfo is None:
        expires = expires.replace(tzinfo=UTC)
    user_id = None if user is None else ids.decoded(ids.USER, user)
    if user is not None and user_id is None:
        raise CommandFailed(f"There is no active user `{user}` in this workspace. `herdbook users list` shows all users.")
    key = NewKey(name, scope, expires, user_id)

    async def work(connection: Connection) -> None:
        workspace_id = await workspace_called(connection, workspace)
        # Show the key before the commit: a key that cannot be shown must not exist.
        async with connection.transaction():
            environment.say(str(await commands.create(connection, workspace_id, key)))

    try:
        # A fault of the options needs no database to be found.
        commands.check(key)
        with_connection(database, work)
    except Invalid as refusal:
        raise CommandFailed(refusal.detail.replace("`expires`", "--expires")) from None


@app.command(name="list")
def list_keys(
    *, workspace: str | None = None, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()
) -> None:
    """List the API keys. Their secrets are not stored, so they cannot be shown.

    Parameters
    ----------
    workspace
        The workspace's id; without it, the keys of all workspaces.

    """

    async def work(connection: Connection) -> list[store.Credential]:
        workspace_id = None if workspace is None else await workspace_called(connection, workspace)
        return await store.list_keys(connection, workspace_id)

    table = new_table("Key", "Name", "Workspace", "Scopes", "Last used", "State")
    now = datetime.now(UTC)
    for key in with_connection(database, work):
        state = "works"
        if key.revoked_at is not None:
            state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
        elif key.expires_at is not None:
            state = f"{'expired' if key.expires_at <= now else 'expires'} {key.expires_at:%Y-%m-%d %H:%M}"
        table.add_row(
            ids.encoded(PREFIX, key.id),
            key.name,
            ids.encoded(ids.WORKSPACE, key.workspace_id),
            " ".join(key.scopes),
            "never" if key.last_used_at is None else f"{key.last_used_at:%Y-%m-%d %H:%M}",
            state,
        )
    show(table)


@app.command
def revoke(key: str, *, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """Revoke an API key. It stops working everywhere within 5 seconds.

    Parameters
    ----------
    key
        The key as `herdbook keys list` shows it. The whole key also works, but would stay in the shell's history.

    """
    key_id: UUID | None = ids.decoded(PREFIX, key.partition(".")[0])

    async def work(connection: Connection) -> bool:
        return key_id is not None and await store.revoke_key(connection, key_id)

    if not with_connection(database, work):
        raise CommandFailed("There is no such key. `herdbook keys list` shows all keys.")
    environment.say("Revoked.")
