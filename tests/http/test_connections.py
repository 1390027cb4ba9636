"""The limits of a connection before its caller is known, and the answer when one is exceeded."""

import asyncio
import gc
import socket
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from starlette.types import Receive, Scope, Send

from herdbook.app import Herdbook
from herdbook.http.fair_queue import MAX_TURNS
from herdbook.http.protocol import BODY_BYTES, MAX_PIPELINED, READ_BYTES, Connection, Limits
from tests.cast import Person
from tests.http.wires import PATIENCE, Wires, exchange_over, head, rest_of, until, until_there_are, wired

_GET = b"GET /healthz HTTP/1.1\r\nHost: herdbook.test\r\n"
_FORM = b"POST /v1/oauth/token HTTP/1.1\r\nHost: herdbook.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
_LIMIT = 65_536
_BRIEF = Limits(connections=100, head_seconds=0.02, body_seconds=0.02)


@pytest_asyncio.fixture(scope="module")
async def wires(app: Herdbook) -> AsyncGenerator[Wires]:
    """The application behind its HTTP server."""
    async with wired(app) as wires:
        yield wires


class Slow:
    """An application that answers when a test lets it."""

    def __init__(self) -> None:
        self._asked = asyncio.Semaphore(0)
        self.goes = asyncio.Event()

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        self._asked.release()
        await self.goes.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async def until_asked(self, times: int) -> None:
        """Wait for a number of requests."""
        async with asyncio.timeout(PATIENCE):
            for _ in range(times):
                await self._asked.acquire()


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(_GET + b"X: " + b"a" * _LIMIT, id="a value without end"),
        pytest.param(_GET + b"a" * _LIMIT, id="a name without end"),
        pytest.param(b"GET /" + b"a" * _LIMIT, id="a target without end"),
        pytest.param(_GET + b"X:" + b" " * _LIMIT + b"a\r\n\r\n", id="white space"),
        pytest.param(_GET + b"X: " + b"a" * _LIMIT + b"\r\n\r\n", id="one long line"),
        pytest.param(_GET + (b"X: " + b"a" * 996 + b"\r\n") * 66 + b"\r\n", id="several long lines"),
        pytest.param(_GET + b"".join(b"X%d: 1\r\n" % n for n in range(256)) + b"\r\n", id="many lines"),
        pytest.param(b"\r\n" * _LIMIT, id="empty lines"),
        pytest.param(_GET + b"\r\n" + b"GET / HTTP/1.1\r\nX: " + b"a" * 2 * _LIMIT, id="a second request"),
        pytest.param(_FORM + b"1;" + b"a" * 2 * _LIMIT, id="a chunk's extension"),
        pytest.param(_FORM + b"0\r\nX: " + b"a" * 2 * _LIMIT, id="a trailer"),
    ],
)
async def test_a_head_without_end_is_refused(wires: Wires, request_: bytes) -> None:
    """An oversized head, chunk extension or trailer gets 431, and the connection closes."""
    answer = await wires.exchange(request_)

    *_, last = answer.split(b"HTTP/1.1 ")
    assert last.startswith(b"431 ")
    assert b"connection: close" in last
    assert b"/errors/head_too_large" in last


async def test_a_head_as_large_as_the_limit_is_taken(wires: Wires) -> None:
    """A head of 65,536 bytes and one of 256 lines are accepted."""
    begun = _GET + b"Connection: close\r\nX: "
    long = await wires.exchange(begun + b"a" * (_LIMIT - len(begun) - 4) + b"\r\n\r\n")
    many = await wires.exchange(_GET + b"Connection: close\r\n" + b"X: 1\r\n" * 254 + b"\r\n")

    assert long.startswith(b"HTTP/1.1 200")
    assert many.startswith(b"HTTP/1.1 200")


async def test_the_heads_of_several_requests_are_not_added_up(wires: Wires) -> None:
    """The limit applies to each head, also when several requests arrive together."""
    one = _GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n"
    answer = await wires.exchange(one * 5 + _GET + b"Connection: close\r\n\r\n")

    assert answer.count(b"HTTP/1.1 200") == 6


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"\r\n",
        b"GET /heal",
        _GET,
        _GET + b"X: ",
        b"POST /v1/oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc",
    ],
)
async def test_what_does_not_come_whole_is_not_waited_for(app: Herdbook, begun: bytes) -> None:
    """An incomplete head or body gets 408 when its time is over."""
    async with wired(app, _BRIEF) as wires:
        answer = await wires.exchange(begun)

    assert answer.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in answer


async def _read_body(_: Scope, receive: Receive, send: Send) -> None:
    """Answer once the body is whole."""
    while (await receive()).get("more_body", False):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def test_a_long_body_has_more_time_the_more_of_it_has_come() -> None:
    """A body of which enough has come in its time has the same time again."""
    head = b"POST / HTTP/1.1\r\nHost: herdbook.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with wired(_read_body, Limits(connections=100, head_seconds=2.4, body_seconds=2.0)) as wires:
        reader, writer = await wires.open()
        writer.write(head + b"%x\r\n" % BODY_BYTES + b"a" * BODY_BYTES + b"\r\n")
        # Its time is over before that of this head.
        assert (await wires.exchange(b"GET /")).startswith(b"HTTP/1.1 408")
        answer = await exchange_over(reader, writer, b"1\r\na\r\n0\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200")


async def test_what_is_being_answered_has_no_deadline() -> None:
    """An answer has no deadline, even with half of another request behind it."""
    slow = Slow()
    async with wired(slow, _BRIEF) as wires:
        reader, writer = await wires.open()
        writer.write(_GET + b"\r\n" + _GET)
        await slow.until_asked(1)
        others = [await wires.exchange(b"GET /") for _ in range(3)]
        slow.goes.set()
        answer = await exchange_over(reader, writer)

    first, second = answer.split(b"HTTP/1.1 ")[1:]
    assert all(other.startswith(b"HTTP/1.1 408") for other in others)
    assert first.startswith(b"200")
    assert second.startswith(b"408")


async def test_what_came_while_the_process_stood_still_is_answered(wires: Wires) -> None:
    """An expired timer does not close a connection on which a request has arrived."""
    client = wires.connected()
    loop = asyncio.get_running_loop()
    client.send(_GET + b"\r\n")
    assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 200")
    (connection,) = [each for each in wires.connections if each.client == client.getsockname()]

    connection.timeout_keep_alive = 0
    client.send(_GET + b"Connection: close\r\n\r\n")
    connection.timeout_keep_alive_handler()

    assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 200")
    client.close()


@pytest.mark.parametrize("lies_there", [_GET + b"\r\n", _GET, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"])
async def test_what_lies_there_when_the_server_stops_is_refused(app: Herdbook, lies_there: bytes) -> None:
    """A request that has arrived when the server stops gets 503 before the connection closes."""
    async with wired(app) as wires:
        client = wires.connected()
        loop = asyncio.get_running_loop()
        client.send(_GET + b"\r\n")
        await loop.sock_recv(client, 1000)

        client.send(lies_there)
        for connection in wires.connections:
            connection.shutdown()

        answer = await loop.sock_recv(client, 1000)
        end = await loop.sock_recv(client, 1000)
        client.close()

    assert answer.startswith(b"HTTP/1.1 503")
    assert b"connection: close" in answer
    assert b"retry-after: 1" in answer
    assert end == b""


async def test_what_is_idle_when_the_server_stops_is_closed(app: Herdbook) -> None:
    """An idle connection closes without an answer when the server stops."""
    async with wired(app) as wires:
        reader, _ = await wires.open()
        await until_there_are(wires, 1)
        for connection in wires.connections:
            connection.shutdown()
        answer = await rest_of(reader)

    assert answer == b""


@pytest.mark.parametrize(
    "hosts",
    [
        b"",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a\r\nhost: b\r\n",
        b"Host: a/b\r\n",
        b"Host: a b\r\n",
        b'Host: "a"\r\n',
        b"Host: <a>\r\n",
    ],
)
async def test_a_request_names_one_host(wires: Wires, hosts: bytes) -> None:
    """A missing, repeated or malformed Host gets 400 (RFC 9112, section 3.2)."""
    answer = await wires.exchange(b"GET /healthz HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"field":"Host"' in answer


@pytest.mark.parametrize(
    "request_", [b"GET /healthz HTTP/1.0\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n"]
)
async def test_a_host_may_be_unknown(wires: Wires, request_: bytes) -> None:
    """HTTP/1.0 needs no Host, and a client without one sends an empty Host."""
    assert (await wires.exchange(request_)).startswith(b"HTTP/1.1 200")


async def test_what_is_no_http_is_refused_in_its_turn() -> None:
    """Bytes that are not HTTP get 400 after the earlier answers, and nothing is logged."""
    slow = Slow()
    async with wired(slow) as wires:
        reader, writer = await wires.open()
        writer.write(_GET + b"\r\n\x00\x01\r\n\r\n")
        await slow.until_asked(1)
        slow.goes.set()
        answer = await exchange_over(reader, writer)

    first, second = answer.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200")
    assert second.startswith(b"400")


async def test_nobody_is_told_of_what_strangers_send(wires: Wires, caplog: pytest.LogCaptureFixture) -> None:
    """Broken requests and upgrade requests are not logged, because anybody could fill the log with them."""
    upgrade = _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    await wires.exchange(b"\x00\r\n\r\n")
    answer = await wires.exchange(upgrade + upgrade + _GET + b"Connection: close\r\n\r\n")

    assert answer.count(b"HTTP/1.1 200") == 3
    assert caplog.records == []


async def test_a_body_behind_a_wish_for_another_protocol_is_refused(wires: Wires) -> None:
    """A body behind an upgrade request is refused, because it would be read as the next request."""
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    request = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
    answer = await wires.exchange(request + smuggled)

    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.startswith(b"HTTP/1.1 400")


async def test_trailers_are_no_headers(wires: Wires, alice: Person) -> None:
    """A credential in a trailer does not count (RFC 9110, section 6.5.1)."""
    request = (
        b"POST /v2/contacts HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    )
    answer = await wires.exchange(request + b"Authorization: %s\r\n\r\n" % str(alice.key).encode())

    assert answer.startswith(b"HTTP/1.1 401")


async def test_silent_connections_make_room(app: Herdbook, caplog: pytest.LogCaptureFixture) -> None:
    """At the maximum of connections, one that never sent a request is closed for a new one, and a warning is logged."""
    async with wired(app, Limits(connections=3)) as wires:
        asked_reader, asked_writer = await wires.open()
        asked_writer.write(_GET + b"\r\n")
        await asked_reader.readuntil(b"}")
        first, _ = await wires.open()
        await until_there_are(wires, 2)
        second, _ = await wires.open()
        await until_there_are(wires, 3)

        answers = [await wires.exchange(_GET + b"Connection: close\r\n\r\n") for _ in range(2)]
        ended = await rest_of(first)
        asked_writer.write(_GET + b"Connection: close\r\n\r\n")
        last = await rest_of(asked_reader)

    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert ended == b""
    assert not second.at_eof() or last
    assert last.startswith(b"HTTP/1.1 200")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_where_all_are_at_work_a_new_one_is_refused() -> None:
    """A new connection gets 503 with `Retry-After` if all others are busy, and the others continue."""
    slow = Slow()
    async with wired(slow, Limits(connections=2)) as wires:
        busy = [asyncio.create_task(wires.exchange(_GET + b"Connection: close\r\n\r\n")) for _ in range(2)]
        await slow.until_asked(2)
        refused = await rest_of((await wires.open())[0])
        slow.goes.set()
        answers = await asyncio.gather(*busy)

    assert refused.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in refused
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)


_NO_BODY = b"POST /v1/oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"


async def test_requests_that_lie_there_are_not_all_parsed() -> None:
    """A limited number of pipelined requests is parsed; the rest stays bytes, and is answered in its turn."""
    slow = Slow()
    async with wired(slow) as wires:
        reader, writer = await wires.open()
        writer.write((_GET + b"\r\n") * 20_000 + _GET + b"Connection: close\r\n\r\n")
        await slow.until_asked(1)
        (connection,) = wires.connections
        most, held = len(connection.pipeline), connection.unfed_bytes
        slow.goes.set()
        answer = asyncio.create_task(rest_of(reader))
        while not answer.done():
            most, held = max(most, len(connection.pipeline)), max(held, connection.unfed_bytes)
            await asyncio.sleep(0)

    assert answer.result().count(b"HTTP/1.1 200") == 20_001
    assert MAX_PIPELINED <= most < 2 * MAX_PIPELINED
    assert 0 < held <= READ_BYTES


async def test_requests_that_lie_there_are_answered_in_turn() -> None:
    """Bodies and heads that are cut anywhere come whole, and the answers come in the order of the requests."""
    async with wired(_echo) as wires:
        requests = [b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n%04d" % number for number in range(2000)]
        answer = await wires.exchange(b"".join(requests) + _GET + b"Connection: close\r\n\r\n")

    assert [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 ")[1:-1]] == [
        b"%04d" % number for number in range(2000)
    ]


async def _echo(_: Scope, receive: Receive, send: Send) -> None:
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


class Sink:
    """An application that counts the bytes of bodies, and never answers before they are complete."""

    def __init__(self) -> None:
        self.bytes = 0

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            self.bytes += len(message["body"])
            if not message["more_body"]:
                break
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def test_many_large_bodies_are_read_in_turns() -> None:
    """However many bodies arrive at once, one iteration of the event loop parses a limited number of bytes."""
    sink, size = Sink(), 100_000
    request = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size
    steps: list[int] = []
    async with wired(sink) as wires:
        clients = [wires.connected() for _ in range(40)]
        sent = [client.send(request) for client in clients]
        while sink.bytes < 40 * size:
            before = sink.bytes
            await asyncio.sleep(0)
            steps.append(sink.bytes - before)
        for client in clients:
            client.close()

    assert sent == [len(request)] * 40
    assert max(steps) <= MAX_TURNS // 4 * READ_BYTES


async def test_a_small_request_overtakes_large_bodies() -> None:
    """A small request is answered while large bodies before it are still being read."""
    sink, size = Sink(), 100_000
    request = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size
    async with wired(sink) as wires:
        clients = [wires.connected() for _ in range(60)]
        for client in clients:
            client.send(request)
        answer = await wires.exchange(_GET + b"Connection: close\r\n\r\n")
        bytes_before = sink.bytes
        for client in clients:
            client.close()

    assert answer.startswith(b"HTTP/1.1 200")
    assert bytes_before < 60 * size


def test_ended_connections_leave_no_garbage() -> None:
    """A connection and its parts do not refer to each other, because collecting thousands of them takes long."""

    async def measure() -> int:
        async with wired(_echo) as wires:
            for number in range(101):
                client = wires.connected()
                await until_there_are(wires, 1)
                client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd")
                client.close()
                await until_there_are(wires, 0)
                if not number:
                    gc.collect()
                    gc.disable()
            garbage = gc.collect()
            gc.enable()
        return garbage

    # The event loop's own connections in asyncio are cycles; those of uvloop, which serves, are none.
    assert uvloop.run(measure()) < 100


async def test_requests_that_are_not_parsed_when_the_server_stops_are_refused() -> None:
    """A request that has begun is answered, the next one gets 503, and the connection ends."""
    slow = Slow()
    async with wired(slow) as wires:
        reader, writer = await wires.open()
        writer.write((_GET + b"\r\n") * 1000)
        await slow.until_asked(1)
        (connection,) = wires.connections
        connection.shutdown()
        slow.goes.set()
        answer = await rest_of(reader)

    assert MAX_PIPELINED <= answer.count(b"HTTP/1.1 200") < 2 * MAX_PIPELINED
    assert answer.count(b"HTTP/1.1 503") == 1
    assert b"HTTP/1.1 503" in answer.rpartition(b"HTTP/1.1 ")[1] + answer.rpartition(b"HTTP/1.1 ")[2]
    assert b"connection: close" in answer


async def test_what_is_answered_hears_that_the_client_has_gone() -> None:
    """Another request behind it does not keep that from it."""
    heard = asyncio.Event()
    asked = asyncio.Event()

    async def listen(_: Scope, receive: Receive, __: Send) -> None:
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.set()

    async with wired(listen) as wires:
        _, writer = await wires.open()
        writer.write((_GET + b"\r\n") * 2)
        async with asyncio.timeout(PATIENCE):
            await asked.wait()
            writer.transport.abort()
            await heard.wait()


def _at_work(wires: Wires) -> list[Connection]:
    return [each for each in wires.connections if not each.is_silent]


async def test_connections_that_wait_for_bodies_make_room(app: Herdbook, caplog: pytest.LogCaptureFixture) -> None:
    """Strangers who announce bodies and send none do not keep others out, and the log says what is done."""
    async with wired(app, Limits(connections=2)) as wires:
        for _ in range(2):
            (await wires.open())[1].write(_NO_BODY)
        await until(lambda: len(_at_work(wires)) == 2)
        answers = [await wires.exchange(_GET + b"Connection: close\r\n\r\n") for _ in range(3)]

    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["as many connections as there may be: those that wait for their clients are closed"]


async def test_connections_of_known_callers_are_closed_last(app: Herdbook, alice: Person) -> None:
    """A caller who sends a body slowly, or nothing for a while, keeps the connection while strangers have some."""
    async with wired(app, Limits(connections=3)) as wires:
        slow_reader, slow = await wires.open()
        slow.write(head(alice, "POST", "/v2/contacts", "Content-Length: 2"))
        await until(lambda: len(_at_work(wires)) == 1)
        idle_reader, idle = await wires.open()
        idle.write(head(alice, "GET", "/v2/contacts").replace(b"Connection: close\r\n", b""))
        await idle_reader.readuntil(b"\r\n\r\n")
        await until(lambda: len(_at_work(wires)) == 1)
        (await wires.open())[1].write(_NO_BODY)
        await until(lambda: len(_at_work(wires)) == 2)

        answer = await wires.exchange(_GET + b"Connection: close\r\n\r\n")
        slow.write(b"{}")
        idle.write(head(alice, "GET", "/v2/contacts"))
        created, listed = await rest_of(slow_reader), await rest_of(idle_reader)

    assert answer.startswith(b"HTTP/1.1 200")
    assert created.startswith(b"HTTP/1.1 201")
    assert b"HTTP/1.1 200" in listed


async def _answer_at_length(scope: Scope, _: Receive, send: Send) -> None:
    body = bytes(int(scope["path"][1:]))
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


# More than the system takes for a client that does not read.
_LONG = b"GET /50000000 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("request_", [_LONG, 30 * _LONG, _LONG.replace(b"x\r\n", b"x\r\nConnection: close\r\n")])
async def test_connections_on_which_nobody_reads_make_room(request_: bytes) -> None:
    """Answers that are not taken keep nobody out, whether their connections were to end or not."""
    async with wired(_answer_at_length, Limits(connections=2, stuck_seconds=0)) as wires:
        clients = [wires.connected() for _ in range(2)]
        for client in clients:
            client.send(request_)
        await until(lambda: sum(each.flow.write_paused for each in wires.connections) == 2)
        answer = await wires.exchange(b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for client in clients:
            client.close()

    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("request_", [_LONG, 30 * _LONG, _LONG.replace(b"x\r\n", b"x\r\nConnection: close\r\n")])
async def test_an_answer_is_not_offered_without_end(request_: bytes) -> None:
    """A client that takes nothing of it for some time loses the connection."""
    async with wired(_answer_at_length, Limits(connections=2, write_seconds=0.02)) as wires:
        client = wires.connected()
        client.send(request_)
        await until_there_are(wires, 1)
        await until_there_are(wires, 0)
        client.close()


async def test_an_answer_is_offered_while_it_is_taken() -> None:
    """Progress resets the deadline: a client that just took all it could is not late."""
    async with wired(_answer_at_length, Limits(connections=1, stuck_seconds=60)) as wires:
        client = wires.connected()
        client.send(_LONG)
        await until(lambda: any(each.flow.write_paused for each in wires.connections))
        (connection,) = wires.connections
        loop = asyncio.get_running_loop()
        late = loop.time() + 100
        assert connection.place_in_line(late) is not None
        for _ in range(10):
            await loop.sock_recv(client, 1_000_000)
        await asyncio.sleep(0)
        assert connection.flow.write_paused
        assert connection.place_in_line(late) is None
        client.close()


class Asked:
    """An application that keeps the scope of its request."""

    def __init__(self) -> None:
        self.scope: Any = None

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        self.scope = scope
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


_FORWARDED = (
    b"GET / HTTP/1.1\r\nHost: crm.example\r\nX-Forwarded-Host: crm.example:8443\r\nX-Forwarded-Proto: https\r\n"
    b"X-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n"
)


@pytest.mark.parametrize("proxies", [(), ("192.0.2.0/24",), ("::1",)])
async def test_what_is_said_of_the_world_is_not_believed(proxies: tuple[str, ...]) -> None:
    """Forwarded headers of anybody but a named proxy are ignored."""
    asked = Asked()
    async with wired(asked, proxies=proxies) as wires:
        await wires.exchange(_FORWARDED)

    assert asked.scope["server"] == wires.address
    assert asked.scope["scheme"] == "http"
    assert asked.scope["client"][0] == "127.0.0.1"


@pytest.mark.parametrize("proxies", [("127.0.0.1",), ("192.0.2.200", "127.0.0.0/8")])
async def test_what_a_named_proxy_says_is_believed(proxies: tuple[str, ...]) -> None:
    """A named proxy's headers give the client's address, the scheme and the host."""
    asked = Asked()
    async with wired(asked, proxies=proxies) as wires:
        await wires.exchange(_FORWARDED)

    assert asked.scope["server"] == ("crm.example:8443", None)
    assert asked.scope["scheme"] == "https"
    assert asked.scope["client"][0] == "192.0.2.7"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
@pytest.mark.parametrize(
    ("proxies", "seen"),
    [((), "127.0.0.1"), (("127.0.0.1",), "192.0.2.7"), (("::ffff:127.0.0.1", "10.0.0.0/8"), "192.0.2.7")],
)
async def test_addresses_of_ipv4_are_such_at_any_address(proxies: tuple[str, ...], seen: str) -> None:
    """A server that listens at `::`, and a proxy that does, write them as IPv6; they are the same nevertheless."""
    asked = Asked()
    forwarded = b"X-Forwarded-For: ::ffff:192.0.2.7, ::ffff:%s\r\n" % (b"10.1.2.3" if len(proxies) > 1 else b"127.0.0.1")
    async with wired(asked, proxies=proxies, of_both_families=True) as wires:
        await wires.exchange(_FORWARDED.replace(b"X-Forwarded-For: 192.0.2.7\r\n", forwarded))

    assert asked.scope["client"][0] == seen
    assert proxies or asked.scope["server"] == wires.address


async def test_a_form_is_small(wires: Wires) -> None:
    """A form is limited to 16 KiB, because it needs no credential; the limit holds with and without a declared length."""
    declared = await wires.exchange(
        b"POST /v1/oauth/token HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 16385\r\n\r\n"
    )
    chunks = await wires.exchange(_FORM + b"4000\r\n" + b"a" * 16_384 + b"\r\n0\r\n\r\n" + _GET + b"Connection: close\r\n\r\n")

    assert declared.startswith(b"HTTP/1.1 413")
    assert chunks.startswith(b"HTTP/1.1 413")


class Upload:
    """A body that sends its last byte only when a test lets it."""

    def __init__(self, person: Person, size: int) -> None:
        self.status = 0
        self.is_held = asyncio.Event()
        self.goes = asyncio.Event()
        self._parts = [b" " * (size - 1)]
        self._scope = {
            "type": "http",
            "method": "POST",
            "path": "/herdbook/contacts/bulk",
            "query_string": b"",
            "scheme": "http",
            "headers": [(b"authorization", str(person.key).encode())],
        }

    async def run(self, app: Herdbook) -> int:
        """Run the request and return the status."""
        await app(self._scope, self._receive, self._send)
        return self.status

    async def _receive(self) -> Any:
        if self._parts:
            return {"type": "http.request", "body": self._parts.pop(), "more_body": True}
        self.is_held.set()
        await self.goes.wait()
        return {"type": "http.request", "body": b" ", "more_body": False}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)


async def test_large_bodies_have_a_budget_together(app: Herdbook, alice: Person, charlie: Person) -> None:
    """Bodies that a workspace does not finish fill at most half of the common memory; its next large one gets 503."""
    begun = [Upload(person, 8_388_608) for person in (*[alice] * 4, *[charlie] * 4)]
    running = [asyncio.create_task(upload.run(app)) for upload in begun[:4]]
    for upload in begun[:4]:
        await upload.is_held.wait()
    fifth = await Upload(alice, 100_000).run(app)
    small = await alice.post("/v2/contacts", json={})
    running += [asyncio.create_task(upload.run(app)) for upload in begun[4:]]
    for upload in begun[4:]:
        await upload.is_held.wait()
    of_another = await Upload(charlie, 100_000).run(app)
    for upload in begun:
        upload.goes.set()
    statuses = await asyncio.gather(*running)
    again = Upload(alice, 8_388_608)
    again.goes.set()

    assert (fifth, of_another) == (503, 503)
    assert small.status_code == 201
    assert statuses == [422] * 8
    assert await again.run(app) == 422


@pytest.mark.parametrize(
    "target",
    [
        *("/api/v2/contacts?search=Müller".encode(), "/api/v2/contacts?search=Müller".encode("latin-1")),
        *("/api/v2/contacts/Müller".encode(), "/docs/Müller".encode(), "http://herdbook.test/?ü".encode()),
        *(b"/api/v2/contacts?search=Ann Lee", b"/api/v2/contacts?search=a\x01b", b"/a b/c"),
    ],
)
async def test_what_a_url_cannot_hold_is_named(wires: Wires, target: bytes) -> None:
    """A URL that is not percent-encoded gets a problem that says how to encode it, with a request id."""
    answer = await wires.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: herdbook.test\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400")
    assert b"/errors/malformed_request" in answer
    assert b"%20" in answer
    assert b"x-request-id: rid_" in answer
