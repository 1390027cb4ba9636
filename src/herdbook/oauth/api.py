"""The operations of OAuth, and the metadata by which clients find them (RFC 8414)."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.auth.sign_ins import SignIns
from herdbook.db.pool import Executor
from herdbook.errors import RateLimited
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation, OtherAnswer
from herdbook.oauth.model import (
    AUTHORIZE_PATH,
    TOKEN_PATH,
    Introspection,
    OAuthError,
    Outcome,
    PresentedToken,
    Revoked,
    Sent,
    TokenAnswer,
    TokenRequest,
)

_NOT_KEPT: Final = ((b"cache-control", b"no-store"), (b"pragma", b"no-cache"))
_CHALLENGE: Final = (b"www-authenticate", b'Basic realm="herdbook", charset="UTF-8"')


async def give_tokens(call: Call, body: bytes) -> Answer:
    """Exchange a client's secret, a code or a refresh token for tokens."""
    from herdbook.oauth.server import answer_token_request  # noqa: PLC0415  # see `_answer`

    return await _answer(call, body, answer_token_request)


async def revoke(call: Call, body: bytes) -> Answer:
    """Revoke a token of a client."""
    from herdbook.oauth.server import revoke_presented  # noqa: PLC0415  # see `_answer`

    return await _answer(call, body, revoke_presented)


async def introspect(call: Call, body: bytes) -> Answer:
    """Describe a token of a client."""
    from herdbook.oauth.server import introspect_presented  # noqa: PLC0415  # see `_answer`

    return await _answer(call, body, introspect_presented)


async def _answer(call: Call, body: bytes, answer: Callable[[Executor, SignIns, Sent], Awaitable[Outcome]]) -> Answer:
    # The functions come from a module whose library takes a twentieth of a start to import, and many servers have no clients.
    sent = Sent(call.headers.get(b"authorization"), call.headers.get(b"content-type"), body, call.address)
    outcome = await answer(call.services.database.pool, call.sign_ins, sent)
    headers = (*_NOT_KEPT, _CHALLENGE) if outcome.status == 401 else _NOT_KEPT
    return Answer(msgspec.json.encode(outcome.members), status=outcome.status, headers=headers)


def load_server() -> None:
    """Import the authorization server, before a client needs it."""
    import herdbook.oauth.server  # noqa: F401, PLC0415  # pyright: ignore[reportUnusedImport]


METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
_REVOCATION_PATH: Final = "/herdbook/oauth/revoke"
_INTROSPECTION_PATH: Final = "/herdbook/oauth/introspect"
_CLIENT_METHODS: Final = ["client_secret_basic", "client_secret_post"]
_ALSO_PUBLIC: Final = [*_CLIENT_METHODS, "none"]


def metadata(base_url: str) -> dict[str, Any]:
    """Return the metadata of the server at a URL."""
    api = f"{base_url}/api"
    return {
        "issuer": base_url,
        "authorization_endpoint": f"{base_url}{AUTHORIZE_PATH}",
        "authorization_response_iss_parameter_supported": True,
        "token_endpoint": api + TOKEN_PATH,
        "token_endpoint_auth_methods_supported": _ALSO_PUBLIC,
        "revocation_endpoint": api + _REVOCATION_PATH,
        "revocation_endpoint_auth_methods_supported": _ALSO_PUBLIC,
        "introspection_endpoint": api + _INTROSPECTION_PATH,
        "introspection_endpoint_auth_methods_supported": _CLIENT_METHODS,
        "grant_types_supported": ["authorization_code", "client_credentials", "refresh_token"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "scopes_supported": sorted(SCOPES.keys() - {ADMIN}),
        "code_challenge_methods_supported": ["S256"],
        "service_documentation": f"{base_url}/docs",
    }


_REFUSED: Final = {
    400: OtherAnswer(OAuthError, "The request was refused; `error` says why."),
    401: OtherAnswer(OAuthError, "The client is unknown, or its secret is wrong."),
}

OPERATIONS: Final = (
    Operation(
        method="POST",
        path=TOKEN_PATH,
        id="oauth-token",
        summary="Get tokens",
        description="Issues tokens to an OAuth client (RFC 6749), for itself (`client_credentials`) or for a user who has "
        "granted it access (`authorization_code` with PKCE, then `refresh_token`). The client authenticates with HTTP Basic or "
        "with `client_id` and `client_secret` in the form; a public client sends its `client_id` alone.",
        tag="subpackage_authentication",
        scopes=None,
        handler=give_tokens,
        form=TokenRequest,
        answer=TokenAnswer,
        refusals=(RateLimited,),
        answer_description="The tokens. A refresh token can be used once. Sent again within ten seconds, or before the "
        "next tokens were used, it gives the same next one; later, it revokes all tokens of its grant.",
        other_answers=_REFUSED,
    ),
    Operation(
        method="POST",
        path=_REVOCATION_PATH,
        id="revoke-oauth-token",
        summary="Revoke token",
        description="Revokes a token of an OAuth client (RFC 7009): an access token alone, or with a refresh token all tokens "
        "of its grant. An unknown token counts as revoked.",
        tag="subpackage_authentication",
        scopes=None,
        handler=revoke,
        form=PresentedToken,
        answer=Revoked,
        refusals=(RateLimited,),
        answer_description="The token works no more, in all processes within five seconds.",
        other_answers=_REFUSED,
    ),
    Operation(
        method="POST",
        path=_INTROSPECTION_PATH,
        id="introspect-oauth-token",
        summary="Introspect token",
        description="Says whether a token of an OAuth client is active, until when, and with which scopes (RFC 7662).",
        tag="subpackage_authentication",
        scopes=None,
        handler=introspect,
        form=PresentedToken,
        answer=Introspection,
        refusals=(RateLimited,),
        answer_description="The description of the token.",
        other_answers=_REFUSED,
    ),
)
