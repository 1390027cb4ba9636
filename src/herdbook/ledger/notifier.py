"""The heads of the ledgers: followers of a ledger are woken when its head moves.

A commit of this process wakes them at once. Commits of other processes are found by polling the followed workspaces once a
second. While another process delivers to webhooks, commits are also announced with NOTIFY. That is a statement of its own,
after the commit, because a NOTIFY inside transactions makes all commits of the database wait in one queue.
"""

import asyncio
import logging
from collections.abc import Collection, Generator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from herdbook.db.distribution import fetch_of
from herdbook.db.pool import Pool

CHANNEL: Final = "herdbook_heads"
_LOOK_EVERY_SECONDS: Final = 1.0
_TELL_AFTER_SECONDS: Final = 0.01
# The workspaces of a notification, which holds 8,000 bytes.
_MAX_NOTIFIED: Final = 200

_log: Final = logging.getLogger("herdbook.ledger")


class ChangeNotifier:
    """Wakes the followers of ledgers in this process, and notifies other processes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._followers: dict[UUID, set[asyncio.Event]] = {}
        self._seen: dict[UUID, int] = {}
        self._to_publish: set[UUID] = set()
        self._moved: set[UUID] = set()
        self._publishing: asyncio.Task[None] | None = None
        # A follower holds it while it makes a piece of changes ready.
        self.turn_to_tell = asyncio.Lock()
        self.is_closed = False
        self.publishes = False

    def notify(self, workspace_ids: Collection[UUID]) -> None:
        """Wake the followers of these workspaces; notify other processes, if any listens."""
        self._moved.update(workspace_ids)
        if self._followers:
            for workspace_id in workspace_ids:
                for follower in self._followers.get(workspace_id, ()):
                    follower.set()
        if self.publishes:
            self._to_publish.update(workspace_ids)
            if self._publishing is None:
                self._publishing = asyncio.create_task(self._publish())

    def take_moved(self) -> set[UUID]:
        """Return the workspaces that this process has changed since the last call."""
        moved, self._moved = self._moved, set()
        return moved

    def give_back(self, moved: Collection[UUID]) -> None:
        """Give back workspaces that were taken in vain, for the next call."""
        self._moved.update(moved)

    @contextmanager
    def subscribed(self, workspace_id: UUID) -> Generator[asyncio.Event]:
        """Yield an event that is set whenever the workspace's head moves, and when the server stops."""
        follower = asyncio.Event()
        if self.is_closed:
            follower.set()
        followers = self._followers.setdefault(workspace_id, set())
        followers.add(follower)
        try:
            yield follower
        finally:
            followers.discard(follower)
            if not followers and self._followers.get(workspace_id) is followers:
                del self._followers[workspace_id]
                self._seen.pop(workspace_id, None)

    def followers(self, workspace_id: UUID) -> int:
        """Return the number of followers of a workspace."""
        return len(self._followers.get(workspace_id, ()))

    async def poll(self) -> None:
        """Poll for commits of other processes, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            if self._to_publish and self._publishing is None:
                self._publishing = asyncio.create_task(self._publish())
            if not self._followers:
                continue
            # No error may end this loop: followers would never be woken again.
            try:
                heads = await fetch_of(self._pool, self._followers, "select id, seq from workspace where id = any($1)")
            except Exception as error:
                _log.warning("the heads of the ledgers could not be read; trying again", extra={"error": repr(error)})
                continue
            for workspace_id, seq in heads.records:
                if self._seen.get(workspace_id) != seq:
                    self._seen[workspace_id] = seq
                    for follower in self._followers.get(workspace_id, ()):
                        follower.set()

    def close(self) -> None:
        """Wake all followers for the last time, because the server stops."""
        self.is_closed = True
        for followers in self._followers.values():
            for follower in followers:
                follower.set()

    async def _publish(self) -> None:
        await asyncio.sleep(_TELL_AFTER_SECONDS)
        told, self._to_publish, self._publishing = [*self._to_publish], set(), None
        try:
            while told:
                payload = "".join(workspace_id.hex for workspace_id in told[-_MAX_NOTIFIED:])
                await self._pool.execute("select pg_notify('herdbook_heads', $1)", payload)
                del told[-_MAX_NOTIFIED:]
        except Exception as error:
            _log.warning("a notification could not be sent; trying again", extra={"error": repr(error)})
            self._to_publish.update(told)
