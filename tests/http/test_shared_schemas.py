"""Behaviour that only shows on a real connection."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

import pytest_asyncio

from herdbook.app import Herdbook
from tests.cast import Person, Thing
from tests.http.wires import head, wired

Exchange: TypeAlias = Callable[[bytes], Awaitable[bytes]]


@pytest_asyncio.fixture(scope="module")
async def exchange(app: Herdbook) -> AsyncGenerator[Exchange]:
    """Send raw bytes to the application behind its HTTP server; return everything until the connection closes."""
    async with wired(app) as wires:
        yield wires.exchange


async def test_head_has_no_body(exchange: Exchange, alice: Person, ada: Thing) -> None:
    """HEAD sends the length of GET's body, and no body."""
    answer = await exchange(head(alice, "HEAD", ada.url))

    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 200")
    assert b"etag: " + ada.etag.encode() in top
    assert b"content-length: 0" not in top
    assert body == b""


async def test_nothing_new_has_no_body(exchange: Exchange, alice: Person, ada: Thing) -> None:
    """A 304 has no body."""
    answer = await exchange(head(alice, "GET", ada.url, f"If-None-Match: {ada.etag}"))

    top, _, body = answer.partition(b"\r\n\r\n")
    assert top.startswith(b"HTTP/1.1 304")
    assert body == b""


async def test_a_body_in_chunks_is_read(exchange: Exchange, alice: Person, ada: Thing) -> None:
    """A chunked body is read."""
    chunks = b'6\r\n{"last\r\n9\r\n_name": "\r\n6\r\nKing"}\r\n0\r\n\r\n'
    answer = await exchange(head(alice, "PATCH", ada.url, "Transfer-Encoding: chunked") + chunks)

    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"last_name":"King"' in answer


async def test_a_body_that_says_it_is_too_large_is_not_waited_for(exchange: Exchange, alice: Person, ada: Thing) -> None:
    """413 is sent before the body arrives."""
    answer = await exchange(head(alice, "PATCH", ada.url, "Content-Length: 99999999"))

    assert answer.startswith(b"HTTP/1.1 413")


async def test_the_server_as_a_whole_has_no_operation(exchange: Exchange, alice: Person) -> None:
    """`OPTIONS *` has no path (RFC 9110, section 9.3.7), so it gets 404."""
    answer = await exchange(head(alice, "OPTIONS", "*"))

    assert answer.startswith(b"HTTP/1.1 404")


async def test_a_precondition_in_two_lines_is_one_list(exchange: Exchange, alice: Person, ada: Thing) -> None:
    """Two lines of a list header form one list (RFC 9110, section 5.3)."""
    answer = await exchange(head(alice, "GET", ada.url, f"If-None-Match: {ada.etag}", 'If-None-Match: "other"'))

    assert answer.startswith(b"HTTP/1.1 304")
