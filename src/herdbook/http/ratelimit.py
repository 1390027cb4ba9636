"""The rate limit of each credential, a guard against loops that run away."""

import math
import time
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import structlog
from limits import RateLimitItemPerSecond
from limits.aio.storage import Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

_MOST_BUCKETS: Final = 10_000
_log: Final = structlog.get_logger("herdbook.ratelimit")


class Quota(NamedTuple):
    """A credential's requests: how many it may make in a window, how many are left, in how many seconds all are back.

    `retry_after` is 0, or the seconds until the next one where none is left.
    """

    limit: int
    window: int
    remaining: int
    reset: int
    retry_after: int = 0


class RateLimit(Protocol):
    """Counts requests."""

    async def take(self, credential_id: UUID) -> Quota:
        """Count a request, if it is one that may be made."""
        ...


class TokenBuckets:
    """Counts in this process: a bucket of tokens for each credential, of which `rate` come back a second, up to `burst`."""

    def __init__(self, rate: int, burst: int) -> None:
        self._rate = rate
        self._burst = max(burst, rate)
        self._window = math.ceil(self._burst / rate)
        self._buckets: dict[UUID, tuple[float, float]] = {}

    async def take(self, credential_id: UUID) -> Quota:
        """Take a token, if there is one."""
        now = time.monotonic()
        tokens, then = self._buckets.get(credential_id, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._rate)
        wait = 0 if tokens >= 1 else max(1, math.ceil((1 - tokens) / self._rate))
        left = tokens if wait else tokens - 1
        if len(self._buckets) >= _MOST_BUCKETS:
            # A bucket that was left alone for long enough is full, and full is what a missing one is.
            self._buckets = {key: held for key, held in self._buckets.items() if held[1] > now - self._window}
        self._buckets[credential_id] = (left, now)
        return Quota(self._burst, self._window, int(left), math.ceil((self._burst - left) / self._rate), wait)


class SharedWindows:
    """Counts in a Valkey or Redis, together with all that do: `burst` requests in a sliding window of burst / rate seconds."""

    def __init__(self, rate: int, burst: int, store: str) -> None:
        self._alone = TokenBuckets(rate, burst)
        limit = max(burst, rate)
        self._item = RateLimitItemPerSecond(limit, math.ceil(limit / rate), namespace="herdbook")
        # Whichever client the scheme calls for, its errors arrive as one kind.
        storage = storage_from_string(f"async+{store}", wrap_exceptions=True, implementation="redispy")
        assert isinstance(storage, Storage), "an asynchronous storage was asked for"
        self._windows = SlidingWindowCounterRateLimiter(storage)

    async def take(self, credential_id: UUID) -> Quota:
        """Count a request; in this process alone for as long as the store is away, since a guard must not stop the work."""
        try:
            fits = await self._windows.hit(self._item, str(credential_id))
            stats = await self._windows.get_window_stats(self._item, str(credential_id))
        except StorageError as error:
            _log.warning("the rate limit's store is away; this process counts alone", error=repr(error.storage_error))
            return await self._alone.take(credential_id)
        reset = max(0, math.ceil(stats.reset_time - time.time()))
        window = self._item.get_expiry()
        return Quota(self._item.amount, window, stats.remaining, reset, 0 if fits else max(1, reset))


def quota_headers(quota: Quota) -> list[tuple[bytes, bytes]]:
    """Return the headers that tell of a quota: those of draft-ietf-httpapi-ratelimit-headers, and the older `X-RateLimit-*`."""
    return [
        (b"ratelimit-policy", b'"credential";q=%d;w=%d' % (quota.limit, quota.window)),
        (b"ratelimit", b'"credential";r=%d;t=%d' % (quota.remaining, quota.reset)),
        (b"x-ratelimit-limit", b"%d" % quota.limit),
        (b"x-ratelimit-remaining", b"%d" % quota.remaining),
        (b"x-ratelimit-reset", b"%d" % quota.reset),
    ]
