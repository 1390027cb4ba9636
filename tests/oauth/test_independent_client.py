"""Authlib's client obtains its tokens here, and refreshes them by itself."""

# Some of Authlib's types are open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import warnings
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from authlib.integrations.base_client import OAuthError

from herdbook.app import Herdbook
from tests.oauth.conftest import CALLBACK, CONTACTS_URL, TOKEN_URL, VERIFIER, Program

with warnings.catch_warnings():
    # Authlib prefers httpx2 if it is installed.
    warnings.simplefilter("ignore")
    from authlib.integrations.httpx_client import AsyncOAuth2Client

SERVER = "https://herdbook.test"


def oauth_client(app: Herdbook, program: Program, **options: Any) -> Any:
    """Return a client of Authlib's that talks to the application."""
    return AsyncOAuth2Client(
        program.id,
        options.pop("client_secret", program.secret),
        token_endpoint=SERVER + TOKEN_URL,
        transport=httpx.ASGITransport(app),
        **options,
    )


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_client_credentials(app: Herdbook, program: Program, method: str) -> None:
    """Authlib gets a token with either way of authentication."""
    async with oauth_client(app, program, token_endpoint_auth_method=method) as client:
        await client.fetch_token(grant_type="client_credentials", scope="contacts:read")
        response = await client.get(SERVER + CONTACTS_URL)

    assert response.status_code == 200


async def test_from_a_code_to_a_refreshed_token(app: Herdbook, program: Program) -> None:
    """Authlib makes the challenge, exchanges the code, makes a call, and refreshes an expired token before the next call."""
    changes: list[Any] = []

    async def note(token: Any, **_: Any) -> None:
        changes.append(token)

    async with oauth_client(
        app, program, redirect_uri=CALLBACK, code_challenge_method="S256", scope="contacts:read", update_token=note
    ) as client:
        address, state = client.create_authorization_url(SERVER + "/oauth/authorize", code_verifier=VERIFIER)
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        # The page does this once a user has agreed.
        code = await program.code(
            asked["scope"],
            redirect_uri=asked["redirect_uri"],
            code_challenge=asked["code_challenge"],
            code_challenge_method=asked["code_challenge_method"],
        )
        first = dict(
            await client.fetch_token(authorization_response=f"{CALLBACK}&code={code}&state={state}", code_verifier=VERIFIER)
        )
        assert (await client.get(SERVER + CONTACTS_URL)).status_code == 200
        client.token["expires_at"] = 0
        assert (await client.get(SERVER + CONTACTS_URL)).status_code == 200

    assert [token["access_token"] == first["access_token"] for token in changes] == [False]
    assert changes[0]["refresh_token"] != first["refresh_token"]


async def test_it_understands_a_refusal(app: Herdbook, program: Program) -> None:
    """The error reaches the program by name, with its description."""
    async with oauth_client(app, program) as client:
        with pytest.raises(OAuthError, match=r"^invalid_scope: Ask for scopes that this client can have"):
            await client.fetch_token(grant_type="client_credentials", scope="tags:read")
