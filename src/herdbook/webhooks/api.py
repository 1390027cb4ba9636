"""The operations of /herdbook/webhooks on deliveries."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import fields, ids
from herdbook.auth.scopes import ADMIN
from herdbook.errors import InvalidQuery, NotFound
from herdbook.http.call import Call
from herdbook.http.operation import Answer, Operation
from herdbook.http.page import DEFAULT_LIMIT, not_this_cursor, not_with_cursor
from herdbook.settings import TargetRules
from herdbook.shared_schemas import shown_time
from herdbook.webhook_endpoints.api import allowed_targets, endpoint_state
from herdbook.webhook_endpoints.model import EndpointKey
from herdbook.webhook_endpoints.store import EndpointState
from herdbook.webhooks import delivery_log, store
from herdbook.webhooks.delivery_log import DeliveryQuery
from herdbook.webhooks.events import Event, sample
from herdbook.webhooks.model import (
    Attempt,
    DeliveriesQuery,
    Delivery,
    DeliveryList,
    DeliveryState,
    FullDelivery,
    ResendRequest,
    Resent,
    TestRequest,
    WebhookStatus,
    WebhookStatusObject,
)
from herdbook.webhooks.store import DeliveryRow


async def get_status(call: Call, endpoint_id: UUID) -> Answer:
    """Read the position and health of one webhook endpoint."""
    place, reading = await endpoint_state(call, endpoint_id)
    return _answer(
        WebhookStatus(
            object=WebhookStatusObject.WEBHOOK_STATUS,
            endpoint_id=reading.endpoint.id,
            position=reading.position,
            behind=max(reading.head - reading.position, 0),
            failing_since=None if reading.failing_since is None else shown_time(reading.failing_since),
            delivered=reading.delivered,
            failed=reading.failed,
            waiting=await store.count_waiting(call.services.database.pool, place),
            missed=reading.missed or UNSET,
        )
    )


async def test_endpoint(call: Call, endpoint_id: UUID, asked: TestRequest) -> Answer:
    """Send an example event to one webhook endpoint."""
    _, reading = await endpoint_state(call, endpoint_id)
    with_own = reading.endpoint.include_fields
    event = sample(call.services.object_types, call.caller.workspace_id, asked.type, with_own=with_own)
    attempt = await asyncio.to_thread(_probe)
    return _answer(await attempt(allowed_targets(call), call.caller.workspace_id, reading, event))


async def list_deliveries(call: Call, endpoint_id: UUID, query: DeliveriesQuery) -> Answer:
    """List the deliveries of one webhook endpoint, past and queued."""
    asked = _asked(call, query)
    place, reading = await endpoint_state(call, endpoint_id)
    services = call.services
    page = await delivery_log.page(services.database.pool, services.object_types, place, reading, asked)
    cursor = None
    if page.below is not None:
        continued = msgspec.structs.replace(asked, below=page.below)
        cursor = services.cursors.cursor(continued, call.cursor_salt)
    data = tuple(delivery_log.shown_in_list(services.object_types, place, row) for row in page.rows)
    return _answer(DeliveryList(object="list", data=data, has_more=cursor is not None, next_cursor=cursor))


async def get_delivery(call: Call, endpoint_id: UUID, event_id: UUID) -> Answer:
    """Read one delivery, with its request body and the responses."""
    return _answer(delivery_log.shown_whole(call.services.object_types, *await _delivery(call, endpoint_id, event_id)))


async def resend_delivery(call: Call, endpoint_id: UUID, event_id: UUID) -> Answer:
    """Resend one event."""
    place, row = await _delivery(call, endpoint_id, event_id)
    # Trimmed and erased entries cannot be resent. Queued ones will be sent anyway.
    if delivery_log.request_body(call.services.object_types, place, row) is None:
        raise NotFound("event")
    if row.state != DeliveryState.QUEUED.value:
        await store.send_again(call.services.database.pool, place, row, delivery_log.type_of(call.services.object_types, row))
    return _answer(delivery_log.shown(call.services.object_types, *await _delivery(call, endpoint_id, event_id)))


async def resend_failed(call: Call, endpoint_id: UUID, asked: ResendRequest) -> Answer:
    """Resend all events that failed for good."""
    since = fields.parsed_time(asked.since)
    assert since is not None, "the body's rules refuse an invalid time"
    place, _ = await endpoint_state(call, endpoint_id)
    return _answer(Resent(await store.send_failed_again(call.services.database.pool, place, since)))


async def skip_delivery(call: Call, endpoint_id: UUID, event_id: UUID) -> Answer:
    """Give up one delivery."""
    place, row = await _delivery(call, endpoint_id, event_id)
    await store.skip(call.services.database.pool, place, row.seq)
    return _answer(delivery_log.shown(call.services.object_types, *await _delivery(call, endpoint_id, event_id)))


def _probe() -> Callable[[TargetRules, UUID, EndpointState, Event], Awaitable[Attempt]]:
    # Imported on first use, in a thread: an HTTP client takes a third of a second to import.
    from herdbook.webhooks.probe import attempt  # noqa: PLC0415

    return attempt


def _answer(struct: msgspec.Struct) -> Answer:
    return Answer(msgspec.json.encode(struct))


async def _delivery(call: Call, endpoint_id: UUID, event_id: UUID) -> tuple[EndpointKey, DeliveryRow]:
    """Return a delivery. Refusal: NotFound."""
    place, reading = await endpoint_state(call, endpoint_id)
    row = await delivery_log.find(
        call.services.database.pool, call.services.object_types, place, reading, ids.encoded(ids.EVENT, event_id)
    )
    if row is None:
        raise NotFound("delivery")
    return place, row


def _asked(call: Call, query: DeliveriesQuery) -> DeliveryQuery:
    """Return the query, or the one in the cursor. Filters sent with a cursor must equal its own. Refusal: InvalidQuery."""
    asked = DeliveryQuery(
        limit=query.limit or DEFAULT_LIMIT,
        state=query.state or None,
        types=query.types or None,
        after=fields.parsed_time(query.after or ""),
        before=fields.parsed_time(query.before or ""),
    )
    if not query.cursor:
        return asked
    carried = call.services.cursors.read(query.cursor, call.cursor_salt, DeliveryQuery)
    if carried is None:
        raise InvalidQuery([not_this_cursor()])
    given = [name for name in ("state", "types", "after", "before") if getattr(query, name) is not UNSET]
    if errors := [not_with_cursor(name) for name in given if getattr(asked, name) != getattr(carried, name)]:
        raise InvalidQuery(errors)
    return msgspec.structs.replace(carried, limit=query.limit or carried.limit)


_TAG: Final = "subpackage_webhooks"
_SCOPES: Final = (ADMIN,)
_ONE: Final = "/herdbook/webhooks/{webhook_endpoint_id}"
_DELIVERY: Final = _ONE + "/deliveries/{event_id}"

OPERATIONS: Final = (
    Operation(
        method="GET",
        path=_ONE + "/status",
        id="get-webhook-endpoint-status",
        summary="Get webhook endpoint status",
        description="Reads the position and health of a webhook endpoint.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=get_status,
        answer=WebhookStatus,
        answer_description="Webhook endpoint status response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path=_ONE + "/test",
        id="test-webhook-endpoint",
        summary="Test webhook endpoint",
        description="Sends an example event to a webhook endpoint at once, enabled or not, and returns the attempt.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=test_endpoint,
        body=TestRequest,
        answer=Attempt,
        answer_description="The attempt, whether it succeeded or failed.",
        bypasses_ledger=True,
    ),
    Operation(
        method="GET",
        path=_ONE + "/deliveries",
        id="list-webhook-deliveries",
        summary="List webhook deliveries",
        description="Lists the past and queued deliveries of a webhook endpoint, the latest first. A page may be empty while "
        "`has_more` is true.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=list_deliveries,
        query=DeliveriesQuery,
        answer=DeliveryList,
        answer_description="Webhook delivery list response.",
    ),
    Operation(
        method="GET",
        path=_DELIVERY,
        id="get-webhook-delivery",
        summary="Get webhook delivery",
        description="Reads a single delivery: its request body, and the responses.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=get_delivery,
        answer=FullDelivery,
        answer_description="Webhook delivery response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path=_DELIVERY + "/resend",
        id="resend-webhook-delivery",
        summary="Resend webhook delivery",
        description="Resends an event at once, with as many attempts as a new one. A queued event is sent anyway.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=resend_delivery,
        answer=Delivery,
        answer_description="The delivery, now waiting for its next attempt.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path=_ONE + "/resend",
        id="resend-failed-webhook-deliveries",
        summary="Resend failed webhook deliveries",
        description="Resends all events that happened since a time and failed for good.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=resend_failed,
        body=ResendRequest,
        answer=Resent,
        answer_description="The number of events that will be sent again.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path=_DELIVERY + "/skip",
        id="skip-webhook-delivery",
        summary="Skip webhook delivery",
        description="Gives up a delivery that waits for another attempt or has failed. One that was delivered or not yet "
        "tried stays unchanged.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=skip_delivery,
        answer=Delivery,
        answer_description="The delivery, given up if it was waiting or had failed.",
        bypasses_ledger=True,
    ),
)
