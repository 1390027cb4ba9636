"""The rate limit per credential, a guard against runaway loops."""

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol
from uuid import UUID

_MAX_BUCKETS: Final = 10_000


class Quota(NamedTuple):
    """A credential's quota: requests per window, requests left, and the seconds until the full quota is back.

    `retry_after` is 0, or the seconds until the next request if none is left.
    """

    limit: int
    window: int
    remaining: int
    reset: int
    retry_after: int = 0


class RateLimit(Protocol):
    """Counts requests."""

    async def take(self, credential_id: UUID) -> Quota:
        """Count a request if it is allowed."""
        ...

    async def close(self) -> None:
        """Release the resources."""
        ...


class TokenBuckets:
    """Counts in this process: a bucket of tokens per credential, refilled at `rate` a second up to `burst`."""

    def __init__(self, rate: int, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rate = rate
        self._burst = max(burst, rate)
        self._window = math.ceil(self._burst / rate)
        self._buckets: dict[UUID, tuple[float, float]] = {}

    async def take(self, credential_id: UUID) -> Quota:
        """Take a token if there is one."""
        now = self._clock()
        tokens, then = self._buckets.get(credential_id, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._rate)
        wait = 0 if tokens >= 1 else max(1, math.ceil((1 - tokens) / self._rate))
        left = tokens if wait else tokens - 1
        if len(self._buckets) >= _MAX_BUCKETS:
            # A bucket unused for a whole window is full again, like a new one.
            self._buckets = {key: held for key, held in self._buckets.items() if held[1] > now - self._window}
        self._buckets[credential_id] = (left, now)
        return Quota(self._burst, self._window, int(left), math.ceil((self._burst - left) / self._rate), wait)

    async def close(self) -> None:
        """Do nothing: the buckets end with the process."""


def quota_headers(quota: Quota) -> list[tuple[bytes, bytes]]:
    """Return a quota's headers: draft-ietf-httpapi-ratelimit-headers, and the older `X-RateLimit-*`."""
    return [
        (b"ratelimit-policy", b'"credential";q=%d;w=%d' % (quota.limit, quota.window)),
        (b"ratelimit", b'"credential";r=%d;t=%d' % (quota.remaining, quota.reset)),
        (b"x-ratelimit-limit", b"%d" % quota.limit),
        (b"x-ratelimit-remaining", b"%d" % quota.remaining),
        (b"x-ratelimit-reset", b"%d" % quota.reset),
    ]
