"""Refusals leave nothing to the garbage collector: a collection of many would hold the event loop for 100 ms."""

import gc
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable, Generator

import pytest

from herdbook.app import Herdbook
from herdbook.auth.keys import ApiKey, new_key, new_secret
from tests.cast import Person, Thing
from tests.http.wires import wired


@pytest.fixture
def collects() -> Generator[Callable[[], int]]:
    """A function that collects garbage, and returns how many objects it found. Nothing else collects."""
    gc.collect()
    gc.disable()
    yield gc.collect
    gc.enable()


async def _status(reader: StreamReader, writer: StreamWriter, key: object, line: str, *lines: str, body: str = "") -> str:
    given = [f"{line} HTTP/1.1", "Host: herdbook.test", f"Authorization: {key}", f"Content-Length: {len(body)}", *lines]
    writer.write("\r\n".join([*given, "", body]).encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    await reader.readexactly(int(head.partition("\r\ncontent-length: ")[2].partition("\r\n")[0]))
    return head.split(" ")[1]


def _credential(kind: str, known: ApiKey) -> str:
    credentials = {"mistyped": f"{new_key()}x", "another": "Basic YTpi", "wrong": str(ApiKey(known.id, new_secret()))}
    return credentials.get(kind, str(new_key()))


@pytest.mark.parametrize(("kind", "status"), [("unknown", "401"), ("mistyped", "401"), ("another", "401"), ("wrong", "429")])
async def test_a_refused_credential_leaves_no_garbage(
    app: Herdbook, alice: Person, collects: Callable[[], int], kind: str, status: str
) -> None:
    """No refused credential leaves a cycle of references, though several requests may wait for its look-up."""
    async with wired(app) as wires:
        connection = await wires.open()
        for _ in range(60):
            await _status(*connection, _credential(kind, alice.key), "GET /v2/contacts")
        collects()
        got = {await _status(*connection, _credential(kind, alice.key), "GET /v2/contacts") for _ in range(20)}
        found = collects()

    assert status in got
    assert found == 0


async def test_a_refused_command_leaves_no_garbage(
    app: Herdbook, alice: Person, ada: Thing, collects: Callable[[], int]
) -> None:
    """A command that the ledger refuses leaves no cycle of references, though its caller waits for it by a future."""
    async with wired(app) as wires:
        connection = await wires.open()
        lines = ("Content-Type: application/json", 'If-Match: "1"')
        change = f"PATCH {ada.url}"
        await _status(*connection, alice.key, change, lines[0], body='{"first_name": "Augusta"}')
        collects()
        got = {await _status(*connection, alice.key, change, *lines, body='{"first_name": "Ada"}') for _ in range(20)}
        found = collects()

    assert got == {"412"}
    assert found == 0
