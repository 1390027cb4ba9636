"""Deletion in slices: what is old is deleted so much at a time that no statement takes long, however much there is."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

SLICE: Final = 2000


async def each_slice(delete: Callable[[], Awaitable[int]]) -> None:
    """Delete slice after slice, until one is not full; `delete` returns how many there were in it."""
    deleted = SLICE
    while deleted == SLICE:
        began = time.monotonic()
        deleted = await delete()
        # Others work beside it, so where there is much to delete, four fifths of the time are theirs alone.
        await asyncio.sleep(4 * (time.monotonic() - began))
