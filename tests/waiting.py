"""How tests wait."""

import asyncio
from collections.abc import Callable


async def until(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    """Return once the condition holds; raise TimeoutError if it never does."""
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110  # files and processes set no event
            await asyncio.sleep(0.01)
