"""Time slices: long work takes turns with everything else in the event loop."""

import asyncio
import time
from collections.abc import Generator
from uuid import uuid4

from herdbook.turns import TimeSlices
from tests.waiting import until


async def test_an_iteration_has_one_slice() -> None:
    """However many tasks wait for slices, each iteration of the event loop runs one of them."""
    slices, workspace_id = TimeSlices(), uuid4()
    iterations = 0
    noted: list[int] = []

    def steps() -> Generator[None, None, int]:
        for _ in range(3):
            noted.append(iterations)
            yield
        noted.append(iterations)
        return len(noted)

    async def count() -> None:
        nonlocal iterations
        while True:
            iterations += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    results = await asyncio.gather(*(slices.run(workspace_id, steps()) for _ in range(50)))
    counting.cancel()

    assert len(noted) == len(set(noted)) == 200
    assert max(results) == 200


async def test_others_have_the_loop_for_as_long_as_a_slice() -> None:
    """A task that needs many iterations of the event loop meets one slice of long work, and not one in each iteration."""
    slices, workspace_id = TimeSlices(), uuid4()
    taken = 0

    def steps() -> Generator[None, None, None]:
        nonlocal taken
        for _ in range(10):
            end = time.perf_counter() + 0.05
            while time.perf_counter() < end:
                pass
            taken += 1
            yield

    work = asyncio.create_task(slices.run(workspace_id, steps()))
    await until(lambda: taken > 0)
    before = taken
    for _ in range(20):
        await asyncio.sleep(0)
    met = taken - before
    await work

    assert met <= 1


async def test_workspaces_have_slices_in_turn() -> None:
    """A workspace with much work keeps another one waiting for a single slice."""
    slices, many, few = TimeSlices(), uuid4(), uuid4()
    order: list[str] = []

    async def work(name: str) -> None:
        await slices.next(many if name == "many" else few)
        order.append(name)

    await asyncio.gather(*(work("many") for _ in range(100)), work("few"))

    assert order.index("few") == 1


async def test_who_has_gone_takes_no_slice_with_it() -> None:
    """A task that is cancelled while it waits holds up nobody."""
    slices, workspace_id = TimeSlices(), uuid4()
    waiting = [asyncio.create_task(slices.next(workspace_id)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    done, _ = await asyncio.wait(waiting)

    assert [task.cancelled() for task in waiting] == [True, False, False]
    assert len(done) == 3
