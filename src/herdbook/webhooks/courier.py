"""The courier, the delivery worker: finds endpoints with events to send, and delivers to them.

An endpoint is a reader of its workspace's ledger, with a position. A courier that finds entries after the position leases the
endpoint, reads on, and sends: events of one object one after another, events of different objects side by side. An event
that is delivered at the first attempt leaves no row; the position moves past it. A failed event gets a row with the time of
its next attempt, and does not hold up later events. A courier that dies therefore loses nothing: another reads on from the
position, and resends under the same ids the events delivered since the position was last stored.

There may be very many endpoints, and most have nothing to do. A courier therefore looks where it is told that a ledger has
moved, and once a second where something fell due, where leases may have ended, and where notifications may have been lost.
It looks at all endpoints when it starts, when it begins to listen, and once an hour.

It runs in its own process: a write never waits for a delivery, not even for its processor time.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Collection, Coroutine
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from herdbook import ids, sources
from herdbook.db.pool import CONNECTION_ERRORS
from herdbook.errors import Refusal
from herdbook.webhook_endpoints.model import EndpointKey
from herdbook.webhooks import delivery_store
from herdbook.webhooks.delivery import DeliveryContext, EndpointDelivery

_log: Final = logging.getLogger("herdbook.webhooks")
_LOOK_EVERY_SECONDS: Final = 1.0
_LOOK_AT_ALL_EVERY_SECONDS: Final = 3600.0
# Looks at workspaces that have moved come no faster one after another; rounds that are under way do not wait for them.
_BREATHER_SECONDS: Final = 0.02
# How long before the last look a retry may have fallen due that was not committed then, or was due by another server's clock.
_LATE_RETRY: Final = timedelta(minutes=1)
# How long before the last look a request may have arrived whose entries were not committed then.
_LATE_REQUEST: Final = timedelta(seconds=2)
_DRAIN_SECONDS: Final = 10.0


class Courier:
    """Delivers to all endpoints that it can lease."""

    def __init__(self, context: DeliveryContext) -> None:
        self._context = context
        self._since = context.clock()
        # By workspace.
        self._rounds: dict[UUID, dict[EndpointKey, EndpointDelivery]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Settled entries beyond the positions that ended rounds have stored.
        self._ahead: dict[EndpointKey, set[int]] = {}
        self._stopping = asyncio.Event()
        self._moved: set[UUID] = set()
        # Those of looks that have not seen all, because a node was away.
        self._unseen: set[UUID] = set()
        self._looking: asyncio.Task[None] | None = None
        self._look_at_all_at = 0.0
        # The last look: by the clock of deliveries, and by the one that ids are made by.
        self._looked = (self._since, sources.now())

    async def run(self) -> None:
        """Look for work periodically until stopped."""
        while not self._stopping.is_set():
            await self._tried(self.look() if time.monotonic() >= self._look_at_all_at else self.look_at_some())
            try:
                async with asyncio.timeout(_LOOK_EVERY_SECONDS):
                    await self._stopping.wait()
            except TimeoutError:
                continue

    async def look(self) -> None:
        """Start delivery to every endpoint that has work now, after a look at each."""
        looked, next_at = (self._context.clock(), sources.now()), time.monotonic() + _LOOK_AT_ALL_EVERY_SECONDS
        # If another one is asked for meanwhile, it comes.
        self._look_at_all_at = next_at
        is_all = False
        try:
            is_all = await self._begin_where_work_is(None)
        finally:
            if not is_all:
                self._look_at_all_at = 0.0
        self._looked = looked

    async def look_at_some(self) -> None:
        """Start delivery where something may have come to be delivered since the last look, and look at no other endpoint."""
        looked = (self._context.clock(), sources.now())
        workspace_ids, is_all = await delivery_store.workspaces_to_look_at(
            self._context.pool, self._looked[0] - _LATE_RETRY, looked[0], ids.least_id(self._looked[1] - _LATE_REQUEST)
        )
        unseen, self._unseen = self._unseen, set()
        if unseen or workspace_ids:
            is_all = await self._begin_where_work_is(unseen.union(workspace_ids)) and is_all
        # A later look finds what fell due on a node that was away.
        if is_all:
            self._looked = looked

    def missed(self) -> None:
        """Look at all endpoints again, because notifications may have been missed."""
        self._look_at_all_at = 0.0

    def moved(self, workspace_ids: Collection[UUID]) -> None:
        """Start delivery to the endpoints of workspaces whose ledgers have new entries."""
        for workspace_id in workspace_ids:
            for current in self._rounds.get(workspace_id, {}).values():
                current.wake.set()
        self._moved.update(workspace_ids)
        if self._looking is None and self._moved and not self._stopping.is_set():
            self._looking = self._keep(self._look_at_moved())

    async def _look_at_moved(self) -> None:
        """Look at workspaces that have moved, and at those that move meanwhile: a look may be at many."""
        try:
            while self._moved:
                moved, self._moved = self._moved, set()
                await self._tried(self._begin_where_work_is(moved))
                await asyncio.sleep(_BREATHER_SECONDS)
        finally:
            self._looking = None

    async def _tried(self, look: Awaitable[object]) -> None:
        try:
            await look
        except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
            _log.warning("cannot look for deliveries; will retry", extra={"error": repr(error)})

    async def _begin_where_work_is(self, workspace_ids: Collection[UUID] | None) -> bool:
        """Start delivery to the endpoints that have work now, of all workspaces or of these.

        Return whether no node was away.
        """
        context = self._context
        is_all = False
        try:
            places, is_all = await delivery_store.endpoints_with_work(
                context.pool, context.holder, context.clock(), workspace_ids
            )
        finally:
            if not is_all:
                self._unseen.update(workspace_ids or ())
        for place in places:
            self._begin(place)
        return is_all

    async def settled(self) -> None:
        """Wait until all running rounds end."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def stop(self) -> None:
        """Start nothing new, finish the events already loaded, and give the leases back."""
        self._stopping.set()
        for rounds in self._rounds.values():
            for each in rounds.values():
                each.is_stopping = True
                each.wake.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_DRAIN_SECONDS)
            for task in late:
                task.cancel()

    def _begin(self, place: EndpointKey) -> None:
        current = self._rounds.get(place.workspace_id, {}).get(place)
        if current is not None:
            current.wake.set()
        elif not self._stopping.is_set():
            begun = EndpointDelivery(self._context, place, self._ahead.setdefault(place, set()), self._since)
            self._rounds.setdefault(place.workspace_id, {})[place] = begun
            self._keep(self._go(begun))

    def _keep(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _go(self, round_: EndpointDelivery) -> None:
        try:
            await round_.go()
        except (*CONNECTION_ERRORS, asyncpg.PostgresError, Refusal) as error:
            _log.warning("deliveries are interrupted: the database is unavailable", extra={"error": repr(error)})
        except Exception:
            _log.exception("deliveries are interrupted")
        finally:
            rounds = self._rounds[round_.place.workspace_id]
            del rounds[round_.place]
            if not rounds:
                del self._rounds[round_.place.workspace_id]
            if not round_.ahead:
                self._ahead.pop(round_.place, None)
            if round_.is_outdated:
                self._begin(round_.place)
