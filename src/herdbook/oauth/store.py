"""Every SQL statement about OAuth clients, grants and tokens. All times come from the database, so that one clock decides."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, LiteralString, NamedTuple, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX, Token, new_secret, secret_hash
from herdbook.auth.roles import within_role
from herdbook.auth.store import Author, active_user
from herdbook.db.pool import Executor
from herdbook.db.slices import SLICE, each_slice
from herdbook.oauth.model import (
    ACCESS_TOKEN_LIFETIME,
    CLIENT_SECRET_PREFIX,
    CODE_LIFETIME,
    REFRESH_TOKEN_LIFETIME,
    REPEAT_WITHIN,
    Client,
    ClientFacts,
    CodeRequest,
    Grant,
    Issued,
    KnownToken,
    RefreshToken,
    check_client,
)

_OLD: Final[LiteralString] = """
    with old as (
        delete from $table
        where id = any(array(select id from $table where $end < now() order by $end, id limit $1))
        returning id
    )
    select count(*) from old
"""


class NewClient(NamedTuple):
    """The credentials of a new client; a public one has no secret."""

    client_id: str
    client_secret: str


class ListedClient(NamedTuple):
    """A client, as an operator sees it, without its secret."""

    id: UUID
    workspace_id: UUID
    name: str
    scopes: Sequence[str]
    redirect_uris: Sequence[str]
    is_public: bool
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None

    @property
    def shown_id(self) -> str:
        """The id as programs send it."""
        return ids.encoded(CLIENT_PREFIX, self.id)


class LetIn(NamedTuple):
    """A client that a person has let in, with the scopes that it was given."""

    client_id: UUID
    name: str
    workspace_name: str
    scopes: Sequence[str]
    since: datetime

    @property
    def shown_id(self) -> str:
        """The id of the client."""
        return ids.encoded(CLIENT_PREFIX, self.client_id)


_NOBODY: Final = Author()
# The hash of a secret that a public client has not.
_NO_SECRET: Final = b""


async def create_client(  # noqa: PLR0913  # the parts of a row
    statements: Executor,
    workspace_id: UUID,
    name: str,
    scopes: Sequence[str],
    redirect_uris: Sequence[str],
    *,
    is_public: bool = False,
    made: tuple[UUID, str] | None = None,
    by: Author = _NOBODY,
) -> NewClient:
    """Create a client. Its secret can never be read again. `made` has an id and what follows the prefix of the secret.

    One that is there already is left as it is.

    Refusal: Invalid, for a scope that no client can have, and an impossible redirect URI.
    """
    check_client(ClientFacts(name, scopes, redirect_uris), is_public=is_public)
    client_id, random = (ids.new_id(), new_secret()) if made is None else made
    secret = "" if is_public else CLIENT_SECRET_PREFIX + random
    await statements.execute(
        """
        with made as (
            insert into oauth_client (id, workspace_id, name, scopes, redirect_uris, secret_hash)
            values ($1, $2, $3, $4, $5, $6) on conflict (id) do nothing returning workspace_id, id
        )
        insert into credential_change (workspace_id, credential_id, id, user_id, request_id, action)
        select workspace_id, id, $7, $8, $9, 'created' from made
        """,
        client_id,
        workspace_id,
        name,
        sorted(set(scopes)),
        list(redirect_uris),
        _NO_SECRET if is_public else secret_hash(secret),
        ids.new_id(),
        *by,
    )
    return NewClient(ids.encoded(CLIENT_PREFIX, client_id), secret)


async def change_client(
    statements: Executor, workspace_id: UUID, client: ListedClient, facts: ClientFacts, by: Author = _NOBODY
) -> bool:
    """Change a client of a workspace, as it was read; return whether it still works and nobody else has changed it since.

    Its tokens have no scope that it has not.

    Refusal: Invalid, which names each fault.
    """
    check_client(facts, is_public=client.is_public)
    changed: UUID | None = await statements.fetchval(
        """
        with done as (
            update oauth_client set name = $3, scopes = $4, redirect_uris = $5
            where workspace_id = $1 and id = $2 and revoked_at is null and name = $6 and scopes = $7 and redirect_uris = $8
            returning workspace_id, id
        ), noted as (
            insert into credential_change (workspace_id, credential_id, id, user_id, request_id, action, changes)
            select workspace_id, id, $9, $10, $11, 'updated', $12::text::jsonb from done where $12::text <> '{}'
        )
        select id from done
        """,
        workspace_id,
        client.id,
        facts.name,
        sorted(set(facts.scopes)),
        list(facts.redirect_uris),
        client.name,
        list(client.scopes),
        list(client.redirect_uris),
        ids.new_id(),
        *by,
        msgspec.json.encode(_changes(client, facts)).decode(),
    )
    return changed is not None


def _changes(client: ListedClient, facts: ClientFacts) -> dict[str, dict[str, Any]]:
    members = {
        "name": (client.name, facts.name),
        "redirect_uris": (list(client.redirect_uris), list(facts.redirect_uris)),
        "scopes": (list(client.scopes), sorted(set(facts.scopes))),
    }
    return {name: {"from": before, "to": after} for name, (before, after) in members.items() if before != after}


async def replace_secret(statements: Executor, workspace_id: UUID, client_id: UUID, random: str, by: Author = _NOBODY) -> bool:
    """Give a client another secret; the former one works no more. Return whether it has one: a public client has none."""
    changed: UUID | None = await statements.fetchval(
        """
        with done as (
            update oauth_client set secret_hash = $3
            where workspace_id = $1 and id = $2 and revoked_at is null and secret_hash <> ''
            returning workspace_id, id, old.secret_hash <> $3 as is_other
        ), noted as (
            insert into credential_change (workspace_id, credential_id, id, user_id, request_id, action, changes)
            select workspace_id, id, $4, $5, $6, 'updated', '{"secret": {"from": "the former one", "to": "a new one"}}'
            from done where is_other
        )
        select id from done
        """,
        workspace_id,
        client_id,
        secret_hash(CLIENT_SECRET_PREFIX + random),
        ids.new_id(),
        *by,
    )
    return changed is not None


async def list_clients(statements: Executor, workspace_id: UUID | None) -> list[ListedClient]:
    """Return the clients of a workspace, or of all workspaces, the oldest first."""
    records = await statements.fetch(
        """
        select id, workspace_id, name, scopes, redirect_uris, secret_hash = '', created_at, revoked_at, last_used_at
        from oauth_client where $1::uuid is null or workspace_id = $1
        order by id
        """,
        workspace_id,
    )
    return [ListedClient(*record) for record in records]


async def programs_of(statements: Executor, person_id: UUID) -> list[LetIn]:
    """Return the clients that a person has let in and that can still get tokens, by name."""
    records = await statements.fetch(
        """
        select client.id, client.name, w.name, array(
            select distinct each from oauth_grant also, unnest(also.scopes) each
            where also.user_id = m.user_id and also.client_id = client.id
                and also.used_at is not null and also.revoked_at is null and also.ends_at > now()
            order by each
        ), min(g.used_at)
        from person_user m
        join workspace w on w.id = m.workspace_id
        join oauth_grant g on g.user_id = m.user_id
        join oauth_client client on client.id = g.client_id and client.workspace_id = m.workspace_id
        where m.person_id = $1 and client.revoked_at is null
            and g.used_at is not null and g.revoked_at is null and g.ends_at > now()
        group by client.id, client.name, w.name, m.user_id
        order by client.name, client.id
        """,
        person_id,
    )
    return [LetIn(*record) for record in records]


async def shut_out(statements: Executor, person_id: UUID, client_id: UUID) -> None:
    """Revoke all that a person has granted a client."""
    await statements.execute(
        """
        update oauth_grant set revoked_at = now()
        where user_id = any(array(select user_id from person_user where person_id = $1)) and client_id = $2
            and revoked_at is null
        """,
        person_id,
        client_id,
    )


async def revoke_client(statements: Executor, client_id: UUID, workspace_id: UUID | None = None, by: Author = _NOBODY) -> bool:
    """Revoke a client of a workspace, or of any, and all its tokens now; return whether the client exists."""
    found: UUID | None = await statements.fetchval(
        """
        with done as (
            update oauth_client set revoked_at = coalesce(revoked_at, t.now) from (select now() as now) as t
            where id = $1 and ($2::uuid is null or workspace_id = $2)
            returning workspace_id, id, old.revoked_at is null as is_now
        ), noted as (
            insert into credential_change (workspace_id, credential_id, id, user_id, request_id, action)
            select workspace_id, id, $3, $4, $5, 'revoked' from done where is_now
        )
        select id from done
        """,
        client_id,
        workspace_id,
        ids.new_id(),
        *by,
    )
    return found is not None


async def find_client(statements: Executor, client_id: UUID) -> Client | None:
    """Return a client, or None if it is unknown or revoked."""
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        select id, workspace_id, name, scopes, redirect_uris, secret_hash
        from oauth_client where id = $1 and revoked_at is null
        """,
        client_id,
    )
    if record is None:
        return None
    client = Client(*record, is_public=record["secret_hash"] == _NO_SECRET)
    # A public client sends an empty secret. No stored hash is that of one, because earlier releases would take it.
    return client._replace(secret_hash=secret_hash("")) if client.is_public else client


async def role_of(statements: Executor, workspace_id: UUID, user_id: UUID) -> str | None:
    """Return the role of an active user, or None if the workspace has no such user."""
    user = await active_user(statements, workspace_id, user_id)
    return None if user is None else user.role


async def add_grant(
    statements: Executor, client: Client, user_id: UUID, request: CodeRequest, scopes: Sequence[str], code: Token
) -> UUID | None:
    """Store a user's grant to a client; return its id, or None if the workspace has no such active user."""
    if await active_user(statements, client.workspace_id, user_id) is None:
        return None
    added: UUID | None = await statements.fetchval(
        """
        insert into oauth_grant (id, client_id, user_id, scopes, redirect_uri, code_challenge, secret_hash, ends_at)
        values ($1, $2, $3, $4, $5, $6, $7, now() + $8::interval) returning id
        """,
        code.id,
        client.id,
        user_id,
        list(scopes),
        request.redirect_uri,
        request.code_challenge,
        secret_hash(code.secret),
        CODE_LIFETIME,
    )
    return added


async def find_grant(statements: Executor, grant_id: UUID) -> Grant | None:
    """Return a grant with the scopes that the client and the user's role still have, or None without any.

    It may have expired: `use_code` checks that.
    """
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        select g.id, g.client_id, g.user_id, array(select each from unnest(g.scopes) each where each = any(client.scopes)),
            g.redirect_uri, g.code_challenge, g.secret_hash, g.used_at is not null, client.workspace_id
        from oauth_grant g
        join oauth_client client on client.id = g.client_id
        where g.id = $1
        """,
        grant_id,
    )
    return None if record is None else await _within_role(statements, Grant(*record[:-1]), record[-1])


async def find_refresh_token(statements: Executor, token_id: UUID) -> RefreshToken | None:
    """Return a refresh token with the scopes that the client and the user's role still have, or None without any.

    It may have expired: `use_refresh_token` checks that.
    """
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        select token.id, g.id, g.client_id, g.user_id,
            array(select each from unnest(g.scopes) each where each = any(client.scopes)),
            token.secret_hash, token.used_at is not null,
            token.expires_at > now() and successor.id is not null
                and (token.used_at > now() - $2::interval or successor.received_at is null),
            token.successor_id, token.successor_salt, client.workspace_id
        from oauth_refresh_token token
        join oauth_grant g on g.id = token.grant_id
        join oauth_client client on client.id = g.client_id
        left join oauth_refresh_token successor on successor.id = token.successor_id
        where token.id = $1
        """,
        token_id,
        REPEAT_WITHIN,
    )
    return None if record is None else await _within_role(statements, RefreshToken(*record[:-1]), record[-1])


_GrantedT = TypeVar("_GrantedT", Grant, RefreshToken)


async def _within_role(statements: Executor, granted: _GrantedT, workspace_id: UUID) -> _GrantedT | None:
    scopes = within_role(granted.scopes, await role_of(statements, workspace_id, granted.user_id))
    return granted._replace(scopes=scopes) if scopes else None


async def add_access_token(statements: Executor, client_id: UUID, issued: Issued) -> bool:
    """Store an access token of a client that acts for no user. Return True always: without a grant, there is no race."""
    await statements.execute(
        """
        insert into oauth_access_token (id, client_id, scopes, secret_hash, expires_at)
        values ($1, $2, $3, $4, now() + $5::interval)
        """,
        issued.access_token.id,
        client_id,
        list(issued.scopes),
        secret_hash(issued.access_token.secret),
        ACCESS_TOKEN_LIFETIME,
    )
    return True


async def use_code(statements: Executor, grant_id: UUID, issued: Issued) -> bool:
    """Use up a code and store its tokens; return False and do nothing if it was used, expired or revoked."""
    assert issued.refresh_token is not None, "a code is exchanged for two tokens"
    used: bool = await statements.fetchval(
        """
        with granted as (
            update oauth_grant set used_at = now(), ends_at = now() + $7::interval
            where id = $1 and used_at is null and revoked_at is null and ends_at > now()
            returning id, client_id
        ), refresh_token as (
            insert into oauth_refresh_token (id, grant_id, secret_hash, expires_at)
            select $2, id, $3, now() + $7::interval from granted
        ), access_token as (
            insert into oauth_access_token (id, client_id, grant_id, refresh_token_id, scopes, secret_hash, expires_at)
            select $4, client_id, id, $2, $6, $5, now() + $8::interval from granted
        )
        select exists (select from granted)
        """,
        grant_id,
        issued.refresh_token.id,
        secret_hash(issued.refresh_token.secret),
        issued.access_token.id,
        secret_hash(issued.access_token.secret),
        list(issued.scopes),
        REFRESH_TOKEN_LIFETIME,
        ACCESS_TOKEN_LIFETIME,
    )
    return used


async def use_refresh_token(statements: Executor, token_id: UUID, issued: Issued, salt: bytes) -> bool:
    """Use up a refresh token and store the next tokens; return False and store none if it was used, expired or revoked.

    The salt is that from which the next token's secret follows.
    """
    assert issued.refresh_token is not None, "a refresh token is exchanged for the next one, too"
    used: bool = await statements.fetchval(
        """
        with used as (
            update oauth_refresh_token
            set used_at = now(), received_at = coalesce(received_at, t.now), successor_id = $2, successor_salt = $9
            from (select now() as now) as t
            where id = $1 and used_at is null and expires_at > now()
            returning grant_id
        ), granted as (
            update oauth_grant g set ends_at = now() + $7::interval
            from used where g.id = used.grant_id and g.revoked_at is null
            returning g.id, g.client_id
        ), refresh_token as (
            insert into oauth_refresh_token (id, grant_id, secret_hash, expires_at)
            select $2, id, $3, now() + $7::interval from granted
        ), access_token as (
            insert into oauth_access_token (id, client_id, grant_id, refresh_token_id, scopes, secret_hash, expires_at)
            select $4, client_id, id, $2, $6, $5, now() + $8::interval from granted
        )
        select exists (select from granted)
        """,
        token_id,
        issued.refresh_token.id,
        secret_hash(issued.refresh_token.secret),
        issued.access_token.id,
        secret_hash(issued.access_token.secret),
        list(issued.scopes),
        REFRESH_TOKEN_LIFETIME,
        ACCESS_TOKEN_LIFETIME,
        salt,
    )
    return used


async def repeat_refresh(statements: Executor, grant_id: UUID, issued: Issued) -> bool:
    """Store another access token for a refresh that was sent again; return False if its grant was revoked."""
    assert issued.refresh_token is not None, "it is the same one again"
    added: UUID | None = await statements.fetchval(
        """
        insert into oauth_access_token as added
            (id, client_id, grant_id, refresh_token_id, scopes, secret_hash, expires_at)
        select $2, client_id, id, $3, $4, $5, now() + $6::interval from oauth_grant where id = $1 and revoked_at is null
        returning added.id
        """,
        grant_id,
        issued.access_token.id,
        issued.refresh_token.id,
        list(issued.scopes),
        secret_hash(issued.access_token.secret),
        ACCESS_TOKEN_LIFETIME,
    )
    return added is not None


async def known_access_token(statements: Executor, token_id: UUID) -> KnownToken | None:
    """Return an access token, whether or not it is over."""
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        select token.id, token.client_id, token.grant_id, g.user_id,
            array(select each from unnest(token.scopes) each where each = any(client.scopes)),
            token.secret_hash, token.expires_at,
            token.expires_at <= now() or g.revoked_at is not null, true, client.workspace_id
        from oauth_access_token token
        join oauth_client client on client.id = token.client_id
        left join oauth_grant g on g.id = token.grant_id
        where token.id = $1
        """,
        token_id,
    )
    return None if record is None else await _known(statements, KnownToken(*record[:-1]), record[-1])


async def known_refresh_token(statements: Executor, token_id: UUID) -> KnownToken | None:
    """Return a refresh token, whether or not it is over."""
    record: asyncpg.Record | None = await statements.fetchrow(
        """
        select token.id, g.client_id, g.id, g.user_id,
            array(select each from unnest(g.scopes) each where each = any(client.scopes)),
            token.secret_hash, token.expires_at,
            token.expires_at <= now() or token.used_at is not null or g.revoked_at is not null, false, client.workspace_id
        from oauth_refresh_token token
        join oauth_grant g on g.id = token.grant_id
        join oauth_client client on client.id = g.client_id
        where token.id = $1
        """,
        token_id,
    )
    return None if record is None else await _known(statements, KnownToken(*record[:-1]), record[-1])


async def _known(statements: Executor, token: KnownToken, workspace_id: UUID) -> KnownToken:
    if token.user_id is None:
        return token
    role = await role_of(statements, workspace_id, token.user_id)
    return token._replace(scopes=within_role(token.scopes, role), is_over=token.is_over or role is None)


async def revoke_token(statements: Executor, token: KnownToken) -> None:
    """Revoke an access token; of a refresh token, the whole grant (RFC 7009, section 2.1)."""
    if token.is_access_token:
        await statements.execute("update oauth_access_token set expires_at = least(expires_at, now()) where id = $1", token.id)
    elif token.grant_id is not None:
        await revoke_grant(statements, token.grant_id)


async def revoke_grant(statements: Executor, grant_id: UUID) -> None:
    """Revoke a grant and all its tokens."""
    await statements.execute("update oauth_grant set revoked_at = now() where id = $1 and revoked_at is null", grant_id)


async def forget_old_tokens(pool: Executor) -> None:
    """Delete expired tokens, and grants that can yield no more tokens."""
    await each_slice(lambda: _forget_slice(pool, _OLD.replace("$table", "oauth_access_token").replace("$end", "expires_at")))
    await each_slice(lambda: _forget_slice(pool, _OLD.replace("$table", "oauth_refresh_token").replace("$end", "expires_at")))
    await each_slice(lambda: _forget_slice(pool, _OLD.replace("$table", "oauth_grant").replace("$end", "ends_at")))


async def _forget_slice(statements: Executor, statement: LiteralString) -> int:
    return await statements.fetchval(statement, SLICE)
