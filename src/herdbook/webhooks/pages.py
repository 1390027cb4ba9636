"""The pages of webhooks: endpoints, their secrets, and their deliveries."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from msgspec import UNSET

from herdbook import sources
from herdbook.auth.scopes import ADMIN
from herdbook.console.conflicts import Theirs, theirs
from herdbook.console.page import BASE, MenuItem, Page, PageAnswer, Shown
from herdbook.console.visit import Listed, Refused, Visit
from herdbook.custom_fields.telling import ToldEntry, changed_since
from herdbook.http.problems import Problem
from herdbook.shared_schemas import Deleted, shown_time
from herdbook.webhook_endpoints.model import (
    EnabledWebhookEndpoint,
    EventType,
    WebhookEndpoint,
    WebhookEndpointWithSecret,
    WebhookSecret,
)
from herdbook.webhook_endpoints.store import WEBHOOK_ENDPOINT
from herdbook.webhooks.model import Attempt, Delivery, DeliveryState, FullDelivery, Resent, WebhookStatus

_WEBHOOKS: Final = f"{BASE}/webhooks"
_LIMIT: Final = 25
# How far back "resend all failed" reaches, in hours.
_SINCE: Final = {"1": "the last hour", "24": "the last day", "168": "the last week"}


async def show_endpoints(visit: Visit) -> Shown:
    """Show the endpoints, with the health of each."""
    query = {"limit": str(_LIMIT)} | ({"cursor": visit.query["cursor"]} if visit.query.get("cursor") else {})
    listed = (await visit.call("list-webhook-endpoints", Listed[WebhookEndpoint], query=query)).value
    healths = await visit.each("get-webhook-endpoint-status", WebhookStatus, [each.id for each in listed.data])
    context: dict[str, Any] = {
        "endpoints": listed.data,
        "healths": healths,
        "next": visit.next_page(listed.next_cursor) if listed.next_cursor else None,
        "is_first": not visit.query.get("cursor"),
    }
    return Shown(context)


async def show_new_endpoint(visit: Visit, problem: Problem | None = None) -> Shown:
    """Show the form of a new endpoint."""
    return _form(visit, None, problem)


def _form(  # the parts of the form, and of what is in its way
    visit: Visit,
    endpoint: WebhookEndpoint | None,
    problem: Problem | None,
    version: int | str | None = None,
    since: Sequence[ToldEntry] = (),
) -> Shown:
    context: dict[str, Any] = {
        "endpoint": endpoint,
        "since": since,
        "version": version,
        "event_types": [each.value for each in EventType],
        "sent": visit.fields if problem is not None else None,
        "theirs": [] if endpoint is None else _theirs(visit, endpoint),
        "problem": problem,
        "created": None,
    }
    return Shown(context, 200 if problem is None else problem.status)


def _theirs(visit: Visit, endpoint: WebhookEndpoint) -> list[Theirs]:
    """Return what is stored of an endpoint and differs from the form."""
    sent = _body(visit)
    types = None if endpoint.event_types is None else [each.value for each in endpoint.event_types]
    return theirs(
        (
            ("Address", endpoint.url, sent["url"]),
            ("Description", endpoint.description or None, sent["description"] or ""),
            ("Events", _events(types), _events(sent["event_types"])),
            ("Events also show your own fields", _yes(endpoint.include_fields), _yes(sent["include_fields"])),
        )
    )


def _events(types: Sequence[str] | None) -> str:
    return "all" if types is None else ", ".join(sorted(types))


def _yes(is_so: bool) -> str:  # noqa: FBT001  # it says the value in words
    return "yes" if is_so else "no"


def _body(visit: Visit) -> dict[str, Any]:
    """Return the members of an endpoint in a form."""
    return {
        "url": visit.field("url").strip(),
        "description": visit.field("description").strip().replace("\r\n", "\n") or None,
        "event_types": visit.fields("event_type") if visit.field("events") == "some" else None,
        "include_fields": visit.field("include_fields") == "yes",
    }


async def create_endpoint(visit: Visit) -> PageAnswer:
    """Create an endpoint, and show its secret."""
    body = _body(visit)
    if body["description"] is None:
        del body["description"]
    try:
        created = await visit.call("create-webhook-endpoint", WebhookEndpointWithSecret, body=body)
    except Refused as refused:
        if refused.problem.status in (409, 422):
            return await show_new_endpoint(visit, refused.problem)
        raise
    return Shown({"created": created.value, "endpoint": None})


async def show_endpoint(visit: Visit, endpoint_id: str, since: Sequence[ToldEntry] | None = None) -> PageAnswer:
    """Show an endpoint: whether events reach it, and its deliveries, of one state if one is chosen.

    `since` is what was done to it since the page was shown that was to delete it.
    """
    state = visit.query.get("state", "")
    query = {"limit": str(_LIMIT)}
    if state in {each.value for each in DeliveryState}:
        query["state"] = state
    if visit.query.get("cursor"):
        query["cursor"] = visit.query["cursor"]
    endpoint, health, deliveries = await asyncio.gather(
        visit.call("get-webhook-endpoint", WebhookEndpoint, endpoint_id),
        visit.call("get-webhook-endpoint-status", WebhookStatus, endpoint_id),
        visit.call("list-webhook-deliveries", Listed[Delivery], endpoint_id, query=query),
    )
    listed = deliveries.value
    context: dict[str, Any] = {
        "endpoint": endpoint.value,
        "version": endpoint.version,
        "since": since,
        "health": health.value,
        "deliveries": listed.data,
        "next": visit.next_page(listed.next_cursor) if listed.next_cursor else None,
        "is_first": not visit.query.get("cursor"),
        "state": query.get("state", ""),
        "states": [each.value for each in DeliveryState],
        "event_types": [each.value for each in EventType],
        "periods": _SINCE,
    }
    return Shown(context, 200 if since is None else 412)


async def show_edited_endpoint(visit: Visit, endpoint_id: str, problem: Problem | None = None) -> PageAnswer:
    """Show the form of an endpoint."""
    endpoint = await visit.call("get-webhook-endpoint", WebhookEndpoint, endpoint_id)
    since = () if problem is None or problem.status != 412 else await _since(visit, endpoint_id)
    return _form(visit, endpoint.value, problem, endpoint.version, since)


async def _since(visit: Visit, endpoint_id: str) -> list[ToldEntry]:
    return await changed_since(visit, WEBHOOK_ENDPOINT.name, endpoint_id, version=visit.field("version"))


async def edit_endpoint(visit: Visit, endpoint_id: str) -> PageAnswer:
    """Change an endpoint, unless it was changed since the form was shown."""
    try:
        await visit.call(
            "update-webhook-endpoint", WebhookEndpoint, endpoint_id, body=_body(visit), if_version=visit.field("version")
        )
    except Refused as refused:
        if refused.problem.status in (409, 412, 422):
            return await show_edited_endpoint(visit, endpoint_id, refused.problem)
        raise
    return visit.redirect(f"{_WEBHOOKS}/{endpoint_id}", "Saved.")


async def enable_endpoint(visit: Visit, endpoint_id: str) -> PageAnswer:
    """Enable an endpoint, from the last event that it was sent or from now on."""
    body = {"from": "now" if visit.field("from") == "now" else "where_it_stopped"}
    enabled = (await visit.call("enable-webhook-endpoint", EnabledWebhookEndpoint, endpoint_id, body=body)).value
    said = "Enabled." if enabled.missed is UNSET else "Enabled. Some changes are no longer kept, and cannot be sent any more."
    return visit.redirect(f"{_WEBHOOKS}/{endpoint_id}", said)


async def disable_endpoint(visit: Visit, endpoint_id: str) -> PageAnswer:
    """Disable an endpoint."""
    await visit.call("disable-webhook-endpoint", WebhookEndpoint, endpoint_id)
    return visit.redirect(f"{_WEBHOOKS}/{endpoint_id}", "Disabled. No events are sent until you enable it again.")


async def delete_endpoint(visit: Visit, endpoint_id: str) -> PageAnswer:
    """Delete an endpoint, unless somebody has changed it since the page was shown."""
    try:
        await visit.call("delete-webhook-endpoint", Deleted, endpoint_id, if_version=visit.field("version") or None)
    except Refused as refused:
        if refused.problem.status != 412:
            raise
        return await show_endpoint(visit, endpoint_id, await _since(visit, endpoint_id))
    return visit.redirect(_WEBHOOKS, "The webhook was deleted.")


async def show_secret(visit: Visit, endpoint_id: str) -> PageAnswer:
    """Show the secret of an endpoint."""
    endpoint, secret = await asyncio.gather(
        visit.call("get-webhook-endpoint", WebhookEndpoint, endpoint_id),
        visit.call("get-webhook-secret", WebhookSecret, endpoint_id),
    )
    return Shown({"endpoint": endpoint.value, "secret": secret.value})


async def rotate_secret(visit: Visit, endpoint_id: str) -> PageAnswer:
    """Replace the secret of an endpoint. The former one signs for a day as well, unless it is given up at once."""
    body = {"overlap_seconds": 0} if visit.field("former") == "ends" else {}
    await visit.call("rotate-webhook-secret", WebhookSecret, endpoint_id, body=body)
    return visit.redirect(f"{_WEBHOOKS}/{endpoint_id}/secret", "The secret was replaced.")


async def test_endpoint(visit: Visit, endpoint_id: str) -> PageAnswer:
    """Send an example event, and show the attempt."""
    event_type = visit.field("type")
    endpoint = await visit.call("get-webhook-endpoint", WebhookEndpoint, endpoint_id)
    attempt = await visit.call("test-webhook-endpoint", Attempt, endpoint_id, body={"type": event_type})
    return Shown(
        {"endpoint": endpoint.value, "delivery": None, "attempts": [attempt.value], "type": event_type, "is_under_way": False}
    )


async def show_delivery(visit: Visit, endpoint_id: str, event_id: str) -> PageAnswer:
    """Show a delivery: its event, and the request and the answer of each attempt."""
    endpoint, delivery = await asyncio.gather(
        visit.call("get-webhook-endpoint", WebhookEndpoint, endpoint_id),
        visit.call("get-webhook-delivery", FullDelivery, endpoint_id, event_id),
    )
    attempts: Sequence[Attempt] = delivery.value.attempts[::-1]
    due_at = delivery.value.next_attempt_at
    is_due = delivery.value.state is DeliveryState.QUEUED or (due_at is not None and due_at <= shown_time(sources.now()))
    return Shown(
        {
            "endpoint": endpoint.value,
            "delivery": delivery.value,
            "attempts": attempts,
            "type": delivery.value.type.value,
            "is_under_way": endpoint.value.is_enabled and is_due,
        }
    )


async def resend_delivery(visit: Visit, endpoint_id: str, event_id: str) -> PageAnswer:
    """Send an event again."""
    await visit.call("resend-webhook-delivery", Delivery, endpoint_id, event_id)
    return visit.redirect(f"{_WEBHOOKS}/{endpoint_id}/deliveries/{event_id}", "It is sent again now.")


async def skip_delivery(visit: Visit, endpoint_id: str, event_id: str) -> PageAnswer:
    """Give up a delivery."""
    await visit.call("skip-webhook-delivery", Delivery, endpoint_id, event_id)
    return visit.redirect(f"{_WEBHOOKS}/{endpoint_id}/deliveries/{event_id}", "Skipped. It is not sent again.")


async def resend_failed(visit: Visit, endpoint_id: str) -> PageAnswer:
    """Send all events again that have failed for good within some hours."""
    hours = visit.field("hours") if visit.field("hours") in _SINCE else "24"
    since = sources.now() - timedelta(hours=int(hours))
    resent = await visit.call("resend-failed-webhook-deliveries", Resent, endpoint_id, body={"since": shown_time(since)})
    count = resent.value.resent
    said = "1 event is sent again." if count == 1 else f"{count} events are sent again."
    return visit.redirect(f"{_WEBHOOKS}/{endpoint_id}", said if count else f"Nothing has failed for good in {_SINCE[hours]}.")


_SCOPES: Final = (ADMIN,)
_ONE: Final = "/webhooks/{webhook_endpoint_id}"
_DELIVERY: Final = _ONE + "/deliveries/{event_id}"


def _page(path: str, page_id: str, handler: Any, template: str, menu: MenuItem | None = None) -> Page:
    return Page(
        method="GET", path=path, id=page_id, scopes=_SCOPES, handler=handler, template=f"webhooks/{template}.html", menu=menu
    )


def _act(path: str, page_id: str, handler: Any, template: str | None = None) -> Page:
    shown_by = None if template is None else f"webhooks/{template}.html"
    return Page(method="POST", path=path, id=page_id, scopes=_SCOPES, handler=handler, template=shown_by)


PAGES: Final = (
    _page("/webhooks", "show-webhooks", show_endpoints, "list", MenuItem("Webhooks", "send", "w")),
    replace(_page("/webhooks/new", "show-new-webhook", show_new_endpoint, "form"), action="New webhook"),
    _act("/webhooks/new", "create-webhook", create_endpoint, "form"),
    _page(_ONE, "show-webhook", show_endpoint, "endpoint"),
    _page(_ONE + "/edit", "show-edited-webhook", show_edited_endpoint, "form"),
    _act(_ONE + "/edit", "edit-webhook", edit_endpoint, "form"),
    _act(_ONE + "/enable", "enable-webhook", enable_endpoint),
    _act(_ONE + "/disable", "disable-webhook", disable_endpoint),
    _act(_ONE + "/delete", "delete-webhook", delete_endpoint, "endpoint"),
    _page(_ONE + "/secret", "show-webhook-secret", show_secret, "secret"),
    _act(_ONE + "/secret", "rotate-secret-of-webhook", rotate_secret),
    _act(_ONE + "/test", "test-webhook", test_endpoint, "delivery"),
    _act(_ONE + "/resend", "resend-failed-deliveries", resend_failed),
    _page(_DELIVERY, "show-delivery", show_delivery, "delivery"),
    _act(_DELIVERY + "/resend", "resend-delivery", resend_delivery),
    _act(_DELIVERY + "/skip", "skip-delivery", skip_delivery),
)
