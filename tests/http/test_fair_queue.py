"""Work for clients: how much is done in one iteration of the event loop, and for whom."""

import asyncio
import functools

from herdbook.http.fair_queue import MAX_AT_ONCE, MAX_TURNS, FairQueue
from tests.http.wires import until


async def test_an_iteration_does_a_limited_amount() -> None:
    """However much is added, one iteration does no more than its turns."""
    queue, done = FairQueue(), list[int]()
    for number in range(1000):
        queue.add("alice", functools.partial(done.append, number))
    steps: list[int] = []
    while len(done) < 1000:
        before = len(done)
        await asyncio.sleep(0)
        steps.append(len(done) - before)

    assert done == list(range(1000))
    assert max(steps) == MAX_TURNS


async def test_costly_work_takes_several_turns() -> None:
    """One iteration does less of what costs more."""
    queue, done = FairQueue(), list[int]()
    for number in range(100):
        queue.add("alice", functools.partial(done.append, number), MAX_TURNS // 2)
    steps: list[int] = []
    while len(done) < 100:
        before = len(done)
        await asyncio.sleep(0)
        steps.append(len(done) - before)

    assert max(steps) == 2


async def test_no_client_waits_for_all_the_work_of_another() -> None:
    """The client that has waited longest is next."""
    queue, done = FairQueue(), list[str]()
    for _ in range(1000):
        queue.add("charlie", functools.partial(done.append, "charlie"))
    queue.add("alice", functools.partial(done.append, "alice"))
    await until(lambda: "alice" in done)

    assert len(done) <= MAX_TURNS


async def test_little_work_does_not_wait() -> None:
    """A limited amount is done at once in each iteration, but nothing overtakes what waits."""
    queue = FairQueue()
    taken = [queue.takes() for _ in range(2 * MAX_AT_ONCE)]
    await asyncio.sleep(0)
    taken_next = queue.takes()
    queue.add("alice", lambda: None)
    taken_beside = queue.takes()

    assert taken == [True] * MAX_AT_ONCE + [False] * MAX_AT_ONCE
    assert taken_next
    assert not taken_beside


async def test_a_failure_does_not_end_the_turns() -> None:
    """Work that fails is reported to the event loop, and the rest is done."""
    queue, done, failures = FairQueue(), list[int](), list[BaseException]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    queue.add("charlie", lambda: 1 / 0)
    queue.add("alice", lambda: done.append(1))
    await until(lambda: bool(done))

    assert [type(failure) for failure in failures] == [ZeroDivisionError]
