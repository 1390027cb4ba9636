"""client_credentials: tokens for a client itself, without a user (RFC 6749, section 4.4)."""

import re

import asyncpg
import httpx
import pytest

from herdbook.auth.authenticate import Authenticator
from herdbook.auth.scopes import ADMIN
from herdbook.errors import Invalid
from herdbook.oauth.store import create_client
from tests.cast import Person
from tests.oauth.conftest import CALLBACK, SCOPES, Connections, Program, refused, status_with


async def test_a_client_gets_a_token(program: Program) -> None:
    """A client gets an hour's token with all its scopes by default, without a refresh token; the answer must not be cached."""
    response = await program.ask("client_credentials")
    token = response.json()

    assert response.status_code == 200
    assert re.fullmatch(r"oat_[0-9A-Z]{26}\.[0-9A-Za-z]{38}", token.pop("access_token"))
    assert token == {"token_type": "Bearer", "expires_in": 3600, "scope": " ".join(SCOPES)}
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"


async def test_each_token_is_new(client: httpx.AsyncClient, program: Program) -> None:
    """A new token leaves the earlier ones valid."""
    tokens = {(await program.ask("client_credentials")).json()["access_token"] for _ in range(2)}

    assert len(tokens) == 2
    assert [await status_with(client, token) for token in tokens] == [200, 200]


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("contacts:read", "contacts:read"),
        ("contacts:write contacts:read", "contacts:read contacts:write"),
        (" contacts:read  contacts:read ", "contacts:read"),
        ("", " ".join(SCOPES)),
    ],
)
async def test_a_client_gets_the_scopes_that_it_asks_for(program: Program, asked: str, given: str) -> None:
    """A client gets the scopes that it requests, in any order; the answer lists them."""
    assert (await program.ask("client_credentials", scope=asked)).json()["scope"] == given


@pytest.mark.parametrize(
    "scope",
    [
        *("companies:write", "contacts:read companies:write", "contacts:read tags:read", ADMIN, f"contacts:read {ADMIN}"),
        *("contacts", "contacts:*", "CONTACTS:READ", "contacts:read,contacts:write", "contacts:read\tcontacts:write", " ", "é"),
    ],
)
async def test_a_scope_beyond_the_client_is_refused(program: Program, pool: Connections, scope: str) -> None:
    """One scope beyond the client's refuses the request; the refusal lists the possible scopes."""
    response = await program.ask("client_credentials", scope=scope)

    assert refused(response) == (400, "invalid_scope")
    assert " ".join(SCOPES) in response.json()["error_description"]
    assert await pool.fetchval("select count(*) from oauth_access_token where client_id = $1", program.uuid) == 0


async def test_it_acts_for_nobody(pool: Connections, program: Program) -> None:
    """The caller is the client in its workspace, without a user."""
    token = (await program.ask("client_credentials")).json()["access_token"]
    caller = await Authenticator(pool).caller(f"Bearer {token}".encode())

    assert caller.credential_id == program.uuid
    assert caller.shown_credential_id == program.id
    assert caller.user_id is None


@pytest.mark.parametrize(
    ("scopes", "redirect_uris", "field"),
    [
        ([ADMIN], [], "scope"),
        (["contacts:read", ADMIN], [], "scope"),
        (["contacts"], [], "scope"),
        ([], [], "scope"),
        *(
            (["contacts:read"], [CALLBACK, uri], "redirect_uri")
            for uri in (
                *("", "/callback", "app.example/callback", "https://", "https:///callback", "http://app.example/callback"),
                *("https://app.example/#fragment", "https://app.example/#", "https://app.example/a b", "https://[::1/callback"),
                *("javascript:alert(1)", "ftp://app.example/", "https://app.example/\n", "https://äpp.example/"),
                *("https://accounts.example@evil.example/", "https://@evil.example/"),
                *("http://localhost.example/", "http://localhost@app.example/"),
            )
        ),
    ],
)
async def test_what_can_be_no_client(
    alice: Person, pool: Connections, scopes: list[str], redirect_uris: list[str], field: str
) -> None:
    """An administrator, an unknown scope and an unsafe redirect URI are refused (RFC 9700, section 2.1)."""
    with pytest.raises(Invalid) as refusal:
        await create_client(pool, alice.workspace_id, "A program", scopes, redirect_uris)

    assert [error.field for error in refusal.value.errors] == [field]


@pytest.mark.parametrize(
    "uri",
    ["https://app.example", "https://app.example:8443/x?y=z", "http://127.0.0.1:7/x", "http://[::1]/x", "http://localhost"],
)
async def test_where_codes_may_be_sent(alice: Person, pool: Connections, uri: str) -> None:
    """Redirect URIs may be any https URL, or http on this machine."""
    assert await create_client(pool, alice.workspace_id, "A program", ["contacts:read"], [uri])


async def test_the_database_knows_no_administrator(program: Program, pool: Connections) -> None:
    """The database itself refuses a client with the administrator's scope."""
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("update oauth_client set scopes = scopes || $2 where id = $1", program.uuid, [ADMIN])
