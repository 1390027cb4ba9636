"""The page /metrics: what the server counted, and what it looks up when it is asked."""

import asyncio
import logging
import os
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

_log: Final = logging.getLogger("herdbook.app")
_PATIENCE_SECONDS: Final = 2.0


class MetricsPage:
    """Shows the metrics of a server with these connections. `data_dir` is the folder of the embedded database, if any."""

    def __init__(self, pools: Sequence[Pool], data_dir: Path | None) -> None:
        self._pools = pools
        self._folder = CollectorRegistry()
        if data_dir is not None:
            self._folder.register(FolderCollector(data_dir))

    async def get(self, _: Request) -> Response:
        """Answer with all metrics."""
        idle = sum(pool.get_idle_size() for pool in self._pools)
        metrics.POOL_CONNECTIONS.labels("idle").set(idle)
        metrics.POOL_CONNECTIONS.labels("busy").set(sum(pool.get_size() for pool in self._pools) - idle)
        await _look_at_webhooks(self._pools[0])
        registry = REGISTRY
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # pyright: ignore[reportUnknownMemberType]  # it is not annotated
        return Response(generate_latest(registry) + generate_latest(self._folder), media_type=CONTENT_TYPE_LATEST)


async def _look_at_webhooks(pool: Pool) -> None:
    """Update the metrics of webhooks; they are unknown while the database is away."""
    totals = webhooks_store.UNKNOWN
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            totals = await webhooks_store.totals(pool)
    except Exception as error:
        _log.warning("webhooks cannot be measured", extra={"error": repr(error)})
    for state in ("enabled", "failing", "disabled"):
        metrics.WEBHOOK_ENDPOINTS.labels(state).set(getattr(totals, state))
    metrics.WEBHOOK_ENTRIES_BEHIND.set(totals.behind)
    metrics.WEBHOOK_DELIVERIES_WAITING.set(totals.waiting)
    for outcome in ("delivered", "failed"):
        metrics.WEBHOOK_DELIVERIES.labels(outcome).set(getattr(totals, outcome))
