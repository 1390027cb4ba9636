"""HTTP on one connection: uvicorn's protocol, with limits.

All of this runs before authentication. The size of a head, the time for a head and for a body, and the number of connections
of a process are limited. A request beyond a limit gets a problem, and its connection is closed.
"""

import asyncio
import fcntl
import functools
import heapq
import ipaddress
import logging
import re
import struct
import termios
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

import httptools
import msgspec
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from herdbook import ids, metrics
from herdbook.auth.sign_ins import network_of
from herdbook.errors import FieldError, HeadTooLarge, InvalidHeader, Malformed, Refusal, TooSlow, Unavailable
from herdbook.http.fair_queue import MAX_TURNS, FairQueue
from herdbook.http.problems import problem_headers, problem_of

_log: Final = logging.getLogger("herdbook.connections")
# The event loop reads what has arrived at least once in this time.
_TURN_SECONDS: Final = 0.01
_PIECE_BYTES: Final = 8192
# The most that is read from a connection at once. A read of more than a piece is parsed in its turn.
READ_BYTES: Final = 65_536
# Four of them are parsed in one iteration of the event loop.
_LARGE_READ_COST: Final = MAX_TURNS // 4
# Requests of connections without a known caller that start in one iteration of the event loop.
MAX_STRANGERS: Final = 4
# Requests that wait behind the one that is being answered. Past that, what was read is kept as it came, and no more is read.
MAX_PIPELINED: Final = 4
_HEAD_END: Final = b"\r\n\r\n"
# Pieces are so small where many heads lie together: three requests are all that fits in.
_CROWDED_PIECE_BYTES: Final = 64
# How often, in the time that an unread answer has, it is looked whether the client took some of it.
_LOOKS: Final = 12
# How long bytes are read and dropped after a refusal: unread, they would make the client lose it (RFC 9112, section 9.6).
_LINGER_SECONDS: Final = 2.0
# A file of an import is as large as its setting allows, so it has more time the more of it has come.
BODY_BYTES: Final = 8_388_608
# How much of a body is read and dropped after its request was answered, because many clients read nothing before they have sent
# all of it.
MAX_DROPPED_BYTES: Final = 67_108_864
_WARN_EVERY_SECONDS: Final = 10.0
# After a look for a connection to close that found none, none is looked for, for so long for each connection.
_LOOK_SECONDS: Final = 5e-5
# An IPv4 address as an IPv6 one, perhaps with a port behind it (RFC 4291, section 2.5.5.2).
_IPV4_MAPPED: Final = re.compile(rb"\[?::ffff:(\d+\.\d+\.\d+\.\d+)\]?", re.IGNORECASE)
_find_forwarded_for: Final = re.compile(rb"\r\nx-forwarded-for:([^\r\n]*)", re.IGNORECASE).findall
# uri-host and port (RFC 9110, section 7.2).
_is_host: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*").fullmatch


HAS_CALLER: Final = "has_caller"
"""A member of a request's `state` by which the application says that it authenticated a caller."""
CUT: Final = "cut"
"""A member of a request's `state`: a function that ends its connection at once, without an answer."""
ANSWER: Final = "answer"
"""A member of a request's `state`: a function of status, headers and body that sends a whole answer in one step.

It returns whether it did. If not, the answer must be sent by the messages of ASGI.
"""


class Limits(NamedTuple):
    """Limits of one connection, and the maximum number of connections in this process."""

    connections: int
    # Connections that are accepted and wait to be opened. They come on top.
    waiting: int = 8192
    head_bytes: int = 65_536
    head_lines: int = 256
    head_seconds: float = 20.0
    # A body has this time for each `BODY_BYTES`.
    body_seconds: float = 60.0
    # A client that takes nothing of an answer for so long loses its connection; where room is needed, after the shorter time.
    write_seconds: float = 60.0
    stuck_seconds: float = 2.0


# This decides which connection is closed first, if room is needed.
Place: TypeAlias = tuple[bool, bool, bool, float]


class Front:
    """The state that all connections of a process share."""

    def __init__(
        self,
        limits: Limits,
        *,
        proxies: Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network] = (),
        problem_type_base: str,
        problem_media_type: str,
    ) -> None:
        self.limits = limits
        self._proxies = [_unmapped_network(network) for network in proxies]
        self._problem_type_base = problem_type_base
        self._problem_media_type = problem_media_type
        self._warned_at: dict[str, float] = {}
        self._full_until = float("-inf")
        # Connections that may be closed, in their order when they were last looked at, and those that came since then.
        self._in_line: deque[tuple[Place, Connection]] = deque()
        self._newcomers: deque[Connection] = deque()
        self.work = FairQueue()

    @functools.cached_property
    def read_buffer(self) -> memoryview:
        """The buffer of all reads: each is copied before the next begins."""
        # It comes into being where it is used, because a worker's copy of this object comes to it through a pipe.
        return memoryview(bytearray(READ_BYTES))

    def app_for(self, address: str, app: Any) -> Any:
        """Return the application for a client's address. Forwarding headers are trusted only from a known proxy."""
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return app
        if any(found in network for network in self._proxies):
            return _Proxied(app, [str(network) for network in self._proxies])
        return app

    def answer_to(self, refusal: Refusal) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Return the problem for a refusal that closes the connection: status, headers, body."""
        request_id = ids.encoded(ids.REQUEST, ids.new_id())
        problem = problem_of(refusal, request_id, self._problem_type_base)
        body = msgspec.json.encode(problem)
        headers = [
            *((b"x-request-id", request_id.encode()), *problem_headers(refusal), (b"connection", b"close")),
            *((b"content-type", self._problem_media_type.encode()), (b"content-length", b"%d" % len(body))),
        ]
        metrics.count_refused(problem.status)
        return problem.status, headers, body

    def make_room(self, newcomer: "Connection", connections: set[Any], now: float) -> bool:
        """Close a connection that has no request at work: the first in the order of `Connection.place_in_line`."""
        if now < self._full_until:
            return False
        self._newcomers.append(newcomer)
        going = self._next_in_line(connections, now)
        if going is None:
            self._look(newcomer, connections, now)
            going = self._next_in_line(connections, now)
        metrics.CONNECTIONS_CLOSED.inc()
        if going is None:
            # To look for them takes as long as there are connections.
            self._full_until = now + _LOOK_SECONDS * len(connections)
            self.warn(now, "as many connections as there may be, and all are at work: new ones are refused")
            return False
        # To close it properly would be to wait for its client.
        going.transport.abort()
        connections.discard(going)
        self.warn(now, "as many connections as there may be: those that wait for their clients are closed")
        return True

    def _look(self, newcomer: "Connection", connections: set[Any], now: float) -> None:
        """Put connections in line: several at once, because it takes as long as there are connections."""
        places = ((place, each) for each in connections if each is not newcomer and (place := each.place_in_line(now)))
        count = max(1, self.limits.connections // 16)
        self._in_line = deque(heapq.nsmallest(count, places, key=itemgetter(0)))
        self._newcomers.clear()

    def _next_in_line(self, connections: set[Any], now: float) -> "Connection | None":
        while self._in_line:
            place, each = self._in_line[0]
            # Strangers who came later go before known callers.
            if place[0] and (stranger := self._next_stranger(connections, now)):
                return stranger
            self._in_line.popleft()
            if each in connections and each.place_in_line(now) == place:
                return each
        return None

    def _next_stranger(self, connections: set[Any], now: float) -> "Connection | None":
        # The last one is the newcomer for whom room is made.
        while len(self._newcomers) > 1:
            each = self._newcomers.popleft()
            if each in connections and (place := each.place_in_line(now)) and not place[0]:
                return each
        return None

    def warn(self, now: float, message: str) -> None:
        """Log a warning, but not the same one every time."""
        if now >= self._warned_at.get(message, float("-inf")) + _WARN_EVERY_SECONDS:
            self._warned_at[message] = now
            _log.warning(message, extra={"connections": self.limits.connections})


class _Transport:
    """A transport that ignores calls after its end. uvloop's fails between the end and the notification of it.

    It writes the head of an answer together with what follows, unless that comes in chunks: each write is a system call.
    """

    def __init__(self, transport: asyncio.Transport, when_unsent: Callable[[], None], must_stay: Callable[[], bool]) -> None:
        self._transport = transport
        # A strong reference would be a cycle. Collecting thousands of connections at once takes long.
        self._when_unsent = weakref.WeakMethod(when_unsent)
        self._must_stay = weakref.WeakMethod(must_stay)
        # The request whose answer is about to begin, and the head that waits for the body.
        self.answering: Any = None
        self.head = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.abort = transport.abort

    def close(self) -> None:
        self.flush()
        if (must_stay := self._must_stay()) and must_stay():
            return
        self._transport.close()
        if self._transport.get_write_buffer_size() and (when_unsent := self._when_unsent()):
            when_unsent()

    def unsent(self) -> int:
        """Return how many bytes the client has not taken: of what lies here, and of what lies with the system."""
        waiting = self._transport.get_write_buffer_size()
        if waiting:
            try:
                number: int = self._transport.get_extra_info("socket").fileno()
                waiting += struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)))[0]
            except (OSError, ValueError):
                # Not every system tells.
                pass
        return waiting

    def write(self, data: bytes) -> None:
        if self.answering is not None:
            is_whole, self.answering = self.answering.chunked_encoding is False, None
            if is_whole:
                self.head = data
                return
        if self.is_closing():
            return
        if self.head:
            self._transport.writelines((self.head, data))
            self.head = b""
        else:
            self._transport.write(data)

    def flush(self) -> None:
        if self.head:
            self.write(b"")

    def write_eof(self) -> None:
        self.flush()
        if not self.is_closing():
            self._transport.write_eof()

    def pause_reading(self) -> None:
        if not self.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self.is_closing():
            self._transport.resume_reading()


class _Flow(FlowControl):
    """Reading and writing, paused and resumed; nothing is read while what was read before is held."""

    is_wanted = True
    holds = False

    def pause_reading(self) -> None:
        self.is_wanted = False
        super().pause_reading()

    def resume_reading(self) -> None:
        self.is_wanted = True
        if not self.holds:
            super().resume_reading()

    def hold(self) -> None:
        self.holds = True
        super().pause_reading()

    def let_go(self) -> None:
        if self.holds:
            self.holds = False
            if self.is_wanted:
                super().resume_reading()


class Connection(HttpToolsProtocol, asyncio.BufferedProtocol):
    """One connection.

    An incomplete head or body has a deadline, `_deadline`. For a head it counts from its first byte or the start of the
    connection, for a body from the moment when it is known to be incomplete.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        front: Front,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._front = front
        self._limits = front.limits
        self._head_awaited = ("head", front.limits.head_seconds)
        self._body_awaited = ("body", front.limits.body_seconds)
        self._deadline: asyncio.TimerHandle | None = None
        # The incomplete part, `head` or `body`, and its time limit in seconds.
        self._awaited: tuple[str, float] | None = None
        # Bytes read since the parser last produced a complete head or a part of a body.
        self._fruitless = 0
        # Bytes of a body that have come since its time began.
        self._come = 0
        self._is_refused = False
        self.headers = []
        self._last_word: Refusal | None = None
        self._silent_since = 0.0
        self._has_asked = False
        self._is_stopping = False
        # Bytes that were read and are not parsed yet, from `_fed` on.
        self._unfed = b""
        self._fed = 0
        self._waits_for_turn = False
        # The client, for its turns. A trusted proxy is the client of its connections, and names the client of each request.
        self._network = ""
        self._proxied: _Proxied | None = None
        # Whether the request that begins next waited behind another one.
        self._is_pipelined = False
        # The request that is being answered; `cycle` is the last that came.
        self._running: Any = None
        # Bytes of a body that were dropped, and whether the connection ends with that body.
        self._dropped = 0
        self._ends_with_body = False
        self._waits_since = 0.0
        # Bytes that the client had not taken when it was last looked, and when it last took some.
        self._unsent = 0
        self._taken_at = 0.0
        self._write_watch: asyncio.TimerHandle | None = None
        # The application notes in `scope["state"]` that it authenticated the caller of the current request.
        self._state: dict[str, Any] = {ANSWER: self._answer, CUT: self._cut}
        # The `Host` of the last request; most send the same again.
        self._valid_hosts: list[bytes] | None = None
        # Whether it did so for the request before.
        self._was_known = False

    # Attributes set by uvicorn's protocol, with their actual types.
    transport: Any
    parser: Any
    pipeline: Any
    cycle: Any
    flow: Any
    headers: list[tuple[bytes, bytes]]

    @property
    def is_silent(self) -> bool:
        """Whether no request on it is being answered."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def unfed_bytes(self) -> int:
        """Return how much was read and is not parsed yet."""
        return len(self._unfed) - self._fed

    def place_in_line(self, now: float) -> Place | None:
        """Return what decides which connection is closed first, where room is needed; None while a request is at work.

        Strangers' go before those whose last request had an authenticated caller. Among them silent ones go first, and of these
        those that never asked anything; then those that wait for a body, or for the client to read; and each time the oldest.
        """
        if self._waits_for_turn:
            return None
        is_known = self._was_known or HAS_CALLER in self._state
        if self.is_silent:
            if not self.transport.unsent():
                return is_known, False, self._has_asked, self._silent_since
            # The answer is not with the client yet.
            self._watch_unsent()
        if self._write_watch is not None:
            self._note_taken(now)
            if now - self._taken_at >= self._limits.stuck_seconds:
                return is_known, True, True, self._taken_at
        elif self._running.more_body and not self._running.response_complete and not self.flow.read_paused:
            return is_known, True, True, self._waits_since
        return None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        wrapped: Any = _Transport(transport, self._watch_unsent, self._must_read_body)
        super().connection_made(wrapped)
        self.flow = _Flow(wrapped)
        # A socket that listens at `::` says IPv4 addresses as IPv6 ones.
        self.client = self.client and (unmapped(self.client[0]), self.client[1])
        self.server = self.server and (unmapped(self.server[0]), self.server[1])
        now = self._silent_since = self.loop.time()
        if len(self.connections) > self._limits.connections and not self._front.make_room(self, self.connections, now):
            # Close at once: lingering would need room, too.
            self._is_refused = True
            self._write(Unavailable("The server has no room for another connection. Nothing was done. Try again shortly."))
            self.transport.close()
            return
        if self.client is not None:
            self._network = network_of(self.client[0])
            self.app = self._front.app_for(self.client[0], self.app)
            if isinstance(self.app, _Proxied):
                self._proxied = self.app
        self._deadline = self.loop.call_later(self._limits.head_seconds, self._when_late)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Close when it is the client's turn: thousands may leave at once."""
        if self._front.work.takes():
            return False
        self._front.work.add(self._network, self.transport.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was waited for, and tell the request that is being answered when it is the client's turn."""
        self.connections.discard(self)
        if self._front.work.takes():
            self._end(exc)
        else:
            self._front.work.add(self._network, functools.partial(self._end, exc))

    def _end(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._reset_deadline()
        self._stop_watching()
        self._drop_unfed()
        # Otherwise these and the request would refer to each other.
        self.transport.answering = None
        self._state.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the event loop passes it
        """Return the buffer for the next read."""
        return self._front.read_buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.data_received(bytes(self._front.read_buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """Parse what was read: a little at once, if not much is to do, and otherwise when it is the client's turn."""
        self._unfed, self._fed = self._unfed[self._fed :] + data if self._unfed else data, 0
        if len(self._unfed) > _PIECE_BYTES:
            self.flow.hold()
            self._wait_for_turn(is_large=True)
        elif self._waits_for_turn or not self._front.work.takes():
            self._wait_for_turn()
        else:
            self._feed()

    def _wait_for_turn(self, *, is_large: bool = False) -> None:
        if not self._waits_for_turn:
            self._waits_for_turn = True
            client = self._client_of_unfed()
            if is_large:
                # Large reads have turns of their own, so that a client's small requests overtake them.
                self._front.work.add((client, "large"), self._take_turn, _LARGE_READ_COST)
            else:
                self._front.work.add(client, self._take_turn)

    def _client_of_unfed(self) -> str:
        """Return the client whose turn parses what was read."""
        if self._proxied is None or self._awaited is self._body_awaited:
            # A body could name any client.
            return self._network
        head_end = self._unfed.find(_HEAD_END, self._fed)
        head = self._unfed[self._fed : head_end if head_end >= 0 else None]
        return self._proxied.network_of_client(_find_forwarded_for(head)) or self._network

    def _client_of(self, cycle: Any) -> str:
        """Return the client whose turn begins a request."""
        if self._proxied is None:
            return self._network
        values = [value for name, value in cycle.scope["headers"] if name == b"x-forwarded-for"]
        return self._proxied.network_of_client(values) or self._network

    def _take_turn(self) -> None:
        self._waits_for_turn = False
        # The connection may have ended meanwhile.
        if self._unfed:
            self._feed()
            if not self._unfed and self._is_stopping and self.cycle is not None:
                self.cycle.keep_alive = False

    def _feed(self) -> None:
        """Parse what was read, in pieces: within one, nobody knows how many bytes came to nothing."""
        data, place = self._unfed, self._fed
        while place < len(data) and not self._is_refused and not self.transport.is_closing():
            if len(self.pipeline) >= MAX_PIPELINED:
                self._fed = place
                self.flow.hold()
                return
            piece = data[place : place + self._piece_bytes(data, place)]
            self._fruitless += len(piece)
            read = len(piece)
            try:
                self.parser.feed_data(piece)
            except httptools.HttpParserUpgrade as upgrade:
                # No other protocol is supported, so the next request follows.
                read = upgrade.args[0]
            except httptools.HttpParserError as error:
                cause = error.__context__
                if not isinstance(cause, Refusal):
                    cause = self._malformed(error, cause)
                # Its traceback would hold this frame, and so the bytes of the read, until the next garbage collection.
                self._refuse(cause.with_traceback(None))
                return
            place += read
            if self._fruitless >= self._limits.head_bytes or len(self.headers) > self._limits.head_lines:
                self._refuse(self._too_large())
                return
        self._unfed, self._fed = b"", 0
        self.flow.let_go()
        if self._awaited is None:
            if self.cycle is not None and self.cycle.response_complete:
                # This was the rest of a request that was answered before it was complete.
                self._silent_since = self.loop.time()
                self._wait_for_next()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(self._awaited[1], self._when_late)

    def _piece_bytes(self, data: bytes, place: int) -> int:
        """Return how many bytes the parser gets next."""
        most = min(_PIECE_BYTES, self._limits.head_bytes - self._fruitless)
        is_crowded = len(data) - place > _CROWDED_PIECE_BYTES and data.count(_HEAD_END, place, place + most) > MAX_PIPELINED
        return min(_CROWDED_PIECE_BYTES, most) if is_crowded else most

    def _drop_unfed(self) -> None:
        self._unfed, self._fed = b"", 0
        self.flow.let_go()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._watch_unsent()

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_watching()

    def _watch_unsent(self) -> None:
        if self._write_watch is None:
            self._unsent = self.transport.unsent()
            self._taken_at = self.loop.time()
            self._write_watch = self.loop.call_later(self._limits.write_seconds / _LOOKS, self._look)

    def _stop_watching(self) -> None:
        if self._write_watch is not None:
            self._write_watch.cancel()
            self._write_watch = None

    def _note_taken(self, now: float) -> None:
        unsent = self.transport.unsent()
        if unsent < self._unsent:
            self._taken_at = now
        self._unsent = unsent

    def _look(self) -> None:
        now = self.loop.time()
        self._write_watch = None
        self._note_taken(now)
        if now - self._taken_at >= self._limits.write_seconds:
            self.transport.abort()
        elif self._unsent:
            self._write_watch = self.loop.call_later(self._limits.write_seconds / _LOOKS, self._look)

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._awaited = self._head_awaited

    def on_headers_complete(self) -> None:
        """Start a request, if its head is valid."""
        headers = self.headers
        if len(headers) > self._limits.head_lines:
            raise self._too_large()
        hosts = [value for name, value in headers if name == b"host"]
        if hosts != self._valid_hosts:
            self._check_host(hosts)
            self._valid_hosts = hosts or None
        if self.parser.should_upgrade():
            _check_upgrade(headers)
        self._begin_request(headers)
        # Trailers after a chunked body are not headers (RFC 9110, section 6.5.1).
        self.headers = []
        self._has_asked = True
        self._waits_since = self.loop.time()
        self._fruitless = 0
        self._awaited = self._body_awaited
        self._come = 0
        if self._deadline is not None:
            self._reset_deadline()

    def _begin_request(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Begin a request, or let it wait for the answers to earlier ones: uvicorn's own way, without what is switched off."""
        parser, earlier = self.parser, self.cycle
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "headers": headers,
            "state": self._state,
            "method": parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
        }
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        """Take a part of a body. The application gets small parts together."""
        self._fruitless = 0
        self._come += len(body)
        if self.cycle.response_complete:
            self._dropped += len(body)
            if self._dropped > MAX_DROPPED_BYTES:
                self.transport.abort()
        elif len(self.cycle.body) + len(body) < _PIECE_BYTES:
            self.cycle.body += body
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request is complete."""
        if not self.cycle.response_complete:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        self._fruitless = 0
        self._awaited = None
        if self._deadline is not None:
            self._reset_deadline()
        if self.cycle.response_complete:
            self._dropped = 0
            if self._ends_with_body:
                self.transport.close()

    def on_response_complete(self) -> None:
        """Continue with the next request, or send the pending refusal."""
        if self.transport.head:
            self.transport.flush()
        is_last = not self.pipeline
        self._was_known = self._state.pop(HAS_CALLER, False)
        self._is_pipelined = not is_last
        self._silent_since = self.loop.time()
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
            if is_last:
                self._wait_for_next()
            else:
                self._start_asgi_task(*self.pipeline.pop())
            if self._unfed:
                self._wait_for_turn()
        if is_last and self._last_word is not None:
            self._unset_keepalive_if_required()
            self._end_with(self._last_word)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = self.transport.answering = cycle
        if self._was_known and not self._is_pipelined:
            super()._start_asgi_task(cycle, app)
        else:
            # Refusing a stranger is cheap, but refusing many in one iteration would keep known callers waiting.
            cost = 1 if self._was_known else MAX_TURNS // MAX_STRANGERS
            self._front.work.add(self._client_of(cycle), functools.partial(self._start_in_turn, cycle, app), cost)
        self._is_pipelined = False

    def _answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole answer if that is simple: this takes a third of the time of two messages."""
        cycle = self._running
        is_simple = cycle.keep_alive and cycle.scope["method"] != "HEAD" and len(body) <= READ_BYTES
        if not is_simple or cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        lines = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
        head = b"".join((STATUS_LINE[status], *lines, b"\r\n"))
        if not head.count(b"\n") == head.count(b"\r") == len(lines) + 2:
            # A value with a line break is refused there.
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        self.transport.answering = None
        self.transport.write(head + body)
        cycle.on_response()
        return True

    def _cut(self) -> None:
        self.transport.abort()

    def _start_in_turn(self, cycle: Any, app: Any) -> None:
        if not cycle.disconnected:
            super()._start_asgi_task(cycle, app)

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless a request has already arrived: the process may have been suspended."""
        self.timeout_keep_alive_task = None
        if self._is_idle:
            # A timer for each request would take longer than one that looks again.
            left = self._silent_since + self.timeout_keep_alive - self.loop.time()
            if left > 0:
                self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)
            else:
                self.timeout_keep_alive_task = self.loop.call_later(_TURN_SECONDS, self._close_if_idle)

    @property
    def _is_idle(self) -> bool:
        """Whether nothing of a next request has arrived."""
        return self.is_silent and self._awaited is None and not self._unfed

    def _close_if_idle(self) -> None:
        self.timeout_keep_alive_task = None
        if self._is_idle:
            self.transport.close()

    def shutdown(self) -> None:
        """Finish the current answer, and refuse requests that are waiting or still arrive."""
        self.app = self._say_that_it_stops
        self._is_stopping = True
        if self._is_refused and self._last_word is None:
            self.transport.close()
        elif self.is_silent:
            self._unset_keepalive_if_required()
            self._reset_deadline()
            self.loop.call_later(_TURN_SECONDS, self._close_if_silent)
        elif not self._unfed:
            self.cycle.keep_alive = False

    def _close_if_silent(self) -> None:
        if self._unfed:
            # Parse the earlier bytes first.
            self.loop.call_later(_TURN_SECONDS, self._close_if_silent)
        elif self._awaited is not None and self._awaited[0] == "head":
            self._refuse(_stopping())
        elif self.is_silent:
            self.transport.close()

    async def _say_that_it_stops(self, _: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body", False):
            pass
        status, headers, body = self._front.answer_to(_stopping())
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _wait_for_next(self) -> None:
        if self.timeout_keep_alive_task is None and not self._is_refused and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _reset_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _when_late(self) -> None:
        # If this process was suspended, the rest may have arrived meanwhile.
        self._deadline = self.loop.call_later(_TURN_SECONDS, self._refuse_in_turn)

    def _refuse_in_turn(self) -> None:
        # Thousands may be late at once. Bytes that arrived before are parsed first.
        self._front.work.add(self._network, functools.partial(self._refuse_late, self._deadline))

    def _refuse_late(self, deadline: asyncio.TimerHandle | None) -> None:
        if deadline is None or self._deadline is not deadline:
            return
        self._deadline = None
        part, seconds = self._awaited or ("head", self._limits.head_seconds)
        if self.flow.read_paused or (part == "head" and not self.is_silent):
            # The delay is the server's, not the client's.
            self._deadline = self.loop.call_later(seconds, self._when_late)
        elif part == "body" and self._come >= BODY_BYTES:
            self._come -= BODY_BYTES
            self._deadline = self.loop.call_later(seconds, self._when_late)
        elif part == "body" and self.is_silent:
            # The request was answered without its body.
            self.transport.close()
        else:
            self._refuse(TooSlow(part, seconds))

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, after the answers to earlier requests, and close the connection."""
        self._is_refused = True
        self._drop_unfed()
        # The parser and this protocol refer to each other, so their lines would stay until the next garbage collection.
        self.headers = []
        self._reset_deadline()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.more_body and self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
            elif cycle.more_body:
                # The refused request is the current one.
                cycle.disconnected = True
                cycle.message_event.set()
                if cycle.response_started:
                    self.transport.close()
                else:
                    self._end_with(refusal)
                return
            self._last_word = refusal
            return
        self._end_with(refusal)

    def _end_with(self, refusal: Refusal) -> None:
        self._last_word = None
        self._unset_keepalive_if_required()
        self._write(refusal)
        self.flow.resume_reading()
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)

    def _must_read_body(self) -> bool:
        """Whether the connection stays open for the rest of a body whose request has been answered."""
        answered = self._running
        if self._ends_with_body or self._is_refused or answered is None:
            return False
        self._ends_with_body = answered.response_complete and answered.more_body and not answered.disconnected
        if self._ends_with_body:
            # A client that reads on sees the end of the answer.
            self.transport.write_eof()
        return self._ends_with_body

    def _malformed(self, error: Exception, cause: BaseException | None) -> Malformed:
        if isinstance(error, httptools.HttpParserInvalidURLError) or isinstance(cause, httptools.HttpParserInvalidURLError):
            return Malformed(
                "The URL holds a character that it cannot hold as it is. Percent-encode it as UTF-8 (RFC 3986), such as "
                "`%C3%BC` for `ü` and `%20` for a space."
            )
        message = f"This is not an HTTP request: {error}."
        if self.url and self._awaited == self._head_awaited and not self.headers:
            message += " A space in a URL is sent as `%20`."
        return Malformed(message)

    def _write(self, refusal: Refusal) -> None:
        status, headers, body = self._front.answer_to(refusal)
        lines = [b"%s: %s\r\n" % header for header in [*self.server_state.default_headers, *headers]]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"\r\n", body]))

    def _too_large(self) -> HeadTooLarge:
        return HeadTooLarge(self._limits.head_bytes, self._limits.head_lines)

    def _check_host(self, hosts: list[bytes]) -> None:
        """Refuse a request without exactly one valid `Host` (RFC 9112, section 3.2)."""
        is_old = self.parser.get_http_version() == "1.0"
        if len(hosts) > 1 or (not hosts and not is_old) or (hosts and _is_host(hosts[0]) is None):
            message = "`Host` must be sent exactly once, and must be a host with an optional port."
            raise InvalidHeader([FieldError("Host", "invalid_format", message)])


class _Proxied:
    """An application whose requests carry a proxy's forwarding headers: client, scheme and host."""

    def __init__(self, app: Any, proxies: list[str]) -> None:
        self._app = ProxyHeadersMiddleware(app, proxies)

    def network_of_client(self, forwarded_for: Sequence[bytes]) -> str:
        """Return the network of the client that `X-Forwarded-For` names as the middleware reads it, or an empty string."""
        if not forwarded_for:
            return ""
        joined = b", ".join(map(_without_mapping, forwarded_for)).decode("latin1")
        return network_of(self._app.trusted_hosts.get_trusted_client_address(joined)[0])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Mapping[bytes, bytes] = dict(scope["headers"])
        host = headers.get(b"x-forwarded-host", headers.get(b"host", b"")).partition(b",")[0].strip()
        if host and _is_host(host) is not None:
            # The host keeps its port, if it has one.
            scope["server"] = (host.decode(), None)
        # Addresses that lists of proxies can be compared with.
        scope["headers"] = [
            (name, _without_mapping(value) if name == b"x-forwarded-for" else value) for name, value in scope["headers"]
        ]
        await self._app(scope, receive, send)  # type: ignore[arg-type]


def _without_mapping(addresses: bytes) -> bytes:
    """Return a list with each IPv4 address that is written as an IPv6 one as what it is."""
    return _IPV4_MAPPED.sub(rb"\1", addresses)


def unmapped(address: str) -> str:
    """Return an IPv4 address that is written as an IPv6 one as what it is, and any other as it came."""
    return _without_mapping(address.encode()).decode() if address[:7].lower() == "::ffff:" else address


def _unmapped_network(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return a network of IPv4 addresses that are written as IPv6 ones as what it is, and any other as it came."""
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    return network if mapped is None else ipaddress.IPv4Network((mapped, max(0, network.prefixlen - 96)))


def _check_upgrade(headers: list[tuple[bytes, bytes]]) -> None:
    """Refuse a body after an `Upgrade`: the parser would take it for the other protocol."""
    if any((name == b"content-length" and value.strip(b"0")) or name == b"transfer-encoding" for name, value in headers):
        message = "`Upgrade` cannot be combined with a body. Send the request without it."
        raise InvalidHeader([FieldError("Upgrade", "not_with_body", message)])


def _stopping() -> Unavailable:
    return Unavailable("The server is stopping. Nothing was done. Try again shortly.")
