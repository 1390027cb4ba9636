"""The rate limit shared by several processes and machines, counted in Valkey or Redis.

It needs the extra `valkey`, whose client works with both, so it is imported only if the setting asks for it.
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
    """Counts in Valkey or Redis, shared by all servers: `burst` requests in a sliding window of burst / rate seconds."""

    def __init__(self, rate: int, burst: int, store: str) -> None:
        self._alone = TokenBuckets(rate, burst)
        limit = max(burst, rate)
        self._item = RateLimitItemPerSecond(limit, math.ceil(limit / rate), namespace="herdbook")
        # Typed as Any, because the library's own types are less precise than its documentation.
        pools: Any = ConnectionPool
        self._connections = pools.from_url(store)
        storage = RedisStorage(
            f"async+{store}", wrap_exceptions=True, implementation="valkey", connection_pool=self._connections
        )
        self._windows = SlidingWindowCounterRateLimiter(storage)

    async def take(self, credential_id: UUID) -> Quota:
        """Count a request. Without the store, count in this process alone, because a guard must not stop the work."""
        try:
            fits = await self._windows.hit(self._item, str(credential_id))
            stats = await self._windows.get_window_stats(self._item, str(credential_id))
        except StorageError as error:
            _log.warning(
                "the rate limit's store is unavailable; this process counts alone", extra={"error": repr(error.storage_error)}
            )
            return await self._alone.take(credential_id)
        reset = max(0, math.ceil(stats.reset_time - time.time()))
        window = self._item.get_expiry()
        return Quota(self._item.amount, window, stats.remaining, reset, 0 if fits else max(1, reset))

    async def close(self) -> None:
        """Close the connections to the store."""
        await self._connections.aclose()
