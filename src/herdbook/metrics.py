"""The metrics of the server, for Prometheus (https://prometheus.io/docs/practices/naming/)."""

import os
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.multiprocess import mark_process_dead  # pyright: ignore[reportUnknownVariableType]  # not annotated

_FAST: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUESTS: Final = Counter("herdbook_requests", "Requests answered.", ["operation", "status"])
REQUEST_SECONDS: Final = Histogram(
    "herdbook_request_duration_seconds", "Time from the head of a request to its answer.", ["operation"], buckets=_FAST
)
CONNECTIONS_CLOSED: Final = Counter(
    "herdbook_connections_closed", "Connections that were closed or refused because of the limit on connections."
)
LOG_LINES_DROPPED: Final = Counter(
    "herdbook_log_lines_dropped", "Log lines that were dropped because standard error was not read fast enough."
)
REQUESTS_NOT_LOGGED: Final = Counter(
    "herdbook_request_log_dropped",
    "Requests that the request log lacks, because there were too many, or the database was away.",
)
BATCH_COMMANDS: Final = Histogram(
    "herdbook_ledger_batch_commands", "Commands in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
BATCH_WORKSPACES: Final = Histogram(
    "herdbook_ledger_batch_workspaces", "Workspaces in a batch.", buckets=(1, 2, 4, 8, 16, 32, 64)
)
WAIT_SECONDS: Final = Histogram(
    "herdbook_ledger_wait_seconds", "How long the oldest command of a batch waited before it began.", buckets=_FAST
)
COMMIT_SECONDS: Final = Histogram(
    "herdbook_ledger_commit_seconds", "How long loading, applying, saving and committing a batch took.", buckets=_FAST
)
LATE_BATCHES: Final = Counter(
    "herdbook_ledger_late_batches", "Batches that found a workspace changed by another process, and started again with a lock."
)
FAILED_BATCHES: Final = Counter(
    "herdbook_ledger_failed_batches",
    "Attempts at batches that failed because the database was away or accepted no writes.",
    ["error"],
)
WRITES_FAIL: Final = Gauge(
    "herdbook_ledger_writes_fail",
    "1 after the database failed a write, until a write succeeds; otherwise 0.",
    multiprocess_mode="livemax",
)
AHEAD_SECONDS: Final = Gauge(
    "herdbook_ledger_ahead_seconds",
    "How far the last change of a workspace was ahead of the database's clock, when it was last more than a minute.",
    multiprocess_mode="livemax",
)
QUEUE_LENGTH: Final = Gauge("herdbook_ledger_queue_length", "Commands that wait for a batch.", multiprocess_mode="livesum")
POOL_CONNECTIONS: Final = Gauge(
    "herdbook_pool_connections", "Open connections to the database.", ["state"], multiprocess_mode="livesum"
)
# The following come from the database, so every worker finds the same values.
WEBHOOK_ENDPOINTS: Final = Gauge(
    "herdbook_webhook_endpoints",
    "Webhook endpoints: enabled ones that accept deliveries, enabled ones that fail, and disabled ones.",
    ["state"],
    multiprocess_mode="livemostrecent",
)
WEBHOOK_ENTRIES_BEHIND: Final = Gauge(
    "herdbook_webhook_entries_behind",
    "Changes that enabled webhook endpoints have not yet reached, summed over the endpoints.",
    multiprocess_mode="livemostrecent",
)
WEBHOOK_DELIVERIES_WAITING: Final = Gauge(
    "herdbook_webhook_deliveries_waiting", "Deliveries that wait for another attempt.", multiprocess_mode="livemostrecent"
)
WEBHOOK_DELIVERIES: Final = Gauge(
    "herdbook_webhook_deliveries",
    "Delivery attempts at webhook endpoints, without deleted endpoints.",
    ["outcome"],
    multiprocess_mode="livemostrecent",
)

_request_counters: Final[dict[tuple[str, int], tuple[Counter, Histogram]]] = {}


def forget_dead_workers() -> None:
    """Remove the gauges of killed workers from the sums."""
    files = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*.db")
    for pid in {int(file.stem.rpartition("_")[2]) for file in files}:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)


def count_request(operation: str, status: int, seconds: float) -> None:
    """Count an answered request, and observe its duration."""
    pair = _request_counters.get((operation, status))
    if pair is None:
        # Cache the child, because `labels` looks it up under a lock each time.
        pair = REQUESTS.labels(operation, status), REQUEST_SECONDS.labels(operation)
        _request_counters[operation, status] = pair
    pair[0].inc()
    pair[1].observe(seconds)


def count_refused(status: int) -> None:
    """Count a request that was refused before its operation was known."""
    REQUESTS.labels("none", status).inc()
