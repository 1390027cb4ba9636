"""How events are sent: the request, its connections, and invalid answers."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from importlib.metadata import version
from uuid import uuid4

import pytest
import pytest_asyncio
import standardwebhooks
import svix
import trustme

from herdbook.outgoing import Targets
from herdbook.resolver import Resolver
from herdbook.webhook_endpoints.signing import new_secret
from herdbook.webhooks.model import Attempt
from herdbook.webhooks.sender import SHOWN_BYTES, KeptConnection, Sender
from tests.webhooks.receiver import Receiver, answer, receiving

WORKSPACE_ID = uuid4()
LOOPBACK = ("127.0.0.0/8",)
EVENT = "evt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
BODY = '{"name":"Zoë"}'.encode()


@pytest_asyncio.fixture
async def receiver() -> AsyncGenerator[Receiver]:
    """An endpoint that accepts everything."""
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
def sender() -> Sender:
    """A sender that may send to loopback."""
    return Sender(Targets(LOOPBACK))


async def send(sender: Sender, url: str) -> Attempt:
    """Send an event once."""
    return await sender.attempt(url, WORKSPACE_ID, [new_secret()], EVENT, BODY)


async def connected(sender: Sender, receiver: Receiver) -> KeptConnection:
    """Return a connection that is open, so that all the time of what it sends next goes to the answer."""
    kept = sender.kept_connection(receiver.url, WORKSPACE_ID)
    await kept.attempt([new_secret()], EVENT, BODY)
    return kept


async def test_the_request_is_whole(sender: Sender, receiver: Receiver) -> None:
    """A request has the path and query of the URL, and names its content and sender."""
    attempt = await send(sender, receiver.url)
    (request,) = receiver.requests

    assert attempt.is_success
    assert request.line == "POST /hook?from=herdbook HTTP/1.1"
    assert request.body == BODY
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == f"herdbook/{version('herdbook')}"
    assert {name: request.headers[name] for name in attempt.headers} == attempt.headers
    assert attempt.url == receiver.url


async def test_both_libraries_verify_it(sender: Sender, receiver: Receiver) -> None:
    """Standard Webhooks and Svix verify a request, each by its own headers, and nothing else."""
    secret = new_secret()
    await sender.attempt(receiver.url, WORKSPACE_ID, [secret], EVENT, BODY)
    (request,) = receiver.requests

    assert standardwebhooks.Webhook(secret).verify(request.body, request.headers) == {"name": "Zoë"}
    svix.Webhook(secret).verify(request.body, request.headers)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(secret).verify(request.body + b" ", request.headers)
    with pytest.raises(svix.WebhookVerificationError):
        svix.Webhook(new_secret()).verify(request.body, request.headers)


async def test_two_secrets_sign_side_by_side(sender: Sender, receiver: Receiver) -> None:
    """Both secrets sign during a rotation, so receivers with either one verify the request."""
    old, new = new_secret(), new_secret()
    await sender.attempt(receiver.url, WORKSPACE_ID, [new, old], EVENT, BODY)
    (request,) = receiver.requests

    for secret in (old, new):
        svix.Webhook(secret).verify(request.body, request.headers)


async def test_connections_are_kept(sender: Sender, receiver: Receiver) -> None:
    """Successive events share one connection."""
    kept = sender.kept_connection(receiver.url, WORKSPACE_ID)
    for _ in range(3):
        attempt, _ = await kept.attempt([new_secret()], EVENT, BODY)
        assert attempt.is_success
    kept.close()

    assert [request.connection for request in receiver.requests] == [1, 1, 1]


async def test_a_connection_that_is_to_be_closed_is_not_used_again(sender: Sender, receiver: Receiver) -> None:
    """A connection is not reused after an answer that closes it."""
    receiver.answering = lambda _: answer(200, Connection="close")
    kept = sender.kept_connection(receiver.url, WORKSPACE_ID)
    for _ in range(2):
        attempt, _ = await kept.attempt([new_secret()], EVENT, BODY)
        assert attempt.is_success
    kept.close()

    assert [request.connection for request in receiver.requests] == [1, 2]


async def test_a_kept_connection_may_have_been_closed(sender: Sender, receiver: Receiver) -> None:
    """A reused connection that the endpoint has closed is replaced, and the event arrives."""
    kept = sender.kept_connection(receiver.url, WORKSPACE_ID)
    await kept.attempt([new_secret()], EVENT, BODY)
    receiver.hang_up()
    attempt, _ = await kept.attempt([new_secret()], EVENT, BODY)
    kept.close()

    assert attempt.is_success
    assert [request.connection for request in receiver.requests] == [1, 2]


async def test_hanging_up_without_an_answer_is_a_failure(sender: Sender, receiver: Receiver) -> None:
    """An endpoint that receives an event and closes without an answer counts as a failure."""
    receiver.answering = lambda _: None
    attempt = await send(sender, receiver.url)

    assert attempt.status is None
    assert attempt.error is not None
    assert attempt.error.startswith("the connection")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success(sender: Sender, receiver: Receiver, status: int) -> None:
    """Any 2xx is a success."""
    receiver.answering = lambda _: answer(status)
    attempt = await send(sender, receiver.url)

    assert (attempt.status, attempt.is_success, attempt.error) == (status, True, None)


@pytest.mark.parametrize("status", [301, 302, 304, 307, 400, 401, 404, 410, 429, 500, 503])
async def test_all_else_is_not(sender: Sender, receiver: Receiver, status: int) -> None:
    """Any other status is a failure; redirects are not followed, because the endpoint's owner did not name their target."""
    receiver.answering = lambda _: answer(status, b"Sorry.", Location=receiver.url)
    attempt = await send(sender, receiver.url)

    assert (attempt.status, attempt.is_success) == (status, False)
    assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (answer(200, b"Thanks"), "Thanks"),
        (answer(200, b"\xff\x00ok"), "�\x00ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nTha\r\n3\r\nnks\r\n0\r\n\r\n", "Thanks"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nThanks", "Thanks"),
        (answer(500, b"x" * (SHOWN_BYTES + 1)), "x" * SHOWN_BYTES),
    ],
)
async def test_the_answer_is_kept(sender: Sender, receiver: Receiver, said: bytes, shown: str) -> None:
    """The first 4 KiB of an answer are kept, in whatever way it is sent."""
    receiver.answering = lambda _: said
    attempt = await send(sender, receiver.url)

    assert attempt.answer == shown
    assert attempt.milliseconds > 0


async def test_an_answer_may_end_with_its_connection(sender: Sender) -> None:
    """An answer without a length ends with its connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nThanks")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        attempt = await send(sender, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert (attempt.status, attempt.answer) == (200, "Thanks")


@pytest.mark.parametrize(
    ("said", "error", "seconds"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "the answer is not HTTP: ", 15.0),
        (
            b"HTTP/1.1 101 Sure\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "the endpoint switched to another protocol",
            15.0,
        ),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nThanks\r\n", "no answer in time", 0.2),
        (b"HTTP/1.1 200 OK\r\nContent-Len", "no answer in time", 0.2),
    ],
)
async def test_what_is_no_answer_is_a_failure(
    sender: Sender, receiver: Receiver, said: bytes, error: str, seconds: float
) -> None:
    """An invalid answer is a failure that quotes it."""
    kept = await connected(sender, receiver)
    receiver.answering = lambda _: said
    sender.timeout_seconds = seconds
    attempt, _ = await kept.attempt([new_secret()], EVENT, BODY)
    kept.close()

    assert attempt.status is None
    assert attempt.error is not None
    assert attempt.error.startswith(error)


async def test_an_answer_without_end_is_cut_off(sender: Sender) -> None:
    """An endless answer is cut off, so that it does not keep a courier busy."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        attempt = await send(sender, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert attempt.error == "the answer is too long"


async def test_the_time_limit_holds(sender: Sender, receiver: Receiver) -> None:
    """An answer after the time limit is a failure."""
    kept = await connected(sender, receiver)
    receiver.may_answer.clear()
    sender.timeout_seconds = 0.05
    attempt, _ = await kept.attempt([new_secret()], EVENT, BODY)
    kept.close()

    assert (attempt.status, attempt.error) == (None, "no answer in time")
    assert attempt.milliseconds >= 50


async def test_nobody_there(sender: Sender) -> None:
    """A refused connection is a failure that does not reveal the resolved address."""
    async with receiving() as gone:
        url = gone.url
    attempt = await send(sender, url)

    assert (attempt.status, attempt.error) == (None, "Connection refused")


async def test_where_it_may_not_go(receiver: Receiver) -> None:
    """Targets are checked whenever a connection is made."""
    attempt = await send(Sender(Targets(())), receiver.url)

    assert attempt.status is None
    assert attempt.error is not None
    assert "allowed_targets" in attempt.error
    assert receiver.requests == []


async def test_certificates_are_checked() -> None:
    """HTTPS requires a certificate for the host by a known authority."""
    authority = trustme.CA()
    known = ssl.create_default_context()
    authority.configure_trust(known)  # pyright: ignore[reportUnknownMemberType]  # its parameter may also be pyOpenSSL's
    for name, is_taken in (("127.0.0.1", True), ("127.0.0.2", False)):
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(server)  # pyright: ignore[reportUnknownMemberType]  # as above
        async with receiving(server) as receiver:
            attempt = await send(Sender(Targets(LOOPBACK), ssl_context=known), receiver.url)
            unknown = await send(Sender(Targets(LOOPBACK)), receiver.url)

        assert attempt.is_success == is_taken
        assert "CERTIFICATE_VERIFY_FAILED" in (unknown.error or "")
        assert len(receiver.requests) == is_taken


async def test_what_an_informational_answer_says_is_not_the_answers(sender: Sender) -> None:
    """A length in a 103 does not apply to the 200 after it, which ends with its connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\n\r\nThanks")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        attempt = await send(sender, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    assert (attempt.status, attempt.answer) == (200, "Thanks")


async def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    receiver: Receiver,
) -> None:
    """Each address of a name but the last gets a part of the time limit, so that the next ones are tried."""
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("two.test").configure_cert(server)  # pyright: ignore[reportUnknownMemberType]  # as above
    async with receiving(server) as answering:
        # It accepts connections and never answers.
        silent = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.2", answering.port)

        targets = Targets(("two.test",), resolver=Resolver(lambda _: ["127.0.0.2", "127.0.0.1"]))
        attempt = await send(Sender(targets, 30.0, tls, next_address_seconds=0.05), f"https://two.test:{answering.port}/")
        silent.close()

    assert attempt.status == 204
    assert receiver.requests == []
