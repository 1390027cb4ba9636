"""The lab in a server: the way of a request to the lab's own operations, to one of its workspaces, or past it."""

import base64
import binascii
import hmac
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote_plus
from uuid import UUID

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from herdbook import ids
from herdbook.auth.authenticate import Authenticator, Caller
from herdbook.auth.keys import ACCESS_TOKEN_PREFIX, CLIENT_PREFIX, PREFIX
from herdbook.console.model import SESSION_PREFIX
from herdbook.console.page import BASE
from herdbook.console.protection import cookie_name
from herdbook.db.pool import Pool
from herdbook.errors import NotFound, Unauthenticated
from herdbook.http.api_app import MAX_FORM_BYTES, ApiApp, ApiOptions
from herdbook.http.call import Services
from herdbook.lab import api as lab_api
from herdbook.lab import store
from herdbook.lab.clock import Clock, Surroundings, within
from herdbook.lab.journal import MOST_BODY
from herdbook.lab.lab import Lab
from herdbook.lab.seed_file import FIRST_MOMENT
from herdbook.lab.store import INBOXES
from herdbook.settings import Settings

if TYPE_CHECKING:
    from herdbook.console.console_app import Console

PATHS: Final = ("/api/herdbook/lab/", "/herdbook/lab/")
_LOOPBACK: Final = ("127.", "::1", "::ffff:127.")
_CALLER: Final = Caller(ids.NIL, ids.NIL, frozenset(), "", "")
_MOST_CREDENTIALS: Final = 10_000
_LINKS: Final = f"{BASE}/link/"
# The requests of OAuth clients, which name themselves by a header or in a form.
_OF_CLIENTS: Final = frozenset(
    f"{base}{path}"
    for base in ("", "/api")
    for path in ("/v1/oauth/token", "/herdbook/oauth/revoke", "/herdbook/oauth/introspect")
)


class LabAuthenticator(Authenticator):
    """Lets in whoever has the lab's token, from this machine unless the lab is for others."""

    def __init__(self, pool: Pool, token: str, *, is_anywhere: bool) -> None:
        super().__init__(pool)
        self._token = token.encode()
        self._is_anywhere = is_anywhere

    async def caller(self, authorization: bytes | None, address: str = "") -> Caller:
        """Return the caller. Refusal: Unauthenticated."""
        if not self._is_anywhere and address and not address.startswith(_LOOPBACK):
            raise Unauthenticated("The lab is commanded from its own machine. Start it with --lab-anywhere to allow others.")
        if authorization is None:
            raise Unauthenticated("No lab token. Send `Authorization: Bearer <lab token>`.", is_presented=False)
        scheme, _, token = authorization.strip().partition(b" ")
        sent = token.strip() if scheme.lower() == b"bearer" else authorization.strip()
        if not hmac.compare_digest(sent, self._token):
            raise Unauthenticated(
                "This is not the lab token. The server printed it at its start, and wrote it into its ready file."
            )
        return _CALLER


class LabServer:
    """The application of a server with a lab: what is not the lab's is answered as if there were none."""

    _control: ASGIApp
    _api: ASGIApp
    _pool: Pool

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._of_server: set[UUID] = set()
        self.lab = Lab(settings, database_url)
        self.operations = lab_api.operations(self.lab)

    async def create_database(self) -> None:
        """Create the lab's database anew. Refusal: SettingOutOfRange."""
        await self.lab.create_database()

    async def open(self, api: ApiApp, services: Services) -> None:
        """Serve the lab's operations beside those of the server."""
        settings = self._settings
        # The commands give a server that was started as an application the token of their announcement.
        token = settings.lab_token or secrets.token_urlsafe(24)
        self._api = api
        self._pool = services.database.pool
        self._control = ApiApp(
            operations=self.operations,
            services=services,
            authenticator=LabAuthenticator(services.database.pool, token, is_anywhere=settings.lab_anywhere),
            rate_limit=None,
            options=ApiOptions(settings.body_limit, settings.problem_type_base, settings.problem_media_type),
            logs_requests=settings.log_level in ("debug", "info"),
            further_ids=lab_api.PATH_IDS,
        )
        await self.lab.open(api, services)

    def console(self, own: ASGIApp, load: "Callable[[], Awaitable[Console]]") -> ASGIApp:
        """Return the console that serves pages of the lab's workspaces, too."""
        return LabConsole(self.lab, own, load)

    async def close(self) -> None:
        """Close the workspaces, and remove the database."""
        await self.lab.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["path"].startswith(INBOXES):
            await self._take_into_inbox(scope, receive, send)
            return
        app = self._control
        if not scope["path"].startswith(PATHS):
            if scope["path"] in _OF_CLIENTS:
                form, receive = await _read_ahead(receive)
                credential_id = _client_of(scope, form)
            else:
                credential_id = _credential_of(scope)
            workspace = None if credential_id is None else await self.lab.workspace_of(credential_id)
            app = workspace or self._api
            if workspace is None and not await self._is_of_server(credential_id):
                with within(_of_nobody(scope)):
                    await app(scope, receive, send)
                return
        await app(scope, receive, send)

    async def _is_of_server(self, credential_id: UUID | None) -> bool:
        """Whether a credential is one of the server's own workspaces."""
        if credential_id is None or credential_id in self._of_server:
            return credential_id is not None
        is_known = await store.workspace_of_credential(self._pool, credential_id) is not None
        if is_known and len(self._of_server) < _MOST_CREDENTIALS:
            self._of_server.add(credential_id)
        return is_known

    async def _take_into_inbox(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a message from a sender that is not the lab itself."""
        workspace_id = ids.decoded(ids.WORKSPACE, scope["path"].removeprefix(INBOXES))
        workspace = None if workspace_id is None else self.lab.workspaces.get(workspace_id)
        body = bytearray()
        while (received := await receive())["type"] == "http.request":
            body += received.get("body", b"")[: MOST_BODY + 1 - len(body)]
            if not received.get("more_body", False):
                break
        status, answer = 404, b""
        headers = [(b"content-type", b"application/json")]
        if workspace is not None and scope["method"] != "POST":
            # No webhook comes so, and the next message must find the answer that was planned for it.
            status = 405
            headers.append((b"allow", b"POST"))
        elif workspace is not None:
            answered = workspace.take_into_inbox(list(scope["headers"]), bytes(body))
            status, answer = answered.status, answered.body
        headers.append((b"content-length", b"%d" % len(answer)))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


class LabConsole:
    """The console of a server with a lab: pages of the lab's workspaces, for those whom the lab has let in, and its own."""

    def __init__(self, lab: Lab, own: ASGIApp, load: "Callable[[], Awaitable[Console]]") -> None:
        self._lab = lab
        self._own = own
        self._load = load

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        link = scope["path"].removeprefix(_LINKS)
        link_id = None if link == scope["path"] else ids.decoded(ids.SIGN_IN_LINK, link.partition(".")[0])
        workspace = await self._lab.workspace_of_visit(link_id, _session_of(scope))
        if workspace is not None:
            with suppress(NotFound):
                await workspace.visit(await self._load(), scope, receive, send)
                return
        await self._own(scope, receive, send)


def _of_nobody(scope: Scope) -> Surroundings:
    """Return the sources of a request of no workspace: it is refused with the same answer each time."""
    sent = (scope["method"], scope["path"], scope["query_string"], Headers(scope=scope).get("authorization"))
    return Surroundings(Clock(FIRST_MOMENT, is_frozen=True), sent)


def _session_of(scope: Scope) -> UUID | None:
    """Return the id of the session in a request's cookie."""
    name = cookie_name(f"{scope['scheme']}:")
    for pair in "; ".join(Headers(scope=scope).getlist("cookie")).split("; "):
        sent, _, value = pair.strip().partition("=")
        if sent == name:
            return ids.decoded(SESSION_PREFIX, value.partition(".")[0])
    return None


async def _read_ahead(receive: Receive) -> tuple[bytes, Receive]:
    """Return the form of a request, and what receives the request as if nobody had read it."""
    read = deque[Message]()
    form = b""
    while len(form) <= MAX_FORM_BYTES:
        read.append(await receive())
        form += read[-1].get("body", b"")
        if not read[-1].get("more_body", False):
            break

    async def again() -> Message:
        return read.popleft() if read else await receive()

    return form, again


def _client_of(scope: Scope, form: bytes) -> UUID | None:
    """Return the id of the client that a request names (RFC 6749, section 2.3.1)."""
    scheme, _, encoded = Headers(scope=scope).get("authorization", "").strip().partition(" ")
    try:
        if scheme.lower() == "basic":
            return ids.decoded(CLIENT_PREFIX, unquote_plus(base64.b64decode(encoded).decode().partition(":")[0]))
        return ids.decoded(CLIENT_PREFIX, dict(parse_qsl(form.decode())).get("client_id", ""))
    except (binascii.Error, ValueError):
        return None


def _credential_of(scope: Scope) -> UUID | None:
    """Return the id in the credential of a request."""
    for name, value in scope["headers"]:
        if name in (b"authorization", b"x-api-key"):
            text = value.decode("latin-1").strip()
            head, _, rest = text.partition(" ")
            token = rest.strip() if head.lower() == "bearer" else text
            shown = token.partition(".")[0]
            return ids.decoded(PREFIX, shown) or ids.decoded(ACCESS_TOKEN_PREFIX, shown)
    return None
