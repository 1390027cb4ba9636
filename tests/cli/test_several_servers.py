"""Two servers on one database: they are replaced in turn, or one dies, and clients go to the other one."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final, TypeAlias
from uuid import uuid4

import asyncpg
import httpx
import pytest_asyncio

from herdbook import ids
from tests.cli.programs import PATIENCE, Running, serving
from tests.db.conftest import database_on
from tests.ledger.promises import kept_promises

_WRITERS: Final = 4
_WRITES: Final = 20
_Changing: TypeAlias = "Callable[[Pair], Awaitable[None]]"


class Pair:
    """Two servers, and writers that go to the other one when one does not answer."""

    def __init__(self, database_url: str, folder: Path, opened: ExitStack) -> None:
        self.url = database_url
        self._folder = folder
        self._opened = opened
        self.servers: list[Running] = []
        self.key = ""
        # The numbers of written contacts, and the ids of those that were acknowledged.
        self.acknowledged: list[str] = []
        self.statuses: set[int] = set()

    async def start(self, place: int) -> None:
        """Start a server in a place."""
        folder = self._folder / str(place)
        folder.mkdir(exist_ok=True)
        options = (f"--database-url={self.url}", "--rate-limit=0", "--log-level=warning")
        server = await asyncio.to_thread(lambda: self._opened.enter_context(serving(folder, *options)))
        self.servers[place : place + 1] = [server]
        self.key = self.key or server.key

    async def write(self, writer: int, is_over: asyncio.Event) -> None:
        """Create contacts until the end. A request that was not done is sent again, to the other server, under the same key."""
        async with httpx.AsyncClient(timeout=PATIENCE) as client:
            while not is_over.is_set():
                headers, turn = {"Authorization": self.key, "Idempotency-Key": str(uuid4())}, writer
                while True:
                    turn += 1
                    try:
                        url = f"{self.servers[turn % 2].url}/api/v2/contacts"
                        answer = await client.post(url, json={}, headers=headers)
                    except httpx.TransportError:
                        continue
                    # A server that stops has not begun it.
                    if answer.status_code == 503 and answer.headers.get("Connection") == "close":
                        continue
                    self.statuses.add(answer.status_code)
                    if answer.status_code == 201:
                        self.acknowledged.append(answer.json()["id"])
                    break

    async def at_least(self, more: int) -> None:
        """Return once so many more contacts were acknowledged."""
        goal = len(self.acknowledged) + more
        async with asyncio.timeout(PATIENCE):
            while len(self.acknowledged) < goal:  # noqa: ASYNC110  # writers set no event
                await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def pair(database_url: str, tmp_path: Path) -> AsyncGenerator[Pair]:
    """Two servers on a database of their own."""
    async with database_on(database_url) as url:
        with ExitStack() as opened:
            pair = Pair(url, tmp_path, opened)
            for place in range(2):
                await pair.start(place)
            yield pair


async def while_written(pair: Pair, change: _Changing) -> None:
    """Change the servers under load. Check that each write was acknowledged, and is stored once."""
    is_over = asyncio.Event()
    writing = [asyncio.create_task(pair.write(writer, is_over)) for writer in range(_WRITERS)]
    await pair.at_least(_WRITES)
    await change(pair)
    await pair.at_least(_WRITES)
    is_over.set()
    await asyncio.gather(*writing)
    async with asyncpg.create_pool(pair.url, min_size=1, max_size=1) as pool:
        workspace_id = await pool.fetchval("select id from workspace")
        changes = await kept_promises(pool, workspace_id)

    stored = sorted(ids.encoded(ids.CONTACT, each["object_id"]) for each in changes.values() if each["kind"] == "c")
    assert pair.statuses == {201}
    assert stored == sorted(pair.acknowledged)


async def test_servers_are_replaced_in_turn(pair: Pair) -> None:
    """A server that stops finishes what it has begun, and leaves the rest to the other one. One that starts serves at once."""

    async def replace_both(pair: Pair) -> None:
        for place in range(2):
            assert await asyncio.to_thread(pair.servers[place].end) == 0
            await pair.at_least(_WRITES)
            await pair.start(place)

    await while_written(pair, replace_both)


async def test_one_of_two_servers_dies(pair: Pair) -> None:
    """Writes that a killed server has acknowledged are there, and those that it had in hand are done once by the other one."""

    async def kill_one(pair: Pair) -> None:
        await asyncio.to_thread(pair.servers[0].end, signal.SIGKILL)

    await while_written(pair, kill_one)
