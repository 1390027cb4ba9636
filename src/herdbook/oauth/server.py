"""The authorization server: RFC 6749, 7636 and 9700, with Authlib.

Authlib decides, but has no `await`. Everything that a request needs is loaded first, then Authlib's grants run in memory, and
their decision is written last, by statements that check it once more.
"""

# Authlib is only partly typed.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import base64
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, cast
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID

from authlib.oauth2.rfc6749 import (
    AuthorizationCodeGrant,
    AuthorizationCodeMixin,
    AuthorizationServer,
    ClientCredentialsGrant,
    ClientMixin,
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
    OAuth2Error,
    OAuth2Request,
    RefreshTokenGrant,
    TokenMixin,
)
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint

from herdbook import ids, sources
from herdbook.auth.keys import ACCESS_TOKEN_PREFIX, CLIENT_PREFIX, NotAKey, Token, derived_secret, new_token, read_token
from herdbook.auth.roles import within_role
from herdbook.auth.sign_ins import SignIns
from herdbook.db.pool import Executor
from herdbook.errors import FieldError, Invalid
from herdbook.oauth import store
from herdbook.oauth.model import (
    ACCESS_TOKEN_LIFETIME,
    CODE_PREFIX,
    REFRESH_TOKEN_PREFIX,
    Client,
    CodeRequest,
    Grant,
    Issued,
    KnownToken,
    NotAuthorized,
    Outcome,
    RefreshToken,
    Sent,
    answer_address,
    check_code_request,
    check_response,
    granted_scopes,
    require_registered,
    single_parameters,
)

_FORM: Final = "application/x-www-form-urlencoded"
_MAX_PARAMETERS: Final = 100
# Authlib requires https, but TLS may end at a proxy in front of this server.
_HERE: Final = "https://localhost"
_NO_CLIENT: Final = "The client is unknown, or its secret is wrong. Send both as they were issued."
_NO_GRANT: Final = (
    "This code or refresh token is unknown, expired, revoked, used before, or another client's. Have the user authorize again."
)

StoredT = TypeVar("StoredT", Grant, RefreshToken)


class Asked(NamedTuple):
    """An authorization request whose client and redirect URI are known, so that its client is told of other faults."""

    client: Client
    request: CodeRequest
    state: str | None
    sent: Mapping[str, str]
    repeated: Collection[str]

    def scopes(self) -> Sequence[str]:
        """Return the scopes that a user is asked for. Refusal: NotAuthorized."""
        check_response(self.sent, self.repeated)
        try:
            return check_code_request(self.request, self.client)
        except Invalid as refusal:
            fault = refusal.errors[0]
            raise NotAuthorized("invalid_scope" if fault.field == "scope" else "invalid_request", fault.message) from None

    def answer(self, issuer: str, **members: str) -> str:
        """Return the address that gives the client an answer (RFC 6749, sections 4.1.2 and 4.1.2.1; RFC 9207)."""
        return answer_address(self.request.redirect_uri, {**members, "state": self.state, "iss": issuer})


async def asked(statements: Executor, parameters: Iterable[tuple[str, str]]) -> Asked:
    """Return an authorization request. Refusal: Invalid, for an unknown client, or a redirect URI that is not registered.

    Nobody may be redirected then.
    """
    sent, repeated = single_parameters(parameters)
    client = await client_called(statements, sent.get("client_id", ""))
    request = CodeRequest(
        sent.get("client_id", ""),
        sent.get("redirect_uri", ""),
        sent.get("scope"),
        sent.get("code_challenge", ""),
        sent.get("code_challenge_method", ""),
    )
    require_registered(request.redirect_uri, client)
    return Asked(client, request, sent.get("state"), sent, repeated)


async def issue_code(statements: Executor, request: CodeRequest, user_id: UUID) -> str:
    """Issue an authorization code for a request that a user has approved (RFC 6749, section 4.1.2; RFC 7636, section 4.4).

    Refusal: Invalid, for an unknown client (`client_id`), a redirect URI that is not registered for it (`redirect_uri`; then
    nobody may be redirected), a scope beyond the client's (`scope`), a challenge that is not S256 (`code_challenge`,
    `code_challenge_method`), and a user who is not active in the client's workspace (`user_id`). The code has only those of
    the scopes that the user's role has.
    """
    client = await client_called(statements, request.client_id)
    scopes = check_code_request(request, client)
    role = await store.role_of(statements, client.workspace_id, user_id)
    if role is None:
        raise Invalid([FieldError("user_id", "unknown", "There is no such active user in the client's workspace.")])
    scopes = within_role(scopes, role)
    if not scopes:
        raise Invalid([FieldError("scope", "not_allowed", f"A user with the role {role} may do nothing of `scope`.")])
    code = new_token(CODE_PREFIX)
    if await store.add_grant(statements, client, user_id, request, scopes, code) is None:
        raise Invalid([FieldError("user_id", "unknown", "There is no such active user in the client's workspace.")])
    return str(code)


async def client_called(statements: Executor, text: str) -> Client:
    """Return the client with an id as it is shown. Refusal: Invalid."""
    client_id = ids.decoded(CLIENT_PREFIX, text)
    client = None if client_id is None else await store.find_client(statements, client_id)
    if client is None:
        raise Invalid([FieldError("client_id", "unknown", "There is no client with this `client_id`, or it was revoked.")])
    return client


async def answer_token_request(statements: Executor, sign_ins: SignIns, sent: Sent) -> Outcome:
    """Exchange a secret, a code or a refresh token for tokens. A code or refresh token that is used again revokes its grant.

    A refresh that is sent again within ten seconds, or while its tokens have not been used, gets the same refresh token.
    Refusal: RateLimited, after too many failures of a client, with a code or refresh token, or from an address.
    """
    try:
        return Outcome(200, await _exchange(statements, sign_ins, sent))
    except OAuth2Error as error:
        if isinstance(error, _UsedUp):
            await store.revoke_grant(statements, error.grant_id)
        return Outcome(error.status_code, dict(error.get_body()))


async def revoke_presented(statements: Executor, sign_ins: SignIns, sent: Sent) -> Outcome:
    """Revoke the token that a client presents (RFC 7009); a refresh token ends with its grant. Refusal: RateLimited."""
    return await _answer_about_token(statements, sign_ins, sent, _Revocation)


async def introspect_presented(statements: Executor, sign_ins: SignIns, sent: Sent) -> Outcome:
    """Say whether a token of the client is active, and what it may do (RFC 7662). Refusal: RateLimited."""
    return await _answer_about_token(statements, sign_ins, sent, _Introspection)


async def _answer_about_token(
    statements: Executor, sign_ins: SignIns, sent: Sent, endpoint: "type[_Revocation | _Introspection]"
) -> Outcome:
    try:
        form = _form(sent)
        client = await _authenticated(sign_ins, sent, form)
        if client.is_public and endpoint is _Introspection:
            # Anybody can say to be this client (RFC 7662, section 2.1).
            raise _NoClient
        if "token" not in form:
            raise InvalidRequestError("`token` is missing.")
        # An unknown hint does not matter (RFC 7009, section 2.2).
        form.pop("token_type_hint", None)
        server = _Server(_Known(client, None, None, await _known_token(sign_ins, form.get("token", ""), sent.address)), "")
        status, members, _ = endpoint(server).create_endpoint_response(_OAuthRequest(form))
    except OAuth2Error as error:
        return Outcome(error.status_code, dict(error.get_body()))
    if server.revoked is not None:
        await store.revoke_token(statements, server.revoked)
    return Outcome(status, members)


async def _known_token(sign_ins: SignIns, text: str, address: str) -> KnownToken | None:
    kinds = ((ACCESS_TOKEN_PREFIX, store.known_access_token), (REFRESH_TOKEN_PREFIX, store.known_refresh_token))
    for prefix, find in kinds:
        try:
            token = read_token(text, prefix, "token")
        except NotAKey:
            continue
        return await sign_ins.stored(find, token.id, token.secret, address)
    return None


class _UsedUp(InvalidGrantError):
    """A code or a refresh token is over, or was used before and so may be stolen (RFC 9700, section 4.14.2)."""

    def __init__(self, grant_id: UUID) -> None:
        super().__init__(_NO_GRANT)
        self.grant_id = grant_id


class _NoClient(InvalidClientError):
    """The client is unknown, or its secret is wrong."""

    def __init__(self) -> None:
        super().__init__(_NO_CLIENT, status_code=401)


async def _exchange(statements: Executor, sign_ins: SignIns, sent: Sent) -> Mapping[str, Any]:
    """Return the tokens. Refusal: OAuth2Error."""
    form = _form(sent)
    if "grant_type" not in form:
        raise InvalidRequestError("`grant_type` is missing.")
    if form["grant_type"] not in _GRANTS:
        raise OAuth2Error(f"`grant_type` must be one of {', '.join(_GRANTS)}.", error="unsupported_grant_type")
    client = await _authenticated(sign_ins, sent, form)
    presented = _Presented(sign_ins, client, sent.address)
    form_token = form.get("refresh_token", "")
    # If the same refresh token was used meanwhile, a second try answers as to a refresh that was sent again.
    for is_last in (False, True):
        known = _Known(
            client,
            await presented.stored(form.get("code", ""), CODE_PREFIX, store.find_grant),
            await presented.stored(form_token, REFRESH_TOKEN_PREFIX, store.find_refresh_token),
        )
        server = _Server(known, form_token)
        grant = _GRANTS[form["grant_type"]](_OAuthRequest(form), server)
        grant.validate_token_request()
        _, members, _ = grant.create_token_response()
        assert server.write is not None, "tokens are saved before they are given"
        if await server.write.statement(statements):
            return cast("Mapping[str, Any]", members)
        if is_last or known.refresh_token is None:
            break
    assert server.write.grant_id is not None, "a token without a grant can always be written"
    raise _UsedUp(server.write.grant_id)


class _Known(NamedTuple):
    """The data loaded for a request: the authenticated client, and its code's grant and refresh token, if it sent them.

    `token` is the token that is to be revoked or described, whoever it belongs to.
    """

    client: Client
    grant: Grant | None
    refresh_token: RefreshToken | None
    token: KnownToken | None = None


class _Write(NamedTuple):
    """A pending write: its statement, which returns False if another request was faster, and its grant."""

    statement: Callable[[Executor], Awaitable[bool]]
    grant_id: UUID | None


class _Client(ClientMixin):
    """A client, in Authlib's form."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get_client_id(self) -> str:
        return str(self._client.id)

    def get_allowed_scope(self, scope: Collection[str] | str | None) -> str:
        assert scope is None or isinstance(scope, str), "Authlib passes it as it was sent"
        scopes = granted_scopes(scope, self._client.scopes)
        if scopes is None:
            raise InvalidScopeError("Ask for scopes that this client can have: " + " ".join(self._client.scopes))
        return " ".join(scopes)

    def check_grant_type(self, grant_type: str) -> bool:
        # Without a redirect URI, a client never gets a code, and so no refresh token. Anybody can say to be a public one.
        return grant_type in _GRANTS and not (self._client.is_public and grant_type == "client_credentials")


class _Code(AuthorizationCodeMixin):
    """A code, in Authlib's form."""

    code_challenge_method = "S256"

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.code_challenge = grant.code_challenge

    def get_redirect_uri(self) -> str:
        return self.grant.redirect_uri

    def get_scope(self) -> str:
        return " ".join(self.grant.scopes)


class _RefreshToken(TokenMixin):
    """A refresh token, in Authlib's form."""

    def __init__(self, token: RefreshToken) -> None:
        self.token = token

    def check_client(self, client: ClientMixin) -> bool:
        return client.get_client_id() == str(self.token.client_id)

    def get_scope(self) -> str:
        return " ".join(self.token.scopes)


class _OAuthRequest(OAuth2Request):
    """A request, in Authlib's form."""

    def __init__(self, form: dict[str, str]) -> None:
        super().__init__("POST", _HERE)
        self.payload = BasicOAuth2Payload(form)
        self._form = form

    @property
    def form(self) -> dict[str, str]:
        return self._form


class _Server(AuthorizationServer):
    """An authorization server for one request: `known` is its loaded data, and `write` the write that Authlib decides on."""

    def __init__(self, known: _Known, refresh_token: str) -> None:
        super().__init__()
        self.known = known
        self.write: _Write | None = None
        self.revoked: KnownToken | None = None
        self._sent_refresh_token = refresh_token
        self._salt = sources.random_bytes(32)
        self.register_token_generator("default", BearerTokenGenerator(_access_token, self._next_refresh_token, _expires_in))

    def _next_refresh_token(self, **_: object) -> str:
        """Return the refresh token that follows the one that was sent: the same each time, once that was used."""
        used = self.known.refresh_token
        if used is None:
            return str(new_token(REFRESH_TOKEN_PREFIX))
        sent = read_token(self._sent_refresh_token, REFRESH_TOKEN_PREFIX, "refresh token")
        next_id, salt = used.successor_id or ids.new_id(), used.successor_salt or self._salt
        return str(Token(REFRESH_TOKEN_PREFIX, next_id, derived_secret(sent.secret, salt)))

    def authenticate_client(self, request: OAuth2Request, methods: Collection[str], endpoint: str = "token") -> ClientMixin:
        # The client is already authenticated. Authlib's own methods would reveal whether the client or the secret is wrong.
        del request, methods, endpoint
        return _Client(self.known.client)

    def save_token(self, token: dict[str, str | int], request: OAuth2Request) -> None:
        refresh_token = token.get("refresh_token")
        issued = Issued(
            read_token(str(token["access_token"]), ACCESS_TOKEN_PREFIX, "access token"),
            None if refresh_token is None else read_token(str(refresh_token), REFRESH_TOKEN_PREFIX, "refresh token"),
            str(token["scope"]).split(" "),
        )
        if isinstance(request.refresh_token, _RefreshToken):
            used = request.refresh_token.token
            if used.was_used:
                statement = partial(store.repeat_refresh, grant_id=used.grant_id, issued=issued)
            else:
                statement = partial(store.use_refresh_token, token_id=used.id, issued=issued, salt=self._salt)
            self.write = _Write(statement, used.grant_id)
        elif isinstance(request.authorization_code, _Code):
            grant_id = request.authorization_code.grant.id
            self.write = _Write(partial(store.use_code, grant_id=grant_id, issued=issued), grant_id)
        else:
            self.write = _Write(partial(store.add_access_token, client_id=self.known.client.id, issued=issued), None)

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Do nothing, because nothing listens."""


class _PresentedToken(TokenMixin):
    """A token to be revoked or described, in Authlib's form."""

    def __init__(self, token: KnownToken) -> None:
        self.token = token

    def check_client(self, client: ClientMixin) -> bool:
        return client.get_client_id() == str(self.token.client_id)

    def is_expired(self) -> bool:
        return self.token.is_over

    def is_revoked(self) -> bool:
        return self.token.is_over


class _Revocation(RevocationEndpoint):
    """RFC 7009. A token that is unknown counts as revoked; one of another client is refused."""

    server: _Server

    def query_token(self, token_string: str, token_type_hint: str | None) -> _PresentedToken | None:
        del token_string, token_type_hint
        token = self.server.known.token
        if token is not None and token.client_id != self.server.known.client.id:
            raise InvalidGrantError("This token was issued to another client. Only that one can revoke it.")
        return None if token is None else _PresentedToken(token)

    def revoke_token(self, token: _PresentedToken, request: OAuth2Request) -> None:
        del request
        self.server.revoked = token.token


class _Introspection(IntrospectionEndpoint):
    """RFC 7662, for the client's own tokens."""

    server: _Server

    def query_token(self, token_string: str, token_type_hint: str | None) -> _PresentedToken | None:
        del token_string, token_type_hint
        token = self.server.known.token
        return None if token is None else _PresentedToken(token)

    def check_permission(self, token: _PresentedToken, client: ClientMixin, request: OAuth2Request) -> bool:
        del request
        return token.check_client(client)

    def introspect_token(self, token: _PresentedToken) -> dict[str, Any]:
        known = token.token
        described: dict[str, Any] = {
            "active": True,
            "scope": " ".join(known.scopes),
            "client_id": ids.encoded(CLIENT_PREFIX, known.client_id),
            "exp": int(known.expires_at.timestamp()),
        }
        if known.is_access_token:
            described |= {"token_type": "Bearer"}
        if known.user_id is not None:
            described["sub"] = ids.encoded(ids.USER, known.user_id)
        return described


class _AuthorizationCode(AuthorizationCodeGrant):
    """RFC 6749, section 4.1, with PKCE."""

    server: _Server

    def __init__(self, request: OAuth2Request, server: _Server) -> None:
        super().__init__(request, server)
        CodeChallenge(required=True)(self)

    def query_authorization_code(self, code: str, client: ClientMixin) -> _Code:
        del code, client
        grant = self.server.known.grant
        if grant is None:
            raise InvalidGrantError(_NO_GRANT)
        if grant.was_used:
            raise _UsedUp(grant.id)
        return _Code(grant)

    def authenticate_user(self, authorization_code: _Code) -> UUID:
        return authorization_code.grant.user_id

    def delete_authorization_code(self, authorization_code: _Code) -> None:
        """Do nothing: a used code is kept, so that it is recognized when it is used again."""


class _Refresh(RefreshTokenGrant):
    """RFC 6749, section 6, with rotation."""

    INCLUDE_NEW_REFRESH_TOKEN = True
    server: _Server

    def authenticate_refresh_token(self, refresh_token: str) -> TokenMixin:
        del refresh_token
        token = self.server.known.refresh_token
        if token is None:
            raise InvalidGrantError(_NO_GRANT)
        if token.was_used and not token.may_be_repeated:
            raise _UsedUp(token.grant_id)
        return _RefreshToken(token)

    def authenticate_user(self, refresh_token: _RefreshToken) -> UUID:
        return refresh_token.token.user_id

    def revoke_old_credential(self, refresh_token: TokenMixin) -> None:
        """Do nothing: the statement that stores the new token marks the old one as used."""


_GRANTS: Final = {
    "authorization_code": _AuthorizationCode,
    "client_credentials": ClientCredentialsGrant,
    "refresh_token": _Refresh,
}


def _access_token(**_: object) -> str:
    return str(new_token(ACCESS_TOKEN_PREFIX))


def _expires_in(*_: object) -> int:
    return int(ACCESS_TOKEN_LIFETIME.total_seconds())


def _form(sent: Sent) -> dict[str, str]:
    """Return the parameters that have a value (RFC 6749, section 3.2). Refusal: OAuth2Error."""
    media_type = (sent.content_type or b"").partition(b";")[0].strip().lower()
    if media_type != _FORM.encode():
        raise InvalidRequestError(f"Send the parameters as a form, with `Content-Type: {_FORM}`.")
    try:
        parameters = parse_qsl(sent.body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise InvalidRequestError("The body cannot be read as a form.") from None
    form = dict(parameters)
    if len(form) < len(parameters):
        raise InvalidRequestError("A parameter was sent more than once. Send each once.")
    return {name: value for name, value in form.items() if value}


async def _authenticated(sign_ins: SignIns, sent: Sent, form: Mapping[str, str]) -> Client:
    """Return the client that sends a request. Refusals: OAuth2Error, RateLimited."""
    client_id, client_secret = _credentials(sent.authorization, form)
    decoded = ids.decoded(CLIENT_PREFIX, client_id)
    client = None if decoded is None else await sign_ins.stored(store.find_client, decoded, client_secret, sent.address)
    if client is None:
        raise _NoClient
    return client


def _credentials(authorization: bytes | None, form: Mapping[str, str]) -> tuple[str, str]:
    """Return the client's id and secret, from the header or the form (RFC 6749, section 2.3.1). Refusal: OAuth2Error."""
    if authorization is None:
        return form.get("client_id", ""), form.get("client_secret", "")
    if "client_secret" in form:
        raise InvalidRequestError("The client authenticates in two ways. Send `client_secret` or an Authorization header.")
    scheme, _, encoded = authorization.decode("latin-1").strip().partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
        client_id, client_secret = (unquote_plus(part, errors="strict") for part in pair.split(":", 1))
    except ValueError:
        raise _NoClient from None
    if scheme.lower() != "basic":
        raise _NoClient
    if form.get("client_id", client_id) != client_id:
        raise InvalidRequestError("`client_id` and the Authorization header name different clients. Send only one of them.")
    return client_id, client_secret


class _Presented(NamedTuple):
    """Looks up the code or the refresh token that a client presents."""

    sign_ins: SignIns
    client: Client
    address: str

    async def stored(
        self, text: str, prefix: str, find: Callable[[Executor, UUID], Awaitable[StoredT | None]]
    ) -> StoredT | None:
        """Return the stored grant or token, if it was issued to this client."""
        try:
            token = read_token(text, prefix, "")
        except NotAKey:
            return None
        found = await self.sign_ins.stored(find, token.id, token.secret, self.address)
        return None if found is None or found.client_id != self.client.id else found
