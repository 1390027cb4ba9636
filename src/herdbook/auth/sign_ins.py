"""Failed sign-ins: their cost is limited per address and per credential.

A look-up is a query. An id that is tried again and again is looked up once in some seconds, and a wrong secret is told from the
right one in memory meanwhile; so a stranger who tries cannot lock out whoever has the right one. An address from which too much
fails is refused without a look-up, but for credentials that were right before. A credential that is over has failed, too.
"""

import asyncio
import contextlib
import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar, cast
from uuid import UUID

from herdbook.auth.keys import secret_hash
from herdbook.auth.store import StoredCredential
from herdbook.db.pool import CONNECTION_ERRORS, Executor
from herdbook.errors import RateLimited

# The failures that one address or one credential may have at once, and how many more each second.
_ADDRESS_BURST: Final = 500
_ADDRESS_RATE: Final = 50
_CREDENTIAL_BURST: Final = 50
_CREDENTIAL_RATE: Final = 1
# How long it is known which secret is right for an id, to refuse others; and that there is no such id, or that it is over.
_KNOWN_FOR_SECONDS: Final = 3.0
_UNKNOWN_FOR_SECONDS: Final = 1.0
_MAX_REMEMBERED: Final = 10_000
# A look-up tries for as long as a write, so that nobody is refused while a database fails over; and the pauses between.
_PATIENCE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.05
_MAX_PAUSE_SECONDS: Final = 1.0
# The limit on parallel look-ups of ids that nobody has had the right secret for: they share connections with the writers.
_MAX_LOOKUPS: Final = 2

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class HasSecret(Protocol):
    """A stored credential, with the hash of its secret."""

    @property
    def secret_hash(self) -> bytes: ...


StoredT = TypeVar("StoredT", bound=HasSecret)
# An id is tried as one of a kind, which its look-up stands for: that there is no such token says nothing of a key.
_Tried: TypeAlias = tuple[Callable[..., Any], UUID]


class _Newest(OrderedDict[KeyT, ValueT], Generic[KeyT, ValueT]):
    """A mapping that drops the item that was set longest ago when it is full."""

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > _MAX_REMEMBERED:
            self.popitem(last=False)


class Buckets(Generic[KeyT]):
    """Counts failures: each key has a bucket of up to `burst` tokens, and gets `rate` of them back per second."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: _Newest[KeyT, tuple[float, float]] = _Newest()

    def take(self, key: KeyT) -> int:
        """Take a token, and return 0; where there is none, return in how many whole seconds there is one."""
        tokens = self._tokens(key)
        if tokens < 1:
            return math.ceil((1 - tokens) / self._rate)
        self._buckets[key] = (tokens - 1, self._clock())
        return 0

    def give_back(self, key: KeyT) -> None:
        """Put back a token that was taken for what has not failed."""
        self._buckets[key] = (self._tokens(key) + 1, self._clock())

    def _tokens(self, key: KeyT) -> float:
        tokens, then = self._buckets.get(key, (float(self._burst), 0.0))
        return min(float(self._burst), tokens + (self._clock() - then) * self._rate)


class SignIns:
    """Looks up credentials by their ids, and remembers failures."""

    def __init__(self, statements: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._statements = statements
        self._clock = clock
        self._by_address: Buckets[str] = Buckets(_ADDRESS_RATE, _ADDRESS_BURST, clock)
        self._by_credential: Buckets[_Tried] = Buckets(_CREDENTIAL_RATE, _CREDENTIAL_BURST, clock)
        self._looked_up: _Newest[_Tried, tuple[float, HasSecret | None]] = _Newest()
        self._right_before: _Newest[_Tried, None] = _Newest()
        self._lookups: dict[_Tried, asyncio.Task[HasSecret | None]] = {}
        self._slots = asyncio.Semaphore(_MAX_LOOKUPS)

    async def stored(
        self, find: Callable[[Executor, UUID], Awaitable[StoredT | None]], credential_id: UUID, secret: str, address: str
    ) -> StoredT | None:
        """Return what is stored of a credential whose secret is right, else None; what is over is a failure, and is returned.

        Refusal: RateLimited, after many failures.
        """
        tried: _Tried = (find, credential_id)
        sent, network = secret_hash(secret), network_of(address)
        until, known = self._looked_up.get(tried, (0.0, None))
        if until > self._clock() and not _stands(known, sent):
            refuse_after(max(self._by_address.take(network), self._by_credential.take(tried)))
            return cast("StoredT", known) if _is_right(known, sent) else None
        was_right = tried in self._right_before
        if not was_right:
            # The token is taken before the look-up, so that no more wait than may fail.
            refuse_after(self._by_address.take(network))
        has_failed = False
        try:
            found = await self._found(tried, is_queued=not was_right)
            has_failed = not _stands(found, sent)
        finally:
            if not was_right and not has_failed:
                self._by_address.give_back(network)
        if not has_failed:
            self._right_before[tried] = None
            return cast("StoredT", found)
        if found is None or _is_over(found):
            self._right_before.pop(tried, None)
            seconds = _UNKNOWN_FOR_SECONDS
        else:
            seconds = _KNOWN_FOR_SECONDS
        self._looked_up[tried] = (self._clock() + seconds, found)
        wait = self._by_address.take(network) if was_right else 0
        refuse_after(max(wait, self._by_credential.take(tried)))
        return cast("StoredT", found) if _is_right(found, sent) else None

    async def _found(self, tried: _Tried, *, is_queued: bool) -> HasSecret | None:
        """Look up an id: once, however many try it meanwhile."""
        lookup = self._lookups.get(tried)
        if lookup is None:
            lookup = self._lookups[tried] = asyncio.create_task(self._look_up(tried, is_queued=is_queued))
        return await asyncio.shield(lookup)

    async def _look_up(self, tried: _Tried, *, is_queued: bool) -> HasSecret | None:
        try:
            # Those that wait for their turn meanwhile wait no longer, either.
            async with asyncio.timeout(_PATIENCE_SECONDS), self._slots if is_queued else contextlib.nullcontext():
                return await self._found_in_the_end(*tried)
        finally:
            del self._lookups[tried]

    async def _found_in_the_end(self, find: Callable[..., Any], credential_id: UUID) -> HasSecret | None:
        """Look up an id; while the database is away, try again, as writes do."""
        pause = _PAUSE_SECONDS
        while True:
            try:
                return cast("HasSecret | None", await find(self._statements, credential_id))
            except CONNECTION_ERRORS:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)


def _is_right(stored: HasSecret | None, sent: bytes) -> bool:
    return stored is not None and hmac.compare_digest(stored.secret_hash, sent)


def _is_over(stored: HasSecret | None) -> bool:
    return isinstance(stored, StoredCredential) and stored.is_over


def _stands(stored: HasSecret | None, sent: bytes) -> bool:
    return _is_right(stored, sent) and not _is_over(stored)


def refuse_after(seconds: int) -> None:
    """Refuse a sign-in that has to wait; 0 seconds is none that has. Refusal: RateLimited."""
    if seconds:
        raise RateLimited(seconds, "failed sign-ins")


def network_of(address: str) -> str:
    """Return the network that one sender typically controls: an IPv4 address, or a /64 of IPv6."""
    if ":" not in address:
        return address
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
        return str(ipaddress.ip_network((address, 64), strict=False) if mapped is None else mapped)
    except ValueError:
        return address
