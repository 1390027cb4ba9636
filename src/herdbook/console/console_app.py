"""The life of every request to the console: find the page, the session, check the form, act, render, log."""

import contextlib
import copy
import gzip
import logging
import time
from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import msgspec
from starlette.datastructures import Headers, ImmutableMultiDict
from starlette.types import Receive, Scope, Send

from herdbook import ids, metrics
from herdbook.auth.authenticate import Authenticator
from herdbook.auth.keys import NotAKey, read_token
from herdbook.auth.scopes import ADMIN
from herdbook.console import static_files, store
from herdbook.console.attempts import Attempts
from herdbook.console.forms import sent_file, sent_form
from herdbook.console.model import MAX_DAYS, SESSION_PREFIX, ConsoleOptions, Session, ShownForm
from herdbook.console.page import BASE, THEMES, Data, Download, Page, PageAnswer, Redirect, Shown
from herdbook.console.protection import (
    HEADERS,
    challenge_cookie_name,
    cookie_name,
    is_from_console,
    origin_of,
    secret_cookie_name,
    set_challenge_cookie,
    set_cookie,
    set_secret_cookie,
)
from herdbook.console.visit import MergedInto, Refused, Visit, own_path
from herdbook.console.wording import for_people, title_of
from herdbook.errors import FieldError, FromElsewhere, Invalid, NoRoute, Refusal, Unauthenticated
from herdbook.http.api_app import ApiApp, Disconnected, refusal_of
from herdbook.http.call import Services
from herdbook.http.operation import Operation
from herdbook.http.problems import Problem, problem_headers, problem_of
from herdbook.http.protocol import ANSWER
from herdbook.http.request_log import AnsweredRequest, RequestLog
from herdbook.http.router import Router
from herdbook.logs import LINES, RequestLine

if TYPE_CHECKING:
    from herdbook.console.rendering import Templates

_log: Final = logging.getLogger("herdbook.console")
SIGN_IN: Final = f"{BASE}/sign-in"
FORM_TOKEN: Final = "form_token"  # noqa: S105  # the name of a field is no secret
_REFUSAL_TEMPLATE: Final = "console/refusal.html"
_OTHER_WORKSPACE_TEMPLATE: Final = "console/other_workspace.html"
# The statuses with which a form is shown again.
_OF_FORMS: Final = (409, 412, 422)
# A smaller page gains nothing by being compressed.
_MIN_COMPRESSED: Final = 1000
# The default takes twice as long, and makes a page 8 % smaller.
_COMPRESSION: Final = 3
THEME_COOKIE: Final = "herdbook-theme"


class _Route(NamedTuple):
    """The method and the address of a page, for the router."""

    method: str
    path: str


class _OfOtherWorkspace(Exception):
    """A form was shown in another workspace than the one that the person has chosen since, perhaps in another tab."""

    def __init__(self, workspace_id: UUID) -> None:
        super().__init__(workspace_id)
        self.workspace_id = workspace_id


class _Answered(NamedTuple):
    """A page ready to be sent. `chunks` are the parts of a file instead of the body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    chunks: AsyncGenerator[bytes] | None = None


class Console:
    """The ASGI application that serves the pages."""

    def __init__(  # everything that a page needs
        self,
        pages: Iterable[Page],
        operations: Iterable[Operation],
        *,
        api: ApiApp,
        services: Services,
        authenticator: Authenticator,
        options: ConsoleOptions,
    ) -> None:
        self._pages = [page for page in pages if options.is_in_development or not page.is_for_development]
        self._router = Router((_Route(page.method, page.address), page) for page in self._pages)
        self._operations: Mapping[str, Operation] = {operation.id: operation for operation in operations}
        self._api = api
        self._services = services
        self._sign_ins = authenticator.sign_ins
        self._options = options
        self._attempts = Attempts()
        # There are as many as roles.
        self._pages_by_scopes: dict[frozenset[str], list[Page]] = {}

    def serving(self, api: ApiApp, services: Services, authenticator: Authenticator, request_log: RequestLog) -> "Console":
        """Return a console with the same pages, for other data."""
        # Made once for all.
        _ = self._templates
        other = copy.copy(self)
        other.__dict__.update(
            _api=api,
            _services=services,
            _sign_ins=authenticator.sign_ins,
            _options=self._options._replace(request_log=request_log),
            _attempts=Attempts(),
        )
        return other

    @cached_property
    def _templates(self) -> "Templates":
        # Import it for the first person, because programs need no pages.
        from herdbook.console.rendering import Templates  # noqa: PLC0415

        return Templates(page.template for page in self._pages if page.template is not None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        # An answer in one step is for the API alone.
        scope.get("state", {}).pop(ANSWER, None)
        headers = Headers(scope=scope)
        if scope["path"].startswith(static_files.PATH):
            await _send(_static(scope["path"], headers), send)
            return
        began = time.perf_counter()
        request = _Request(scope, headers, origin_of(scope, headers, self._options.public_url))
        try:
            answered = await self._answered(request, receive)
        except Disconnected:
            return
        answered.headers.append((b"x-request-id", request.shown_id.encode()))
        await _send(answered, send)
        seconds = time.perf_counter() - began
        name = "none" if request.page is None else request.page.id
        metrics.count_request(name, answered.status, seconds)
        log = self._options.request_log
        # Pages that somebody looks at would hide the requests that the log is looked through for.
        is_noted = scope["method"] == "POST" or answered.status >= 400
        if log is not None and is_noted and request.page is not None and request.session is not None:
            caller = request.session.caller
            if log.has_room(caller.shown_workspace_id, is_good_read=False):
                known = (caller.workspace_id, request.id, caller.credential_id, name, scope["method"], request.page.address)
                log.add(
                    caller.shown_workspace_id,
                    AnsweredRequest(*known, request.path_parameters, b"", None, answered.status, seconds),
                )
        if self._options.logs_requests:
            caller = None if request.session is None else request.session.caller
            LINES.add(
                RequestLine(
                    timestamp=datetime.now(UTC),
                    request_id=request.shown_id,
                    operation=name,
                    method=scope["method"],
                    path=None if request.page is None else request.page.address,
                    status=answered.status,
                    milliseconds=round(seconds * 1000, 2),
                    workspace_id=None if caller is None else caller.shown_workspace_id,
                    credential_id=None if caller is None else caller.shown_credential_id,
                )
            )

    async def _answered(self, request: "_Request", receive: Receive) -> _Answered:
        visit = None
        try:
            visit = await self._visit(request, receive)
            answer = await visit.page.handler(visit, *request.path_parameters)
            return self._ready(request, visit, answer)
        except _OfOtherWorkspace as refusal:
            return await self._led_back(request, refusal.workspace_id)
        except MergedInto as merged:
            path = request.scope["path"].replace(merged.old_id, merged.new_id)
            return self._ready(request, None, Redirect(path))
        except Refused as refused:
            return self._refused(request, visit, refused.problem, refused)
        except Disconnected:
            raise
        except Exception as error:
            if isinstance(error, Unauthenticated) and request.scope["method"] in ("GET", "HEAD"):
                return self._ready(request, None, Redirect(_sign_in_from(_address(request.scope))))
            if not isinstance(error, Refusal):
                _log.error("failed", extra={"request_id": request.shown_id}, exc_info=error)
            refusal = refusal_of(error)
            return self._refused(request, visit, self._problem(request, refusal), refusal)

    async def _visit(self, request: "_Request", receive: Receive) -> Visit:
        """Return the visit of a page that the person may see. Refusals: Unauthenticated, Forbidden, Invalid, the protocol's."""
        scope = request.scope
        parts = scope["path"].rstrip("/").split("/")[1:]
        try:
            page, request.path_parameters = self._router.find(scope["method"], parts, scope["path"])
        except NoRoute:
            raise NoRoute("There is no page at this address.") from None
        request.page = page
        cookie = _cookie(request.headers, cookie_name(request.origin))
        if cookie:
            request.session = await self._session(cookie, request.address, page)
        form, file, shown_form = ImmutableMultiDict[str, str](), None, None
        if page.method == "POST":
            if not is_from_console(request.headers, request.origin):
                raise FromElsewhere
            form, file = await (sent_file if page.takes_file else sent_form)(request.headers, receive)
        if page.scopes is not None:
            session = request.session
            if session is None:
                raise Unauthenticated("You are not signed in, or your session is over. Sign in, and send it again.")
            await self._api.take_quota(session.caller)
            for needed in page.scopes:
                session.caller.require(needed)
            if page.method == "POST":
                shown_form = _shown_form(page, session, form.get(FORM_TOKEN, ""))
        return Visit(
            page=page,
            scope=scope,
            session=request.session,
            api=self._api,
            services=self._services,
            operations=self._operations,
            request_id=request.id,
            address=request.address,
            origin=request.origin,
            form=form,
            shown_form=shown_form,
            file=file,
            sign_ins=self._sign_ins,
            attempts=self._attempts,
            pages=self._pages_of(request.session),
            openid=self._options.openid,
            challenge=_cookie(request.headers, challenge_cookie_name(request.origin)),
            secret_mark=_cookie(request.headers, secret_cookie_name(request.origin)),
            look_again=partial(self._session, cookie, request.address, page),
        )

    def _pages_of(self, session: Session | None) -> list[Page]:
        """Return the pages that a person may open; none without a session."""
        if session is None:
            return []
        scopes = session.caller.scopes
        if scopes not in self._pages_by_scopes:
            opened = [each for each in self._pages if each.method == "GET" and all(map(session.may, each.scopes or ()))]
            self._pages_by_scopes[scopes] = opened
        return self._pages_by_scopes[scopes]

    async def _session(self, cookie: str, address: str, page: Page) -> Session | None:
        try:
            token = read_token(cookie, SESSION_PREFIX, "session")
        except NotAKey:
            return None
        find = store.look_at_session if page.is_by_itself else store.find_session
        stored = await self._sign_ins.stored(find, token.id, token.secret, address)
        return None if stored is None else Session(stored, token.secret)

    def _ready(self, request: "_Request", visit: Visit | None, answer: PageAnswer) -> _Answered:
        headers = [*HEADERS, (b"cache-control", b"no-store")]
        if visit is not None and visit.new_cookie is not None:
            headers.append(set_cookie(request.origin, str(visit.new_cookie), MAX_DAYS * 86_400))
        if visit is not None and visit.new_challenge is not None:
            headers.append(set_challenge_cookie(request.origin, visit.new_challenge))
        if visit is not None and visit.new_secret_mark is not None:
            headers.append(set_secret_cookie(request.origin, visit.new_secret_mark))
        if visit is not None and visit.new_theme is not None:
            headers.append(
                (b"set-cookie", f"{THEME_COOKIE}={visit.new_theme}; Path=/; Max-Age=31536000; SameSite=Lax".encode())
            )
        if isinstance(answer, Redirect):
            headers.append((b"location", answer.path.encode()))
            return _Answered(303, headers, b"")
        if isinstance(answer, Data):
            body = msgspec.json.encode(answer.value)
            headers += ((b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)))
            return _Answered(200, headers, body)
        if isinstance(answer, Download):
            headers.append((b"content-type", answer.media_type.encode()))
            headers.append((b"content-disposition", f'attachment; filename="{answer.name}"'.encode()))
            return _Answered(200, headers, b"", answer.chunks)
        page = request.page
        assert page is not None, "its handler has answered"
        assert page.template is not None, f"{page.id} has no template"
        return self._rendered(request, visit, page.template, answer, headers)

    def _rendered(
        self, request: "_Request", visit: Visit | None, template: str, shown: Shown, headers: list[tuple[bytes, bytes]]
    ) -> _Answered:
        session = request.session
        theme = _cookie(request.headers, THEME_COOKIE)
        context: dict[str, Any] = {
            "theme": theme if theme in THEMES else "",
            "session": session,
            "visit": visit,
            "notice": None if visit is None else visit.notice,
            "page": request.page,
            "is_refused": shown.status in _OF_FORMS and template != _REFUSAL_TEMPLATE,
            "menu": [each for each in self._pages_of(session) if each.menu is not None],
            "is_admin": session is not None and session.may(ADMIN),
            "form_token": None if session is None else session.form_token(),
            "openid": self._options.openid,
            "here": _address(request.scope),
        }
        body = self._templates.render(template, context | dict(shown.context)).encode()
        headers.append((b"content-type", b"text/html; charset=utf-8"))
        if len(body) > _MIN_COMPRESSED and _takes_gzip(request.headers):
            body = gzip.compress(body, _COMPRESSION)
            headers.append((b"content-encoding", b"gzip"))
        headers += ((b"vary", b"Accept-Encoding"), (b"content-length", b"%d" % len(body)))
        return _Answered(shown.status, headers, body)

    async def _led_back(self, request: "_Request", workspace_id: UUID) -> _Answered:
        """Say that a form is of another workspace than the session, and lead back to it, where its text is kept."""
        assert request.session is not None, "its form was made in it"
        memberships = await store.memberships(self._services.database.pool, request.session.stored.person_id)
        left = next((each for each in memberships if each.workspace_id == workspace_id), None)
        shown = Shown({"left": left, "back": _page_before(request)}, 409)
        headers = [*HEADERS, (b"cache-control", b"no-store")]
        return self._rendered(request, None, _OTHER_WORKSPACE_TEMPLATE, shown, headers)

    def _problem(self, request: "_Request", refusal: Exception) -> Problem:
        return for_people(problem_of(refusal, request.shown_id, ""))

    def _refused(self, request: "_Request", visit: Visit | None, problem: Problem, refusal: Exception) -> _Answered:
        is_signed_out = isinstance(refusal, Unauthenticated)
        # The text of a form stays in the browser, and is offered again on its page.
        before = _page_before(request) if request.scope["method"] == "POST" else BASE
        context: dict[str, Any] = {
            "problem": problem,
            "title": title_of(problem),
            "is_signed_out": is_signed_out,
            "sign_in": _sign_in_from(before) if is_signed_out else SIGN_IN,
            "before": before,
        }
        shown = Shown(context, problem.status)
        headers = [*HEADERS, (b"cache-control", b"no-store"), *problem_headers(refusal)]
        return self._rendered(request, visit, _REFUSAL_TEMPLATE, shown, headers)


class _Request:
    """The state of one request while it is handled."""

    def __init__(self, scope: Scope, headers: Headers, origin: str) -> None:
        self.scope = scope
        self.headers = headers
        self.origin = origin
        self.address: str = (scope.get("client") or ("",))[0]
        self.id: UUID = ids.new_id()
        self.shown_id = ids.encoded(ids.REQUEST, self.id)
        self.page: Page | None = None
        self.path_parameters: list[str] = []
        self.session: Session | None = None


def _shown_form(page: Page, session: Session, token: str) -> ShownForm:
    """Return what the token of a form says. Refusal: Invalid. Raise _OfOtherWorkspace, unless the form is about the person."""
    shown = session.shown_form(token)
    if shown is None:
        message = "This form is of another session. Open the page again, and send it there."
        raise Invalid([FieldError(FORM_TOKEN, "invalid_format", message)])
    if shown.workspace_id != session.stored.workspace_id and not page.is_personal:
        raise _OfOtherWorkspace(shown.workspace_id)
    return shown


def _sign_in_from(path: str) -> str:
    """Return the address of the sign-in, which leads back to a page afterwards."""
    return f"{SIGN_IN}?{urlencode({'next': path})}"


def _page_before(request: _Request) -> str:
    """Return the path of the page whose form was sent, or of the first page."""
    try:
        parts = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return BASE
    is_here = f"{parts.scheme}://{parts.netloc}" == request.origin
    return own_path(parts._replace(scheme="", netloc="", fragment="").geturl()) if is_here else BASE


def _address(scope: Scope) -> str:
    """Return the path of a request with its query, to come back to."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" * bool(query) + query).decode("latin-1")


def _cookie(headers: Headers, name: str) -> str:
    """Return the value of a cookie, or an empty text. None of several counts, because another host may have set one."""
    sent = [pair.strip().partition("=") for line in headers.getlist("cookie") for pair in line.split(";")]
    values = [value for sent_name, _, value in sent if sent_name == name]
    return values[0] if len(values) == 1 else ""


def _takes_gzip(headers: Headers) -> bool:
    return any(coding.strip().partition(";")[0] == "gzip" for coding in headers.get("accept-encoding", "").split(","))


def _static(path: str, headers: Headers) -> _Answered:
    found, is_of_this_release = static_files.find(path)
    if found is None:
        return _Answered(404, [*HEADERS, (b"content-length", b"0")], b"")
    sent = [*HEADERS, (b"content-type", found.media_type), (b"vary", b"Accept-Encoding")]
    sent.append((b"cache-control", b"public, max-age=31536000, immutable" if is_of_this_release else b"no-store"))
    body = found.content
    if _takes_gzip(headers):
        body = found.compressed
        sent.append((b"content-encoding", b"gzip"))
    sent.append((b"content-length", b"%d" % len(body)))
    return _Answered(200, sent, body)


async def _send(answered: _Answered, send: Send) -> None:
    await send({"type": "http.response.start", "status": answered.status, "headers": answered.headers})
    if answered.chunks is not None:
        async with contextlib.aclosing(answered.chunks) as chunks:
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": answered.body})
