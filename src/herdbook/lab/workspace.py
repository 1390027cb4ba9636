"""A workspace of the lab: the product's own parts, with a clock and a randomness of their own."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from herdbook import ids
from herdbook.auth.authenticate import Authenticator
from herdbook.auth.keys import ACCESS_TOKEN_PREFIX, ApiKey, new_key, secret_hash
from herdbook.auth.scopes import ADMIN
from herdbook.db.database import Database
from herdbook.db.pool import PagePool, Pool
from herdbook.http.api_app import ApiApp
from herdbook.http.call import Services
from herdbook.http.operation import Operation
from herdbook.http.page import CursorSigner
from herdbook.http.protocol import ANSWER
from herdbook.http.ratelimit import TokenBuckets
from herdbook.http.request_log import RequestLog
from herdbook.lab import store
from herdbook.lab.clock import Clock, Surroundings, within
from herdbook.lab.deliveries import Deliveries, Inbox, LabNotifier
from herdbook.lab.exchange import Exchange
from herdbook.lab.faults import Faults
from herdbook.lab.journal import Journal, JournalEntry, Room, message
from herdbook.lab.session_store import Sessions, pools
from herdbook.ledger.kept import Kept
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.outgoing import Targets
from herdbook.request_log import commands as request_log_commands
from herdbook.shared_schemas import shown_time
from herdbook.webhooks.sender import Answered

# Cursors are the same on each run, and protect nothing here.
_log: Final = logging.getLogger("herdbook.lab")
_CURSOR_SECRET: Final = "lab"  # noqa: S105


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


class LabWorkspace:
    """A workspace and its own ledger, readers, authenticator and rate limit, which take its time and randomness."""

    def __init__(self, parts: Parts, workspace_id: UUID, clock: Clock, random_seed: int | None) -> None:
        self.move_in(workspace_id)
        self.surroundings = Surroundings(clock, random_seed)
        self.random_seed = random_seed
        self.background = Surroundings(clock, None if random_seed is None else -1 - random_seed)
        self.pool, self._pages = pools(parts.pool, parts.pages, parts.sessions, clock)
        self._parts = parts
        self._ledger: Ledger | None = None
        self._api: ApiApp | None = None
        self._opening = asyncio.Lock()

        self.faults = Faults()
        self.journal = Journal(parts.room)
        self.inbox = Inbox()
        self._authenticator: Authenticator | None = None
        self._deliveries: Deliveries | None = None
        self._request_log = RequestLog()
        self._other_key: ApiKey | None = None
        self._keys = 0

    def move_in(self, workspace_id: UUID) -> None:
        """Take a workspace of the database."""
        self.id = workspace_id
        self.shown_id = ids.encoded(ids.WORKSPACE, workspace_id)

    @property
    def clock(self) -> Clock:
        """The clock."""
        return self.surroundings.clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of the workspace."""
        # An answer in one step would not pass through here.
        scope.get("state", {}).pop(ANSWER, None)
        with within(self.surroundings):
            await Exchange(self, scope, receive, send).run()
            if scope["method"] != "GET" and self._deliveries is not None:
                # A delivery that is sent again is no change.
                self._deliveries.moved()

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
    def app(self) -> ASGIApp:
        """The application; its tasks begin with the first request."""
        if self._api is None:
            self._open()
        assert self._api is not None, "it is open"
        return self._api

    @property
    def ledger(self) -> Ledger:
        """The ledger; its tasks begin with the first use."""
        if self._ledger is None:
            self._open()
        assert self._ledger is not None, "it is open"
        return self._ledger

    def _open(self) -> None:
        # Its tasks take the time and the randomness of the task that begins them.
        with within(self.surroundings):
            parts, clock = self._parts, self.clock
            notifier = LabNotifier(self, self._moved)
            self._ledger = Ledger(self.pool, parts.queue_limit, notifier=notifier, kept=_KeptWithoutTime())
            self._ledger.open()
            services = parts.services._replace(
                ledger=self._ledger,
                database=Database(self.pool, self._pages),
                cursors=CursorSigner(_CURSOR_SECRET),
                notifier=notifier,
            )
            rate_limit = TokenBuckets(parts.rate_limit, parts.rate_limit_burst, clock.seconds) if parts.rate_limit else None
            self._authenticator = Authenticator(self.pool, clock.age)
            self._request_log = RequestLog()
            self._api = parts.api.serving(services, self._authenticator, rate_limit, self._request_log)
        # The deliveries have a randomness of their own, because nobody knows whether they or a request come first.
        with within(self.background):
            self._deliveries = Deliveries(self, parts.targets)

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
        with within(self.surroundings):
            written = await self.ledger.write(self.id, command, Origin(request_id=ids.new_id(), credential_id=ids.NIL))
        return written.body

    def _moved(self) -> None:
        if self._deliveries is not None:
            self._deliveries.moved()

    async def advance(self, to: datetime) -> None:
        """Move the clock ahead, with all that falls due until then."""
        if self._deliveries is None:
            self._open()
        assert self._deliveries is not None, "it is open"
        with within(self.background):
            await self._deliveries.advance(to)
            await self.write_request_log()
            await self._parts.clean(self.pool, self.ledger, self.id)

    def change_clock(self, *, is_frozen: bool) -> None:
        """Let the clock stand still, or run."""
        (self.clock.freeze if is_frozen else self.clock.run)()
        self._moved()

    async def write_request_log(self) -> None:
        """Write the requests that the log has collected."""
        await request_log_commands.write(self.pool, self._request_log)

    async def edit(self, method: str, path: str, body: object) -> None:
        """Make a request as somebody else, who has a key of their own. Refusal: Invalid."""
        if self._other_key is None:
            self._other_key = await self.create_key("Somebody else", [ADMIN])
        reply = await self.ask(method.upper(), path, None if body is UNSET else body, str(self._other_key))
        if reply.status >= 400:
            _log.warning("an edit of the lab was refused", extra={"status": reply.status, "body": reply.body.decode()})

    def new_key(self) -> ApiKey:
        """Return a new key. With a random seed it follows from the id of the workspace, because no other one has that."""
        self._keys += 1
        seed = None if self.random_seed is None else self.id.int + self._keys
        with within(Surroundings(self.clock, seed)):
            return new_key()

    async def create_key(self, name: str, scopes: Sequence[str], expires_at: datetime | None = None) -> ApiKey:
        """Create another key."""
        key = self.new_key()
        await store.add_key(self.pool, self.id, (key.id, name, sorted(scopes), secret_hash(key.secret)), expires_at)
        return key

    async def expire(self, api_key: str) -> None:
        """Let a credential end now."""
        credential_id = ids.decoded(ids.CREDENTIAL, api_key) or ids.decoded(ACCESS_TOKEN_PREFIX, api_key)
        if credential_id is not None:
            await store.expire_credential(self.pool, credential_id)
        if self._authenticator is not None:
            self._authenticator.forget()

    @asynccontextmanager
    async def slow_commits(self, seconds: float) -> AsyncGenerator[None]:
        """Hold each transaction of the ledger for some seconds, before its commit."""
        self.pool.commit_after_seconds = seconds
        try:
            yield
        finally:
            self.pool.commit_after_seconds = 0.0

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

    def clear(self) -> None:
        """Forget faults, journal and inbox."""
        self.faults.clear()
        self.journal.clear()
        self.inbox = Inbox()

    async def forget(self) -> None:
        """Forget what the parts of the workspace have in memory, because its rows are about to change. They begin anew."""
        deliveries, self._deliveries = self._deliveries, None
        if deliveries is not None:
            await deliveries.close()
        ledger, self._ledger, self._api, self._other_key = self._ledger, None, None, None
        if ledger is not None:
            await ledger.close()


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
