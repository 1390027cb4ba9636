"""The page /metrics: what the server counted, and what it looks up when it is asked."""

import asyncio
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response

from herdbook import metrics
from herdbook.db.pool import Pool
from herdbook.disk import FolderCollector
from herdbook.webhooks import store as webhooks_store
from herdbook.webhooks.store import Totals

_log: Final = logging.getLogger("herdbook.app")
_PATIENCE_SECONDS: Final = 2.0
# Up to this many endpoints are all added up for each answer. If there are more, that is done once an hour, and each answer adds
# up those at work.
_ADDED_UP: Final = 1000
_HOUR_SECONDS: Final = 3600.0


class MetricsPage:
    """Shows the metrics of a server with these connections. `data_dir` is the folder of the embedded database, if any."""

    def __init__(self, pools: Sequence[Pool], data_dir: Path | None) -> None:
        self._pools = pools
        self._added_up = (0.0, webhooks_store.UNKNOWN)
        self._folder = CollectorRegistry()
        if data_dir is not None:
            self._folder.register(FolderCollector(data_dir))

    async def get(self, _: Request) -> Response:
        """Answer with all metrics."""
        idle = sum(pool.get_idle_size() for pool in self._pools)
        metrics.POOL_CONNECTIONS.labels("idle").set(idle)
        metrics.POOL_CONNECTIONS.labels("busy").set(sum(pool.get_size() for pool in self._pools) - idle)
        await self._look_at_webhooks()
        registry = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # pyright: ignore[reportUnknownMemberType]  # it is not annotated
        return Response(generate_latest(registry) + generate_latest(self._folder), media_type=CONTENT_TYPE_LATEST)

    async def _look_at_webhooks(self) -> None:
        """Update the metrics of webhooks; they are unknown while the database is away."""
        totals = webhooks_store.UNKNOWN
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                totals = await self._totals()
        except Exception as error:
            _log.warning("webhooks cannot be measured", extra={"error": repr(error)})
        for state in ("enabled", "failing", "disabled"):
            metrics.WEBHOOK_ENDPOINTS.labels(state).set(getattr(totals, state))
        metrics.WEBHOOK_ENTRIES_BEHIND.set(totals.behind)
        metrics.WEBHOOK_DELIVERIES_WAITING.set(totals.waiting)
        for outcome in ("delivered", "failed"):
            metrics.WEBHOOK_DELIVERIES.labels(outcome).set(getattr(totals, outcome))

    async def _totals(self) -> Totals:
        pool = self._pools[0]
        until, totals = self._added_up
        if time.monotonic() >= until:
            totals = await webhooks_store.totals(pool)
            if totals.enabled + totals.failing + totals.disabled > _ADDED_UP:
                self._added_up = (time.monotonic() + _HOUR_SECONDS, totals)
            return totals
        failing, behind, waiting = await webhooks_store.totals_at_work(pool)
        well = totals.enabled + totals.failing - failing
        return totals._replace(enabled=well, failing=failing, behind=behind, waiting=waiting)
