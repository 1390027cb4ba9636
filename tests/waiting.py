"""How tests wait for what takes its time."""

import asyncio
from collections.abc import Callable


async def until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return once something is so. TimeoutError where it does not come to be."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110  # files and processes set no event
            await asyncio.sleep(0.01)
