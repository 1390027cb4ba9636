"""The requests and answers of the token endpoint, clients and grants, and the pure rules about them."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook.auth.keys import Token
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.errors import FieldError, Invalid

AUTHORIZE_PATH: Final = "/oauth/authorize"
TOKEN_PATH: Final = "/v1/oauth/token"  # noqa: S105  # a path
CODE_PREFIX: Final = "oac_"
REFRESH_TOKEN_PREFIX: Final = "ort_"  # noqa: S105  # the prefix of a token is no secret
CLIENT_SECRET_PREFIX: Final = "ocs_"  # noqa: S105

CODE_LIFETIME: Final = timedelta(seconds=60)
ACCESS_TOKEN_LIFETIME: Final = timedelta(hours=1)
REFRESH_TOKEN_LIFETIME: Final = timedelta(days=30)
_MAX_NAME: Final = 255
# A refresh token may come twice for so long, because two processes of a program may refresh at once.
REPEAT_WITHIN: Final = timedelta(seconds=10)

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# The port is between the host of a loopback address and the path, the query or the end.
_PORT: Final = re.compile(r"\A(http://(?:\[[0-9a-f:]+\]|[a-z0-9.]+))(?::[0-9]{1,5})?(?=[/?]|\Z)")
# The form of a base64url-encoded SHA-256 hash of a verifier (RFC 7636, section 4.2).
_S256_CHALLENGE: Final = re.compile("[A-Za-z0-9_-]{43}")


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Form for requesting tokens. The required fields depend on `grant_type`."""

    schema_name: ClassVar[str] = "oauth_grant_request"
    example: ClassVar[dict[str, Any]] = {
        "grant_type": "client_credentials",
        "client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "client_secret": "ocs_SECRET",
        "scope": "contacts:read",
    }

    grant_type: Literal["authorization_code", "client_credentials", "refresh_token"]
    client_id: Annotated[str, Meta(description="The client, if there is no Authorization header.")] | UnsetType = UNSET
    client_secret: Annotated[str, Meta(description="The client's secret, if there is no Authorization header.")] | UnsetType = (
        UNSET
    )
    scope: Annotated[str, Meta(description="Scopes, separated by spaces; without it, all allowed scopes.")] | UnsetType = UNSET
    code: Annotated[str, Meta(description="`authorization_code`: the code.")] | UnsetType = UNSET
    redirect_uri: Annotated[str, Meta(description="`authorization_code`: the URI to which the code was sent.")] | UnsetType = (
        UNSET
    )
    code_verifier: (
        Annotated[str, Meta(description="`authorization_code`: the verifier of the S256 code challenge.")] | UnsetType
    ) = UNSET
    refresh_token: (
        Annotated[str, Meta(description="`refresh_token`: the newest refresh token; each works once.")] | UnsetType
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
    expires_in: Annotated[int, Meta(description="Seconds until the access token expires.")]
    scope: Annotated[str, Meta(description="The scopes of the access token, separated by spaces.")]
    refresh_token: (
        Annotated[str, Meta(description="Send it to get the next tokens. Clients that act for no user get none.")] | UnsetType
    ) = UNSET


class PresentedToken(msgspec.Struct, frozen=True, kw_only=True):
    """Form for asking about a token, or for revoking one."""

    schema_name: ClassVar[str] = "oauth_presented_token"
    example: ClassVar[dict[str, Any]] = {
        "token": "ort_01HQXVB4Y9Y0Q6P0QH5GX2CT7T.<secret>",
        "client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "client_secret": "ocs_SECRET",
    }

    token: Annotated[str, Meta(description="The access token or refresh token.")]
    token_type_hint: Annotated[str, Meta(description="Not needed: a token shows its kind.")] | UnsetType = UNSET
    client_id: Annotated[str, Meta(description="The client, if there is no Authorization header.")] | UnsetType = UNSET
    client_secret: Annotated[str, Meta(description="The client's secret, if there is no Authorization header.")] | UnsetType = (
        UNSET
    )


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a revocation: an empty object (RFC 7009, section 2.2)."""

    schema_name: ClassVar[str] = "oauth_revoked"
    example: ClassVar[dict[str, Any]] = {}


class Introspection(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a token (RFC 7662, section 2.2). One that is not active, or is another client's, has only `active`."""

    schema_name: ClassVar[str] = "oauth_introspection"
    example: ClassVar[dict[str, Any]] = {
        "active": True,
        "scope": "contacts:read",
        "client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
        "token_type": "Bearer",
        "exp": 1772370000,
        "sub": "usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T",
    }

    active: bool
    scope: Annotated[str, Meta(description="The scopes, separated by spaces.")] | UnsetType = UNSET
    client_id: str | UnsetType = UNSET
    token_type: Annotated[str, Meta(description="`Bearer`; refresh tokens have none.")] | UnsetType = UNSET
    exp: Annotated[int, Meta(description="When it expires, in seconds since 1970.")] | UnsetType = UNSET
    sub: Annotated[str, Meta(description="The user for whom it acts, if there is one.")] | UnsetType = UNSET


class OAuthError(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal of the token endpoint (RFC 6749, section 5.2)."""

    schema_name: ClassVar[str] = "oauth_error"

    error: Literal[
        "invalid_client",
        "invalid_grant",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_grant_type",
    ]
    error_description: Annotated[str, Meta(description="Human-readable explanation, with the remedy.")]


class Client(NamedTuple):
    """A program; its tokens can have at most the scopes in `scopes`. A public one has no secret (RFC 6749, section 2.1)."""

    id: UUID
    workspace_id: UUID
    name: str
    scopes: Sequence[str]
    redirect_uris: Sequence[str]
    secret_hash: bytes
    is_public: bool


class Grant(NamedTuple):
    """An active user's grant to a client, as it is when the client presents the code."""

    id: UUID
    client_id: UUID
    user_id: UUID
    scopes: Sequence[str]
    redirect_uri: str
    code_challenge: str
    secret_hash: bytes
    was_used: bool


class RefreshToken(NamedTuple):
    """A refresh token, and the needed parts of its grant.

    Once it was used, `successor_id` and `successor_salt` are those of the next one. `may_be_repeated` says that a client which
    sends it again gets the same next one.
    """

    id: UUID
    grant_id: UUID
    client_id: UUID
    user_id: UUID
    scopes: Sequence[str]
    secret_hash: bytes
    was_used: bool
    may_be_repeated: bool
    successor_id: UUID | None
    successor_salt: bytes | None


class KnownToken(NamedTuple):
    """An access token or refresh token as it is stored. `is_over` says that it has expired or was revoked or used."""

    id: UUID
    client_id: UUID
    grant_id: UUID | None
    user_id: UUID | None
    scopes: Sequence[str]
    secret_hash: bytes
    expires_at: datetime
    is_over: bool
    is_access_token: bool


class Issued(NamedTuple):
    """Newly issued tokens, and the scopes of the access token."""

    access_token: Token
    refresh_token: Token | None
    scopes: Sequence[str]


class NotAuthorized(Exception):
    """An authorization request is refused, and its client may be told (RFC 6749, section 4.1.2.1)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class CodeRequest(NamedTuple):
    """An authorization request (RFC 6749, section 4.1.1; RFC 7636, section 4.3)."""

    client_id: str
    redirect_uri: str
    scope: str | None
    code_challenge: str
    code_challenge_method: str


def granted_scopes(asked: str | None, allowed: Sequence[str]) -> tuple[str, ...] | None:
    """Return the requested scopes, all allowed ones if none is named, or None if some are not allowed."""
    if not asked:
        return tuple(sorted(allowed))
    scopes = set(asked.split(" ")) - {""}
    return tuple(sorted(scopes)) if scopes and scopes <= set(allowed) else None


class ClientFacts(NamedTuple):
    """The name, scopes and redirect URIs of a client."""

    name: str
    scopes: Sequence[str]
    redirect_uris: Sequence[str]


def check_client(client: ClientFacts, *, is_public: bool) -> None:
    """Refuse a client that cannot work. Refusal: Invalid, which names each fault."""
    faults = [*_name_faults(client.name), *_scope_faults(client.scopes), *_redirect_faults(client.redirect_uris)]
    if is_public and not client.redirect_uris:
        message = "A public client needs a redirect URI, because it gets tokens only for users."
        faults.append(FieldError("redirect_uri", "missing", message))
    if faults:
        raise Invalid(faults)


def require_registered(redirect_uri: str, client: Client) -> None:
    """Refuse a redirect URI that is not the client's. Refusal: Invalid."""
    if not any(_is_registered(redirect_uri, registered) for registered in client.redirect_uris):
        message = (
            "`redirect_uri` is not registered for this client. It must equal a registered URI exactly; "
            "only the port of a loopback address may differ."
        )
        raise Invalid([FieldError("redirect_uri", "not_registered", message)])


def check_code_request(request: CodeRequest, client: Client) -> tuple[str, ...]:
    """Return the scopes that a code may have. Refusal: Invalid, which names each fault."""
    require_registered(request.redirect_uri, client)
    faults: list[FieldError] = []
    scopes = granted_scopes(request.scope, client.scopes)
    if scopes is None:
        message = f"`scope` exceeds the scopes of this client. Choose from: {' '.join(client.scopes)}."
        faults.append(FieldError("scope", "not_allowed", message))
    if request.code_challenge_method != "S256":
        message = "`code_challenge_method` must be S256 (RFC 9700, section 2.1.1)."
        faults.append(FieldError("code_challenge_method", "not_allowed", message))
    if _S256_CHALLENGE.fullmatch(request.code_challenge) is None:
        message = "`code_challenge` is not an S256 challenge. Send 43 letters, digits, hyphens and underscores."
        faults.append(FieldError("code_challenge", "invalid_format", message))
    if faults or scopes is None:
        raise Invalid(faults)
    return scopes


_SINGLE: Final = frozenset(
    {
        *("response_type", "response_mode", "client_id", "redirect_uri", "scope", "state"),
        *("code_challenge", "code_challenge_method"),
    }
)


def single_parameters(pairs: Iterable[tuple[str, str]]) -> tuple[dict[str, str], set[str]]:
    """Return the parameters of an authorization request that have a value, and the names of those that it has twice.

    Unknown ones do not matter (RFC 6749, section 3.1).
    """
    found: dict[str, str] = {}
    repeated: set[str] = set()
    for name, value in pairs:
        if name in _SINGLE and value:
            if name in found:
                repeated.add(name)
            found[name] = value
    return {name: value for name, value in found.items() if name not in repeated}, repeated


def check_response(sent: Mapping[str, str], repeated: Collection[str]) -> None:
    """Refuse a request whose answer is not a code in the query of the redirect URI. Refusal: NotAuthorized."""
    if repeated:
        raise NotAuthorized("invalid_request", f"A parameter was sent more than once: {', '.join(sorted(repeated))}.")
    if "response_type" not in sent:
        raise NotAuthorized("invalid_request", "`response_type` is missing. Send `code`.")
    if sent["response_type"] != "code":
        raise NotAuthorized("unsupported_response_type", "`response_type` must be `code`.")
    if sent.get("response_mode", "query") != "query":
        raise NotAuthorized("invalid_request", "`response_mode` must be `query`, or be left out.")


def answer_address(redirect_uri: str, members: Mapping[str, str | None]) -> str:
    """Return the address at which a client gets the answer to its authorization request. Its own query stays as it is."""
    joint = "" if redirect_uri.endswith(("?", "&")) else "&" if "?" in redirect_uri else "?"
    return redirect_uri + joint + urlencode({name: value for name, value in members.items() if value is not None})


def _name_faults(name: str) -> Iterator[FieldError]:
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        message = f"A client needs a name, so that people know it. Use 1 to {_MAX_NAME} printable characters."
        yield FieldError("name", "invalid_format", message)


def _scope_faults(scopes: Sequence[str]) -> Iterator[FieldError]:
    possible = SCOPES.keys() - {ADMIN}
    if not scopes:
        yield FieldError("scope", "missing", "A client needs a scope, because it can do nothing without one.")
    for scope in sorted(set(scopes) - possible):
        message = f"No client can have the scope {scope}. Choose from: {', '.join(sorted(possible))}."
        yield FieldError("scope", "not_allowed", message)


def _redirect_faults(redirect_uris: Sequence[str]) -> Iterator[FieldError]:
    for uri in redirect_uris:
        if not _can_be_redirected_to(uri):
            message = (
                f"{uri} cannot be a redirect URI. Use an absolute https URI without a fragment or a user (http only for this "
                "machine)."
            )
            yield FieldError("redirect_uri", "invalid_format", message)


def _is_registered(uri: str, registered: str) -> bool:
    """Whether a URI equals the registered one; programs on this machine may use any port (RFC 8252, section 7.3)."""
    if uri == registered:
        return True
    return _is_at_loopback(registered) and _can_be_redirected_to(uri) and _without_port(uri) == _without_port(registered)


def _is_at_loopback(uri: str) -> bool:
    parts = urlsplit(uri)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK


def _without_port(uri: str) -> str:
    return _PORT.sub(r"\1", uri, count=1)


def _can_be_redirected_to(uri: str) -> bool:
    """Whether codes can be sent to a URI (RFC 6749, section 3.1.2; RFC 8252, section 8.3)."""
    if not uri.isascii() or not uri.isprintable() or " " in uri or "#" in uri:
        return False
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return False
    # A user before the host would look like another host to people: https://accounts.example@evil.example/.
    if "@" in parts.netloc:
        return False
    return parts.hostname is not None and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))


class Sent(NamedTuple):
    """A token request as it was sent."""

    authorization: bytes | None
    content_type: bytes | None
    body: bytes
    address: str


class Outcome(NamedTuple):
    """The answer to a token request: tokens with 200, or an error (RFC 6749, sections 5.1 and 5.2)."""

    status: int
    members: Mapping[str, Any]
