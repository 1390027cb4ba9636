"""The status page: the database, the queue, the backlog of webhooks, the disk, the version, and work that is under way."""

import asyncio
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from herdbook.auth.scopes import ADMIN
from herdbook.console.page import MenuItem, Page, Shown
from herdbook.console.visit import Listed, Visit
from herdbook.db.migrate import missing, unknown
from herdbook.disk import RESERVED_BYTES
from herdbook.status import store
from herdbook.webhook_endpoints.model import WebhookEndpoint
from herdbook.webhooks.model import WebhookStatus

_MOST_ENDPOINTS: Final = 100
# The tasks, as the page names them.
TASKS: Final = {
    "convert_values": "Fields whose values are converted",
    "erase": "Erasures",
    "move": "Merges of contacts",
    "move_company": "Merges of companies",
    "release": "Deleted companies that contacts still name",
    "uncomment": "Deleted engagements whose comments are still there",
}


class Backlog(NamedTuple):
    """The webhooks of a workspace: how many are enabled and fail, and what waits for them."""

    enabled: int
    failing: int
    behind: int
    waiting: int


async def show_status(visit: Visit) -> Shown:
    """Show the status of the server and of the person's workspace."""
    services, workspace_id = visit.services, visit.session.stored.workspace_id
    pool = services.database.pool
    facts, lacking, newer, under_way, room, backlog = await asyncio.gather(
        store.database_facts(pool),
        missing(pool),
        unknown(pool),
        store.tasks_under_way(pool, workspace_id),
        services.disk.room(),
        _backlog(visit),
    )
    trouble = services.ledger.trouble
    context: dict[str, Any] = {
        "version": version("herdbook"),
        "database": facts,
        "lacking": lacking,
        "newer": newer,
        "writes_fail": trouble is not None,
        "waiting": services.ledger.waiting_in(workspace_id),
        "backlog": backlog,
        "room": room,
        "is_full": services.disk.is_full,
        "reserved": RESERVED_BYTES,
        "under_way": {TASKS.get(task, task): count for task, count in under_way.items()},
        "size": _size,
    }
    return Shown(context)


async def _backlog(visit: Visit) -> Backlog:
    query = {"limit": str(_MOST_ENDPOINTS)}
    endpoints = (await visit.call("list-webhook-endpoints", Listed[WebhookEndpoint], query=query)).value.data
    enabled = [each.id for each in endpoints if each.is_enabled]
    states = (await visit.each("get-webhook-endpoint-status", WebhookStatus, enabled)).values()
    return Backlog(
        len(enabled),
        sum(each.failing_since is not None for each in states),
        sum(each.behind for each in states),
        sum(each.waiting for each in states),
    )


def _size(count: float) -> str:
    """Return a number of bytes in the greatest unit of which there is one at least."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


PAGES: Final = (
    Page(
        method="GET",
        path="/status",
        id="show-status",
        scopes=(ADMIN,),
        handler=show_status,
        template="status/status.html",
        menu=MenuItem("Status", "pulse"),
    ),
)
