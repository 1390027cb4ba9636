"""A visit: one request of a person, as the handler of a page sees it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from hashlib import sha256
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
from herdbook.auth.store import Author
from herdbook.console.attempts import Attempts
from herdbook.console.forms import SentFile
from herdbook.console.model import OpenId, Session, ShownForm
from herdbook.console.page import BASE, Download, Page, Redirect, is_page
from herdbook.console.wording import for_people
from herdbook.errors import Unauthenticated
from herdbook.http.api_app import ApiApp, Asked
from herdbook.http.call import Services, address_of
from herdbook.http.operation import Answer, Operation
from herdbook.http.problems import Problem
from herdbook.ledger.ledger import Written
from herdbook.ledger.unit_of_work import Command, Origin

T = TypeVar("T")
_MERGED: Final = 308
_NOTICE: Final = "notice"
# The line after an undo.
UNDONE: Final = "Undone."
_CURSOR: Final = "cursor"
# The cursors of the pages of a list before this one, the nearest last. Addresses must not grow for ever.
_EARLIER: Final = "earlier"
MAX_EARLIER: Final = 10
_SHOWN_ONCE: Final = "shown once"


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

    @property
    def is_undo(self) -> bool:
        """Whether the last request was an undo, so that to undo it does the former one again."""
        return self.text == UNDONE


class MadeOnce(NamedTuple):
    """The id of a credential that a form makes, and the salt of its secret."""

    id: UUID
    salt: bytes


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
        shown_form: ShownForm | None,
        file: SentFile | None,
        sign_ins: SignIns,
        attempts: Attempts,
        pages: Sequence[Page] = (),
        openid: OpenId | None,
        challenge: str,
        secret_mark: str,
        look_again: Callable[[], Awaitable[Session | None]],
    ) -> None:
        self.page = page
        self.path: str = scope["path"]
        self.query = QueryParams(scope["query_string"])
        self.headers = Headers(scope=scope)
        self.form = form
        self._shown_form = shown_form
        # The file of a form, if somebody has chosen one.
        self.file = file
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
        # Names the credential whose secret is to be shown; an empty one ends that.
        self.new_secret_mark: str | None = None
        self._secret_mark = secret_mark
        self.openid = openid
        self._session = session
        self._look_again = look_again
        self._scope = scope
        self._is_repeated = False
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
    def author(self) -> Author:
        """The person, as the author of what is done to a credential."""
        return Author(self.session.stored.user_id, self.request_id)

    @property
    def shown_request_id(self) -> str:
        """The id of this request, under which the ledger records its changes."""
        return ids.encoded(ids.REQUEST, self.request_id)

    def made_once(self, *content: str) -> MadeOnce:
        """Return an id and a salt for a credential that a form makes: the same if it is sent again with the same content."""
        assert self._shown_form is not None, "it is for forms"
        form_id = self._shown_form.id
        salt = sha256("\n".join((self.page.id, form_id.hex, *content)).encode()).digest()
        return MadeOnce(UUID(bytes=form_id.bytes[:6] + salt[:10]), salt[10:])

    def secret_of(self, made: MadeOnce) -> str:
        """Return the secret of a credential that a form of this session has made."""
        return self.session.derived_secret(made.salt)

    def show_once(self, made: MadeOnce) -> None:
        """Let the next page that asks for it show the secret of a credential, in this browser, and no later one."""
        self.new_secret_mark = self.session.signed(f"{made.id.hex}.{made.salt.hex()}", _SHOWN_ONCE)

    def shown_once(self, made_id: UUID) -> str | None:
        """Return the secret of a credential if it is to be shown now, and do not show it again; else None."""
        text = self.session.unsigned(self._secret_mark, _SHOWN_ONCE)
        if text is None:
            return None
        id_text, salt = text.split(".")
        if UUID(id_text) != made_id:
            return None
        self.new_secret_mark = ""
        return self.session.derived_secret(bytes.fromhex(salt))

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
        file: AsyncIterator[bytes] | None = None,
    ) -> Done[T]:
        """Carry out an operation of the API for the person, with all its checks, and return its answer.

        A form that is sent twice with the same content, such as by a double click, creates once, and is answered twice.
        `object_ids` are those in its path, in order. `if_version` is sent as If-Match. Refusals: Refused, with the problem;
        MergedInto, if the object was merged.
        """
        found = await self._answer(operation_id, object_ids, query, body, if_version, file)
        if found.status == _MERGED:
            merged: dict[str, str] = msgspec.json.decode(found.body)
            raise MergedInto(merged["id"], merged["merged_into"])
        return Done(msgspec.json.decode(found.body, type=answer), found.version)

    async def download(
        self, operation_id: str, *object_ids: str, query: Mapping[str, str] | None = None, body: Any = UNSET, name: str
    ) -> Download:
        """Carry out an operation that answers with a file, and return that by a name. Refusal: Refused, with the problem."""
        found = await self._answer(operation_id, object_ids, query, body)
        assert found.stream is not None, f"{operation_id} answers with a file"
        return Download(name, found.media_type.decode(), found.stream)

    async def _answer(  # the parts of a request to the API
        self,
        operation_id: str,
        object_ids: Iterable[str],
        query: Mapping[str, str] | None,
        body: Any,
        if_version: int | str | None = None,
        file: AsyncIterator[bytes] | None = None,
    ) -> Answer:
        """Return the answer of an operation. Refusal: Refused."""
        operation = self._operations[operation_id]
        headers: list[tuple[bytes, bytes]] = []
        encoded = b""
        if body is not UNSET:
            encoded = msgspec.json.encode(body)
            headers.append((b"content-type", b"application/json"))
        if if_version is not None:
            headers.append((b"if-match", f'"{if_version}"'.encode()))
        query_string = urlencode(query or {}).encode()
        if operation.creates and self._shown_form is not None:
            key = "\n".join((operation_id, *object_ids)).encode() + b"\n" + query_string + b"\n" + encoded
            headers.append((b"idempotency-key", f"form-{self._shown_form.id.hex}-{sha256(key).hexdigest()[:32]}".encode()))
        scope = self._scope_of(operation, object_ids, query_string, headers)
        asked = Asked(self.session.caller, self.request_id, scope, self.check_session)
        found = await self._api.carry_out(asked, encoded, file)
        if isinstance(found, Problem):
            raise Refused(for_people(found))
        self._is_repeated |= found.replayed
        return found

    def _scope_of(
        self,
        operation: Operation,
        object_ids: Iterable[str] = (),
        query_string: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> Scope:
        path = operation.path
        for object_id in object_ids:
            head, _, rest = path.partition("{")
            path = head + object_id + rest.partition("}")[2]
        return {
            "type": "http",
            "method": operation.method,
            "path": path,
            "query_string": query_string,
            "headers": headers,
            "client": (self.address, 0),
            "scheme": self._scope["scheme"],
            "server": self._scope.get("server"),
        }

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
        asked = dict.fromkeys(object_ids)
        if not asked:
            return {}
        operation = self._operations[operation_id]
        found = await self._api.read_each(self.session.caller, self.request_id, self._scope_of(operation), operation, asked)
        decode = msgspec.json.Decoder(answer).decode
        return {object_id: decode(body) for object_id, body in found.items()}

    def redirect(self, path: str, done: str = "", *, undoes: bool = False) -> Redirect:
        """Return a redirect to a path below `/console`, where a line says what was done, with an "Undo" if asked for."""
        if done:
            # An undo takes back what a request did, and a form that was sent twice has done something in its first one.
            text = f"{self.shown_request_id if undoes and not self._is_repeated else ''} {done}"
            parts = urlsplit(path)
            query = "&".join(part for part in (parts.query, urlencode({_NOTICE: self.session.signed(text, _NOTICE)})) if part)
            path = parts._replace(query=query).geturl()
        return Redirect(path)

    def onward(self, path: str) -> Redirect:
        """Return a redirect to another page, which says what this one would have said."""
        said = self.query.get(_NOTICE)
        return Redirect(path if said is None else f"{path}{'&' if '?' in path else '?'}{urlencode({_NOTICE: said})}")

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
        left_out = {_NOTICE, *without, *changes, *((_EARLIER,) if _CURSOR in changes else ())}
        kept = [(name, value) for name, value in self.query.multi_items() if name not in left_out]
        kept += [(name, value) for name, value in changes.items() if isinstance(value, str) and value]
        return self.path + (f"?{urlencode(kept)}" if kept else "")

    def next_page(self, cursor: str | None) -> str:
        """Return the address of the next page of this list, which knows the way back to this one."""
        earlier = [*self.query.getlist(_EARLIER), self.query.get(_CURSOR, "")][-MAX_EARLIER:]
        return self._page_at(cursor or "", earlier)

    @property
    def previous_page(self) -> str | None:
        """The address of the page of this list before this one, if somebody has come from there."""
        earlier = self.query.getlist(_EARLIER)
        return self._page_at(earlier[-1], earlier[:-1]) if earlier else None

    def _page_at(self, cursor: str, earlier: Sequence[str]) -> str:
        path = self.here(cursor=cursor)
        query = urlencode([(_EARLIER, each) for each in earlier])
        return path + (("&" if "?" in path else "?") + query if query else "")


def own_path(path: str) -> str:
    """Return a path to go on to if it is one of the console's, else that of its first page."""
    try:
        parts = urlsplit(path)
    except ValueError:
        return BASE
    is_own = not parts.scheme and not parts.netloc and is_page(parts.path)
    # A browser reads a backslash as a slash, and leaves out control characters.
    return path if is_own and "\\" not in path and path.isprintable() else BASE
