"""The courier, the delivery worker: finds endpoints with events to send, and delivers to them.

An endpoint is a reader of its workspace's ledger, with a position. A courier that finds entries after the position leases the
endpoint, reads on, and sends: events of one object one after another, events of different objects side by side. An event
that is delivered at the first attempt leaves no row; the position moves past it. A failed event gets a row with the time of
its next attempt, and does not hold up later events. A courier that dies therefore loses nothing: another reads on from the
position, and resends under the same ids the events delivered since the position was last stored.

It runs in its own process: a write never waits for a delivery, not even for its processor time.
"""

import asyncio
import logging
from collections.abc import Collection
from typing import Final
from uuid import UUID

import asyncpg

from herdbook.db.pool import CONNECTION_ERRORS
from herdbook.errors import Refusal
from herdbook.webhook_endpoints.model import EndpointKey
from herdbook.webhooks import delivery_store
from herdbook.webhooks.delivery import DeliveryContext, EndpointDelivery

_log: Final = logging.getLogger("herdbook.webhooks")
_LOOK_EVERY_SECONDS: Final = 1.0
_DRAIN_SECONDS: Final = 10.0


class Courier:
    """Delivers to all endpoints that it can lease."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._since = context.clock()
        self._rounds: dict[EndpointKey, EndpointDelivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Enabled endpoints by workspace, as of the last look.
        self._known: dict[UUID, list[EndpointKey]] = {}
        # Settled entries beyond the positions that ended rounds have stored.
        self._ahead: dict[EndpointKey, set[int]] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Look for work periodically until stopped."""
        while not self._stopping.is_set():
            try:
                await self.look()
            except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
                _log.warning("cannot look for deliveries; will retry", extra={"error": repr(error)})
            try:
                async with asyncio.timeout(_LOOK_EVERY_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Start delivery to every endpoint that has work now."""
        known: dict[UUID, list[EndpointKey]] = {}
        enabled = await delivery_store.enabled_endpoints(self._context.pool, self._context.holder, self._context.clock())
        for place, _ in enabled:
            known.setdefault(place.workspace_id, []).append(place)
        self._known = known
        for place, has_work in enabled:
            if has_work:
                self._begin(place)

    def moved(self, workspace_ids: Collection[UUID]) -> None:
        """Start delivery to the endpoints of workspaces whose ledgers have new entries."""
        for workspace_id in workspace_ids:
            for place in self._known.get(workspace_id, ()):
                self._begin(place)

    async def settled(self) -> None:
        """Wait until all running rounds end."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Start nothing new, finish the events already loaded, and give the leases back."""
        self._stopping.set()
        for each in self._rounds.values():
            each.is_stopping = True
            each.wake.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_DRAIN_SECONDS)
            for task in late:
                task.cancel()

    def _begin(self, place: EndpointKey) -> None:
        current = self._rounds.get(place)
        if current is not None:
            current.wake.set()
        elif not self._stopping.is_set():
            self._rounds[place] = EndpointDelivery(self._context, place, self._ahead.setdefault(place, set()), self._since)
            task = asyncio.create_task(self._go(self._rounds[place]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _go(self, round_: EndpointDelivery) -> None:
        try:
            await round_.go()
        except (*CONNECTION_ERRORS, asyncpg.PostgresError, Refusal) as error:
            _log.warning("deliveries are interrupted: the database is unavailable", extra={"error": repr(error)})
        except Exception:
            _log.exception("deliveries are interrupted")
        finally:
            del self._rounds[round_.place]
            if not round_.ahead:
                self._ahead.pop(round_.place, None)
            if round_.is_outdated:
                self._begin(round_.place)
