"""Reads of the same thing at the same time: callers share one read, unless a later read could see more."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from herdbook import ids
from herdbook.db.database import Database, find_in
from herdbook.db.pool import open_pool
from tests.nodes import recorded


class Source:
    """A source that returns another number at each read, once the test lets it."""

    def __init__(self) -> None:
        nothing: Any = SimpleNamespace(shards=None)
        self.reads = 0
        self.begun: asyncio.Queue[int] = asyncio.Queue()
        self.may_answer = asyncio.Event()
        self._database = Database(nothing, nothing)

    def ask(self, key: str = "key") -> "asyncio.Task[int]":
        """Start a read as a task."""
        return asyncio.create_task(self._database.shared(key, self._read))

    async def _read(self) -> int:
        self.reads += 1
        number = self.reads
        self.begun.put_nowait(number)
        await self.may_answer.wait()
        if self.reads > 10:
            raise LookupError
        return number


@pytest.fixture
def source() -> Source:
    """A source for the test."""
    return Source()


async def test_those_who_ask_together_share(source: Source) -> None:
    """A thousand callers in one turn of the loop share a single read."""
    asked = [source.ask() for _ in range(1000)]
    source.may_answer.set()

    assert await asyncio.gather(*asked) == [1] * 1000
    assert source.reads == 1


async def test_who_comes_later_is_not_told_what_was_read_before(source: Source) -> None:
    """A later caller does not share a read that has begun, because that may miss data that the caller knows of."""
    first = source.ask()
    await source.begun.get()
    second = source.ask()
    await source.begun.get()
    source.may_answer.set()

    assert (await first, await second) == (1, 2)


async def test_others_read_something_else(source: Source) -> None:
    """Only callers with the same key share a read."""
    asked = [source.ask(key) for key in ("one", "other", "one")]
    source.may_answer.set()

    assert await asyncio.gather(*asked) == [1, 2, 1]


async def test_who_gives_up_is_nobody_elses_concern(source: Source) -> None:
    """The read continues for the others if one caller gives up."""
    asked = [source.ask() for _ in range(3)]
    await source.begun.get()
    asked[0].cancel()
    await asyncio.wait({asked[0]})
    source.may_answer.set()

    assert await asyncio.gather(*asked[1:]) == [1, 1]


async def test_a_failure_is_everybodys(source: Source) -> None:
    """All callers of a failed read get the error, and the next read is a new one."""
    source.reads = 10
    source.may_answer.set()
    failed = await asyncio.gather(*(source.ask() for _ in range(2)), return_exceptions=True)
    source.reads = 0

    assert [type(each) for each in failed] == [LookupError] * 2
    assert await source.ask() == 1


async def test_readers_that_ask_again_share_the_next_statement(database_url: str) -> None:
    """The answers to one statement go out before the next, so that readers who then ask again do not wait for a third."""
    pool = await open_pool(database_url, 1)
    statements = await recorded(pool)
    database = Database(pool, pool)

    async def ask(times: int) -> None:
        for _ in range(times):
            await database.find(find_in("contact"), ids.NIL, ids.NIL)

    again = asyncio.create_task(ask(2))
    # The first read has begun when its task has run.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.gather(again, ask(1))
    await pool.close()

    assert sum("asked.place" in sql for sql in statements) == 2
