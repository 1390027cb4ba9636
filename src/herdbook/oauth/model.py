"""What the token endpoint takes and gives, what is known of clients and grants, and the rules that need nothing but these."""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook.auth.keys import Token
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.errors import FieldError, Invalid

CODE_PREFIX: Final = "oac_"
REFRESH_TOKEN_PREFIX: Final = "ort_"  # noqa: S105  # what a token begins with is no secret
CLIENT_SECRET_PREFIX: Final = "ocs_"  # noqa: S105

CODE_LIFETIME: Final = timedelta(seconds=60)
ACCESS_TOKEN_LIFETIME: Final = timedelta(hours=1)
REFRESH_TOKEN_LIFETIME: Final = timedelta(days=30)

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# Behind the host of a loopback address, up to the path, the query or the end.
_PORT: Final = re.compile(r"\A(http://(?:\[[0-9a-f:]+\]|[a-z0-9.]+))(?::[0-9]{1,5})?(?=[/?]|\Z)")
# What SHA-256 and base64url make of a verifier (RFC 7636, section 4.2).
_S256_CHALLENGE: Final = re.compile("[A-Za-z0-9_-]{43}")


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Form to get tokens with. Which fields it needs depends on `grant_type`."""

    schema_name: ClassVar[str] = "oauth_token_request"
    example: ClassVar[dict[str, Any]] = {
        "grant_type": "client_credentials",
        "client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "client_secret": "ocs_SECRET",
        "scope": "contacts:read",
    }

    grant_type: Literal["authorization_code", "client_credentials", "refresh_token"]
    client_id: Annotated[str, Meta(description="The client, where no Authorization header names it.")] | UnsetType = UNSET
    client_secret: (
        Annotated[str, Meta(description="The client's secret, where no Authorization header has it.")] | UnsetType
    ) = UNSET
    scope: (
        Annotated[str, Meta(description="Scopes with spaces between them; without it, all that there can be.")] | UnsetType
    ) = UNSET
    code: Annotated[str, Meta(description="`authorization_code`: the code.")] | UnsetType = UNSET
    redirect_uri: Annotated[str, Meta(description="`authorization_code`: the URI that the code was sent to.")] | UnsetType = (
        UNSET
    )
    code_verifier: (
        Annotated[str, Meta(description="`authorization_code`: what the S256 code challenge was made of.")] | UnsetType
    ) = UNSET
    refresh_token: (
        Annotated[str, Meta(description="`refresh_token`: the newest refresh token; each can be used once.")] | UnsetType
    ) = UNSET


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens (RFC 6749, section 5.1)."""

    schema_name: ClassVar[str] = "oauth_token"
    example: ClassVar[dict[str, Any]] = {
        "access_token": "oat_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.<secret>",
        "token_type": "Bearer",
        "expires_in": 3600,
        "scope": "contacts:read",
    }

    access_token: Annotated[str, Meta(description="Send it as `Authorization: Bearer <access_token>`.")]
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Meta(description="Seconds for which the access token works.")]
    scope: Annotated[str, Meta(description="What the access token may do: scopes with spaces between them.")]
    refresh_token: (
        Annotated[str, Meta(description="What to get the next tokens with. Clients that act for no user have none.")]
        | UnsetType
    ) = UNSET


class OAuthError(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal of the token endpoint (RFC 6749, section 5.2)."""

    schema_name: ClassVar[str] = "oauth_error"

    error: Literal["invalid_client", "invalid_grant", "invalid_request", "invalid_scope", "unsupported_grant_type"]
    error_description: Annotated[str, Meta(description="Human-readable explanation, with the remedy.")]


class Client(NamedTuple):
    """A program that was given a secret of its own; `scopes` are the most that it can have."""

    id: UUID
    workspace_id: UUID
    scopes: Sequence[str]
    redirect_uris: Sequence[str]
    secret_hash: bytes


class Grant(NamedTuple):
    """What an active user has granted a client, as it is when its code comes in."""

    id: UUID
    client_id: UUID
    user_id: UUID
    scopes: Sequence[str]
    redirect_uri: str
    code_challenge: str
    secret_hash: bytes
    was_used: bool


class RefreshToken(NamedTuple):
    """A refresh token, and what of its grant it is needed with."""

    id: UUID
    grant_id: UUID
    client_id: UUID
    user_id: UUID
    scopes: Sequence[str]
    secret_hash: bytes
    was_used: bool


class Issued(NamedTuple):
    """Tokens that were made just now, and what the access token may do."""

    access_token: Token
    refresh_token: Token | None
    scopes: Sequence[str]


class CodeRequest(NamedTuple):
    """What a user has agreed to: an authorization request (RFC 6749, section 4.1.1; RFC 7636, section 4.3)."""

    client_id: str
    user_id: UUID
    redirect_uri: str
    scope: str | None
    code_challenge: str
    code_challenge_method: str


def granted_scopes(asked: str | None, allowed: Sequence[str]) -> tuple[str, ...] | None:
    """Return the scopes that are asked for, all that are allowed where none is named, or None where that is too much."""
    if not asked:
        return tuple(sorted(allowed))
    scopes = set(asked.split(" ")) - {""}
    return tuple(sorted(scopes)) if scopes and scopes <= set(allowed) else None


def check_client(name: str, scopes: Sequence[str], redirect_uris: Sequence[str]) -> None:
    """Refuse what can be no client. Refusal: Invalid, which names each fault."""
    faults = [*_name_faults(name), *_scope_faults(scopes), *_redirect_faults(redirect_uris)]
    if faults:
        raise Invalid(faults)


def check_code_request(request: CodeRequest, client: Client) -> tuple[str, ...]:
    """Return the scopes that a code would have. Refusal: Invalid, which names each fault."""
    faults: list[FieldError] = []
    if not any(_is_registered(request.redirect_uri, registered) for registered in client.redirect_uris):
        message = (
            "`redirect_uri` is not registered for this client. It must be as it was registered, to the letter; "
            "only the port of a loopback address may be another."
        )
        faults.append(FieldError("redirect_uri", "not_registered", message))
    scopes = granted_scopes(request.scope, client.scopes)
    if scopes is None:
        message = f"`scope` is more than this client can have: {' '.join(client.scopes)}."
        faults.append(FieldError("scope", "not_allowed", message))
    if request.code_challenge_method != "S256":
        message = "`code_challenge_method` must be S256 (RFC 9700, section 2.1.1)."
        faults.append(FieldError("code_challenge_method", "not_allowed", message))
    if _S256_CHALLENGE.fullmatch(request.code_challenge) is None:
        message = "`code_challenge` is not what S256 makes of a verifier: 43 letters, digits, hyphens and underscores."
        faults.append(FieldError("code_challenge", "invalid_format", message))
    if faults or scopes is None:
        raise Invalid(faults)
    return scopes


def _name_faults(name: str) -> Iterator[FieldError]:
    if not name.strip():
        yield FieldError("name", "blank", "A client needs a name, so that you know later what it is.")


def _scope_faults(scopes: Sequence[str]) -> Iterator[FieldError]:
    possible = SCOPES.keys() - {ADMIN}
    if not scopes:
        yield FieldError("scope", "missing", "A client needs a scope: without any it can do nothing.")
    for scope in sorted(set(scopes) - possible):
        message = f"No client can have the scope {scope}. There are: {', '.join(sorted(possible))}."
        yield FieldError("scope", "not_allowed", message)


def _redirect_faults(redirect_uris: Sequence[str]) -> Iterator[FieldError]:
    for uri in redirect_uris:
        if not _can_be_redirected_to(uri):
            message = (
                f"{uri} cannot be redirected to. Send an absolute https URI without a fragment (http only to this machine)."
            )
            yield FieldError("redirect_uri", "invalid_format", message)


def _is_registered(uri: str, registered: str) -> bool:
    """Whether a URI is the one that was registered; programs on this machine listen at any port (RFC 8252, section 7.3)."""
    if uri == registered:
        return True
    return _is_at_loopback(registered) and _can_be_redirected_to(uri) and _without_port(uri) == _without_port(registered)


def _is_at_loopback(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK


def _without_port(uri: str) -> str:
    return _PORT.sub(r"\1", uri, count=1)


def _can_be_redirected_to(uri: str) -> bool:
    """Whether codes can be sent there (RFC 6749, section 3.1.2; RFC 8252, section 8.3)."""
    if not uri.isascii() or not uri.isprintable() or " " in uri or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return False
    return parts.hostname is not None and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))
