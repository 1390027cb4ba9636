"""Revocation (RFC 7009), introspection (RFC 7662) and the metadata of the authorization server (RFC 8414)."""

import time
from typing import Any, Final

import httpx
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata

from herdbook import ids
from herdbook.app import Herdbook
from herdbook.settings import Settings
from tests.cast import Person
from tests.oauth.conftest import Connections, Program, refused, status_with
from tests.oauth.test_independent_client import oauth_client
from tests.serving import serving

REVOKE: Final = "/api/herdbook/oauth/revoke"
INTROSPECT: Final = "/api/herdbook/oauth/introspect"
METADATA: Final = "/.well-known/oauth-authorization-server"


async def present(http: httpx.AsyncClient, url: str, program: Program, token: str, **form: str) -> httpx.Response:
    """Present a token as a client."""
    return await http.post(url, data={"token": token, "client_id": program.id, "client_secret": program.secret, **form})


async def described(http: httpx.AsyncClient, program: Program, token: str, **form: str) -> dict[str, Any]:
    """Return what the server says of a token."""
    response = await present(http, INTROSPECT, program, token, **form)
    assert response.status_code == 200
    assert response.headers["Cache-Control"] == "no-store"
    return response.json()


@pytest.mark.parametrize("hint", [{}, {"token_type_hint": "refresh_token"}, {"token_type_hint": "magic"}])
async def test_an_access_token_is_revoked_alone(client: httpx.AsyncClient, program: Program, hint: dict[str, str]) -> None:
    """A revoked access token works no more; the refresh token gives another. Hints that are wrong do not matter."""
    tokens = await program.tokens()
    response = await present(client, REVOKE, program, tokens["access_token"], **hint)

    assert (response.status_code, response.json()) == (200, {})
    assert await status_with(client, tokens["access_token"]) == 401
    assert (await program.refresh(tokens["refresh_token"])).status_code == 200


@pytest.mark.parametrize("is_used", [True, False])
async def test_a_refresh_token_is_revoked_with_its_grant(
    client: httpx.AsyncClient,
    program: Program,
    is_used: bool,  # noqa: FBT001
) -> None:
    """Revoking a refresh token, even a used one, revokes all tokens of its grant."""
    tokens = await program.tokens()
    following = (await program.refresh(tokens["refresh_token"])).json() if is_used else tokens
    response = await present(client, REVOKE, program, tokens["refresh_token"])

    assert response.status_code == 200
    assert await status_with(client, following["access_token"]) == 401
    assert refused(await program.refresh(following["refresh_token"])) == (400, "invalid_grant")


@pytest.mark.parametrize("token", ["xyzzy", "oat_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.x", "sk-apik_x"])
async def test_an_unknown_token_counts_as_revoked(client: httpx.AsyncClient, program: Program, token: str) -> None:
    """An unknown token is no error (RFC 7009, section 2.2), and not active."""
    assert (await present(client, REVOKE, program, token)).status_code == 200
    assert await described(client, program, token) == {"active": False}


async def test_a_token_of_another_client_stays(client: httpx.AsyncClient, program: Program, other_program: Program) -> None:
    """Only the client that a token was issued to can revoke it, and only that one learns of it."""
    tokens = await program.tokens()

    for token in (tokens["access_token"], tokens["refresh_token"]):
        assert refused(await present(client, REVOKE, other_program, token)) == (400, "invalid_grant")
        assert await described(client, other_program, token) == {"active": False}
    assert await status_with(client, tokens["access_token"]) == 200


@pytest.mark.parametrize("url", [REVOKE, INTROSPECT])
async def test_who_is_no_client_learns_nothing(client: httpx.AsyncClient, program: Program, alice: Person, url: str) -> None:
    """A client must authenticate, and must send a token."""
    token = (await program.tokens())["access_token"]

    assert refused(await client.post(url, data={"token": token})) == (401, "invalid_client")
    assert refused(await client.post(url, data={"token": token}, headers={"Authorization": str(alice.key)})) == (
        401,
        "invalid_client",
    )
    assert refused(await present(client, url, program, token, client_secret="wrong")) == (401, "invalid_client")  # noqa: S106
    assert refused(await present(client, url, program, "")) == (400, "invalid_request")


async def test_an_active_token_is_described(client: httpx.AsyncClient, program: Program) -> None:
    """An active token is described with scopes, client, user and expiry."""
    tokens = await program.tokens()
    own = (await program.ask("client_credentials", scope="contacts:read")).json()["access_token"]
    access, refresh, alone = [
        await described(client, program, token) for token in (tokens["access_token"], tokens["refresh_token"], own)
    ]
    user = ids.encoded(ids.USER, program.user_id)

    assert abs(access.pop("exp") - time.time() - 3600) < 60
    assert abs(refresh.pop("exp") - time.time() - 30 * 86_400) < 60
    assert access == {
        "active": True,
        "scope": "contacts:read contacts:write",
        "client_id": program.id,
        "token_type": "Bearer",
        "sub": user,
    }
    assert refresh == {"active": True, "scope": "contacts:read contacts:write", "client_id": program.id, "sub": user}
    assert (alone["scope"], "sub" in alone) == ("contacts:read", False)


@pytest.mark.parametrize("how", ["revoked", "user left", "used"])
async def test_what_is_over_is_not_active(client: httpx.AsyncClient, pool: Connections, program: Program, how: str) -> None:
    """A token that is over is described by nothing else."""
    tokens = await program.tokens()
    token = tokens["refresh_token"]
    if how == "revoked":
        await present(client, REVOKE, program, token)
    elif how == "user left":
        await pool.execute("update workspace_user set is_active = false where id = $1", program.user_id)
    else:
        await program.refresh(token)

    assert await described(client, program, token) == {"active": False}


async def test_describing_a_token_is_no_use_of_it(client: httpx.AsyncClient, program: Program) -> None:
    """A token that was only described may still have been lost on its way."""
    old = await program.tokens()
    new = (await program.refresh(old["refresh_token"])).json()
    await described(client, program, new["access_token"])

    assert (await program.refresh(old["refresh_token"])).json()["refresh_token"] == new["refresh_token"]


async def test_a_client_of_authlib_revokes_and_asks(client: httpx.AsyncClient, app: Herdbook, program: Program) -> None:
    """Authlib's client does both, with the addresses that the metadata say."""
    server = (await client.get(METADATA)).json()
    async with oauth_client(app, program) as library:
        token = (await library.fetch_token(server["token_endpoint"], grant_type="client_credentials"))["access_token"]
        before = (await library.introspect_token(server["introspection_endpoint"], token)).json()
        revoked = await library.revoke_token(server["revocation_endpoint"], token)
        after = (await library.introspect_token(server["introspection_endpoint"], token)).json()

    assert (before["active"], revoked.status_code, after) == (True, 200, {"active": False})


async def test_the_metadata_are_those_of_the_standard(database_url: str) -> None:
    """The metadata hold what RFC 8414 demands, at the public address, also where that has a path."""
    async with serving(Settings(public_url="https://crm.example/book"), database_url) as client:
        found = [await client.get(METADATA + path) for path in ("", "/book", "/other")]
    told = found[0].json()
    required = AuthorizationServerMetadata(told)
    for member in ("issuer", "token_endpoint", "authorization_endpoint", "scopes_supported", "revocation_endpoint"):
        getattr(required, f"validate_{member}")()

    assert [each.status_code for each in found] == [200, 200, 404]
    assert told == found[1].json()
    assert told["issuer"] == "https://crm.example/book"
    assert told["token_endpoint"] == "https://crm.example/book/api/v1/oauth/token"  # noqa: S105
    assert told["authorization_endpoint"] == "https://crm.example/book/oauth/authorize"
    assert told["authorization_response_iss_parameter_supported"] is True
    assert told["code_challenge_methods_supported"] == ["S256"]
    assert "workspace:admin" not in told["scopes_supported"]
