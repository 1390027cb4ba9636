"""Every SQL statement about workspaces and credentials."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from herdbook import ids
from herdbook.auth.keys import ApiKey, new_key, secret_hash
from herdbook.db.pool import Statements


class Workspace(NamedTuple):
    """A workspace, as an operator sees it."""

    id: UUID
    name: str
    created_at: datetime
    changes: int


class Credential(NamedTuple):
    """A credential, as an operator sees it; its secret is not there to be seen."""

    id: UUID
    workspace_id: UUID
    name: str
    scopes: Sequence[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class StoredKey(NamedTuple):
    """What is needed to let somebody in, or not."""

    workspace_id: UUID
    secret_hash: bytes
    scopes: Sequence[str]
    is_over: bool


async def create_workspace(statements: Statements, name: str) -> UUID:
    """Create a workspace; return its id."""
    workspace_id = ids.new_id()
    await statements.execute("insert into workspace (id, name) values ($1, $2)", workspace_id, name)
    return workspace_id


async def list_workspaces(statements: Statements) -> list[Workspace]:
    """Return all workspaces, the oldest first."""
    records = await statements.fetch("select id, name, created_at, seq as changes from workspace order by id")
    return [Workspace(*record) for record in records]


async def create_key(
    statements: Statements,
    workspace_id: UUID,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None = None,
) -> ApiKey:
    """Create an API key. It is the only time that its secret is there to be seen."""
    key = new_key()
    await statements.execute(
        """
        insert into credential (id, workspace_id, name, scopes, secret_hash, expires_at)
        values ($1, $2, $3, $4, $5, $6)
        """,
        key.id,
        workspace_id,
        name,
        sorted(scopes),
        secret_hash(key.secret),
        expires_at,
    )
    return key


async def list_keys(statements: Statements, workspace_id: UUID | None) -> list[Credential]:
    """Return the keys of a workspace, or of all, the oldest first."""
    records = await statements.fetch(
        """
        select id, workspace_id, name, scopes, created_at, expires_at, revoked_at, last_used_at
        from credential where $1::uuid is null or workspace_id = $1
        order by id
        """,
        workspace_id,
    )
    return [Credential(*record) for record in records]


async def revoke_key(statements: Statements, key_id: UUID) -> bool:
    """Revoke a key, now; return whether there is such a key."""
    found: UUID | None = await statements.fetchval(
        "update credential set revoked_at = coalesce(revoked_at, now()) where id = $1 returning id", key_id
    )
    return found is not None


async def find_key(statements: Statements, key_id: UUID) -> StoredKey | None:
    """Return what is stored of a key."""
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        select workspace_id, secret_hash, scopes,
            revoked_at is not null or coalesce(expires_at <= now(), false) as is_over
        from credential where id = $1
        """,
        key_id,
    )
    return None if record is None else StoredKey(*record)


async def note_use(statements: Statements, key_ids: Sequence[UUID]) -> None:
    """Note that keys were used just now."""
    await statements.execute("update credential set last_used_at = now() where id = any($1)", list(key_ids))
