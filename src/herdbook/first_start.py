"""The preparation of a database: the schema, a secret for cursors, and, the first time, a workspace with a key."""

import secrets
from typing import Final, NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.auth.keys import ApiKey, Token
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, create_workspace, revoke_key
from herdbook.console.store import create_link
from herdbook.custom_fields.commands import DefineUsualFields
from herdbook.db.distribution import connection_of
from herdbook.db.migrate import migrate
from herdbook.db.pool import Connection, connect, is_distributed
from herdbook.erasure.scrub_store import end_scrub
from herdbook.ledger.batch import load, save
from herdbook.ledger.unit_of_work import Origin
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser, UserRole
from herdbook.users.store import all_users

FIRST_KEY_NAME: Final = "First key"


class Prepared(NamedTuple):
    """A prepared database: its first workspace and, if this start created it, a key and a link that are shown only now.

    `lacks_key` is true if another start created the first key and has not noted that it was shown. `link` opens the console.
    """

    workspace_id: UUID
    api_key: ApiKey | None
    lacks_key: bool = False
    link: Token | None = None


async def prepare(database_url: str, *, allows_newer_schema: bool = False, is_alone: bool = False) -> Prepared:
    """Migrate the database, and create the first workspace if there is none. Several processes may call it at once.

    If an earlier start created a first key and died before it showed the key, this start replaces it. It must be alone with the
    database for that, because otherwise another server may be about to show the key.

    Refusals: DatabaseTooOld; SchemaTooNew, unless that is allowed.
    """
    await migrate(database_url, allows_newer=allows_newer_schema)
    connection = await connect(database_url)
    try:
        if is_alone:
            # One that was killed has left the setting.
            await end_scrub(connection)
        async with connection.transaction():
            first: UUID | None = None
            has_nodes = await is_distributed(connection)
            if has_nodes:
                await connection.execute("set local citus.multi_shard_modify_mode = 'sequential'")
                # All nodes have this table, so a start does not need them all.
                first = await connection.fetchval("select workspace_id from credential order by workspace_id limit 1")
            await connection.execute("lock table setting in share row exclusive mode")
            await connection.execute(
                """
                insert into setting (name, value) values ('cursor_secret', $1), ('erasure_key', $2) on conflict do nothing
                """,
                secrets.token_urlsafe(32),
                # It was made with the schema, unless the cluster is a copy of the template.
                secrets.token_hex(32),
            )
            first = first or await connection.fetchval("select id from workspace order by id limit 1")
            if first is None:
                first = await create_owned_workspace(database_url, connection, "First workspace")
                return await _with_first_key(connection, first)
            if has_nodes and not await connection.fetchval("select exists (select from credential)"):
                # A distributed database has the workspace before its key, and a start may have been cut between the two.
                return await _with_first_key(connection, first)
            unshown = await _unshown_key(connection)
            if unshown is None or not is_alone:
                return Prepared(first, None, lacks_key=unshown is not None)
            await revoke_key(connection, unshown)
            return await _with_first_key(connection, first)
    finally:
        await connection.close()


async def migrate_without_secrets(database_url: str) -> None:
    """Migrate a new database, and remove the secrets that migrations have made, so that it can be copied."""
    await migrate(database_url)
    connection = await connect(database_url)
    try:
        await connection.execute("delete from setting")
    finally:
        await connection.close()


async def note_shown(database_url: str) -> None:
    """Note that the first key has been shown, so that no later start replaces it."""
    connection = await connect(database_url)
    try:
        await connection.execute("delete from setting where name = 'unshown_key'")
    finally:
        await connection.close()


async def _with_first_key(connection: Connection, workspace_id: UUID) -> Prepared:
    """Return the workspace with its first key, and a link for its first user."""
    owner = next((user for user in await all_users(connection, workspace_id) if user.role.is_active), None)
    link = None
    if owner is not None and (user_id := ids.decoded(ids.USER, owner.id)) is not None:
        link = await create_link(connection, workspace_id, user_id)
    return Prepared(workspace_id, await _first_key(connection, workspace_id), link=link)


async def _first_key(connection: Connection, workspace_id: UUID) -> ApiKey:
    key = await create_key(connection, workspace_id, FIRST_KEY_NAME, [ADMIN])
    await connection.execute(
        """
        insert into setting (name, value) values ('unshown_key', $1)
        on conflict (name) do update set value = excluded.value
        """,
        str(key.id),
    )
    return key


async def _unshown_key(connection: Connection) -> UUID | None:
    """Return the first key if nobody has seen it. A key that was used has been seen, even if that was not noted."""
    return await connection.fetchval(
        """
        select credential.id from credential join setting on setting.value = credential.id::text
        where setting.name = 'unshown_key' and last_used_at is null and revoked_at is null
        """
    )


async def create_owned_workspace(database_url: str, connection: Connection, name: str) -> UUID:
    """Create a workspace with the usual fields and a first user, for whom keys without a user act; return its id.

    A distributed database has it at once, and not with the transaction of the connection.
    """
    workspace_id = ids.new_id()
    async with connection_of(database_url, connection, workspace_id) as placed, placed.transaction():
        await create_workspace(placed, name, workspace_id)
        owner = CreateUser(NewUser("Workspace", "Owner", role=UserRole.OWNER))
        fields = DefineUsualFields()
        work = (await load(placed, {workspace_id: {*owner.needs(), *fields.needs()}}))[workspace_id]
        for command in (owner, fields):
            work.carry_out(command, Origin(request_id=ids.new_id(), credential_id=ids.NIL))
        await save(placed, [work])
        return workspace_id
