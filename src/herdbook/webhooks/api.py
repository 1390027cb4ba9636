"""/herdbook/webhooks: the operations."""

import asyncio
from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook import fields, ids
from herdbook.auth.scopes import ADMIN
from herdbook.errors import FieldError, InvalidQuery, NotFound
from herdbook.http.call import Call, answer_found
from herdbook.http.operation import Answer, ListOf, Operation
from herdbook.http.page import DEFAULT_LIMIT, not_this_cursor, not_with_cursor
from herdbook.ledger.unit_of_work import Command
from herdbook.settings import TargetRules
from herdbook.shared_schemas import Deleted, shown_time
from herdbook.webhooks import delivery_log, store
from herdbook.webhooks.commands import (
    CreateEndpoint,
    DeleteEndpoint,
    DisableEndpoint,
    EnableEndpoint,
    RotateSecret,
    UpdateEndpoint,
)
from herdbook.webhooks.delivery_log import DeliveryQuery
from herdbook.webhooks.model import (
    Attempt,
    DeliveriesQuery,
    Delivery,
    DeliveryList,
    DeliveryState,
    DisabledReason,
    EnabledWebhookEndpoint,
    EnableRequest,
    EndpointKey,
    FullDelivery,
    NewWebhookEndpoint,
    ResendRequest,
    Resent,
    RotateRequest,
    TestRequest,
    WebhookEndpoint,
    WebhookEndpointCreate,
    WebhookEndpointUpdate,
    WebhookSecret,
    WebhookStatus,
    WebhookStatusObject,
    shown_secret,
)
from herdbook.webhooks.samples import sample
from herdbook.webhooks.store import DeliveryRow, EndpointState

_NAME: Final = "webhook endpoint"
# Headers that proxies add: a request with one of them comes from another machine.
_OF_PROXIES: Final = (
    *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"),
    *(b"x-forwarded-server", b"x-forwarded-by", b"x-real-ip", b"true-client-ip", b"cf-connecting-ip"),
)
_NO_STORE: Final = ((b"cache-control", b"no-store"),)


async def list_endpoints(call: Call) -> Answer:
    """List the webhook endpoints of the workspace."""
    return await call.answer_list(store.page)


async def create_endpoint(call: Call, endpoint: WebhookEndpointCreate) -> Answer:
    """Create a webhook endpoint, and return its secret."""
    return await call.write(CreateEndpoint(endpoint, await _faults(call, endpoint.url), call.has_precondition))


async def get_endpoint(call: Call, endpoint_id: UUID) -> Answer:
    """Read one webhook endpoint."""
    found = await store.find(call.services.database, call.caller.workspace_id, endpoint_id)
    return answer_found(found, _NAME)


async def update_endpoint(call: Call, endpoint_id: UUID, patch: WebhookEndpointUpdate) -> Answer:
    """Change some fields of one webhook endpoint. Absent leaves a field alone; null clears it."""
    faults = () if patch.url is UNSET else await _faults(call, patch.url)
    command = UpdateEndpoint(endpoint_id=endpoint_id, patch=patch, faults=faults, if_version=call.if_version)
    return await _in_force(call, endpoint_id, command)


async def delete_endpoint(call: Call, endpoint_id: UUID) -> Answer:
    """Delete one webhook endpoint."""
    return await _in_force(call, endpoint_id, DeleteEndpoint(endpoint_id=endpoint_id, if_version=call.if_version))


async def enable_endpoint(call: Call, endpoint_id: UUID, asked: EnableRequest) -> Answer:
    """Enable one webhook endpoint."""
    return await call.write(EnableEndpoint(endpoint_id=endpoint_id, start=asked.start, if_version=call.if_version))


async def disable_endpoint(call: Call, endpoint_id: UUID) -> Answer:
    """Disable one webhook endpoint."""
    return await _in_force(call, endpoint_id, DisableEndpoint(endpoint_id, DisabledReason.BY_REQUEST, call.if_version))


async def get_status(call: Call, endpoint_id: UUID) -> Answer:
    """Read the position and health of one webhook endpoint."""
    place, reading = await _reading(call, endpoint_id)
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


async def get_secret(call: Call, endpoint_id: UUID) -> Answer:
    """Read the secret of one webhook endpoint."""
    _, reading = await _reading(call, endpoint_id)
    secret = shown_secret(reading.endpoint.id, reading.secret, reading.former_signs_until)
    return _answer(secret)._replace(headers=_NO_STORE)


async def rotate_secret(call: Call, endpoint_id: UUID, asked: RotateRequest) -> Answer:
    """Replace the secret of one webhook endpoint."""
    command = RotateSecret(endpoint_id=endpoint_id, overlap_seconds=asked.overlap_seconds, if_version=call.if_version)
    return await _in_force(call, endpoint_id, command)


async def test_endpoint(call: Call, endpoint_id: UUID, asked: TestRequest) -> Answer:
    """Send an example event to one webhook endpoint."""
    _, reading = await _reading(call, endpoint_id)
    event = sample(call.caller.workspace_id, asked.type)
    secrets = reading.signing_secrets
    await _prepare_probe()
    from herdbook.webhooks import probe  # noqa: PLC0415

    return _answer(await probe.attempt(_targets(call), reading.endpoint.url, secrets, event))


async def list_deliveries(call: Call, endpoint_id: UUID, query: DeliveriesQuery) -> Answer:
    """List the deliveries of one webhook endpoint, past and queued."""
    asked = _asked(call, query)
    place, reading = await _reading(call, endpoint_id)
    page = await delivery_log.page(call.services.database.pool, place, reading, asked)
    cursor = None
    if page.below is not None:
        continued = msgspec.structs.replace(asked, below=page.below)
        cursor = call.services.cursors.cursor(continued, call.cursor_salt)
    data = tuple(delivery_log.shown_in_list(place, row) for row in page.rows)
    return _answer(DeliveryList(object="list", data=data, has_more=cursor is not None, next_cursor=cursor))


async def get_delivery(call: Call, endpoint_id: UUID, event_id: UUID) -> Answer:
    """Read one delivery, with its request body and the responses."""
    return _answer(delivery_log.shown_whole(*await _delivery(call, endpoint_id, event_id)))


async def resend_delivery(call: Call, endpoint_id: UUID, event_id: UUID) -> Answer:
    """Resend one event."""
    place, row = await _delivery(call, endpoint_id, event_id)
    # Trimmed entries cannot be resent. Queued ones will be sent anyway.
    if row.object is None:
        raise NotFound("event")
    if row.state != DeliveryState.QUEUED.value:
        await store.send_again(call.services.database.pool, place, row, delivery_log.type_of(row).value)
    return _answer(delivery_log.shown(*await _delivery(call, endpoint_id, event_id)))


async def resend_failed(call: Call, endpoint_id: UUID, asked: ResendRequest) -> Answer:
    """Resend all events that failed for good."""
    since = fields.parsed_time(asked.since)
    assert since is not None, "the body's rules refuse an invalid time"
    place, _ = await _reading(call, endpoint_id)
    return _answer(Resent(await store.send_failed_again(call.services.database.pool, place, since)))


async def skip_delivery(call: Call, endpoint_id: UUID, event_id: UUID) -> Answer:
    """Give up one delivery."""
    place, row = await _delivery(call, endpoint_id, event_id)
    await store.skip(call.services.database.pool, place, row.seq)
    return _answer(delivery_log.shown(*await _delivery(call, endpoint_id, event_id)))


async def _in_force(call: Call, endpoint_id: UUID, command: Command) -> Answer:
    """Change an endpoint, and answer once nothing is sent as before. Refusals: those of the command and the ledger."""
    answer = await call.write(command)
    assert answer.version is not None, "every change makes a version"
    await store.until_in_force(call.services.database.pool, EndpointKey(call.caller.workspace_id, endpoint_id), answer.version)
    return answer


def _answer(struct: msgspec.Struct) -> Answer:
    return Answer(msgspec.json.encode(struct))


async def _prepare_probe() -> None:
    # Imported on first use, in a thread: an HTTP client takes a third of a second to import.
    await asyncio.to_thread(_import_probe)


def _import_probe() -> None:
    pass


async def _faults(call: Call, url: str) -> tuple[FieldError, ...]:
    """Return the errors of an endpoint's URL.

    The command raises them, so that a repeated request gets its first answer even if the name resolves to another address by
    then.
    """
    await _prepare_probe()
    from herdbook.webhooks import probe  # noqa: PLC0415

    return await probe.faults(_targets(call), url)


def _targets(call: Call) -> TargetRules:
    """Return the targets allowed to the caller. Behind a proxy, loopback addresses are the proxy's machine, not theirs."""
    targets = call.services.targets
    if not call.services.proxies_may_name_loopback and any(name in call.headers for name in _OF_PROXIES):
        return targets._replace(allows_loopback=False)
    return targets


async def _reading(call: Call, endpoint_id: UUID) -> tuple[EndpointKey, EndpointState]:
    """Return an endpoint with its position. Refusal: NotFound."""
    place = EndpointKey(call.caller.workspace_id, endpoint_id)
    reading = await store.read(call.services.database.pool, place)
    if reading is None:
        raise NotFound(_NAME)
    return place, reading


async def _delivery(call: Call, endpoint_id: UUID, event_id: UUID) -> tuple[EndpointKey, DeliveryRow]:
    """Return a delivery. Refusal: NotFound."""
    place, reading = await _reading(call, endpoint_id)
    row = await delivery_log.find(call.services.database.pool, place, reading, ids.encoded(ids.EVENT, event_id))
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
        path="/herdbook/webhooks",
        id="list-webhook-endpoints",
        summary="List webhook endpoints",
        description="Lists the workspace's webhook endpoints.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=list_endpoints,
        answer=WebhookEndpoint,
        answer_description="Webhook endpoint list response.",
        list_of=ListOf(),
    ),
    Operation(
        method="POST",
        path="/herdbook/webhooks",
        id="create-webhook-endpoint",
        summary="Create webhook endpoint",
        description="Creates a webhook endpoint, which is sent all later events. The response has the secret that "
        "signs them (Standard Webhooks).",
        tag=_TAG,
        scopes=_SCOPES,
        handler=create_endpoint,
        body=WebhookEndpointCreate,
        answer=NewWebhookEndpoint,
        answer_description="Created webhook endpoint response.",
        status=201,
    ),
    Operation(
        method="GET",
        path=_ONE,
        id="get-webhook-endpoint",
        summary="Get webhook endpoint",
        description="Reads a single webhook endpoint.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=get_endpoint,
        answer=WebhookEndpoint,
        answer_description="Webhook endpoint response.",
    ),
    Operation(
        method="PATCH",
        path=_ONE,
        id="update-webhook-endpoint",
        summary="Update webhook endpoint",
        description="Updates a single webhook endpoint: its URL, description or event types.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=update_endpoint,
        body=WebhookEndpointUpdate,
        answer=WebhookEndpoint,
        answer_description="Updated webhook endpoint response.",
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        id="delete-webhook-endpoint",
        summary="Delete webhook endpoint",
        description="Deletes a single webhook endpoint. No more events are sent to it.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=delete_endpoint,
        answer=Deleted,
        answer_description="Deleted webhook endpoint response.",
    ),
    Operation(
        method="POST",
        path=_ONE + "/enable",
        id="enable-webhook-endpoint",
        summary="Enable webhook endpoint",
        description="Enables a webhook endpoint. It resumes where it stopped, so that nothing is lost, or with new events "
        "only, which gives up all earlier ones. An enabled endpoint stays unchanged.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=enable_endpoint,
        body=EnableRequest,
        answer=EnabledWebhookEndpoint,
        answer_description="Enabled webhook endpoint response.",
    ),
    Operation(
        method="POST",
        path=_ONE + "/disable",
        id="disable-webhook-endpoint",
        summary="Disable webhook endpoint",
        description="Disables a webhook endpoint: no events are sent to it until it is enabled again.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=disable_endpoint,
        answer=WebhookEndpoint,
        answer_description="Disabled webhook endpoint response.",
    ),
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
        method="GET",
        path=_ONE + "/secret",
        id="get-webhook-secret",
        summary="Get webhook secret",
        description="Reads the secret of a webhook endpoint.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=get_secret,
        answer=WebhookSecret,
        answer_description="Webhook secret response.",
        bypasses_ledger=True,
    ),
    Operation(
        method="POST",
        path=_ONE + "/rotate_secret",
        id="rotate-webhook-secret",
        summary="Rotate webhook secret",
        description="Replaces the secret of a webhook endpoint. For a while the former secret also signs, so that receivers "
        "can be updated meanwhile.",
        tag=_TAG,
        scopes=_SCOPES,
        handler=rotate_secret,
        body=RotateRequest,
        answer=WebhookSecret,
        answer_description="New webhook secret response.",
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
