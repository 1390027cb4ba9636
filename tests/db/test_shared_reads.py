"""Reads that many ask for at once: they share one, unless they could see more by one of their own."""

import asyncio
from typing import Any

import pytest

from herdbook.db.database import Database


class Source:
    """What is read: another number each time, once the test lets it."""

    def __init__(self) -> None:
        nothing: Any = None
        self.reads = 0
        self.begun: asyncio.Queue[int] = asyncio.Queue()
        self.may_answer = asyncio.Event()
        self._database = Database(nothing, nothing)

    def ask(self, key: str = "key") -> "asyncio.Task[int]":
        """Ask for it, beside the test."""
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
    """What is read."""
    return Source()


async def test_those_who_ask_together_share(source: Source) -> None:
    """A thousand who ask in one turn are answered by one read."""
    asked = [source.ask() for _ in range(1000)]
    source.may_answer.set()

    assert await asyncio.gather(*asked) == [1] * 1000
    assert source.reads == 1


async def test_who_comes_later_is_not_told_what_was_read_before(source: Source) -> None:
    """A read that has begun may have seen less than who asks now knows of."""
    first = source.ask()
    await source.begun.get()
    second = source.ask()
    await source.begun.get()
    source.may_answer.set()

    assert (await first, await second) == (1, 2)


async def test_others_read_something_else(source: Source) -> None:
    """Only those who ask for the same share."""
    asked = [source.ask(key) for key in ("one", "other", "one")]
    source.may_answer.set()

    assert await asyncio.gather(*asked) == [1, 2, 1]


async def test_who_gives_up_is_nobody_elses_concern(source: Source) -> None:
    """The read goes on for the others."""
    asked = [source.ask() for _ in range(3)]
    await source.begun.get()
    asked[0].cancel()
    await asyncio.wait({asked[0]})
    source.may_answer.set()

    assert await asyncio.gather(*asked[1:]) == [1, 1]


async def test_a_failure_is_everybodys(source: Source) -> None:
    """And the next read is a new one."""
    source.reads = 10
    source.may_answer.set()
    failed = await asyncio.gather(*(source.ask() for _ in range(2)), return_exceptions=True)
    source.reads = 0

    assert [type(each) for each in failed] == [LookupError] * 2
    assert await source.ask() == 1
