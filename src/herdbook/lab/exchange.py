"""One request of a workspace: its fault, if it meets one, and its entry in the journal."""

import asyncio
import base64
import time
from collections import deque
from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl, urlencode

import msgspec
from msgspec import UNSET
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from herdbook import ids, sources
from herdbook.auth.keys import PREFIX
from herdbook.http.problems import INTERNAL_ERROR, PROBLEM_TYPES, Problem
from herdbook.http.protocol import CUT
from herdbook.lab.faults import Asked, Fault, Faults
from herdbook.lab.hiding import shown_body, shown_headers
from herdbook.lab.journal import MOST_BODY, Journal, JournalEntry, message
from herdbook.lab.journal import Message as Kept
from herdbook.shared_schemas import shown_time

# The time in which the system sends what was written before a connection is cut.
_FLUSH_SECONDS: Final = 0.05
_PIECES: Final = 10
_SHOWING_REQUESTS: Final = frozenset({"list-requests", "get-request"})
_NOT_JSON: Final = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
# Several types may have one status, and no 500 of a fault leaves open what was done.
_TITLES: Final = {kind.status: kind for kind in reversed(PROBLEM_TYPES.values())} | {500: INTERNAL_ERROR}


class Host(Protocol):
    """A workspace, as far as a request needs it."""

    faults: Faults
    journal: Journal

    @property
    def app(self) -> ASGIApp: ...

    @property
    def problem_type_base(self) -> str: ...

    def slow_commits(self, seconds: float) -> AbstractAsyncContextManager[None]: ...

    async def pause(self, seconds: float) -> None: ...

    async def edit(self, method: str, path: str, body: Any) -> str: ...

    async def expire(self, api_key: str) -> None: ...

    async def write_request_log(self) -> None: ...


class Exchange:
    """A request on its way through the lab."""

    def __init__(self, workspace: Host, scope: Scope, receive: Receive, send: Send, operation: str) -> None:
        self._workspace = workspace
        self._scope = scope
        self._receive = receive
        self._send = send
        self._began = time.perf_counter()
        # When the answer had been given; a request that begins later may be a reaction to it.
        self._ended = 0.0
        self._at = sources.now()
        self._path: str = scope["path"].removeprefix("/api")
        self._operation = operation
        self._api_key = _key_of(scope)
        self._sent = bytearray()
        self._sent_size = 0
        self._status = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._answer = bytearray()
        self._answer_size = 0
        self._is_whole = False
        self._is_cut = False
        self._is_late = False
        # The fault that the request has met, unless it changes nothing after all.
        self._fault: Fault | None = None
        # Messages of the request that were read before the application asks for them.
        self._kept = deque[Message]()

    async def run(self) -> None:
        """Answer the request, and enter it into the journal."""
        asked = Asked(
            operation=self._operation,
            method=self._scope["method"],
            path=self._path,
            has_cursor=b"cursor" in self._scope["query_string"] and "cursor" in _parameters(self._scope["query_string"]),
            api_key=self._api_key,
        )
        self._fault = fault = self._workspace.faults.of_request(asked)
        if self._operation in _SHOWING_REQUESTS:
            await self._workspace.write_request_log()
        try:
            if fault is None:
                await self._carry_out(self._scope, self._passed_on)
            else:
                await self._meet(fault)
        finally:
            self._workspace.journal.add(self._entry)

    def _not_happened(self, fault: Fault, refusal: str = "") -> None:
        self._fault = None
        self._workspace.faults.not_happened(fault.id, refusal)

    async def _carry_out(self, scope: Scope, send: Send) -> None:
        await self._workspace.app(scope, self._received, send)

    async def _received(self) -> Message:
        if self._kept:
            return self._kept.popleft()
        received = await self._receive()
        body = received.get("body", b"")
        self._sent_size += len(body)
        self._sent += body[: MOST_BODY - len(self._sent)]
        return received

    async def _passed_on(self, sent: Message) -> None:
        """Send a message of the answer, and keep what the journal shows."""
        if sent["type"] == "http.response.start":
            self._status, self._headers = sent["status"], list(sent["headers"])
        else:
            body = sent.get("body", b"")
            self._answer_size += len(body)
            self._answer += body[: MOST_BODY - len(self._answer)]
            self._is_whole = not sent.get("more_body", False) and not (self._is_late and await self._has_left())
            self._ended = time.perf_counter()
        await self._send(sent)

    async def _has_left(self) -> bool:
        """Whether the client did not wait for the answer."""
        receiving = asyncio.ensure_future(self._receive())
        await asyncio.sleep(0)
        if not receiving.done():
            receiving.cancel()
            return False
        return receiving.result()["type"] == "http.disconnect"

    async def _meet(self, fault: Fault) -> None:
        rule = fault.rule
        self._is_late = rule.fault in ("delay", "drip")
        match rule.fault:
            case "status" | "rate_limited" | "read_only":
                await self._refuse(fault)
            case "delay":
                await self._delayed(fault)
            case "close" if rule.when == "before":
                await self._whole_request()
                await self._cut()
            case "close" | "drip" | "truncate" | "not_json":
                await self._spoilt(fault)
            case "edit":
                path = rule.path_of_edit.removeprefix("/api") or self._path
                if refusal := await self._workspace.edit(rule.method_of_edit, path, rule.body):
                    self._not_happened(fault, refusal)
                await self._carry_out(self._scope, self._passed_on)
            case "invalid_cursor":
                await self._carry_out({**self._scope, "query_string": _spoilt(self._scope["query_string"])}, self._passed_on)
            case _:
                await self._workspace.expire(self._api_key)
                await self._carry_out(self._scope, self._passed_on)

    async def _whole_request(self) -> None:
        """Read the request, and keep it for the application."""
        read = list[Message]()
        while not read or read[-1].get("more_body", False):
            read.append(await self._received())
        self._kept.extend(read)

    async def _refuse(self, fault: Fault) -> None:
        await self._whole_request()
        rule = fault.rule
        status = {"rate_limited": 429, "read_only": 503}.get(rule.fault, rule.status)
        request_id = ids.encoded(ids.REQUEST, ids.new_id())
        kind = _TITLES.get(status)
        problem = Problem(
            type=self._workspace.problem_type_base + ("error" if kind is None else kind.name),
            title="Error" if kind is None else kind.title,
            status=status,
            detail=f"The lab makes this fault, as the rule {fault.id} says. Nothing was done.",
            request_id=request_id,
        )
        headers = [(b"x-api-version", b"v2"), (b"x-request-id", request_id.encode())]
        waits = rule.retry_after if rule.retry_after is not UNSET else 1 if status in (429, 503) else None
        if waits is not None:
            headers.append((b"retry-after", b"%d" % waits))
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="herdbook", error="invalid_token"'))
        await self._answer_with(status, headers, msgspec.json.encode(problem), b"application/json")

    async def _delayed(self, fault: Fault) -> None:
        rule = fault.rule
        if rule.when == "within":
            async with self._workspace.slow_commits(rule.seconds):
                await self._carry_out(self._scope, self._passed_on)
            if self._status >= 400:
                # It was refused before its transaction, and nothing has waited.
                self._not_happened(fault)
            return
        if rule.when == "before":
            # A client that does not wait sends nothing later.
            await self._whole_request()
            await self._workspace.pause(rule.seconds)
            await self._carry_out(self._scope, self._passed_on)
            return
        held: list[Message] = []
        await self._carry_out(self._scope, _appending(held))
        await self._workspace.pause(rule.seconds)
        for each in held:
            await self._passed_on(each)

    async def _spoilt(self, fault: Fault) -> None:
        """Carry the request out, and spoil its answer."""
        rule, held = fault.rule, list[Message]()
        await self._carry_out(self._scope, _appending(held))
        if rule.fault == "close" and rule.when == "after":
            await self._cut()
            return
        status, body = held[0]["status"], b"".join(each.get("body", b"") for each in held[1:])
        if not body and rule.fault != "not_json":
            self._not_happened(fault)
            for each in held:
                await self._passed_on(each)
            return
        headers = [each for each in held[0]["headers"] if each[0] not in (b"content-length", b"content-type")]
        media_type = dict(held[0]["headers"]).get(b"content-type", b"application/json")
        match rule.fault:
            case "truncate":
                await self._answer_with(status, headers, body[: len(body) // 2], media_type)
            case "not_json":
                await self._answer_with(status, headers, _NOT_JSON, b"text/html")
            case "drip":
                await self._start(status, headers, media_type, len(body))
                size = max(1, -(-len(body) // _PIECES))
                for place in range(0, len(body), size):
                    await self._workspace.pause(rule.seconds / _PIECES)
                    await self._passed_on({"type": "http.response.body", "body": body[place : place + size], "more_body": True})
                await self._passed_on({"type": "http.response.body", "body": b""})
            case _:
                await self._start(status, headers, media_type, len(body))
                await self._passed_on({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
                await asyncio.sleep(_FLUSH_SECONDS)
                await self._cut()

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]], media_type: bytes, length: int) -> None:
        whole = [*headers, (b"content-type", media_type), (b"content-length", b"%d" % length)]
        await self._passed_on({"type": "http.response.start", "status": status, "headers": whole})

    async def _answer_with(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes, media_type: bytes) -> None:
        await self._start(status, headers, media_type, len(body))
        await self._passed_on({"type": "http.response.body", "body": body})

    async def _cut(self) -> None:
        """End the connection at once, and wait until the server has seen it."""
        self._is_cut = True
        self._ended = time.perf_counter()
        self._scope["state"][CUT]()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _entry(self, number: int) -> JournalEntry:
        fault, is_answered = self._fault, self._status > 0
        return JournalEntry(
            number=number,
            kind="request",
            at=shown_time(self._at),
            began_seconds=self._began,
            operation=self._operation,
            method=self._scope["method"],
            path=self._path,
            query=self._scope["query_string"].decode("latin-1"),
            api_key=self._api_key,
            request=self._shown(message(self._scope["headers"], bytes(self._sent), is_cut=self._sent_size > MOST_BODY)),
            answer=(
                self._shown(message(self._headers, bytes(self._answer), is_cut=self._answer_size > MOST_BODY))
                if is_answered
                else UNSET
            ),
            status=self._status,
            outcome="closed" if self._is_cut else "answered" if self._is_whole else "gone",
            fault="" if fault is None else fault.id,
            fault_kind="" if fault is None else fault.rule.fault,
            seconds=round((self._ended or time.perf_counter()) - self._began, 6),
        )

    def _shown(self, kept: Kept) -> Kept:
        """Return a request or an answer without its secrets."""
        body = shown_body(self._operation, kept.body)
        return msgspec.structs.replace(kept, headers=shown_headers(kept.headers), body=body)


def _appending(held: list[Message]) -> Send:
    async def send(sent: Message) -> None:
        held.append(sent)

    return send


def _parameters(query_string: bytes) -> Collection[str]:
    return {name for name, _ in parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)}


def _spoilt(query_string: bytes) -> bytes:
    """Return a query string with a cursor that has become invalid."""
    pairs = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    gone = base64.urlsafe_b64encode(b"this cursor has become invalid").decode()
    return urlencode([(name, gone if name == "cursor" else value) for name, value in pairs]).encode()


def _key_of(scope: Scope) -> str:
    """Return the id of a request's API key or token as logs show it, or an empty text."""
    for name, value in scope["headers"]:
        if name in (b"authorization", b"x-api-key"):
            head, _, rest = value.decode("latin-1").strip().partition(" ")
            if head.lower() == "basic":
                # That of an OAuth client is in its request.
                return ""
            shown = (rest or head).strip().partition(".")[0]
            return shown.removeprefix("sk-") if shown.startswith(PREFIX) else shown
    return ""
