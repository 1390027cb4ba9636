"""Authentication: from the Authorization header to the caller."""

import asyncio
import contextlib
import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from herdbook import ids, sources
from herdbook.auth.keys import ACCESS_TOKEN_PREFIX, CLIENT_PREFIX, PREFIX, NotAKey, read_token
from herdbook.auth.scopes import ADMIN
from herdbook.auth.sign_ins import SignIns
from herdbook.auth.store import find_access_token, find_key, note_received, note_use
from herdbook.db.pool import Executor
from herdbook.errors import Forbidden, Unauthenticated

# A key that is revoked or whose user leaves stops working in all processes within this time; the promise is 5 seconds.
_TRUSTED_FOR_SECONDS: Final = 3.0
_MAX_TRUSTED: Final = 10_000
# Uses of a credential within this time are noted once: all nodes of a distributed database have a copy of the row.
_USE_IS_NOTED_FOR: Final = timedelta(hours=1)


class Caller(NamedTuple):
    """The caller of a request: workspace, credential, scopes, the ids of the first two for logs, and the user it acts for.

    `own_user_id` is the user for whom the credential was made. One that was made for nobody acts for the first active user, but
    sees nothing that is that user's alone.
    """

    workspace_id: UUID
    credential_id: UUID
    scopes: frozenset[str]
    shown_workspace_id: str
    shown_credential_id: str
    user_id: UUID | None = None
    own_user_id: UUID | None = None

    @property
    def is_client(self) -> bool:
        """Whether it is an OAuth client, whose id the tokens of all its users have."""
        return self.shown_credential_id.startswith(CLIENT_PREFIX)

    def may(self, scope: str) -> bool:
        """Whether the credential has the scope."""
        return scope in self.scopes or ADMIN in self.scopes

    def may_all(self, scopes: frozenset[str]) -> bool:
        """Whether the credential has all the scopes."""
        return scopes <= self.scopes or ADMIN in self.scopes

    def require(self, scope: str) -> None:
        """Require the scope. Refusal: Forbidden."""
        if not self.may(scope):
            raise Forbidden(scope)


# The caller of a request that needs no credential.
ANONYMOUS: Final = Caller(UUID(int=0), UUID(int=0), frozenset(), "", "")


class Authenticator:
    """Authenticates callers by their credentials, and caches them for `_TRUSTED_FOR_SECONDS`."""

    def __init__(self, pool: Executor, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self.sign_ins: Final = SignIns(pool, clock)
        # By the hash of the token, so that no secret is kept in memory longer than its request.
        self._trusted: dict[bytes, tuple[float, Caller]] = {}
        self._lookups: dict[bytes, asyncio.Task[Caller]] = {}
        self._used: set[UUID] = set()
        # When uses were noted, the earliest first.
        self._noted: OrderedDict[UUID, float] = OrderedDict()

    async def caller(self, authorization: bytes | None, address: str = "") -> Caller:
        """Return the caller. Refusals: Unauthenticated; RateLimited after too many failed sign-ins from the address."""
        if authorization is None:
            message = "No credential. Send `Authorization: Bearer <token>` or an API key as its value."
            raise Unauthenticated(message, is_presented=False)
        token = _token(authorization)
        fingerprint = hashlib.sha256(token).digest()
        trusted = self._trusted.get(fingerprint)
        if trusted is not None and trusted[0] > self._clock():
            return trusted[1]
        lookup = self._lookups.get(fingerprint)
        if lookup is None:
            # One look-up, however many requests with this credential arrive meanwhile.
            lookup = asyncio.create_task(self._look_up(token, fingerprint, address))
            self._lookups[fingerprint] = lookup
        return await asyncio.shield(lookup)

    def forget(self) -> None:
        """Forget who was authenticated, so that each credential is looked up again."""
        self._trusted.clear()

    async def note_uses(self) -> None:
        """Store the use of the credentials that were seen since the last call, of each once an hour."""
        used, self._used = self._used, set()
        if not used:
            return
        await note_use(self._pool, sorted(used), sources.now() - _USE_IS_NOTED_FOR)
        now = self._clock()
        while self._noted and next(iter(self._noted.values())) <= now - _USE_IS_NOTED_FOR.total_seconds():
            self._noted.popitem(last=False)
        self._noted.update(dict.fromkeys(used, now))

    async def _look_up(self, token: bytes, fingerprint: bytes, address: str) -> Caller:
        now = self._clock()
        try:
            caller, seconds_left = await self._authenticated(token, address)
        finally:
            del self._lookups[fingerprint]
        if len(self._trusted) >= _MAX_TRUSTED:
            self._trusted = {key: known for key, known in self._trusted.items() if known[0] > now}
        self._trusted[fingerprint] = (now + min(_TRUSTED_FOR_SECONDS, seconds_left), caller)
        if self._noted.get(caller.credential_id, -math.inf) <= now - _USE_IS_NOTED_FOR.total_seconds():
            self._used.add(caller.credential_id)
        return caller

    async def _authenticated(self, token: bytes, address: str) -> tuple[Caller, float]:
        """Return who this is, and for how many seconds that holds."""
        text = token.decode("latin-1")
        if text.startswith(PREFIX):
            prefix, name, shown, find = PREFIX, "API key", ids.CREDENTIAL, find_key
        elif text.startswith(ACCESS_TOKEN_PREFIX):
            prefix, name, shown, find = ACCESS_TOKEN_PREFIX, "access token", CLIENT_PREFIX, find_access_token
        else:
            raise Unauthenticated(
                f"This is neither an API key (`{PREFIX}...`) nor an access token (`{ACCESS_TOKEN_PREFIX}...`). Send one, "
                "as this server issued it."
            )
        try:
            sent = read_token(text, prefix, name)
        except NotAKey as error:
            raise Unauthenticated(str(error)) from None
        stored = await self.sign_ins.stored(find, sent.id, sent.secret, address)
        if stored is None:
            raise Unauthenticated(f"This {name} is unknown here. Check that this server issued it, or have a new one made.")
        if stored.is_over:
            raise Unauthenticated(f"This {name} has expired or was revoked, or its user is no longer active. Use another one.")
        if stored.is_first_use:
            # A database that accepts no writes still authenticates.
            with contextlib.suppress(asyncpg.PostgresError):
                await note_received(self._pool, sent.id)
        caller = Caller(
            stored.workspace_id,
            stored.credential_id,
            frozenset(stored.scopes),
            ids.encoded(ids.WORKSPACE, stored.workspace_id),
            ids.encoded(shown, stored.credential_id),
            stored.user_id,
            stored.own_user_id,
        )
        return caller, math.inf if stored.seconds_left is None else stored.seconds_left


def _token(authorization: bytes) -> bytes:
    """Return the credential in a header, however it is spelled there."""
    value = authorization.strip()
    scheme, _, token = value.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else value
