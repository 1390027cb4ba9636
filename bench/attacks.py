"""Attacks on a server, each for some seconds: `python -m bench.attacks NAME`, with its target as a line of JSON.

It prints `ready` once prepared, attacks when a line comes in, and prints the answers that it got as JSON. Each attack is a
process of its own with a low priority, so that the neighbour whose waits are measured waits for the server alone.
"""

import asyncio
import contextlib
import gzip
import itertools
import json
import os
import random
import resource
import socket
import ssl
import string
import sys
import time
import zlib
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import uvloop

from herdbook.auth.keys import PREFIX, new_secret, new_token
from herdbook.oauth.model import CLIENT_SECRET_PREFIX

SECONDS = 3.0
"""Seconds for which a repeatable attack goes on, and for which connections are held."""
PATIENCE = 10.0
"""Seconds after which an attacker stops waiting for his answers, unless the attack needs more."""
NICENESS = 10
BODY = 8 * 2**20 - 1024
"""Bytes, a little less than the largest body that is accepted."""
PIECE = 1 << 16
CROWD = 1100
"""Connections, more than there may be where a program may open as many files as is usual."""

CONTACTS = "/api/v2/contacts"
BULK = "/api/herdbook/contacts/bulk"
ENGAGEMENTS = "/api/v2/engagements"
CHANGES = "/api/herdbook/changes"
TOKEN = "/api/v1/oauth/token"  # noqa: S105  # a path, not a secret


class Target(NamedTuple):
    """The server, a key of the attacker's own workspace, a client whose secret he does not know, and a request to undo.

    `certificate` is for a server of recordings that the target trusts. `source` is the attacker's own address: limits by
    address should affect him alone, and neither the neighbour nor the next attack.
    """

    host: str
    port: int
    source: str
    key: str
    client_id: str
    request_id: str
    certificate: str


class Attacker:
    """The attacker: connections to the target, and counts of the answers."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.source = (target.source, 0)
        self.answers: Counter[str] = Counter()
        self.began = time.monotonic()
        self.patience = PATIENCE

    async def begin(self) -> None:
        """Report readiness, and wait for the signal to start."""
        print("ready", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        self.answers.clear()
        self.began = time.monotonic()

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.began + SECONDS

    def request(self, method: str, path: str, body: bytes = b"", *, key: str | None = None, **headers: str) -> bytes:
        """Return a whole request with the attacker's own key, another one, or, if that is empty, none."""
        key = self.target.key if key is None else key
        lines = {"Content_Type": "application/json", "Content_Length": str(len(body)), **headers}
        if key:
            lines["Authorization"] = f"Bearer {key}"
        return f"{method} {path} HTTP/1.1\r\nHost: herdbook.test\r\n{shown(lines)}\r\n".encode() + body

    async def ask(self, *pieces: bytes) -> bytes:
        """Send a request over a new connection; return the answer's body, and count its status."""
        return await self.converse(iter([pieces]))

    async def converse(self, requests: Iterator[Iterable[bytes]]) -> bytes:
        """Send one request after another over a connection; return the body of the last answer."""
        body = b""
        try:
            reader, writer = await asyncio.open_connection(*self.target[:2], local_addr=self.source)
        except OSError:
            self.answers["not connected"] += 1
            return body
        sending: asyncio.Task[None] | None = None
        try:
            async with asyncio.timeout(self.began + self.patience - time.monotonic()):
                for pieces in requests:
                    # An answer may arrive before all is sent, and is then the last.
                    sending = asyncio.create_task(send(writer, pieces))
                    status, body = await read_answer(reader)
                    self.answers[status] += 1
                    if not sending.done():
                        break
        except TimeoutError:
            self.answers["no answer"] += 1
        except (OSError, EOFError):
            self.answers["closed"] += 1
        finally:
            if sending is not None:
                sending.cancel()
            writer.transport.abort()
        return body

    async def repeat(self, request: bytes) -> None:
        """Send the same request over and over, each time after the answer."""
        await self.flood([itertools.repeat((request,))])

    async def flood(self, conversations: Iterable[Iterator[Iterable[bytes]]]) -> None:
        """Send the requests of all conversations in parallel until the attack ends."""

        async def one(requests: Iterator[Iterable[bytes]]) -> None:
            while self.goes_on:
                await self.converse(itertools.takewhile(lambda _: self.goes_on, requests))

        await asyncio.gather(*map(one, conversations))

    def connect(self, count: int, first: bytes = b"") -> list[socket.socket]:
        """Open connections, and send the beginning of a request over each."""
        opened: list[socket.socket] = []
        for _ in range(count):
            if time.monotonic() > self.began + self.patience:
                break
            try:
                connection = socket.create_connection(self.target[:2], timeout=2, source_address=self.source)
            except OSError:
                self.answers["not connected"] += 1
                continue
            with contextlib.suppress(OSError):
                connection.sendall(first)
            opened.append(connection)
        return opened

    def hold(self, connections: list[socket.socket], drip: bytes = b"") -> None:
        """Hold connections for a while, send a drop over each now and then, and count the outcomes."""
        until = time.monotonic() + SECONDS
        for connection in connections:
            connection.settimeout(0)
        while time.monotonic() < until:
            for connection in connections if drip else ():
                with contextlib.suppress(OSError):
                    connection.send(drip)
            time.sleep(0.05)
        for connection in connections:
            try:
                said = connection.recv(64)
            except BlockingIOError:
                self.answers["still open"] += 1
            except OSError:
                self.answers["closed"] += 1
            else:
                self.answers[said[9:12].decode() or "closed"] += 1
            connection.close()


def shown(headers: Mapping[str, str]) -> str:
    """Return header lines; underscores in names become hyphens."""
    return "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())


async def send(writer: asyncio.StreamWriter, pieces: Iterable[bytes]) -> None:
    """Send the pieces one by one. The other side may close; the reader of the answer notices that."""
    with contextlib.suppress(OSError):
        for piece in pieces:
            for at in range(0, len(piece), PIECE):
                writer.write(memoryview(piece)[at : at + PIECE])
                await writer.drain()


async def read_answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Read one answer; return its status and its body."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    _, found, rest = head.partition("\r\ncontent-length: ")
    body = await reader.readexactly(int(rest.partition("\r\n")[0])) if found else b""
    return head.split(" ")[1].strip(), body


Attack = Callable[[Attacker], Awaitable[None]]
ATTACKS: dict[str, Attack] = {}
"""All attacks in the order of their run. The first two are no attacks: they show the machine's own effect."""


def attack(name: str) -> Callable[[Attack], Attack]:
    def named(function: Attack) -> Attack:
        ATTACKS[name] = function
        return function

    return named


@attack("nothing")
async def do_nothing(attacker: Attacker) -> None:
    await attacker.begin()
    await asyncio.sleep(2 * SECONDS)


@attack("nothing, beside a program that computes")
async def compute(attacker: Attacker) -> None:
    await attacker.begin()
    while attacker.goes_on:
        zlib.crc32(bytes(PIECE))


# Without a credential


@attack("20,000 header lines, one name twice")
async def send_many_lines(attacker: Attacker) -> None:
    lines = "".join(f"x{number}: 1\r\n" for number in range(20_000))
    request = f"GET {CONTACTS} HTTP/1.1\r\nHost: herdbook.test\r\n{lines}x1: 1\r\n\r\n".encode()
    await attacker.begin()
    await attacker.repeat(request)


@attack("a header of 96 MiB")
async def send_long_header(attacker: Attacker) -> None:
    piece = b"a" * PIECE
    await attacker.begin()
    await attacker.ask(b"GET / HTTP/1.1\r\nHost: herdbook.test\r\nx: ", *itertools.repeat(piece, 96 * 16), b"\r\n\r\n")


@attack("60 MB of header lines")
async def send_endless_lines(attacker: Attacker) -> None:
    lines = "".join(f"x{number}: {'1' * 50}\r\n" for number in range(1000)).encode()
    await attacker.begin()
    await attacker.ask(b"GET / HTTP/1.1\r\nHost: herdbook.test\r\n", *itertools.repeat(lines, 60_000_000 // len(lines)))


@attack("4,000 connections that say nothing")
async def be_silent(attacker: Attacker) -> None:
    await attacker.begin()
    attacker.hold(attacker.connect(4000))


@attack("500 heads, drop by drop")
async def drip_heads(attacker: Attacker) -> None:
    await attacker.begin()
    attacker.hold(attacker.connect(500, b"GET / HTTP/1.1\r\nHost: herdbook.test\r\nx: "), b"a")


@attack("500 bodies, drop by drop")
async def drip_bodies(attacker: Attacker) -> None:
    request = attacker.request("POST", CONTACTS, Content_Length="100000")
    await attacker.begin()
    attacker.hold(attacker.connect(500, request), b" ")


@attack("unknown keys, 64 connections")
async def guess_keys(attacker: Attacker) -> None:
    def guesses() -> Iterator[tuple[bytes]]:
        while True:
            yield (attacker.request("GET", CONTACTS, key=str(new_token(PREFIX))),)

    await attacker.begin()
    await attacker.flood(guesses() for _ in range(64))


@attack("wrong client secrets, 64 connections")
async def guess_secrets(attacker: Attacker) -> None:
    def guesses() -> Iterator[tuple[bytes]]:
        while True:
            pair = f"{attacker.target.client_id}:{CLIENT_SECRET_PREFIX}{new_secret()}"
            yield (form(attacker, b"grant_type=client_credentials", f"Basic {b64encode(pair.encode()).decode()}"),)

    await attacker.begin()
    await attacker.flood(guesses() for _ in range(64))


@attack("20 connections, 20,000 requests at once over each")
async def send_many_at_once(attacker: Attacker) -> None:
    requests = b"GET /healthz HTTP/1.1\r\nHost:x\r\n\r\n" * 20_000
    await attacker.begin()
    await send_unread(attacker, attacker.connect(20), requests)


@attack("1,100 bodies that never come")
async def announce_bodies(attacker: Attacker) -> None:
    request = attacker.request("POST", TOKEN, key="", Content_Length="100")
    await attacker.begin()
    attacker.hold(attacker.connect(CROWD, request))


@attack("1,100 connections that ask for 30 long answers and read none")
async def read_nothing(attacker: Attacker) -> None:
    requests = attacker.request("GET", "/openapi.json", key="") * 30
    await attacker.begin()
    attacker.hold(attacker.connect(CROWD, requests))


async def send_unread(attacker: Attacker, connections: list[socket.socket], data: bytes) -> None:
    """Sends it over each, as far as it is taken, and reads none of the answers; then holds the connections."""

    async def one(connection: socket.socket) -> None:
        connection.setblocking(False)  # noqa: FBT003
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(SECONDS):
                await asyncio.get_running_loop().sock_sendall(connection, data)

    await asyncio.gather(*map(one, connections))
    attacker.hold(connections)


def form(attacker: Attacker, body: bytes, authorization: str, **headers: str) -> bytes:
    lines = {"Content_Type": "application/x-www-form-urlencoded", "Authorization": authorization, **headers}
    return attacker.request("POST", TOKEN, body, key="", **lines)


@attack("100 token requests of 8 MiB, the end held back")
async def hold_tokens_back(attacker: Attacker) -> None:
    request = form(attacker, b"a" * BODY, "Basic YTph", Content_Length=str(BODY + 1))
    await attacker.begin()
    attacker.hold(attacker.connect(100, request))


@attack("200 bodies of 8 MiB at once, no key")
async def send_bodies_without_key(attacker: Attacker) -> None:
    await send_bodies(attacker, "")


# With a key of another workspace than the neighbour's


@attack("200 bodies of 8 MiB at once")
async def send_bodies_with_key(attacker: Attacker) -> None:
    await send_bodies(attacker, attacker.target.key)


async def send_bodies(attacker: Attacker, key: str) -> None:
    request = attacker.request("POST", CONTACTS, b'{"first_name":"%s"}' % (b"a" * BODY), key=key)
    await attacker.begin()
    await asyncio.gather(*(attacker.ask(request) for _ in range(200)))


@attack("8 MB of operations that are numbers")
async def send_numbers(attacker: Attacker) -> None:
    request = attacker.request("POST", BULK, b'{"operations":[%s1]}' % (b"1," * (BODY // 2 - 20)))
    await attacker.begin()
    await attacker.repeat(request)


@attack("390,000 phone numbers")
async def send_phone_numbers(attacker: Attacker) -> None:
    numbers = b",".join([b'{"phone_number":"1"}'] * 390_000)
    request = attacker.request("POST", CONTACTS, b'{"first_name":"Ada","phone_numbers":[%s]}' % numbers)
    await attacker.begin()
    await attacker.repeat(request)


@attack("a field name of 8 MiB")
async def send_long_name(attacker: Attacker) -> None:
    request = attacker.request("POST", CONTACTS, b'{"%s":1}' % (b"n" * (BODY - 10)))
    await attacker.begin()
    await attacker.repeat(request)


@attack("8 MiB of nesting")
async def nest(attacker: Attacker) -> None:
    arrays = attacker.request("POST", CONTACTS, b"[" * BODY)
    objects = attacker.request("POST", CONTACTS, b'{"a":' * (BODY // 5))
    await attacker.begin()
    await attacker.flood([itertools.cycle([(arrays,), (objects,)])])


@attack("1,000 operations, all wrong")
async def send_wrong_bulk(attacker: Attacker) -> None:
    operations: list[Any] = [{"action": "create", "contact": {"n" * 8000: number}} for number in range(1000)]
    request = attacker.request("POST", BULK, json.dumps({"operations": operations}).encode())
    await attacker.begin()
    await attacker.repeat(request)


@attack("an atomic bulk of 1,000 with as many addresses as are taken")
async def send_largest_bulk(attacker: Attacker) -> None:
    requests = {addresses: bulk(attacker, addresses, words=12, atomic=True) for addresses in (100, 50, 20, 10, 5, 2, 1)}
    await attacker.begin()
    for addresses, request in requests.items():
        before = attacker.answers["422"]
        await attacker.ask(request)
        if attacker.answers["422"] == before:
            attacker.answers[f"{addresses} each"] += 1
            break


def bulk(attacker: Attacker, addresses: int, *, words: int = 1, atomic: bool = False) -> bytes:
    """Return a request that creates 1,000 contacts with so many addresses each, of so many words that nobody else has."""
    operations = [
        {"action": "create", "contact": {"first_name": f"Ada{number}", "emails": [new_email(words) for _ in range(addresses)]}}
        for number in range(1000)
    ]
    body = json.dumps({"atomic": atomic, "operations": operations}, separators=(",", ":"))
    return attacker.request("POST", BULK, body.encode())


def new_email(words: int) -> dict[str, str]:
    size = 36 // words
    letters = "".join(random.choices(string.ascii_lowercase, k=36))
    return {"email": f"{'.'.join(letters[at : at + size] for at in range(0, 36, size))}@herd.test"}


@attack("20 bulks of 1,000 at once")
async def send_bulks(attacker: Attacker) -> None:
    requests = [bulk(attacker, 1) for _ in range(20)]
    await attacker.begin()
    await asyncio.gather(*map(attacker.ask, requests))


@attack("an undo of 10,000 changes")
async def undo(attacker: Attacker) -> None:
    request = attacker.request("POST", "/api/herdbook/undo", json.dumps({"request_id": attacker.target.request_id}).encode())
    await attacker.begin()
    await attacker.ask(request)


@attack("the erasure of a contact in 10,000 engagements, with these")
async def erase_with_engagements(attacker: Attacker) -> None:
    await erase(attacker, engagements="true")


@attack("the erasure of a contact in 10,000 engagements, which stay")
async def erase_from_engagements(attacker: Attacker) -> None:
    await erase(attacker, engagements="false")


async def erase(attacker: Attacker, engagements: str) -> None:
    attacker.patience = 120.0
    ada = {"email": "ada@erased.test", "name": "Ada"}
    created = await attacker.ask(attacker.request("POST", CONTACTS, json.dumps({"emails": [{"email": ada["email"]}]}).encode()))
    participants = [ada, {"email": "person1@example.test", "name": "Bob"}]
    calls = (
        engagement(attacker, number, transcript="It is all the same to me.", participants=participants)
        for number in range(10_000)
    )
    await asyncio.gather(*(attacker.converse((call,) for call in calls) for _ in range(16)))
    path = f"/api/herdbook/contacts/{json.loads(created)['id']}/erase?engagements={engagements}"
    await attacker.begin()
    await attacker.ask(attacker.request("POST", path))


@attack("pages of the feed with long transcripts")
async def read_long_pages(attacker: Attacker) -> None:
    head: int = json.loads(await attacker.ask(attacker.request("GET", f"{CHANGES}?after=now")))["head"]
    for number in range(60):
        await attacker.ask(engagement(attacker, number, transcript="It is all the same to me. " * 34_000))
    requests = [attacker.request("GET", f"{CHANGES}?after={head + number}&limit=1000") for number in range(4)]
    await attacker.begin()
    await attacker.flood(itertools.repeat((request,)) for request in requests)


def engagement(attacker: Attacker, number: int, **members: Any) -> bytes:
    """Return a request that creates an engagement."""
    external_id = f"{os.getpid()}-{number}"
    body = {"type": "CALL", "title": "Call", "source_system": "bench", "external_id": external_id, **members}
    return attacker.request("POST", ENGAGEMENTS, json.dumps(body).encode())


@attack("50 streams that are never read")
async def open_streams(attacker: Attacker) -> None:
    request = attacker.request("GET", f"{CHANGES}?after=0&limit=1000", Accept="text/event-stream")
    await attacker.begin()
    attacker.hold(attacker.connect(50, request))


# Recordings, which the server fetches from the attacker


@contextlib.asynccontextmanager
async def recording_server(attacker: Attacker, answer: bytes, *, is_slow: bool = False) -> AsyncGenerator[str]:
    """Run a server of recordings over HTTPS that gives everybody the same answer; yield its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            await send(writer, [answer])
            while is_slow and attacker.goes_on:
                await send(writer, [b"a"])
                await asyncio.sleep(0.1)
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(attacker.target.certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


def recording(body: bytes, length: int | None = None, **headers: str) -> bytes:
    lines = {"Content_Type": "audio/mpeg", "Content_Length": str(len(body) if length is None else length), **headers}
    return f"HTTP/1.1 200 OK\r\n{shown(lines)}\r\n".encode() + body


@attack("a recording of 1 kB that unpacks to 512 MiB")
async def unpack(attacker: Attacker) -> None:
    compressor = zlib.compressobj(wbits=31)
    packed = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(512)) + compressor.flush()
    answer = recording(gzip.compress(gzip.compress(packed)), Content_Encoding="gzip, gzip, gzip")
    async with recording_server(attacker, answer) as url:
        await attacker.begin()
        await attacker.ask(engagement(attacker, 0, media_url=url))


@attack("a recording of 8 MB, all bytes 0xFF")
async def hide_duration(attacker: Attacker) -> None:
    async with recording_server(attacker, recording(b"\xff" * 8_000_000)) as url:
        await attacker.begin()
        await attacker.ask(engagement(attacker, 0, media_url=url))


@attack("eight recordings, byte by byte")
async def record_slowly(attacker: Attacker) -> None:
    async with recording_server(attacker, recording(b"", 10_000_000), is_slow=True) as url:
        await attacker.begin()
        await asyncio.gather(*(attacker.ask(engagement(attacker, number, media_url=url)) for number in range(8)))


async def run(name: str, target: Target) -> None:
    attacker = Attacker(target)
    await ATTACKS[name](attacker)
    print(json.dumps(attacker.answers), flush=True)


def main() -> None:
    os.nice(NICENESS)
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    uvloop.run(run(sys.argv[1], Target(*json.loads(sys.stdin.readline()))))


if __name__ == "__main__":
    main()
