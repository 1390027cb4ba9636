"""Fixtures: a third-party client in Alice's workspace, and a user there who grants it access."""

import base64
import hashlib
from datetime import timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import httpx
import pytest_asyncio

from herdbook import ids
from herdbook.oauth.model import CodeRequest
from herdbook.oauth.server import issue_code
from herdbook.oauth.store import NewClient, create_client

Connections: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

TOKEN_URL: Final = "/api/v1/oauth/token"  # noqa: S105  # a path, not a secret
CONTACTS_URL: Final = "/api/v2/contacts"
CALLBACK: Final = "https://app.example/callback?from=herdbook"
OTHER_CALLBACK: Final = "http://localhost:4000/callback"
VERIFIER: Final = "a-verifier.of~48_letters-that-nobody-would-guess"
# The program's scopes, in the order in which answers list them.
SCOPES: Final = ["companies:read", "contacts:read", "contacts:write"]


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


class Program:
    """A program with a client id and a secret, and a user who grants it access."""

    def __init__(self, http: httpx.AsyncClient, pool: Connections, new_client: NewClient, user_id: UUID) -> None:
        self._http = http
        self._pool = pool
        self.id, self.secret = new_client
        self.user_id = user_id

    @property
    def uuid(self) -> UUID:
        """The client's id in the form that the database stores."""
        uuid = ids.decoded("ocl_", self.id)
        assert uuid is not None, "the client id is well-formed"
        return uuid

    async def ask(self, grant_type: str, **form: str) -> httpx.Response:
        """Request tokens, with the secret in the form."""
        sent = {"grant_type": grant_type, "client_id": self.id, "client_secret": self.secret, **form}
        return await self._http.post(TOKEN_URL, data=sent)

    async def code(self, scope: str | None = "contacts:read contacts:write", **changes: Any) -> str:
        """Grant access as the user, and return the code."""
        user_id = changes.pop("user_id", self.user_id)
        request = CodeRequest(
            client_id=self.id,
            redirect_uri=CALLBACK,
            scope=scope,
            code_challenge=challenge_of(VERIFIER),
            code_challenge_method="S256",
        )
        return await issue_code(self._pool, request._replace(**changes), user_id)

    async def exchange(self, code: str, **form: str) -> httpx.Response:
        """Exchange a code for tokens."""
        sent = {"code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER, **form}
        return await self.ask("authorization_code", **sent)

    async def refresh(self, refresh_token: str, **form: str) -> httpx.Response:
        """Exchange a refresh token for new tokens."""
        return await self.ask("refresh_token", refresh_token=refresh_token, **form)

    async def tokens(self) -> dict[str, Any]:
        """Return tokens with the user's grant to read and write contacts."""
        response = await self.exchange(await self.code())
        assert response.status_code == 200, response.text
        return response.json()

    async def reuse(self, refresh_token: str, **form: str) -> httpx.Response:
        """Send a refresh token again, more than ten seconds after it was used, and after its successor was."""
        await self._pool.execute("update oauth_refresh_token set received_at = now()")
        await self.let_pass(timedelta(seconds=11))
        return await self.refresh(refresh_token, **form)

    async def let_pass(self, time: timedelta) -> None:
        """Move the stored times of this client's tokens back, because the database's clock decides.

        The differences are of times without a zone, because a distributed database takes no others in an update.
        """
        for statement in (
            """
            update oauth_grant set ends_at = (ends_at at time zone 'UTC' - $2::interval) at time zone 'UTC'
            where client_id = $1
            """,
            """
            update oauth_access_token set expires_at = (expires_at at time zone 'UTC' - $2::interval) at time zone 'UTC'
            where client_id = $1
            """,
            """
            update oauth_refresh_token
            set expires_at = (expires_at at time zone 'UTC' - $2::interval) at time zone 'UTC',
                used_at = (used_at at time zone 'UTC' - $2::interval) at time zone 'UTC'
            where grant_id in (select id from oauth_grant where client_id = $1)
            """,
        ):
            await self._pool.execute(statement, self.uuid, time)


def refused(response: httpx.Response) -> tuple[int, str]:
    """Return status and error of a refusal, after checking that it has the form of RFC 6749 and is not cached."""
    told = response.json()
    assert told.keys() == {"error", "error_description"}
    assert told["error_description"]
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers.get("WWW-Authenticate", "").startswith("Basic ") == (response.status_code == 401)
    return response.status_code, told["error"]


async def status_with(http: httpx.AsyncClient, token: str) -> int:
    """Return the status of listing contacts with a token."""
    return (await http.get(CONTACTS_URL, headers={"Authorization": f"Bearer {token}"})).status_code


async def new_user(pool: Connections, workspace_id: UUID) -> UUID:
    """Store an active user."""
    user_id = ids.new_id()
    await pool.execute(
        """
        insert into workspace_user (workspace_id, id, version, updated_at, is_active, search, object)
        values ($1, $2, 1, now(), true, '', '{"role": "ADMIN"}')
        """,
        workspace_id,
        user_id,
    )
    return user_id


@pytest_asyncio.fixture
async def user_id(pool: Connections, workspace_id: UUID) -> UUID:
    """A user of Alice's workspace."""
    return await new_user(pool, workspace_id)


@pytest_asyncio.fixture
async def program(client: httpx.AsyncClient, pool: Connections, workspace_id: UUID, user_id: UUID) -> Program:
    """A client in Alice's workspace."""
    new_client = await create_client(pool, workspace_id, "A program", SCOPES, [CALLBACK, OTHER_CALLBACK])
    return Program(client, pool, new_client, user_id)


@pytest_asyncio.fixture
async def other_program(client: httpx.AsyncClient, pool: Connections, workspace_id: UUID, user_id: UUID) -> Program:
    """Another client in Alice's workspace, with the same redirect URI."""
    new_client = await create_client(pool, workspace_id, "Another program", SCOPES, [CALLBACK])
    return Program(client, pool, new_client, user_id)
