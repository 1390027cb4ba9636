"""The pages of the request log: the list, and one request with what came of it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Redirect, Shown, path_of
from herdbook.console.visit import Listed, MergedInto, Refused, Visit
from herdbook.history.deeds import can_be_undone
from herdbook.history.model import HistoryAction
from herdbook.object_types import OBJECT_TYPES
from herdbook.request_log import store
from herdbook.request_log.model import LoggedRequest, MadeChange, RequestWithChanges
from herdbook.users.model import User
from herdbook.webhook_endpoints.model import WebhookEndpoint
from herdbook.webhooks.events import seq_of
from herdbook.webhooks.model import FullDelivery

_REQUESTS: Final = f"{BASE}/requests"
_LIMIT: Final = 50
# A page looks for the deliveries of each change at so many endpoints.
_MOST_ENDPOINTS: Final = 25
_STATUSES: Final = ("2xx", "3xx", "4xx", "5xx")


class ShownDelivery(NamedTuple):
    """The delivery of an event to an endpoint."""

    endpoint: WebhookEndpoint
    delivery: FullDelivery


class ShownChange(NamedTuple):
    """A change with the noun of its object and the path of its page, if there is one, and the deliveries of its event."""

    change: MadeChange
    noun: str
    page: str | None
    deliveries: list[ShownDelivery]


async def show_requests(visit: Visit) -> PageAnswer:
    """Show the latest requests, of one key, path or status if asked for. The id of a request or an event leads to its page."""
    sought = visit.query.get("find", "").strip()
    if (found := await _named(visit, sought)) is not None:
        return Redirect(f"{_REQUESTS}/{ids.encoded(ids.REQUEST, found)}")
    asked = {"path": sought} | {name: visit.query.get(name, "").strip() for name in ("key", "status", "cursor")}
    query = {"limit": str(_LIMIT)} | {name: text for name, text in asked.items() if text}
    listed, problem = Listed[LoggedRequest]((), has_more=False, next_cursor=None), None
    try:
        listed = (await visit.call("list-requests", Listed[LoggedRequest], query=query)).value
    except Refused as refused:
        if refused.problem.status != 400:
            raise
        problem = refused.problem
    context: dict[str, Any] = {
        "requests": listed.data,
        "problem": problem,
        "authors": await _authors(visit, listed.data),
        "find": sought,
        "key": asked["key"],
        "status": asked["status"],
        "statuses": _STATUSES,
        "hours": visit.services.request_log_hours,
        "next": visit.next_page(listed.next_cursor) if listed.has_more else None,
        "is_filtered": len(query) > 1,
    }
    return Shown(context, 200 if problem is None else problem.status)


async def show_request(visit: Visit, request_id: str) -> Shown:
    """Show a request, the changes that it made, the events that they became, and their deliveries. Refusal: NotFound."""
    found = (await visit.call("get-request-by-id", RequestWithChanges, request_id)).value
    endpoints: tuple[WebhookEndpoint, ...] = ()
    if found.changes:
        query = {"limit": str(_MOST_ENDPOINTS)}
        endpoints = (await visit.call("list-webhook-endpoints", Listed[WebhookEndpoint], query=query)).value.data
    shown = await asyncio.gather(*(_shown(visit, each, endpoints) for each in found.changes))
    request = found.logged
    context: dict[str, Any] = {
        "request": request,
        "shown_id": request_id,
        "authors": await _authors(visit, [request] if request is not None else []),
        "changes": shown,
        "may_undo": any(
            can_be_undone(each.object_type, visit.session.may) and each.action is not HistoryAction.ERASED
            for each in found.changes
        ),
        "has_more": found.has_more_changes,
        "lacks_body": request is not None and _may_have_body(request),
        "curl": None if request is None or not request.path.startswith("/api/") else _curl(visit.origin, request),
    }
    return Shown(context)


async def _named(visit: Visit, sought: str) -> UUID | None:
    """Return the request with an id, or the one that an event came from."""
    if (seq := seq_of(sought)) is not None:
        return await store.request_of_entry(visit.services.database.pool, visit.session.stored.workspace_id, seq)
    return ids.decoded(ids.REQUEST, sought)


async def _authors(visit: Visit, requests: Sequence[LoggedRequest]) -> dict[str, User]:
    """Return the users for whom requests acted, by their ids."""
    return await visit.each("get-user-by-id", User, [each.by.user_id for each in requests if each.by.user_id])


async def _shown(visit: Visit, change: MadeChange, endpoints: tuple[WebhookEndpoint, ...]) -> ShownChange:
    deliveries: list[ShownDelivery] = []
    if (event := change.event_id) is not None:
        found = await asyncio.gather(*(_delivery(visit, endpoint, event) for endpoint in endpoints))
        deliveries = [each for each in found if each is not None]
    page = path_of(change.object_type, change.object_id)
    return ShownChange(change, OBJECT_TYPES.named(change.object_type).noun, page, deliveries)


async def _delivery(visit: Visit, endpoint: WebhookEndpoint, event: str) -> ShownDelivery | None:
    try:
        return ShownDelivery(endpoint, (await visit.call("get-webhook-delivery", FullDelivery, endpoint.id, event)).value)
    except (Refused, MergedInto):
        return None


def _may_have_body(request: LoggedRequest) -> bool:
    return request.method not in ("GET", "HEAD", "DELETE")


def _curl(origin: str, request: LoggedRequest) -> str:
    """Return a command that sends the request again, with placeholders for its body and the values of its parameters.

    Neither is kept.
    """
    query = "?" + "&".join(f"{name}=..." for name in request.parameters) if request.parameters else ""
    body = " \\\n  --json @body.json" if _may_have_body(request) else ""
    return (
        f"curl -g -X {request.method} '{origin}{request.path}{query}' \\\n"
        f'  -H "Authorization: Bearer $HERDBOOK_API_KEY"{body}'
    )


PAGES: Final = (
    Page(
        method="GET",
        path="/requests",
        id="show-requests",
        scopes=(ADMIN,),
        handler=show_requests,
        template="request_log/list.html",
        menu=MenuItem("Requests", "menu"),
    ),
    Page(
        method="GET",
        path="/requests/{request_id}",
        id="show-request",
        scopes=(ADMIN,),
        handler=show_request,
        template="request_log/request.html",
    ),
)
