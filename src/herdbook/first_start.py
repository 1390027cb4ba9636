"""What a database needs before it can serve: the schema, a secret of its own, and, the first time, a workspace with a key."""

import secrets
from typing import NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.auth.keys import ApiKey
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, create_workspace
from herdbook.db.migrate import migrate
from herdbook.db.pool import Connection, connect
from herdbook.ledger.batch import load, save
from herdbook.ledger.book import Origin
from herdbook.ledger.objects import NOBODY
from herdbook.users.actions import CreateUser
from herdbook.users.model import NewUser, UserRole


class Prepared(NamedTuple):
    """A database that can serve: its first workspace and, where it was created just now, a key that is shown this once."""

    workspace_id: UUID
    api_key: ApiKey | None


async def prepare(database_url: str) -> Prepared:
    """Migrate the database, and see that there is a workspace to begin with. Several processes may call it at once."""
    await migrate(database_url)
    connection = await connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("lock table setting in share row exclusive mode")
            await connection.execute(
                "insert into setting (name, value) values ('cursor_secret', $1) on conflict do nothing",
                secrets.token_urlsafe(32),
            )
            first: UUID | None = await connection.fetchval("select id from workspace order by id limit 1")
            if first is not None:
                return Prepared(first, None)
            workspace_id = await create_owned_workspace(connection, "First workspace")
            return Prepared(workspace_id, await create_key(connection, workspace_id, "First key", [ADMIN]))
    finally:
        await connection.close()


async def create_owned_workspace(connection: Connection, name: str) -> UUID:
    """Create a workspace with a first user, for whom keys act that name no other; return its id."""
    async with connection.transaction():
        workspace_id = await create_workspace(connection, name)
        owner = CreateUser(NewUser("Workspace", "Owner", role=UserRole.OWNER))
        book = (await load(connection, {workspace_id: set(owner.needs())}))[workspace_id]
        book.carry_out(owner, Origin(request_id=ids.new_id(), credential_id=NOBODY))
        await save(connection, [book])
        return workspace_id
