"""The rate limit of several processes and machines together, counted in a Valkey or Redis.

It needs the extra `valkey`, whose client speaks to both, and so it is imported only where the setting asks for it.
"""

import logging
import math
import time
from typing import Any, Final
from uuid import UUID

from limits import RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from valkey.asyncio import ConnectionPool

from herdbook.http.ratelimit import Quota, TokenBuckets

_log: Final = logging.getLogger("herdbook.ratelimit")


class SharedWindows:
    """Counts in a Valkey or Redis, together with all that do: `burst` requests in a sliding window of burst / rate seconds."""

    def __init__(self, rate: int, burst: int, store: str) -> None:
        self._alone = TokenBuckets(rate, burst)
        limit = max(burst, rate)
        self._item = RateLimitItemPerSecond(limit, math.ceil(limit / rate), namespace="herdbook")
        # Typed as anything, since the library's own types say less than its documentation.
        pools: Any = ConnectionPool
        self._connections = pools.from_url(store)
        storage = RedisStorage(
            f"async+{store}", wrap_exceptions=True, implementation="valkey", connection_pool=self._connections
        )
        self._windows = SlidingWindowCounterRateLimiter(storage)

    async def take(self, credential_id: UUID) -> Quota:
        """Count a request; in this process alone for as long as the store is away, since a guard must not stop the work."""
        try:
            fits = await self._windows.hit(self._item, str(credential_id))
            stats = await self._windows.get_window_stats(self._item, str(credential_id))
        except StorageError as error:
            _log.warning(
                "the rate limit's store is away; this process counts alone", extra={"error": repr(error.storage_error)}
            )
            return await self._alone.take(credential_id)
        reset = max(0, math.ceil(stats.reset_time - time.time()))
        window = self._item.get_expiry()
        return Quota(self._item.amount, window, stats.remaining, reset, 0 if fits else max(1, reset))

    async def close(self) -> None:
        """Let go of the store."""
        await self._connections.aclose()
