"""The pages of the request log: the list, and one request with what came of it."""

import asyncio
from typing import Any, Final, NamedTuple
from uuid import UUID

from herdbook import ids
from herdbook.auth.keys import CLIENT_PREFIX, PREFIX
from herdbook.auth.scopes import ADMIN
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Redirect, Shown
from herdbook.console.visit import Listed, MergedInto, Refused, Visit
from herdbook.errors import NotFound
from herdbook.object_types import OBJECT_TYPES
from herdbook.request_log import store
from herdbook.request_log.model import LoggedRequest, MadeChange, RequestFilter
from herdbook.users.model import User
from herdbook.webhook_endpoints.model import WebhookEndpoint
from herdbook.webhooks.events import event_id, event_type, seq_of
from herdbook.webhooks.model import FullDelivery

_REQUESTS: Final = f"{BASE}/requests"
_LIMIT: Final = 50
# A page shows so many changes of a request, and looks for their deliveries at so many endpoints.
_MOST_CHANGES: Final = 20
_MOST_ENDPOINTS: Final = 25
_LAST: Final = UUID(int=2**128 - 1)
# The first and the last status of each choice.
_STATUSES: Final = {"2xx": (200, 299), "3xx": (300, 399), "4xx": (400, 499), "5xx": (500, 599)}
_PAGES_OF: Final = {"contact": "contacts", "company": "companies"}


class ShownDelivery(NamedTuple):
    """The delivery of an event to an endpoint."""

    endpoint: WebhookEndpoint
    delivery: FullDelivery


class ShownChange(NamedTuple):
    """A change with the path of its object's page, if there is one, and the event that it became, if any."""

    change: MadeChange
    noun: str
    action: str
    object_id: str
    page: str | None
    event_id: str
    event_type: str | None
    deliveries: list[ShownDelivery]


_ACTIONS: Final = {"c": "created", "u": "updated", "d": "deleted", "r": "restored", "x": "erased"}


async def show_requests(visit: Visit) -> PageAnswer:
    """Show the latest requests, of one key, path or status if asked for. The id of a request or an event leads to its page."""
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    sought = visit.query.get("find", "").strip()
    if (found := await _named(visit, sought)) is not None:
        return Redirect(f"{_REQUESTS}/{ids.encoded(ids.REQUEST, found)}")
    key = visit.query.get("key", "")
    status = visit.query.get("status", "")
    wanted = RequestFilter(_credential(key), sought or None, _statuses(status))
    before = ids.decoded(ids.REQUEST, visit.query.get("before", "")) or _LAST
    requests = await store.page(pool, workspace_id, wanted, before, _LIMIT + 1)
    shown = requests[:_LIMIT]
    context: dict[str, Any] = {
        "requests": shown,
        "authors": await _authors(visit, shown),
        "find": sought,
        "key": key,
        "status": status,
        "statuses": _STATUSES,
        "hours": visit.services.request_log_hours,
        "next": visit.here(before=shown[-1].shown_id) if len(requests) > _LIMIT else None,
        "is_filtered": bool(sought or key or status),
    }
    return Shown(context)


async def show_request(visit: Visit, shown_id: str) -> Shown:
    """Show a request, the changes that it made, the events that they became, and their deliveries. Refusal: NotFound."""
    pool, workspace_id = visit.services.database.pool, visit.session.stored.workspace_id
    request_id = ids.decoded(ids.REQUEST, shown_id) or ids.NIL
    request = await store.find(pool, workspace_id, request_id)
    changes = await store.changes_of(pool, workspace_id, request_id, _MOST_CHANGES + 1)
    if request is None and not changes:
        raise NotFound("request", "It may be too old. Requests that were refused without a valid key are not kept.")
    endpoints: tuple[WebhookEndpoint, ...] = ()
    if changes:
        query = {"limit": str(_MOST_ENDPOINTS)}
        endpoints = (await visit.call("list-webhook-endpoints", Listed[WebhookEndpoint], query=query)).value.data
    shown = await asyncio.gather(*(_shown(visit, each, endpoints) for each in changes[:_MOST_CHANGES]))
    context: dict[str, Any] = {
        "request": request,
        "shown_id": shown_id,
        "authors": await _authors(visit, [request] if request is not None else []),
        "changes": shown,
        "has_more": len(changes) > _MOST_CHANGES,
        "curl": None if request is None or not request.path.startswith("/api/") else _curl(visit.origin, request),
    }
    return Shown(context)


async def _named(visit: Visit, sought: str) -> UUID | None:
    """Return the request with an id, or the one that an event came from."""
    if (seq := seq_of(sought)) is not None:
        return await store.request_of_entry(visit.services.database.pool, visit.session.stored.workspace_id, seq)
    return ids.decoded(ids.REQUEST, sought)


def _credential(text: str) -> UUID | None:
    """Return the credential that a text names: none has the nil id."""
    head = text.strip().partition(".")[0]
    if not head:
        return None
    found = (ids.decoded(prefix, head) for prefix in (ids.CREDENTIAL, CLIENT_PREFIX, PREFIX))
    return next((each for each in found if each is not None), ids.NIL)


def _statuses(text: str) -> tuple[int, int]:
    if text in _STATUSES:
        return _STATUSES[text]
    return (int(text), int(text)) if text.isascii() and text.isdecimal() and len(text) == 3 else (0, 999)


async def _authors(visit: Visit, requests: list[LoggedRequest]) -> dict[str, User]:
    """Return the users for whom requests acted, by their ids."""
    return await visit.each("get-user-by-id", User, [ids.encoded(ids.USER, each.user_id) for each in requests if each.user_id])


async def _shown(visit: Visit, change: MadeChange, endpoints: tuple[WebhookEndpoint, ...]) -> ShownChange:
    kind = OBJECT_TYPES.of(change.kind_action[0])
    object_id = ids.encoded(kind.prefix, change.object_id)
    event, type_ = event_id(visit.session.stored.workspace_id, change.seq, change.at), None
    deliveries: list[ShownDelivery] = []
    if (type_ := event_type(OBJECT_TYPES, change.kind_action)) is not None:
        found = await asyncio.gather(*(_delivery(visit, endpoint, event) for endpoint in endpoints))
        deliveries = [each for each in found if each is not None]
    page = f"{BASE}/{_PAGES_OF[kind.name]}/{object_id}" if kind.name in _PAGES_OF else None
    return ShownChange(change, kind.noun, _ACTIONS[change.kind_action[1]], object_id, page, event, type_, deliveries)


async def _delivery(visit: Visit, endpoint: WebhookEndpoint, event: str) -> ShownDelivery | None:
    try:
        return ShownDelivery(endpoint, (await visit.call("get-webhook-delivery", FullDelivery, endpoint.id, event)).value)
    except (Refused, MergedInto):
        return None


def _curl(origin: str, request: LoggedRequest) -> str:
    """Return a command that sends the request again. Its body and the values of its parameters are not kept."""
    query = "" if request.query is None else "?" + "&".join(f"{name}=..." for name in request.query.split("&"))
    body = "" if request.method in ("GET", "HEAD", "DELETE") else " \\\n  --json '{}'"
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
