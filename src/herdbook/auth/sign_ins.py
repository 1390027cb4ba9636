"""Sign-ins that fail: what they cost is bounded, by where they come from and by whose credential they try.

A look-up is a query. An id that is tried again and again is looked up once in some seconds, and a wrong secret is told from the
right one in memory meanwhile; so a stranger who tries cannot lock out whoever has the right one. An address from which too much
fails is refused without a look-up, but for credentials that were right before.
"""

import asyncio
import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

from herdbook.auth.keys import secret_hash
from herdbook.db.pool import Statements
from herdbook.errors import RateLimited

# Failures at once, and how many more each second, of one address and with one credential.
_ADDRESS_BURST: Final = 500
_ADDRESS_RATE: Final = 50
_CREDENTIAL_BURST: Final = 50
_CREDENTIAL_RATE: Final = 1
# How long it is known which secret is right for an id, to refuse others; and that there is no such id.
_KNOWN_FOR_SECONDS: Final = 3.0
_UNKNOWN_FOR_SECONDS: Final = 1.0
_MAX_REMEMBERED: Final = 10_000
# Look-ups at once of ids that nobody has had the right secret for: the connections are the writers', too.
_MAX_LOOKUPS: Final = 2

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


class HasSecret(Protocol):
    """What is stored of a credential."""

    @property
    def secret_hash(self) -> bytes: ...


StoredT = TypeVar("StoredT", bound=HasSecret)


class _Newest(OrderedDict[KeyT, ValueT], Generic[KeyT, ValueT]):
    """A mapping that forgets what was set longest ago, once it is full."""

    def __setitem__(self, key: KeyT, value: ValueT) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > _MAX_REMEMBERED:
            self.popitem(last=False)


class _Buckets(Generic[KeyT]):
    """Counts failures: each key has a bucket of tokens, of which `rate` come back a second, up to `burst`."""

    def __init__(self, rate: int, burst: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._buckets: _Newest[KeyT, tuple[float, float]] = _Newest()

    def wait(self, key: KeyT) -> int:
        """Return in how many whole seconds there is a token; 0: now."""
        return max(0, math.ceil((1 - self._tokens(key)) / self._rate))

    def take(self, key: KeyT) -> None:
        """Take a token, or what is left of one."""
        self._buckets[key] = (max(0.0, self._tokens(key) - 1), self._clock())

    def _tokens(self, key: KeyT) -> float:
        tokens, then = self._buckets.get(key, (float(self._burst), 0.0))
        return min(float(self._burst), tokens + (self._clock() - then) * self._rate)


class SignIns:
    """Looks up credentials by their ids, and remembers what failed."""

    def __init__(self, statements: Statements, clock: Callable[[], float] = time.monotonic) -> None:
        self._statements = statements
        self._clock = clock
        self._by_address: _Buckets[str] = _Buckets(_ADDRESS_RATE, _ADDRESS_BURST, clock)
        self._by_credential: _Buckets[UUID] = _Buckets(_CREDENTIAL_RATE, _CREDENTIAL_BURST, clock)
        self._looked_up: _Newest[UUID, tuple[float, bytes | None]] = _Newest()
        self._right_before: _Newest[UUID, None] = _Newest()
        self._slots = asyncio.Semaphore(_MAX_LOOKUPS)

    async def stored(
        self, find: Callable[[Statements, UUID], Awaitable[StoredT | None]], credential_id: UUID, secret: str, address: str
    ) -> StoredT | None:
        """Return what is stored of a credential whose secret is right, else None. Refusal: RateLimited, after many failures."""
        sent, network = secret_hash(secret), _network(address)
        until, known = self._looked_up.get(credential_id, (0.0, None))
        if until > self._clock() and not _is_same(known, sent):
            self._fail(credential_id, network)
            return None
        if credential_id in self._right_before:
            found = await find(self._statements, credential_id)
        else:
            _refuse_after(self._by_address.wait(network))
            async with self._slots:
                found = await find(self._statements, credential_id)
        if found is not None and _is_same(found.secret_hash, sent):
            self._right_before[credential_id] = None
            return found
        seconds = _UNKNOWN_FOR_SECONDS if found is None else _KNOWN_FOR_SECONDS
        self._looked_up[credential_id] = (self._clock() + seconds, None if found is None else found.secret_hash)
        self._fail(credential_id, network)
        return None

    def _fail(self, credential_id: UUID, network: str) -> None:
        """Count a failure. Refusal: RateLimited, where there were too many."""
        wait = max(self._by_address.wait(network), self._by_credential.wait(credential_id))
        self._by_address.take(network)
        self._by_credential.take(credential_id)
        _refuse_after(wait)


def _is_same(known: bytes | None, sent: bytes) -> bool:
    return known is not None and hmac.compare_digest(known, sent)


def _refuse_after(seconds: int) -> None:
    if seconds:
        raise RateLimited(seconds, "failed sign-ins")


def _network(address: str) -> str:
    """Return what one sender has of addresses: an IPv4 address, or 64 bits of IPv6."""
    if ":" not in address:
        return address
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
        return str(ipaddress.ip_network((address, 64), strict=False) if mapped is None else mapped)
    except ValueError:
        return address
