"""A workspace of the lab: the product's own parts, with a clock and a randomness of their own."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET
from starlette.types import Message, Receive, Scope, Send

from herdbook import ids
from herdbook.auth.authenticate import Authenticator
from herdbook.auth.keys import ACCESS_TOKEN_PREFIX, ApiKey, Token, new_key, secret_hash
from herdbook.auth.scopes import ADMIN
from herdbook.console import store as console_store
from herdbook.db.database import Database
from herdbook.db.pool import PagePool, Pool
from herdbook.disk import DiskWatch
from herdbook.errors import FieldError, Invalid, NotFound, Unavailable
from herdbook.http.api_app import ApiApp
from herdbook.http.call import Services
from herdbook.http.operation import Operation
from herdbook.http.page import CursorSigner
from herdbook.http.protocol import ANSWER, CUT
from herdbook.http.ratelimit import TokenBuckets
from herdbook.http.request_log import RequestLog
from herdbook.importing.running import Importer
from herdbook.lab import store
from herdbook.lab.clock import Clock, Surroundings, within
from herdbook.lab.deliveries import Deliveries, Inbox, LabNotifier
from herdbook.lab.exchange import Exchange
from herdbook.lab.faults import Fault, FaultRule, Faults
from herdbook.lab.files import FileRoom
from herdbook.lab.gate import Cancelled, Closing, Gate
from herdbook.lab.journal import Journal, JournalEntry, Room, message
from herdbook.lab.session_store import LedgerPool, Sessions, pools
from herdbook.ledger.kept import Kept
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.oauth import store as oauth_store
from herdbook.oauth.model import NotAuthorized
from herdbook.object_types import OBJECT_TYPES
from herdbook.outgoing import Targets
from herdbook.request_log import commands as request_log_commands
from herdbook.shared_schemas import shown_time
from herdbook.webhooks.sender import Answered

if TYPE_CHECKING:
    from herdbook.console.console_app import Console

_log: Final = logging.getLogger("herdbook.lab")
# Cursors are the same on each run, and protect nothing here.
_CURSOR_SECRET: Final = "lab"  # noqa: S105
# A write waits this long, perhaps for commits of other workspaces that faults hold for 7 seconds each.
_LEDGER_PATIENCE_SECONDS: Final = 60.0
# These make credentials, whose ids no other workspace of the database may have, whatever its random seed is.
_MAKING_CREDENTIALS: Final = frozenset(
    {"oauth-token", "revoke-oauth-token", "introspect-oauth-token", "create-invitation", "create-user-invitation"}
)


@dataclass(frozen=True)
class Parts:
    """The parts that all workspaces of a lab share: the application, the services, and connections to the lab's database."""

    api: ApiApp
    services: Services
    pool: PagePool
    pages: PagePool
    sessions: Sessions
    queue_limit: int
    rate_limit: int
    rate_limit_burst: int
    problem_type_base: str
    targets: Targets
    files: FileRoom
    disk: DiskWatch
    # Removes what a workspace keeps for some time only, by its clock.
    clean: Callable[[Pool, Ledger, UUID], Awaitable[None]]
    room: Room = field(default_factory=Room)


class User(NamedTuple):
    """A user of a seed."""

    id: str
    role: str
    name: str


class Template(NamedTuple):
    """A state that workspaces begin with: where it is kept, the ids of its objects by their names, and its users."""

    kept: store.Kept
    objects: Mapping[str, str]
    users: tuple[User, ...]
    last_at: float


class Reply(NamedTuple):
    """The answer to a request that the lab itself makes."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class _KeptWithoutTime(Kept):
    """Has each batch ask the database for the time: a clock that stands still or was moved is not worked out from earlier."""

    def note_time(self, now: datetime) -> None:
        """Do not keep the time."""


class _Opened(NamedTuple):
    """The parts of a workspace that have its rows in memory, or work on them."""

    ledger: Ledger
    services: Services
    authenticator: Authenticator
    request_log: RequestLog
    api: ApiApp
    importer: Importer
    deliveries: Deliveries


class LabWorkspace:
    """A workspace and its own ledger, readers, authenticator and rate limit, which take its time and randomness."""

    def __init__(self, parts: Parts, workspace_id: UUID, clock: Clock, random_seed: int | None) -> None:
        self.random_seed = random_seed
        self.gate = Gate(self._let_go)
        # Work beside requests has a randomness of its own, because nobody knows whether it or a request comes first.
        self.surroundings, self.background, self._of_ledger, self._of_imports, self._of_rules = (
            Surroundings(clock, None if random_seed is None else f"{random_seed} {part}")
            for part in ("requests", "deliveries", "ledger", "imports", "rules")
        )
        self.move_in(workspace_id)
        self.pool, self._pages = pools(parts.pool, parts.pages, parts.sessions, clock)
        self._ledger_pool = LedgerPool(parts.pool, parts.sessions, clock, self.gate)
        self._parts = parts
        self._open: _Opened | None = None
        self._is_left = False
        self.faults = Faults()
        self.journal = Journal(parts.room)
        self.inbox = Inbox()
        self._other_key: ApiKey | None = None
        self._console: Console | None = None
        self._importing: asyncio.Task[None] | None = None
        self._has_new_imports = False
        # The keys that faults have let end, and when they would have ended.
        self._ended_keys: dict[UUID, datetime | None] = {}

    def move_in(self, workspace_id: UUID) -> None:
        """Take a workspace of the database."""
        self.id = workspace_id
        self.shown_id = ids.encoded(ids.WORKSPACE, workspace_id)
        # With a random seed credentials follow from the id of the workspace, because no other one has that.
        self._of_credentials = Surroundings(self.clock, None if self.random_seed is None else workspace_id)

    def restart(self) -> None:
        """Let the time and the randomness begin anew. Credentials stay, so that theirs goes on."""
        self.clock.restart()
        for each in (self.surroundings, self.background, self._of_ledger, self._of_imports, self._of_rules):
            each.restart()

    @property
    def clock(self) -> Clock:
        """The clock."""
        return self.surroundings.clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of the workspace."""
        state = scope.get("state", {})
        operation = self.operation_of(scope["method"], scope["path"].removeprefix("/api"))
        try:
            async with self.gate.inside(state.get(CUT, _do_nothing)):
                # An answer in one step would not pass through here.
                state.pop(ANSWER, None)
                with within(self._of_credentials if operation in _MAKING_CREDENTIALS else self.surroundings):
                    await Exchange(self, scope, receive, send, operation).run()
                self._has_written(scope)
        except NotFound:
            # The server does not know the credential.
            await self._parts.api(scope, receive, send)
        except Cancelled:
            _log.warning("a request was cancelled, because the workspace changes", extra={"operation": operation})

    def _has_written(self, scope: Scope) -> None:
        """Look for what a request has left to do. A delivery that is sent again is no change of the ledger."""
        if scope["method"] == "GET" or self._open is None:
            return
        self._open.deliveries.moved()
        if "/imports" in scope["path"]:
            self._has_new_imports = True
            if self._importing is None or self._importing.done():
                with within(self._of_imports):
                    self._importing = asyncio.create_task(self._import(self._open.importer))

    async def _import(self, importer: Importer) -> None:
        while self._has_new_imports:
            self._has_new_imports = False
            await importer.work()

    async def visit(self, console: "Console", scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for a page of the console. Refusal: NotFound, if it was deleted."""
        try:
            # Pages make sessions, whose ids are like those of keys.
            async with self.gate.inside(scope.get("state", {}).get(CUT, _do_nothing)):
                with within(self._of_credentials):
                    if self._console is None:
                        opened = self._opened
                        self._console = console.serving(opened.api, opened.services, opened.authenticator, opened.request_log)
                    await self._console(scope, receive, send)
                self._has_written(scope)
        except Cancelled:
            _log.warning("a page was cancelled, because the workspace changes")

    def operation_of(self, method: str, path: str) -> str:
        """Return the id of the operation at a path without `/api`, or an empty text."""
        found = self._parts.api.operation_at(method, path)
        return "" if found is None else found.id

    @property
    def operations(self) -> Sequence[Operation]:
        """The operations that there are."""
        return self._parts.api.operations

    @property
    def problem_type_base(self) -> str:
        """The beginning of the `type` of each problem."""
        return self._parts.problem_type_base

    @property
    def app(self) -> ApiApp:
        """The application."""
        return self._opened.api

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        return self._opened.ledger

    @property
    def _opened(self) -> _Opened:
        """The parts, whose tasks begin with the first use."""
        if self._open is not None:
            return self._open
        assert not self._is_left, "nobody is let in any more"
        parts, clock = self._parts, self.clock
        notifier = LabNotifier(self, self._moved)
        # Its tasks take the time and the randomness of the task that begins them.
        with within(self._of_ledger):
            ledger = Ledger(
                self._ledger_pool, parts.queue_limit, _LEDGER_PATIENCE_SECONDS, notifier=notifier, kept=_KeptWithoutTime()
            )
            ledger.open()
        database = Database(self.pool, self._pages)
        services = parts.services._replace(
            ledger=ledger, database=database, cursors=CursorSigner(_CURSOR_SECRET), notifier=notifier
        )
        rate_limit = TokenBuckets(parts.rate_limit, parts.rate_limit_burst, clock.seconds) if parts.rate_limit else None
        authenticator, request_log = Authenticator(self.pool, clock.age), RequestLog()
        importer = Importer(database, ledger, services.uploads, OBJECT_TYPES, only=self.id)
        api = parts.api.serving(services, authenticator, rate_limit, request_log, parts.disk)
        with within(self.background):
            deliveries = Deliveries(self, ledger, parts.targets)
        self._open = _Opened(ledger, services, authenticator, request_log, api, importer, deliveries)
        return self._open

    async def ask(self, method: str, path: str, body: object, authorization: str) -> Reply:
        """Make a request, as a client would."""
        sent = b"" if body is None else msgspec.json.encode(body)
        headers = [(b"host", b"lab"), (b"authorization", authorization.encode()), (b"content-type", b"application/json")]
        headers.append((b"content-length", b"%d" % len(sent)))
        path, _, query = path.partition("?")
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": "/api" + path,
            "raw_path": ("/api" + path).encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": ("lab", 80),
        }
        collected = Collected(lambda: sent)
        with within(self.surroundings):
            await self.app(scope, collected.receive, collected.send)
        return collected.reply

    async def write(self, command: Command) -> bytes:
        """Carry out a command that no request asks for, and return its answer."""
        with within(self._of_ledger):
            written = await self.ledger.write(self.id, command, Origin(request_id=ids.new_id(), credential_id=ids.NIL))
        return written.body

    def _moved(self) -> None:
        if self._open is not None:
            self._open.deliveries.moved()

    async def advance(self, target: Callable[[datetime], datetime]) -> int:
        """Move the clock ahead, with all that falls due until then; return how often an event was sent.

        `target` returns the time of the move, given that of the clock. Refusals: those of `target`; Unavailable, if the
        workspace is reset, restored or deleted meanwhile.
        """
        with within(self.background):
            try:
                async with self.gate.until_closed():
                    return await self._advance(target)
            except Closing:
                message = "The workspace was reset, restored or deleted while its clock moved, so the move has ended."
                raise Unavailable(message) from None

    async def _advance(self, target: Callable[[datetime], datetime]) -> int:
        opened = self._opened
        sent = await opened.deliveries.advance(target)
        await self.write_request_log()
        await self._parts.clean(self.pool, opened.ledger, self.id)
        await opened.importer.forget_expired()
        return sent

    def change_clock(self, *, is_frozen: bool) -> None:
        """Let the clock stand still, or run."""
        (self.clock.freeze if is_frozen else self.clock.run)()
        self._moved()

    async def write_request_log(self) -> None:
        """Write the requests that the log has collected."""
        await request_log_commands.write(self.pool, self._opened.request_log)

    def add_rule(self, rule: FaultRule) -> Fault:
        """Add a rule for faults, whose id is the same on each run: problems name it. Refusal: Invalid."""
        with within(self._of_rules):
            return self.faults.add(rule, self.operations)

    async def edit(self, method: str, path: str, body: object) -> str:
        """Make a request as somebody else, who has a key of their own; return why it was refused, or an empty text."""
        if self._other_key is None:
            self._other_key = await self.create_key("Somebody else", [ADMIN])
        reply = await self.ask(method.upper(), path, None if body is UNSET else body, str(self._other_key))
        if reply.status < 400:
            return ""
        detail = msgspec.json.decode(reply.body)["detail"]
        return f"{method.upper()} {path} was refused with {reply.status}: {detail}"

    def new_key(self) -> ApiKey:
        """Return a new key."""
        with within(self._of_credentials):
            return new_key()

    async def create_key(self, name: str, scopes: Sequence[str], expires_at: datetime | None = None) -> ApiKey:
        """Create another key."""
        key = self.new_key()
        await store.add_key(self.pool, self.id, (key.id, name, sorted(scopes), secret_hash(key.secret)), expires_at)
        return key

    async def create_client(
        self, name: str, scopes: Sequence[str], redirect_uris: Sequence[str], *, is_public: bool
    ) -> oauth_store.NewClient:
        """Create an OAuth client. Refusal: Invalid."""
        with within(self._of_credentials):
            return await oauth_store.create_client(self.pool, self.id, name, scopes, redirect_uris, is_public=is_public)

    async def let_in(self, parameters: Sequence[tuple[str, str]], user_id: UUID, issuer: str) -> str:
        """Let a user approve an authorization request, and return the address that its client gets. Refusals: Invalid."""
        # Its library takes a twentieth of a start to import.
        from herdbook.oauth import server as oauth_server  # noqa: PLC0415

        with within(self._of_credentials):
            asked = await oauth_server.asked(self.pool, parameters)
            try:
                asked.scopes()
            except NotAuthorized as refusal:
                return asked.answer(issuer, error=refusal.error, error_description=refusal.description)
            return asked.answer(issuer, code=await oauth_server.issue_code(self.pool, asked.request, user_id))

    async def sign_in_link(self, user_id: UUID) -> Token:
        """Return a link that signs a user in to the console. Each is a person apart, who is in no other workspace.

        Refusal: Invalid, for a user who is not there, or not active.
        """
        with within(self._of_credentials):
            async with self.pool.acquire() as connection, connection.transaction():
                if await oauth_store.role_of(connection, self.id, user_id) is None:
                    raise Invalid([FieldError("user", "not_found", "There is no such active user in the workspace.")])
                if not await console_store.users_with_accounts(connection, self.id, [user_id]):
                    person_id = ids.new_id()
                    await store.add_person(connection, person_id, f"{person_id.hex}@{self.shown_id.lower()}.lab")
                    await console_store.connect(connection, person_id, self.id, user_id)
                return await console_store.create_link(connection, self.id, user_id)

    async def expire(self, api_key: str) -> None:
        """Let a credential end now."""
        credential_id = ids.decoded(ids.CREDENTIAL, api_key) or ids.decoded(ACCESS_TOKEN_PREFIX, api_key)
        if credential_id is not None:
            ends_at = await store.expire_credential(self.pool, credential_id)
            self._ended_keys.setdefault(credential_id, ends_at)
        self._opened.authenticator.forget()

    @asynccontextmanager
    async def slow_commits(self, seconds: float) -> AsyncGenerator[None]:
        """Hold each transaction of the ledger for some seconds, before its commit."""
        held = self._ledger_pool.held_seconds
        held.append(seconds)
        try:
            yield
        finally:
            held.remove(seconds)

    def take_into_inbox(self, headers: list[tuple[bytes, bytes]], body: bytes) -> Answered:
        """Take a message, and return its answer."""
        answered, now = self.inbox.answer(), shown_time(self.clock.now())
        kept = message(headers, body)
        self.journal.add(
            lambda number: JournalEntry(
                number=number,
                kind="inbox",
                at=now,
                began_seconds=time.perf_counter(),
                method="POST",
                event_id=kept.headers.get("webhook-id", ""),
                request=kept,
                answer=message([], answered.body),
                status=answered.status,
            )
        )
        return answered

    async def pause(self, seconds: float) -> None:
        """Wait for a fault, but not while the rows of the workspace are about to change."""
        await self.gate.pause(seconds)

    def _let_go(self) -> None:
        """Let those go who follow the changes of the workspace."""
        if self._open is not None:
            self._open.services.notifier.close()

    def clear(self) -> None:
        """Forget faults, journal and inbox."""
        self.faults.clear()
        self.journal.clear()
        self.inbox = Inbox()

    async def leave(self) -> None:
        """Let nobody in any more, and end what works on the rows of the workspace, once nobody is in it."""
        await self.gate.close_for_good()
        self._is_left = True
        await self.forget()

    async def forget(self) -> None:
        """Forget what the parts of the workspace have in memory, because its rows are about to change. They begin anew."""
        opened, self._open, self._console, self._other_key = self._open, None, None, None
        if opened is None:
            return
        # A workspace that begins anew has keys that work.
        ended, self._ended_keys = self._ended_keys, {}
        for credential_id, ends_at in ended.items():
            await store.renew_key(self.pool, credential_id, ends_at)
        await opened.deliveries.close()
        importing, self._importing, self._has_new_imports = self._importing, None, False
        if importing is not None:
            importing.cancel()
            await asyncio.wait([importing])
        await opened.importer.close()
        await opened.ledger.close()


def _do_nothing() -> None:
    """Cut no connection: the server has not said how."""


class Collected:
    """The messages of one answer, collected."""

    def __init__(self, body: Callable[[], bytes]) -> None:
        self._body = body
        self._is_sent = False
        self._status = 0
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._parts: list[bytes] = []

    async def receive(self) -> Message:
        """Return the body of the request, and then wait for ever."""
        if self._is_sent:
            await asyncio.get_running_loop().create_future()
        self._is_sent = True
        return {"type": "http.request", "body": self._body(), "more_body": False}

    async def send(self, message: Message) -> None:
        """Take a message of the answer."""
        if message["type"] == "http.response.start":
            self._status, self._headers = message["status"], tuple(message["headers"])
        else:
            self._parts.append(message.get("body", b""))

    @property
    def reply(self) -> Reply:
        """The whole answer."""
        return Reply(self._status, self._headers, b"".join(self._parts))
