"""The operations of /herdbook/webhooks on endpoints themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import msgspec
from msgspec import UNSET

from herdbook.auth.scopes import ADMIN
from herdbook.errors import FieldError, NotFound
from herdbook.http.call import Call
from herdbook.http.operation import Answer, ListOf, Operation
from herdbook.ledger.unit_of_work import Command
from herdbook.settings import TargetRules
from herdbook.shared_schemas import Deleted
from herdbook.webhook_endpoints import store
from herdbook.webhook_endpoints.commands import (
    CreateEndpoint,
    DeleteEndpoint,
    DisableEndpoint,
    EnableEndpoint,
    RotateSecret,
    UpdateEndpoint,
)
from herdbook.webhook_endpoints.model import (
    DisabledReason,
    EnabledWebhookEndpoint,
    EnableRequest,
    EndpointKey,
    RotateRequest,
    WebhookEndpoint,
    WebhookEndpointCreate,
    WebhookEndpointUpdate,
    WebhookEndpointWithSecret,
    WebhookSecret,
    shown_secret,
)
from herdbook.webhook_endpoints.store import WEBHOOK_ENDPOINT, EndpointState

_NO_STORE: Final = ((b"cache-control", b"no-store"),)
# Headers that proxies add: a request with one of them comes from another machine.
_OF_PROXIES: Final = (
    *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port"),
    *(b"x-forwarded-server", b"x-forwarded-by", b"x-real-ip", b"true-client-ip", b"cf-connecting-ip"),
)


async def list_endpoints(call: Call) -> Answer:
    """List the webhook endpoints of the workspace."""
    return await call.answer_list(store.page)


async def create_endpoint(call: Call, endpoint: WebhookEndpointCreate) -> Answer:
    """Create a webhook endpoint, and return its secret."""
    return await call.write(CreateEndpoint(endpoint, await _faults(call, endpoint.url), call.has_precondition))


async def get_endpoint(call: Call, endpoint_id: UUID) -> Answer:
    """Read one webhook endpoint."""
    return await call.answer_object(WEBHOOK_ENDPOINT, endpoint_id)


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


async def get_secret(call: Call, endpoint_id: UUID) -> Answer:
    """Read the secret of one webhook endpoint."""
    _, reading = await endpoint_state(call, endpoint_id)
    secret = shown_secret(reading.endpoint.id, reading.secret, reading.former_signs_until)
    return Answer(msgspec.json.encode(secret), headers=_NO_STORE)


async def rotate_secret(call: Call, endpoint_id: UUID, asked: RotateRequest) -> Answer:
    """Replace the secret of one webhook endpoint."""
    command = RotateSecret(endpoint_id=endpoint_id, overlap_seconds=asked.overlap_seconds, if_version=call.if_version)
    return await _in_force(call, endpoint_id, command)


async def _in_force(call: Call, endpoint_id: UUID, command: Command) -> Answer:
    """Change an endpoint, and answer once nothing is sent as before. Refusals: those of the command and the ledger."""
    answer = await call.write(command)
    assert answer.version is not None, "every change makes a version"
    await store.until_in_force(call.services.database.pool, EndpointKey(call.caller.workspace_id, endpoint_id), answer.version)
    return answer


async def _faults(call: Call, url: str) -> tuple[FieldError, ...]:
    """Return the errors of an endpoint's URL.

    The command raises them, so that a repeated request gets its first answer even if the name resolves to another address by
    then.
    """
    faults = await asyncio.to_thread(_faults_of_target)
    return await faults(allowed_targets(call), url, call.caller.workspace_id)


def _faults_of_target() -> Callable[[TargetRules, str, UUID], Awaitable[tuple[FieldError, ...]]]:
    # Imported on first use, in a thread: an HTTP client takes a third of a second to import.
    from herdbook.webhook_endpoints.targets import faults  # noqa: PLC0415

    return faults


def allowed_targets(call: Call) -> TargetRules:
    """Return the targets allowed to the caller. Behind a proxy, loopback addresses are the proxy's machine, not theirs."""
    rules = call.services.targets
    if not call.services.proxies_may_name_loopback and any(name in call.headers for name in _OF_PROXIES):
        rules = rules._replace(allows_loopback=False)
    return rules


async def endpoint_state(call: Call, endpoint_id: UUID) -> tuple[EndpointKey, EndpointState]:
    """Return an endpoint with its position. Refusal: NotFound."""
    place = EndpointKey(call.caller.workspace_id, endpoint_id)
    reading = await store.read(call.services.database.pool, place)
    if reading is None:
        raise NotFound(WEBHOOK_ENDPOINT.noun)
    return place, reading


_TAG: Final = "subpackage_webhooks"
_SCOPES: Final = (ADMIN,)
_ONE: Final = "/herdbook/webhooks/{webhook_endpoint_id}"

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
        answer=WebhookEndpointWithSecret,
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
        "only, which gives up all earlier ones. An enabled endpoint stays unchanged. ",
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
)
