"""Every SQL statement about workspaces and credentials."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import asyncpg

from herdbook import ids
from herdbook.auth.keys import ApiKey, new_key, secret_hash
from herdbook.auth.roles import within_role
from herdbook.db.pool import Executor


class Workspace(NamedTuple):
    """A workspace, as an operator sees it."""

    id: UUID
    name: str
    created_at: datetime
    changes: int
    region: str | None


class Credential(NamedTuple):
    """A credential, as an operator sees it, without its secret."""

    id: UUID
    workspace_id: UUID
    name: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class StoredCredential(NamedTuple):
    """A stored credential, for authentication; `seconds_left` is None if it does not expire.

    `user_id` is the user for whom it acts, and `own_user_id` the one for whom it was made, if it was made for one.
    `is_first_use` says that no access token of a refresh has been used yet.
    """

    workspace_id: UUID
    credential_id: UUID
    secret_hash: bytes
    scopes: Sequence[str]
    user_id: UUID | None
    own_user_id: UUID | None
    is_over: bool
    seconds_left: float | None
    is_first_use: bool = False


async def create_workspace(statements: Executor, name: str, workspace_id: UUID | None = None) -> UUID:
    """Create a workspace; return its id. The caller gives it what a workspace begins with."""
    workspace_id = workspace_id or ids.new_id()
    await statements.execute("insert into workspace (id, name, has_usual_fields) values ($1, $2, true)", workspace_id, name)
    return workspace_id


async def list_workspaces(statements: Executor) -> list[Workspace]:
    """Return all workspaces, the oldest first."""
    records = await statements.fetch("select id, name, created_at, seq as changes, region from workspace order by id")
    return [Workspace(*record) for record in records]


class Author(NamedTuple):
    """The user who does something to a credential in the console, and the request. A command line has neither."""

    user_id: UUID | None = None
    request_id: UUID | None = None


class CredentialChange(NamedTuple):
    """Something that was done to an API key or an OAuth client: the changed members are by their names."""

    id: UUID
    at: datetime
    user_id: UUID | None
    request_id: UUID | None
    action: str
    changes: str


_NOBODY: Final = Author()


async def credential_changes(
    statements: Executor, workspace_id: UUID, credential_id: UUID, before: UUID | None, limit: int
) -> list[CredentialChange]:
    """Return what was done to a key or a client, the latest first; with `before`, what was done before that."""
    records = await statements.fetch(
        """
        select id, at, user_id, request_id, action, changes::text from credential_change
        where workspace_id = $1 and credential_id = $2 and ($3::uuid is null or id < $3) order by id desc limit $4
        """,
        workspace_id,
        credential_id,
        before,
        limit,
    )
    return [CredentialChange(*record) for record in records]


async def create_key(  # noqa: PLR0913  # the parts of a row
    statements: Executor,
    workspace_id: UUID,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
    *,
    user_id: UUID | None = None,
    key: ApiKey | None = None,
    by: Author = _NOBODY,
) -> ApiKey:
    """Create an API key, a new one or the one given, unless it is there already. Its secret can never be read again.

    The key acts for the user, as long as this user is active. Without a user, it acts for the first active one of the
    workspace.
    """
    key = new_key() if key is None else key
    await statements.execute(
        """
        with made as (
            insert into credential (id, workspace_id, name, scopes, secret_hash, expires_at, user_id)
            values ($1, $2, $3, $4, $5, $6, $7) on conflict (id) do nothing returning workspace_id, id
        )
        insert into credential_change (workspace_id, credential_id, id, user_id, request_id, action)
        select workspace_id, id, $8, $9, $10, 'created' from made
        """,
        key.id,
        workspace_id,
        name,
        sorted(scopes),
        secret_hash(key.secret),
        expires_at,
        user_id,
        ids.new_id(),
        *by,
    )
    return key


async def list_keys(statements: Executor, workspace_id: UUID | None) -> list[Credential]:
    """Return the keys of a workspace, or of all workspaces, the oldest first."""
    records = await statements.fetch(
        """
        select id, workspace_id, name, scopes, created_at, expires_at, revoked_at, last_used_at
        from credential where ($1::uuid is null or workspace_id = $1) and secret_hash <> ''
        order by id
        """,
        workspace_id,
    )
    return [Credential(*record) for record in records]


async def revoke_key(statements: Executor, key_id: UUID, workspace_id: UUID | None = None, by: Author = _NOBODY) -> bool:
    """Revoke a key of a workspace, or of any, now; return whether the key exists."""
    found: UUID | None = await statements.fetchval(
        """
        with done as (
            update credential set revoked_at = coalesce(revoked_at, t.now) from (select now() as now) as t
            where id = $1 and ($2::uuid is null or workspace_id = $2) and secret_hash <> ''
            returning workspace_id, id, old.revoked_at is null as is_now
        ), noted as (
            insert into credential_change (workspace_id, credential_id, id, user_id, request_id, action)
            select workspace_id, id, $3, $4, $5, 'revoked' from done where is_now
        )
        select id from done
        """,
        key_id,
        workspace_id,
        ids.new_id(),
        *by,
    )
    return found is not None


# `coalesce` rules out the partial index, so the planner uses the primary key.
_ACTIVE_USER: Final[LiteralString] = """
    select u.id, u.object ->> 'role' from workspace_user u
    where u.workspace_id = $1 and coalesce(u.deleted_at, 'infinity') = 'infinity' and u.is_active /* here */
"""


class ActiveUser(NamedTuple):
    """An active user of a workspace, and the user's role."""

    id: UUID
    role: str


async def active_user(statements: Executor, workspace_id: UUID, user_id: UUID) -> ActiveUser | None:
    """Return an active user, or None if the workspace has no such user."""
    record = await statements.fetchrow(_ACTIVE_USER + " and u.id = $2", workspace_id, user_id)
    return None if record is None else ActiveUser(*record)


async def _first_user(statements: Executor, workspace_id: UUID) -> ActiveUser | None:
    record = await statements.fetchrow(_ACTIVE_USER + " order by u.id limit 1", workspace_id)
    return None if record is None else ActiveUser(*record)


async def find_key(statements: Executor, key_id: UUID) -> StoredCredential | None:
    """Return a stored API key. It is over when it has expired or was revoked, or its named user is not active.

    A key without a user acts for the first active user of the workspace, and for nobody if none is active.
    """
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        select workspace_id, id, secret_hash, scopes, user_id, user_id,
            revoked_at is not null or coalesce(expires_at <= now(), false), extract(epoch from expires_at - now())::float8
        from credential where id = $1
        """,
        key_id,
    )
    if record is None:
        return None
    stored = StoredCredential(*record)
    if stored.own_user_id is None:
        first = await _first_user(statements, stored.workspace_id)
        return stored._replace(user_id=None if first is None else first.id)
    user = await active_user(statements, stored.workspace_id, stored.own_user_id)
    return stored if user is not None else stored._replace(user_id=None, is_over=True)


async def find_access_token(statements: Executor, token_id: UUID) -> StoredCredential | None:
    """Return a stored access token. It is over when it has expired, or its client, its grant or the grant's user is over.

    It has only those scopes that the client and the role of the user have now.
    """
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        select client.workspace_id, client.id, token.secret_hash,
            array(select each from unnest(token.scopes) each where each = any(client.scopes)), g.user_id, g.user_id,
            token.expires_at <= now() or client.revoked_at is not null or g.revoked_at is not null
                or token.grant_id is not null and g.id is null,
            extract(epoch from token.expires_at - now())::float8,
            coalesce((select r.received_at is null from oauth_refresh_token r where r.id = token.refresh_token_id), false)
        from oauth_access_token token
        join oauth_client client on client.id = token.client_id
        left join oauth_grant g on g.id = token.grant_id
        where token.id = $1
        """,
        token_id,
    )
    if record is None:
        return None
    stored = StoredCredential(*record)
    if stored.own_user_id is None:
        return stored
    user = await active_user(statements, stored.workspace_id, stored.own_user_id)
    if user is None:
        return stored._replace(user_id=None, own_user_id=None, is_over=True)
    return stored._replace(scopes=within_role(stored.scopes, user.role))


async def note_received(statements: Executor, token_id: UUID) -> None:
    """Note that the tokens that an access token was issued with have reached their client."""
    await statements.execute(
        """
        update oauth_refresh_token set received_at = now()
        where id = (select refresh_token_id from oauth_access_token where id = $1) and received_at is null
        """,
        token_id,
    )


async def note_use(statements: Executor, credential_ids: Sequence[UUID], noted_before: datetime) -> None:
    """Note that keys and OAuth clients have just been used, unless a use has been noted since a time."""
    used = list(credential_ids)
    last_use: LiteralString = "last_used_at = now() where id = any($1) and coalesce(last_used_at, '-infinity') < $2"
    await statements.execute("update credential set " + last_use, used, noted_before)
    await statements.execute("update oauth_client set " + last_use, used, noted_before)
