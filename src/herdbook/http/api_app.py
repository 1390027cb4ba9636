"""The life of every API request: find the operation, authenticate, limit, decode, act, answer, log."""

import asyncio
import contextlib
import copy
import errno
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
from starlette.types import Message, Receive, Scope, Send

from herdbook import ids, metrics
from herdbook.auth.authenticate import ANONYMOUS, Authenticator, Caller
from herdbook.db.pool import CONNECTION_ERRORS
from herdbook.disk import DiskWatch
from herdbook.errors import (
    DATABASE_IS_FULL,
    DISK_IS_FULL,
    FieldError,
    Invalid,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Refusal,
    Stale,
    TooLarge,
    Unavailable,
    UnsupportedCoding,
    first_errors,
    quoted,
)
from herdbook.http.body import MAX_OBJECT_BYTES, BodyReader, Nothing, require_json
from herdbook.http.call import Call, Services, fingerprint, require_key
from herdbook.http.canonical import canonical
from herdbook.http.coding import coding_of, unpacked
from herdbook.http.etag import etag, if_version, none_match, precondition_fault
from herdbook.http.merged import naming_survivors
from herdbook.http.operation import Answer, FurtherErrors, Operation
from herdbook.http.problems import Problem, problem_headers, problem_of, with_retry_after
from herdbook.http.protocol import ANSWER, HAS_CALLER, READ_BYTES
from herdbook.http.query import QueryReader
from herdbook.http.ratelimit import Quota, RateLimit, quota_headers
from herdbook.http.request_log import AnsweredRequest, RequestLog
from herdbook.http.router import Router
from herdbook.http.unread import ShownObject, shown_objects, without_unread
from herdbook.logs import LINES, RequestLine
from herdbook.shared_schemas import Deleted
from herdbook.turns import TimeSlices, finished

_log: Final = logging.getLogger("herdbook.requests")
_PROBLEM_JSON: Final = b"application/problem+json"
# Some programs begin a text with it, and RFC 8259, section 8.1, allows to ignore it.
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# Maximum size of a form, small because anybody may send one without a credential.
MAX_FORM_BYTES: Final = 16_384
# A body up to this size is handled at once. A longer one waits for a slice of the event loop's time, because a hundred phone
# numbers in it take some milliseconds.
SHORT_BODY: Final = 1024
# All bodies together may be this many times as large as the largest one.
MANY_BODIES: Final = 8
_NO_QUERY: Final = QueryReader(Nothing)


class Disconnected(Exception):
    """The client disconnected before its request was complete."""


class Asked(NamedTuple):
    """An operation that a page asks for: its caller, the request that the page is, and the operation's own scope.

    `check` refuses to go on once the caller may read no more, in an answer that takes its time.
    """

    caller: Caller
    request_id: UUID
    scope: Scope
    check: Callable[[], Awaitable[None]]


class _Target(NamedTuple):
    """An operation, and all that is built once from its declaration.

    `body_limit` is in bytes. `no_body` refuses the body of an operation that takes none. `narrowed` are the objects that
    an answer may show to callers who may not read them, and `narrowed_scopes` are all scopes that reading them needs.
    """

    operation: Operation
    is_write: bool
    body_limit: int
    id_prefixes: tuple[str, ...]
    body: BodyReader | None
    no_body: BodyReader
    query: QueryReader | None
    narrowed: tuple[ShownObject, ...]
    narrowed_scopes: frozenset[str]


class ApiOptions(NamedTuple):
    """HTTP settings of the operator."""

    body_limit: int
    problem_type_base: str
    problem_media_type: str


class Bodies:
    """Counts the bytes of all bodies whose requests are not answered yet, in total and per workspace."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._all = 0
        self._by_workspace: dict[UUID | None, int] = {}

    def take(self, workspace_id: UUID | None, size: int) -> None:
        """Add bytes. Refusal: Unavailable, if a workspace exceeds half of the limit, or the total exceeds the limit."""
        of_it = self._by_workspace.get(workspace_id, 0) + size
        if of_it > self._most_bytes // 2 or self._all + size > self._most_bytes:
            raise Unavailable("The server is handling too many large bodies. Nothing was done. Try again shortly.")
        self._all += size
        self._by_workspace[workspace_id] = of_it

    def give_back(self, workspace_id: UUID | None, size: int) -> None:
        """Subtract bytes."""
        self._all -= size
        self._by_workspace[workspace_id] -= size
        if not self._by_workspace[workspace_id]:
            del self._by_workspace[workspace_id]


class ApiApp:
    """The ASGI application that serves the operations."""

    def __init__(  # noqa: PLR0913  # everything that a request needs
        self,
        *,
        operations: Iterable[Operation],
        services: Services,
        authenticator: Authenticator,
        rate_limit: RateLimit | None,
        options: ApiOptions,
        logs_requests: bool,
        disk: DiskWatch | None = None,
        request_log: RequestLog | None = None,
        further_ids: Mapping[str, str] | None = None,
    ) -> None:
        # The path parameter `{contact_id}` is a contact's id.
        self._prefixes = {each.name: each.prefix for each in services.object_types} | {
            "event": ids.EVENT,
            "view": ids.VIEW,
            "request": ids.REQUEST,
            "invitation": ids.SIGN_IN_LINK,
            "import": ids.IMPORT,
            **(further_ids or {}),
        }
        self.operations = tuple(operations)
        self._router = Router((each, _target(each, options.body_limit, self._prefixes)) for each in self.operations)
        self._services = services
        self._authenticator = authenticator
        self._rate_limit = rate_limit
        self._disk = disk or DiskWatch(None)
        self._options = options
        self._bodies = Bodies(options.body_limit * MANY_BODIES)
        self._slices = TimeSlices()
        self._logs_requests = logs_requests
        self._request_log = request_log

    def serving(
        self,
        services: Services,
        authenticator: Authenticator,
        rate_limit: RateLimit | None,
        request_log: RequestLog | None,
        disk: DiskWatch,
    ) -> "ApiApp":
        """Return an application with the same operations and options, for other data."""
        other = copy.copy(self)
        other.__dict__.update(
            _services=services, _authenticator=authenticator, _rate_limit=rate_limit, _request_log=request_log, _disk=disk
        )
        return other

    def operation_at(self, method: str, path: str) -> Operation | None:
        """Return the operation of a method and a path without `/api`, or None."""
        try:
            target, _ = self._router.find(method, path.split("/")[1:], path)
        except Refusal:
            return None
        return target.operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = _Request(scope)
        try:
            try:
                answer = await self._answer(request, scope, receive)
            except CONNECTION_ERRORS as error:
                # A lost database session may be noticed only when its connection is used, so reads are tried once more.
                if scope["method"] != "GET" or isinstance(error, TimeoutError) or _has_body(request.headers):
                    raise
                answer = await self._answer(request, scope, receive)
            await self._send_answer(request, answer, receive, send)
        except Disconnected:
            request.status = 499
        except asyncio.CancelledError:
            # uvicorn cancels what outlasts its patience with a server that stops, and would answer without a problem.
            if not request.status:
                is_read = scope["method"] in ("GET", "HEAD")
                stopped = Unavailable("The server is stopping. Nothing was done. Try again shortly.")
                await self._send_problem(request, stopped if is_read else OutcomeUnknown(), send)
            raise
        except Exception as error:
            if request.status:
                # Part of the answer has been sent. Closing the connection shows that it is incomplete.
                _log.error("failed", extra={"request_id": request.shown_id}, exc_info=error)
            else:
                await self._send_problem(request, error, send)
            # Its frames may refer to the error, by a future that it came from. Such a cycle would stay until the next garbage
            # collection, and a collection of many holds the event loop for 100 ms.
            error.__traceback__ = None
        finally:
            if request.held:
                self._bodies.give_back(request.workspace_id, request.held)
        request.finish(scope, is_logged=self._logs_requests)
        if self._request_log is not None:
            request.note(self._request_log, scope)

    async def carry_out(self, asked: "Asked", body: bytes = b"", file: AsyncIterator[bytes] | None = None) -> Answer | Problem:
        """Carry out an operation for a page, whose caller is known already, with a body or the parts of a file.

        The page is one request, however many operations it needs, and logs and counts itself.
        """
        request, scope = _Request(asked.scope, asked.request_id), asked.scope
        request.caller, request.check, request.file = asked.caller, asked.check, file

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        try:
            return await self._answer(request, scope, receive)
        except Disconnected:
            raise
        except Exception as error:
            return await self._problem(request, error)
        finally:
            if request.held:
                self._bodies.give_back(request.workspace_id, request.held)

    async def read_each(
        self, caller: Caller, request_id: UUID, scope: Scope, operation: Operation, object_ids: Iterable[str]
    ) -> dict[str, bytes]:
        """Read objects for a page by an operation that reads the one in its path, and return their bodies by their ids.

        `scope` is the operation's own. Objects that are not there are left out, and so are all if the caller may not read them.
        All share the checks and the call, because a page shows a hundred, and these take longer than the reading.
        """
        if not caller.may_all(frozenset(operation.scopes or ())):
            return {}
        request = _Request(scope, request_id)
        call, prefix = self._call(request, operation, caller, scope), self._prefixes[operation.path_parameters[0]]
        known = {text: object_id for text in object_ids if (object_id := ids.decoded(prefix, text)) is not None}
        bodies = await asyncio.gather(*(_body_of(operation, call, object_id) for object_id in known.values()))
        return {text: body for text, body in zip(known, bodies, strict=True) if body is not None}

    async def take_quota(self, caller: Caller) -> None:
        """Take a token of the rate limit for a page. Refusal: RateLimited."""
        if self._rate_limit is not None and (quota := await self._rate_limit.take(caller.credential_id)).retry_after:
            raise RateLimited(quota.retry_after)

    async def _answer(self, request: "_Request", scope: Scope, receive: Receive) -> Answer:
        parts = scope["path"].split("/")[1:]
        if parts[:1] == ["api"]:
            del parts[0]
        target, parameters = self._router.find(scope["method"], parts, scope["path"])
        operation = request.operation = target.operation
        request.path_parameters = parameters
        if operation.is_older and b"authorization" not in request.headers and b"x-api-key" in request.headers:
            request.headers[b"authorization"] = request.headers[b"x-api-key"]
        caller = ANONYMOUS if operation.scopes is None else await self._caller(request, scope, operation.scopes)
        headers = request.headers
        if not _CHECKED_HEADERS.isdisjoint(headers):
            request.if_version = _if_version(operation, headers)
        body, sent_fingerprint = b"", None
        arguments: list[object] = [
            # A malformed id is looked up as the nil id, which is unknown, too.
            ids.decoded(prefix, text) or ids.NIL
            for prefix, text in zip(target.id_prefixes, parameters, strict=True)
        ]
        if operation.is_strict:
            await self._refuse_more(request, target, scope["query_string"], receive)
        if target.body is not None or operation.form is not None:
            body = await self._body(request, target.body_limit, receive)
            further = partial(self._further_errors, request, scope, body, arguments)
            arguments.append(body if target.body is None else await self._read(request, target.body, body, further))
            if b"idempotency-key" in headers:
                sent_fingerprint = fingerprint(operation, parameters, headers, scope["query_string"], body)
                # No body says the same as an empty object.
                steps = canonical(body or b"{}")
                body = finished(steps) if len(body) <= SHORT_BODY else await self._slices.run(request.workspace_id, steps)
        if operation.takes_file:
            arguments.append(request.file or _file(headers, receive))
        if target.query is not None:
            arguments.append(target.query.read(scope["query_string"]))
        self._require_room(operation)
        call = request.call = self._call(request, operation, caller, scope, body, sent_fingerprint)
        answer = await operation.handler(call, *arguments)
        if caller.may_all(target.narrowed_scopes) or answer.is_own or not operation.narrows(answer.status or operation.status):
            return answer
        unread = [shown for shown in target.narrowed if not shown.may_be_read_by(caller)]
        return answer._replace(body=without_unread(answer.body, body, unread))

    async def _refuse_more(self, request: "_Request", target: _Target, query_string: bytes, receive: Receive) -> None:
        """Refuse a body or query parameters where an operation takes none. No body says the same as an empty object.

        Refusals: Invalid, UnsupportedMediaType, UnsupportedCoding, TooLarge, Unavailable, InvalidQuery.
        """
        if target.operation.takes_no_body and _has_body(request.headers):
            await self._decoded(request, target.no_body, await self._body(request, target.body_limit, receive))
        if target.operation.takes_no_query and query_string:
            _NO_QUERY.read(query_string)

    def _call(  # the parts of a request
        self,
        request: "_Request",
        operation: Operation,
        caller: Caller,
        scope: Scope,
        body: bytes = b"",
        sent_fingerprint: str | None = None,
    ) -> Call:
        return Call(
            services=self._services,
            operation=operation,
            caller=caller,
            request_id=request.id,
            headers=request.headers,
            if_version=request.if_version,
            path=scope["path"],
            path_parameters=request.path_parameters,
            query_string=scope["query_string"],
            body=body,
            sent_fingerprint=sent_fingerprint,
            scope=scope,
            address=_address(scope),
            authenticator=self._authenticator,
            slices=self._slices,
            problem_type_base=self._options.problem_type_base,
            check=request.check,
        )

    def _require_room(self, operation: Operation) -> None:
        """Require room on the disk for an operation that needs some. Refusal: Unavailable."""
        if self._disk.is_full and (operation.is_write or operation.takes_file):
            raise Unavailable(self._disk.refusal)

    async def _caller(self, request: "_Request", scope: Scope, scopes: Iterable[str]) -> Caller:
        """Return the authenticated caller with the needed scopes. Refusals: Unauthenticated, RateLimited, Forbidden."""
        caller = request.caller
        # That of a page is known, and the page has taken the token of the rate limit.
        if caller is None:
            caller = request.caller = await self._authenticator.caller(request.headers.get(b"authorization"), _address(scope))
            if self._rate_limit is not None:
                quota = request.quota = await self._rate_limit.take(caller.credential_id)
                if quota.retry_after:
                    raise RateLimited(quota.retry_after)
        for needed in scopes:
            caller.require(needed)
        state: dict[str, object] | None = scope.get("state")
        if state is not None:
            state[HAS_CALLER] = True
        return caller

    async def _further_errors(
        self, request: "_Request", scope: Scope, body: bytes, ids_in_path: Iterable[object], found: Sequence[FieldError]
    ) -> Sequence[FieldError]:
        """Return the errors of a body that only the operation knows, beside those that were found."""
        operation, caller = request.operation, request.caller
        if operation is None or caller is None or operation.further_errors is None:
            return ()
        return await operation.further_errors(self._call(request, operation, caller, scope, body), body, found, *ids_in_path)

    async def _read(self, request: "_Request", reader: BodyReader, body: bytes, further_errors: FurtherErrors) -> object:
        """Return what a body says. Refusals: UnsupportedMediaType, Invalid."""
        try:
            return await self._decoded(request, reader, body)
        except Invalid as invalid:
            found = invalid.errors
        raise Invalid(first_errors([*found, *await further_errors(found)], ""))

    async def _decoded(self, request: "_Request", reader: BodyReader, body: bytes) -> object:
        if body:
            require_json(request.headers.get(b"content-type"))
        steps = reader.steps(body)
        if len(body) <= SHORT_BODY:
            try:
                next(steps)
            except StopIteration as ended:
                return ended.value
        return await self._slices.run(request.workspace_id, steps)

    async def _unpacked(self, request: "_Request", body: bytes, limit: int) -> bytes:
        """Undo a body's content coding. Refusals: UnsupportedCoding, TooLarge, Unavailable."""
        coding = coding_of(request.headers[b"content-encoding"])
        if coding is None or not body:
            return body

        def count(size: int) -> None:
            self._bodies.take(request.workspace_id, size)
            request.held += size

        return await self._slices.run(request.workspace_id, unpacked(coding, body, limit, count))

    async def _body(self, request: "_Request", limit: int, receive: Receive) -> bytes:
        """Return the body as it was before it was compressed. Refusals: UnsupportedCoding, TooLarge, Unavailable."""
        body = await self._sent_body(request, limit, receive)
        if b"content-encoding" in request.headers:
            body = await self._unpacked(request, body, limit)
        return body.removeprefix(_BYTE_ORDER_MARK)

    async def _sent_body(self, request: "_Request", limit: int, receive: Receive) -> bytes:
        """Return the body as it was sent. Refusals: TooLarge; Unavailable, if all bodies together are too large."""
        length = request.headers.get(b"content-length")
        if length is not None and int(length) > limit:
            raise TooLarge(limit)
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > limit:
                raise TooLarge(limit)
            is_whole = not message.get("more_body", False)
            if is_whole and not chunks and size <= READ_BYTES:
                # A body in one piece, as nearly all are, is no larger than a connection's read buffer, so it is not counted.
                return bytes(chunk)
            self._bodies.take(request.workspace_id, len(chunk))
            request.held += len(chunk)
            chunks.append(chunk)
            if is_whole:
                if size > READ_BYTES:
                    await self._slices.next(request.workspace_id)
                return b"".join(chunks)

    async def _send_answer(self, request: "_Request", answer: Answer, receive: Receive, send: Send) -> None:
        operation = request.operation
        assert operation is not None, "only operations make answers"
        status, body = answer.status or operation.status, answer.body
        headers = request.common_headers() + list(answer.headers)
        if answer.version is not None and operation.answer is not Deleted:
            headers.append((b"etag", etag(answer.version, answer.variant)))
            known = request.headers.get(b"if-none-match")
            if not operation.is_write and not none_match(known, answer.version, answer.variant):
                status, body = 304, b""
        if answer.replayed:
            headers.append((b"idempotency-replayed", b"true"))
        if answer.stream is not None:
            headers.append((b"content-type", answer.media_type))
            await request.stream(status, headers, answer.stream, receive, send)
            return
        if status != 304:
            headers += ((b"content-type", answer.media_type), (b"content-length", b"%d" % len(body)))
        await request.send(status, headers, body, send)

    async def _problem(self, request: "_Request", error: Exception) -> Problem:
        """Return an error as the problem that the caller may see; an error of the server is logged."""
        if request.has_written and isinstance(error, (*CONNECTION_ERRORS, asyncpg.InsufficientResourcesError, Unavailable)):
            # The write stays, although the database went away before all of its answer was read.
            _log.error("failed", extra={"request_id": request.shown_id}, exc_info=error)
            error = OutcomeUnknown()
        elif not isinstance(error, Refusal):
            _log.error("failed", extra={"request_id": request.shown_id}, exc_info=error)
            error = refusal_of(error)
        if request.caller is not None:
            error = await naming_survivors(error, self._services.object_types, self._services.database.pool, request.caller)
        if isinstance(error, Stale | NotFound):
            error.detail = self._fault_of_request(request, error) or error.detail
        may = None if request.caller is None else request.caller.may
        is_own = request.operation is not None and request.operation.is_own
        return problem_of(error, request.shown_id, self._options.problem_type_base, may=may, names_each_holder=is_own)

    async def _send_problem(self, request: "_Request", error: Exception, send: Send) -> None:
        problem = await self._problem(request, error)
        error = refusal_of(error)
        if request.operation is not None and request.operation.is_older:
            problem = with_retry_after(problem, error)
        body = msgspec.json.encode(problem)
        media_type = self._options.problem_media_type.encode()
        if _PROBLEM_JSON in request.headers.get(b"accept", b""):
            media_type = _PROBLEM_JSON
        headers = request.common_headers() + problem_headers(error)
        headers += ((b"content-type", media_type), (b"content-length", b"%d" % len(body)))
        await request.send(problem.status, headers, body, send)

    def _fault_of_request(self, request: "_Request", refusal: Stale | NotFound) -> str | None:
        """Return the fault in a request's headers or path that explains a refusal, and the remedy, or None."""
        if isinstance(refusal, Stale):
            tags = (request.headers.get(name) for name in (b"if-match", b"if-none-match"))
            return None if refusal.version is None else precondition_fault(refusal.version, *tags)
        assert request.operation is not None, "only operations look for objects"
        for name, text in zip(request.operation.path_parameters, request.path_parameters, strict=True):
            if ids.decoded(self._prefixes[name], text) is None:
                noun = name.replace("_", " ")
                return f"The path names the {noun} as `{quoted(text)}`. Send its id there: {ids.form(self._prefixes[name])}."
        return None


class _Request:
    """The state of one request while it is handled."""

    __slots__ = (
        *("answer_at_once", "began", "call", "caller", "check", "file", "headers", "held", "id", "if_version", "is_head"),
        *("operation", "path_parameters", "quota", "shown_id", "status"),
    )

    def __init__(self, scope: Scope, request_id: UUID | None = None) -> None:
        self.began = time.perf_counter()
        self.id: UUID = request_id or ids.new_id()
        self.shown_id = ids.encoded(ids.REQUEST, self.id)
        # The server offers it; tests of the application alone have no server.
        self.answer_at_once: Callable[[int, list[tuple[bytes, bytes]], bytes], bool] | None = scope.get("state", {}).get(ANSWER)
        self.is_head = scope["method"] == "HEAD"
        self.headers = _headers(scope["headers"])
        self.operation: Operation | None = None
        self.path_parameters: list[str] = []
        self.caller: Caller | None = None
        self.check: Callable[[], Awaitable[None]] | None = None
        self.file: AsyncIterator[bytes] | None = None
        self.call: Call | None = None
        self.quota: Quota | None = None
        self.status = 0
        self.if_version: frozenset[int] | None = None
        # The bytes of its body that are counted until it is answered.
        self.held = 0

    @property
    def workspace_id(self) -> UUID | None:
        """The caller's workspace, if a caller was authenticated."""
        return None if self.caller is None else self.caller.workspace_id

    @property
    def has_written(self) -> bool:
        """Whether a command of the request is committed."""
        return self.call is not None and self.call.has_written

    def common_headers(self) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-api-version", b"v2"), (b"x-request-id", self.shown_id.encode())]
        if self.quota is not None:
            headers += quota_headers(self.quota)
        return headers

    async def send(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, send: Send) -> None:
        self.status = status
        if self.answer_at_once is None or not self.answer_at_once(status, headers, body):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    async def stream(
        self, status: int, headers: list[tuple[bytes, bytes]], parts: AsyncGenerator[bytes], receive: Receive, send: Send
    ) -> None:
        """Send parts as they come, until the stream ends or the client disconnects."""
        self.status = status
        sending = asyncio.create_task(self._send_parts(status, headers, parts, send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({sending, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sending.cancel()
            gone.cancel()
            await asyncio.wait({sending, gone})
        if not sending.cancelled():
            sending.result()

    async def _send_parts(
        self, status: int, headers: list[tuple[bytes, bytes]], parts: AsyncGenerator[bytes], send: Send
    ) -> None:
        async with contextlib.aclosing(parts):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            if not self.is_head:
                async for part in parts:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    def note(self, log: RequestLog, scope: Scope) -> None:
        """Add the request to the log of its workspace, if its caller is known."""
        caller, operation = self.caller, self.operation
        if caller is None or operation is None:
            return
        if log.has_room(caller.shown_workspace_id, is_good_read=self.status < 400 and scope["method"] == "GET"):
            log.add(
                caller.shown_workspace_id,
                AnsweredRequest(
                    caller.workspace_id,
                    self.id,
                    caller.credential_id,
                    operation.id,
                    scope["method"],
                    operation.path,
                    self.path_parameters,
                    scope["query_string"],
                    operation,
                    self.status,
                    time.perf_counter() - self.began,
                ),
            )

    def finish(self, scope: Scope, *, is_logged: bool) -> None:
        """Count the request, and log its line if that is wanted."""
        seconds = time.perf_counter() - self.began
        name = "none" if self.operation is None else self.operation.id
        metrics.count_request(name, self.status, seconds)
        if is_logged:
            LINES.add(
                RequestLine(
                    timestamp=datetime.now(UTC),
                    request_id=self.shown_id,
                    operation=name,
                    method=scope["method"],
                    path=None if self.operation is None else self.operation.path,
                    status=self.status,
                    milliseconds=round(seconds * 1000, 2),
                    workspace_id=None if self.caller is None else self.caller.shown_workspace_id,
                    credential_id=None if self.caller is None else self.caller.shown_credential_id,
                )
            )


async def _body_of(operation: Operation, call: Call, object_id: UUID) -> bytes | None:
    """Return the body of an object, or None if it is not there, or was merged into another one."""
    try:
        answer: Answer = await operation.handler(call, object_id)
    except NotFound:
        return None
    return answer.body if answer.status is None else None


def _address(scope: Scope) -> str:
    return (scope.get("client") or ("",))[0]


def _file(headers: Mapping[bytes, bytes], receive: Receive) -> AsyncGenerator[bytes]:
    """Return a body as it comes. Refusal: UnsupportedCoding, for one that is compressed."""
    coding = headers.get(b"content-encoding", b"identity")
    if coding_of(coding) is not None:
        raise UnsupportedCoding(quoted(coding.decode("latin-1")))
    return _pieces(receive)


async def _pieces(receive: Receive) -> AsyncGenerator[bytes]:
    """Yield a body as it comes."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _gone(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


_CHECKED_HEADERS: Final = frozenset({b"if-match", b"if-none-match", b"idempotency-key"})


def refusal_of(error: Exception) -> Exception:
    """Return the refusal that an error of the database or of a full disk stands for, or the error itself."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, CONNECTION_ERRORS):
        return Unavailable("The database cannot be reached. Nothing was done. Try again shortly.")
    if isinstance(error, asyncpg.InsufficientResourcesError):
        return Unavailable(DISK_IS_FULL if isinstance(error, asyncpg.DiskFullError) else DATABASE_IS_FULL)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(DISK_IS_FULL)
    return error


def _if_version(operation: Operation, headers: Mapping[bytes, bytes]) -> frozenset[int] | None:
    """Return the versions that a request's headers allow; None allows any.

    Refusals: Invalid, for a write whose Idempotency-Key is not valid, even if it is a dry run; Stale, for one without versions.
    """
    if operation.is_write and b"idempotency-key" in headers:
        require_key(headers[b"idempotency-key"])
    if b"if-match" in headers and operation.bypasses_ledger and operation.method != "GET":
        raise Stale(None)
    return if_version(headers.get(b"if-match"), headers.get(b"if-none-match"))


def _headers(lines: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    headers = dict(lines)
    if len(headers) < len(lines):
        # Several lines of the same name form one list (RFC 9110, section 5.3).
        values: dict[bytes, list[bytes]] = {}
        for name, value in lines:
            values.setdefault(name, []).append(value)
        headers = {name: b", ".join(several) for name, several in values.items()}
    return headers


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request has a body that may not be empty."""
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def _target(operation: Operation, body_limit: int, prefixes: Mapping[str, str]) -> _Target:
    narrowed = shown_objects(operation.answer) if operation.is_write else ()
    most = MAX_FORM_BYTES if operation.form is not None else MAX_OBJECT_BYTES
    parameters = () if operation.query is None else operation.query.__struct_encode_fields__
    return _Target(
        operation,
        operation.is_write,
        body_limit if operation.is_large else min(body_limit, most),
        tuple(prefixes[name] for name in operation.path_parameters),
        None if operation.body is None else BodyReader(operation.envelope or operation.body, parameters),
        BodyReader(Nothing, parameters),
        None if operation.query is None else QueryReader(operation.query, beside_filters=operation.filters_of is not None),
        narrowed,
        frozenset(scope for shown in narrowed for scope in shown.scopes),
    )
