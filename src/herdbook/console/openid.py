"""An OpenID provider (OpenID Connect Core 1.0, code flow with PKCE): how people are sent there, and what its answer proves."""

# Authlib has no types for these functions.
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

import functools
import secrets
import time
from typing import Any, Final, NamedTuple
from urllib.parse import quote_plus

import httpx
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from httpx import USE_CLIENT_DEFAULT
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from herdbook.console.model import OpenId

_SECONDS: Final = 10.0
# Keys change rarely, and a provider that is asked for them at each sign-in is another one that may be away.
_KNOWN_FOR_SECONDS: Final = 3600.0
_ASKED_AGAIN_SECONDS: Final = 60.0
_LEEWAY_SECONDS: Final = 60
# OpenID Connect Core 1.0, section 2.
_MAX_SUBJECT: Final = 255
# Signatures with the provider's own key. One by the client's secret, or none, proves nothing.
_ALGORITHMS: Final = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class Failed(Exception):
    """The provider cannot be asked, or its answer proves nothing; the message is for the log of the operator."""


class Asked(NamedTuple):
    """The address to send a browser to, and what the answer is compared with."""

    url: str
    content: dict[str, str]


class Account(NamedTuple):
    """Somebody's account at a provider: its subject, which nobody else ever gets, and its address if that is verified."""

    subject: str
    address: str | None


class Provider:
    """The provider of this server."""

    def __init__(self, settings: OpenId) -> None:
        self._settings = settings
        self._metadata: dict[str, Any] = {}
        self._keys: KeySet | None = None
        self._read_at = -_KNOWN_FOR_SECONDS

    async def ask(self, redirect_uri: str) -> Asked:
        """Return where to send a browser. Raise Failed if the provider cannot be asked."""
        content = {name: secrets.token_urlsafe(32) for name in ("state", "nonce", "verifier")}
        async with httpx.AsyncClient(timeout=_SECONDS) as client:
            metadata, _ = await self._described(client, _KNOWN_FOR_SECONDS)
        url: str = prepare_grant_uri(
            metadata["authorization_endpoint"],
            self._settings.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope="openid email",
            state=content["state"],
            nonce=content["nonce"],
            code_challenge=create_s256_code_challenge(content["verifier"]),
            code_challenge_method="S256",
        )
        return Asked(url, content | {"redirect_uri": redirect_uri})

    async def account(self, code: str, content: dict[str, str]) -> Account:
        """Return the account of somebody with a code. Raise Failed if the provider does not say whose code it is."""
        async with httpx.AsyncClient(timeout=_SECONDS) as client:
            metadata, keys = await self._described(client, _KNOWN_FOR_SECONDS)
            token = await self._token(client, metadata["token_endpoint"], code, content)
            try:
                claims = self._claims(token, keys, content["nonce"])
            except (JoseError, ValueError):
                # The provider may have new keys.
                _, keys = await self._described(client, _ASKED_AGAIN_SECONDS)
                try:
                    claims = self._claims(token, keys, content["nonce"])
                except (JoseError, ValueError) as error:
                    raise Failed(f"the id token is not right: {error!r}") from error
        subject, address = claims["sub"], claims.get("email")
        if not isinstance(subject, str) or not 1 <= len(subject) <= _MAX_SUBJECT:
            raise Failed("the subject is not a text of 1 to 255 characters")
        is_verified = isinstance(address, str) and claims.get("email_verified") is True
        return Account(subject, address if is_verified else None)

    def _claims(self, token: str, keys: KeySet, nonce: str) -> dict[str, Any]:
        """Return what a token says. Raise JoseError if it is not the provider's, not for this server and sign-in, or over."""
        client_id = self._settings.client_id
        claims: dict[str, Any] = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
        jwt.JWTClaimsRegistry(
            leeway=_LEEWAY_SECONDS,
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        ).validate(claims)
        if claims.get("azp", client_id) != client_id:
            raise ValueError("the token was issued to another client")
        return claims

    async def _token(self, client: httpx.AsyncClient, endpoint: str, code: str, content: dict[str, str]) -> str:
        """Return the id token of a code. Raise Failed if there is none."""
        form = {"grant_type": "authorization_code", "code": code}
        form |= {"redirect_uri": content["redirect_uri"], "code_verifier": content["verifier"]}
        client_id, secret = self._settings.client_id, self._settings.secret
        if secret is None:
            form["client_id"] = client_id
        # Both are encoded before (RFC 6749, section 2.3.1).
        credentials = USE_CLIENT_DEFAULT if secret is None else httpx.BasicAuth(quote_plus(client_id), quote_plus(secret))
        try:
            answer = await client.post(endpoint, data=form, auth=credentials)
            return str(answer.raise_for_status().json()["id_token"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise Failed(f"the provider did not exchange the code: {error!r}") from error

    async def _described(self, client: httpx.AsyncClient, seconds: float) -> tuple[dict[str, Any], KeySet]:
        """Return what the provider says of itself, with its keys, if they are no older. Raise Failed if it cannot be asked."""
        if self._keys is None or time.monotonic() - self._read_at > seconds:
            issuer = self._settings.issuer
            try:
                metadata = await _json(client, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
                if metadata["issuer"] != issuer:
                    raise Failed(f"the provider calls itself {metadata['issuer']!r}, and not {issuer!r}")
                endpoints = [metadata[name] for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
                if issuer.startswith("https:") and not all(str(each).startswith("https:") for each in endpoints):
                    raise Failed("an address of the provider is without TLS")
                keys = KeySet.import_key_set(await _json(client, metadata["jwks_uri"]))
            except (httpx.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
                raise Failed(f"the provider cannot be asked: {error!r}") from error
            self._metadata, self._keys, self._read_at = metadata, keys, time.monotonic()
        return self._metadata, self._keys


async def _json(client: httpx.AsyncClient, url: str) -> Any:
    return (await client.get(url)).raise_for_status().json()


@functools.cache
def provider_of(settings: OpenId) -> Provider:
    """Return the provider of these settings, which remembers its keys."""
    return Provider(settings)
