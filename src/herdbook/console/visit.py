"""A visit: one request of a person, as the handler of a page sees it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType
from starlette.datastructures import Headers, ImmutableMultiDict, QueryParams
from starlette.types import Scope

from herdbook import ids
from herdbook.auth.keys import Token
from herdbook.auth.sign_ins import SignIns
from herdbook.console.attempts import Attempts
from herdbook.console.model import OpenId, Session
from herdbook.console.page import BASE, Page, Redirect, is_page
from herdbook.errors import Unauthenticated
from herdbook.http.api_app import ApiApp
from herdbook.http.call import Services, address_of
from herdbook.http.operation import Operation
from herdbook.http.problems import Problem
from herdbook.ledger.ledger import Written
from herdbook.ledger.unit_of_work import Command, Origin

T = TypeVar("T")
_MERGED: Final = 308
_NOTICE: Final = "notice"


class Refused(Exception):
    """An operation was refused. The console shows the problem on a page of its own, unless the handler shows it in its form."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class MergedInto(Exception):
    """The object of the page was merged into another one, to whose page the console redirects."""

    def __init__(self, old_id: str, new_id: str) -> None:
        super().__init__(new_id)
        self.old_id = old_id
        self.new_id = new_id


class Done(NamedTuple, Generic[T]):
    """The answer of an operation: what it says, and the version of the object."""

    value: T
    version: int | None


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """A page of a list, as the API answers it."""

    data: tuple[T, ...]
    has_more: bool
    next_cursor: str | None


class Notice(NamedTuple):
    """The line that says what the last request did, and the request that an "Undo" takes back."""

    text: str
    request_id: str | None = None


class Visit:
    """One request of a person. Its `session` is there unless the page is for anybody."""

    def __init__(  # noqa: PLR0913  # the parts of one request
        self,
        *,
        page: Page,
        scope: Scope,
        session: Session | None,
        api: ApiApp,
        services: Services,
        operations: Mapping[str, Operation],
        request_id: UUID,
        address: str,
        origin: str,
        form: ImmutableMultiDict[str, str],
        sign_ins: SignIns,
        attempts: Attempts,
        pages: Sequence[Page] = (),
        openid: OpenId | None,
        challenge: str,
        look_again: Callable[[], Awaitable[Session | None]],
    ) -> None:
        self.page = page
        self.path: str = scope["path"]
        self.query = QueryParams(scope["query_string"])
        self.headers = Headers(scope=scope)
        self.form = form
        self.services = services
        self.request_id = request_id
        self.address = address
        self.origin = origin
        self.sign_ins = sign_ins
        self.attempts = attempts
        # The pages that the person may open.
        self.pages = pages
        # The value of the cookie to set; an empty one ends the session.
        self.new_cookie: Token | str | None = None
        self.new_theme: str | None = None
        # The challenge that the browser has been given, and the one to give it.
        self.challenge = challenge
        self.new_challenge: str | None = None
        self.openid = openid
        self._session = session
        self._look_again = look_again
        self._scope = scope
        self._api = api
        self._operations = operations

    @property
    def session(self) -> Session:
        """The session of the person who has signed in."""
        assert self._session is not None, "the page declares that it needs one"
        return self._session

    @property
    def has_session(self) -> bool:
        """Whether the person has signed in."""
        return self._session is not None

    async def check_session(self) -> None:
        """Look whether the session still stands, in a request that takes its time. Refusals: Unauthenticated, Forbidden."""
        self._session = await self._look_again()
        if self._session is None:
            raise Unauthenticated("Your session is over. Sign in again.")
        for needed in self.page.scopes or ():
            self._session.caller.require(needed)

    @property
    def shown_request_id(self) -> str:
        """The id of this request, under which the ledger records its changes."""
        return ids.encoded(ids.REQUEST, self.request_id)

    @property
    def base_url(self) -> str:
        """The server's public URL without a path, as programs know it."""
        return self.services.public_url or address_of(self._scope)

    def field(self, name: str) -> str:
        """Return a text of the form, or an empty one."""
        return self.form.get(name, "")

    def fields(self, name: str) -> list[str]:
        """Return all texts of the form with a name."""
        return self.form.getlist(name)

    async def call(  # the parts of a request to the API
        self,
        operation_id: str,
        answer: type[T],
        *object_ids: str,
        query: Mapping[str, str] | None = None,
        body: Any = UNSET,
        if_version: int | str | None = None,
    ) -> Done[T]:
        """Carry out an operation of the API for the person, with all its checks, and return its answer.

        `object_ids` are those in its path, in order. `if_version` is sent as If-Match. Refusals: Refused, with the problem;
        MergedInto, if the object was merged.
        """
        operation = self._operations[operation_id]
        path = operation.path
        for object_id in object_ids:
            head, _, rest = path.partition("{")
            path = head + object_id + rest.partition("}")[2]
        headers: list[tuple[bytes, bytes]] = []
        encoded = b""
        if body is not UNSET:
            encoded = msgspec.json.encode(body)
            headers.append((b"content-type", b"application/json"))
        if if_version is not None:
            headers.append((b"if-match", f'"{if_version}"'.encode()))
        scope = {
            "type": "http",
            "method": operation.method,
            "path": path,
            "query_string": urlencode(query or {}).encode(),
            "headers": headers,
            "client": (self.address, 0),
            "scheme": self._scope["scheme"],
            "server": self._scope.get("server"),
        }
        found = await self._api.carry_out(self.session.caller, self.request_id, scope, encoded)
        if isinstance(found, Problem):
            raise Refused(found)
        if found.status == _MERGED:
            merged: dict[str, str] = msgspec.json.decode(found.body)
            raise MergedInto(merged["id"], merged["merged_into"])
        return Done(msgspec.json.decode(found.body, type=answer), found.version)

    async def write(self, command: Command) -> Written:
        """Carry out a command that no operation has. Refusals: those of the command and the ledger."""
        origin = Origin(request_id=self.request_id, credential_id=self.session.caller.credential_id)
        return await self.services.ledger.write(self.session.stored.workspace_id, command, origin)

    async def all_of(self, operation_id: str, page: type[Listed[T]], query: Mapping[str, str]) -> list[T]:
        """Return the objects of all pages of a list."""
        found: list[T] = []
        asked = {**query, "limit": "100"}
        while True:
            listed = (await self.call(operation_id, page, query=asked)).value
            found += listed.data
            if listed.next_cursor is None:
                return found
            asked = {"limit": "100", "cursor": listed.next_cursor}

    async def each(self, operation_id: str, answer: type[T], object_ids: Iterable[str]) -> dict[str, T]:
        """Return the objects with these ids that the person may read, by their ids. They share one statement."""
        asked = [*dict.fromkeys(object_ids)]
        found = await asyncio.gather(*(self._found(operation_id, answer, each) for each in asked))
        return {object_id: value for object_id, value in zip(asked, found, strict=True) if value is not None}

    async def _found(self, operation_id: str, answer: type[T], object_id: str) -> T | None:
        try:
            return (await self.call(operation_id, answer, object_id)).value
        except (Refused, MergedInto):
            return None

    def redirect(self, path: str, done: str = "", *, undoes: bool = False) -> Redirect:
        """Return a redirect to a path below `/console`, where a line says what was done, with an "Undo" if asked for."""
        if done:
            text = f"{self.shown_request_id if undoes else ''} {done}"
            parts = urlsplit(path)
            query = "&".join(part for part in (parts.query, urlencode({_NOTICE: self.session.signed(text, _NOTICE)})) if part)
            path = parts._replace(query=query).geturl()
        return Redirect(path)

    @property
    def notice(self) -> Notice | None:
        """The line about the request that led here, if any. The session has signed it, so that no link can make it up."""
        signed = self.query.get(_NOTICE)
        if signed is None or self._session is None or (text := self._session.unsigned(signed, _NOTICE)) is None:
            return None
        request_id, _, done = text.partition(" ")
        return Notice(done, request_id or None)

    def here(self, without: Iterable[str] = (), **changes: str | UnsetType | None) -> str:
        """Return the path of this page with its query, without the notice, and with some parameters changed or removed."""
        kept = [(name, value) for name, value in self.query.multi_items() if name not in {_NOTICE, *without, *changes}]
        kept += [(name, value) for name, value in changes.items() if isinstance(value, str) and value]
        return self.path + (f"?{urlencode(kept)}" if kept else "")


def own_path(path: str) -> str:
    """Return a path to go on to if it is one of the console's, else that of its first page."""
    parts = urlsplit(path)
    is_own = not parts.scheme and not parts.netloc and is_page(parts.path)
    # A browser reads a backslash as a slash, and leaves out control characters.
    return path if is_own and "\\" not in path and path.isprintable() else BASE
