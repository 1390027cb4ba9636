"""Deletion in slices: old rows are deleted a few at a time, so that no statement takes long, however many there are."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

SLICE: Final = 2000


async def each_slice(delete: Callable[[], Awaitable[int]]) -> None:
    """Delete slice after slice until one is not full; `delete` returns how many rows it deleted."""
    deleted = SLICE
    while deleted == SLICE:
        began = time.monotonic()
        deleted = await delete()
        # Leave four fifths of the time to others, however much there is to delete.
        await asyncio.sleep(4 * (time.monotonic() - began))
