"""Bodies that are not read, such as those over the limit: clients that send all before they read get the answer."""

import asyncio
import contextlib
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Final

import pytest
import pytest_asyncio
import requests

from herdbook.app import Herdbook
from herdbook.http.protocol import MAX_DROPPED_BYTES
from tests.cast import Person
from tests.http.wires import PATIENCE, Wires, head, wired

CONTACTS: Final = "/api/v2/contacts"
LARGE: Final = 30_000_000


@pytest_asyncio.fixture(scope="module")
async def wires(app: Herdbook) -> AsyncGenerator[Wires]:
    """The application behind its HTTP server."""
    async with wired(app) as wires:
        yield wires


def by_urllib(url: str, key: str) -> int:
    """Send a large body with urllib, which closes its connection after each request; return the status."""
    headers = {"Authorization": key, "Content-Type": "application/json"}
    request = urllib.request.Request(url, b" " * LARGE, headers)  # noqa: S310  # a test's own server
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
            status: int = response.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def by_requests(url: str, key: str) -> int:
    """Send a large body with requests; return the status."""
    headers = {"Authorization": key, "Content-Type": "application/json"}
    return requests.post(url, b" " * LARGE, headers=headers, timeout=PATIENCE).status_code


def by_requests_in_chunks(url: str, key: str) -> int:
    """Send a large body in chunks, without its length; return the status."""

    def chunks() -> Iterator[bytes]:
        for _ in range(LARGE // 100_000):
            yield b" " * 100_000

    headers = {"Authorization": key, "Content-Type": "application/json"}
    return requests.post(url, chunks(), headers=headers, timeout=PATIENCE).status_code


@pytest.mark.parametrize("send", [by_urllib, by_requests, by_requests_in_chunks])
@pytest.mark.parametrize("status", [413, 401])
async def test_a_client_that_sends_first_sees_the_refusal(
    wires: Wires, alice: Person, send: Callable[[str, str], int], status: int
) -> None:
    """The rest of a body is read and dropped after a refusal, so that the client is not interrupted before it reads."""
    url = "http://{}:{}".format(*wires.address) + CONTACTS

    assert await asyncio.to_thread(send, url, str(alice.key) if status == 413 else "nobody") == status


async def test_the_connection_goes_on_after_the_rest(wires: Wires, alice: Person) -> None:
    """A client that keeps its connection can use it after the body that was refused."""
    url = "http://{}:{}".format(*wires.address) + CONTACTS

    def twice() -> list[int]:
        with requests.Session() as session:
            session.headers["Authorization"] = str(alice.key)
            first = session.post(url, b" " * LARGE, headers={"Content-Type": "application/json"}, timeout=PATIENCE)
            return [first.status_code, session.get(url, timeout=PATIENCE).status_code]

    before = len(wires.connections)
    assert await asyncio.to_thread(twice) == [413, 200]
    assert len(wires.connections) <= before + 1


@pytest.mark.parametrize("is_last", [True, False])
async def test_what_is_dropped_is_limited(wires: Wires, alice: Person, is_last: bool) -> None:  # noqa: FBT001
    """A body without end is dropped up to a limit; then the connection ends."""
    _, writer = await wires.open()
    start = head(alice, "POST", CONTACTS, f"Content-Length: {10 * MAX_DROPPED_BYTES}")
    writer.write(start if is_last else start.replace(b"Connection: close\r\n", b""))
    sent = 0
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(PATIENCE):
            while sent < 3 * MAX_DROPPED_BYTES:
                writer.write(b" " * 1_000_000)
                sent += 1_000_000
                await writer.drain()

    assert MAX_DROPPED_BYTES < sent < 3 * MAX_DROPPED_BYTES
