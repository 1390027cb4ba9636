"""A call: one routed and authenticated request, as a handler sees it."""

import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from starlette.types import Scope

from herdbook import ids
from herdbook.auth.authenticate import Authenticator, Caller
from herdbook.auth.sign_ins import SignIns
from herdbook.db.database import Database, ObjectRead, find_in
from herdbook.db.paging import ListRow, PageQuery
from herdbook.db.pool import CONNECTION_ERRORS, PagePool
from herdbook.db.survivors import survivors
from herdbook.disk import DiskWatch
from herdbook.erasure_list import ErasureList
from herdbook.errors import FieldError, Invalid, NotFound
from herdbook.http.merged import naming_survivors
from herdbook.http.operation import Answer, Operation
from herdbook.http.page import CursorSigner, ListReader
from herdbook.http.problems import Problem, problem_of
from herdbook.ledger.idempotency import FirstAnswer, IdempotencyKey, NotDoneYet
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.ledger.object_types import ObjectType, ObjectTypes
from herdbook.ledger.unfinished import Task, finish
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.media import Recordings
from herdbook.settings import TargetRules
from herdbook.turns import TimeSlices
from herdbook.uploads import Uploads

MAX_KEY_LENGTH = 255
_LOOPBACK: Final = ("127.0.0.1", "::1")
T = TypeVar("T")
_log: Final = logging.getLogger("herdbook.requests")


class Services(NamedTuple):
    """The services that handlers use."""

    ledger: Ledger
    database: Database
    cursors: CursorSigner
    recordings: Recordings
    notifier: ChangeNotifier
    object_types: ObjectTypes
    erasures: ErasureList
    public_url: str | None = None
    targets: TargetRules = TargetRules()
    # Whether callers behind a proxy may also use this machine's own addresses.
    proxies_may_name_loopback: bool = False
    # Returns the OpenAPI document, as JSON. The first call takes a while.
    document: Callable[[], bytes] = bytes
    request_log_hours: int = 0
    disk: DiskWatch = DiskWatch(None)
    # For how many days the history is kept, and deleted objects; 0: for ever.
    retention_days: tuple[int, int] = (90, 90)
    uploads: Uploads = Uploads(Path("imports"), 0, 0)


class Call:
    """One request.

    `if_version` holds the versions that If-Match and If-None-Match allow; None allows any.
    """

    __slots__ = (
        *("_authenticator", "_body", "_check", "_path_parameters", "_problem_type_base", "_scope", "_sent_fingerprint"),
        *("_slices", "address", "caller", "headers"),
        *("has_written", "if_version", "operation", "path", "query_string", "request_id", "services"),
    )

    def __init__(  # noqa: PLR0913  # the parts of one request
        self,
        *,
        services: Services,
        operation: Operation,
        caller: Caller,
        request_id: UUID,
        headers: Mapping[bytes, bytes],
        if_version: frozenset[int] | None,
        path: str,
        path_parameters: list[str],
        query_string: bytes,
        body: bytes,
        sent_fingerprint: str | None,
        scope: Scope,
        address: str,
        authenticator: Authenticator,
        slices: TimeSlices,
        problem_type_base: str,
        check: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.services = services
        self.operation = operation
        self.caller = caller
        self.request_id = request_id
        self.headers = headers
        self.path = path
        self.query_string = query_string
        self._path_parameters = path_parameters
        self._body = body
        self._sent_fingerprint = sent_fingerprint
        self._scope = scope
        self.if_version = if_version
        self.address = address
        self._authenticator = authenticator
        self._check = check
        self._slices = slices
        self._problem_type_base = problem_type_base
        # Whether a command of this request is committed.
        self.has_written = False

    @property
    def base_url(self) -> str:
        """The server's public URL without a path."""
        return self.services.public_url or address_of(self._scope)

    @property
    def has_precondition(self) -> bool:
        """Whether there is an If-Match. An object that does not exist yet cannot fulfil it (RFC 9110, section 13.1.1)."""
        return b"if-match" in self.headers

    async def check_caller(self) -> None:
        """Look whether the caller's credential still stands, in a request that takes its time.

        Refusals: Unauthenticated; Forbidden, for a page.
        """
        if self._check is not None:
            await self._check()
            return
        await self._authenticator.caller(self.headers.get(b"authorization"), self.address)

    async def steps(self, steps: Generator[None, None, T]) -> T:
        """Run work in steps, each in a slice of the event loop's time, and return its result. Refusals: those of the work."""
        return await self._slices.run(self.caller.workspace_id, steps)

    async def time_slice(self) -> None:
        """Wait for a slice of the event loop's time, in work that takes long. The work of others has its turn before."""
        await self._slices.next(self.caller.workspace_id)

    @property
    def sign_ins(self) -> SignIns:
        """The service that looks up credentials."""
        return self._authenticator.sign_ins

    def page_query(self) -> PageQuery:
        """Return the parsed query of a list, or the `expand` of a single object. Refusals: InvalidQuery, Forbidden."""
        query = self._list_reader().read_query(self.query_string)
        for name in query.expand:
            scope = (self.operation.expand or {})[name]
            if scope is not None:
                self.caller.require(scope)
        return query

    def answer_page(self, rows: Sequence[ListRow], query: PageQuery, count: int | None = None) -> Answer:
        """Return a page as an answer: as many rows as the query allows, or `count`."""
        return self._list_reader().answer(rows, query, count)

    @property
    def cursor_salt(self) -> str:
        """The salt of this operation's cursors: a cursor is valid only for the path and workspace that it was made for."""
        return ":".join([self.operation.id, str(self.caller.workspace_id), *self._path_parameters])

    @property
    def origin(self) -> Origin:
        """The origin of this request's commands, for the ledger."""
        return Origin(request_id=self.request_id, credential_id=self.caller.credential_id)

    async def answer_object(self, object_type: ObjectType[Any, Any], object_id: UUID) -> Answer:
        """Return an object as an answer. Refusal: NotFound."""
        found = await self.services.database.find(find_in(object_type.table.name), self.caller.workspace_id, object_id)
        return answer_found(found, object_type.noun)

    async def answer_list(self, page: Callable[[PagePool, UUID, PageQuery], Awaitable[Sequence[ListRow]]]) -> Answer:
        """Return the requested page. Refusals: InvalidQuery, Forbidden."""
        query = self.page_query()
        return self.answer_page(await page(self.services.database.pages, self.caller.workspace_id, query), query)

    async def answer_unless_merged(
        self, found: ObjectRead | None, object_type: ObjectType[Any, Any], object_id: UUID
    ) -> Answer:
        """Return a loaded object as an answer, or a redirect from a merged one to its survivor. Refusal: NotFound."""
        if found is None:
            pool, table = self.services.database.pool, object_type.table.name
            survivor = (await survivors(pool, table, self.caller.workspace_id, [object_id])).get(object_id)
            if survivor is None:
                raise NotFound(object_type.name)
            shown_id, merged_into = ids.encoded(object_type.prefix, object_id), ids.encoded(object_type.prefix, survivor)
            body = {"object": object_type.name, "id": shown_id, "merged_into": merged_into}
            location = merged_into.join(self.path.rsplit(shown_id, 1))
            return Answer(msgspec.json.encode(body), status=308, headers=((b"location", location.encode()),))
        return Answer(found.body, found.version)

    async def write(self, command: Command) -> Answer:
        """Execute a command in the ledger. Refusals: those of the command and the ledger."""
        key = self.idempotency_key()
        written = await self.services.ledger.write(self.caller.workspace_id, command, self.origin, key, len(self._body))
        self.has_written = True
        return Answer(written.body, written.version, written.replayed)

    async def first_answer(self) -> Answer | None:
        """Return the answer to the first request with this one's Idempotency-Key, or None if there was none.

        An operation that looks at anything before its command asks for it, because a repeated request gets its first answer
        whatever has changed since. Refusals: KeyReused, AnswerErased, and those of an outage.
        """
        if self.idempotency_key() is None:
            return None
        try:
            return await self.write(FirstAnswer())
        except NotDoneYet:
            return None

    async def finish(self, task: Task, next_slice: Callable[[UUID], Command], object_ids: Collection[UUID]) -> None:
        """Finish a task that this request's command may have left unfinished for these objects.

        The command is committed. An outage therefore does not make the request fail, and a later round finishes the task.
        """
        these = (self.caller.workspace_id, object_ids)
        try:
            await finish(self.services.database.pool, self.services.ledger, task, next_slice, these)
        except CONNECTION_ERRORS as error:
            _log.warning("a task may be left unfinished for now", extra={"task": task.name, "error": type(error).__name__})

    def _list_reader(self) -> ListReader:
        operation = self.operation
        return ListReader(
            self.services.cursors,
            self.cursor_salt,
            operation.list_of,
            operation.expand or (),
        )

    async def problem_of(self, refusal: Exception) -> Problem:
        """Return a refusal as the problem that this caller may see, for use inside an answer."""
        refusal = await naming_survivors(refusal, self.services.object_types, self.services.database.pool, self.caller)
        request_id = ids.encoded(ids.REQUEST, self.request_id)
        return problem_of(
            refusal, request_id, self._problem_type_base, may=self.caller.may, names_each_holder=self.operation.is_own
        )

    def idempotency_key(self) -> IdempotencyKey | None:
        """Return the request's Idempotency-Key, if it has one. That of a write is valid."""
        header = self.headers.get(b"idempotency-key")
        if header is None:
            return None
        key = header.decode("latin-1")
        canonical = fingerprint(self.operation, self._path_parameters, self.headers, self.query_string, self._body)
        return IdempotencyKey(key, self._sent_fingerprint or canonical, canonical)


def require_key(header: bytes) -> None:
    """Refuse an Idempotency-Key that is not valid. Refusal: Invalid."""
    key = header.decode("latin-1")
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        message = f"`Idempotency-Key` must have 1 to {MAX_KEY_LENGTH} printable ASCII characters, such as a UUID."
        raise Invalid([FieldError("Idempotency-Key", "invalid_format", message)])


def fingerprint(
    operation: Operation, path_parameters: list[str], headers: Mapping[bytes, bytes], query_string: bytes, body: bytes
) -> str:
    """Return the fingerprint of a request with this body, by which one that is sent again is recognized."""
    precondition = headers.get(b"if-match", b"").decode("latin-1")
    if b"if-none-match" in headers:
        precondition += " / " + headers[b"if-none-match"].decode("latin-1")
    query = "" if operation.query is None else "?" + query_string.decode("latin-1")
    hashed = hashlib.sha256(f"{operation.id} {path_parameters} {precondition}{query}\n".encode())
    hashed.update(body)
    return hashed.hexdigest()[:32]


def address_of(scope: Scope) -> str:
    """Return the address that received a request. The request's own `Host` is trusted only if it is `localhost`.

    The server listens at both addresses of that name, and either may get the request. A program compares what it is told
    with the address that it uses (RFC 8414, section 3.3, and RFC 9207).
    """
    host, port = scope.get("server") or ("localhost", None)
    if host in _LOOPBACK and port is not None and (b"host", b"localhost:%d" % port) in scope["headers"]:
        host = "localhost"
    shown = f"[{host}]" if ":" in host and port is not None else host
    return f"{scope['scheme']}://{shown}" + ("" if port is None else f":{port}")


def answer_found(found: ObjectRead | None, kind: str) -> Answer:
    """Return a loaded object as an answer. Refusal: NotFound."""
    if found is None:
        raise NotFound(kind)
    return Answer(found.body, found.version)
