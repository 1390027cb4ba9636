"""Deliveries as the API shows them: events, attempts to deliver them, and the state of an endpoint."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.shared_schemas import Time
from herdbook.webhook_endpoints.model import EndpointId, EventType, Missed, WebhookEndpoint

# One statement unpacks entries of the ledger until what is stored of them reaches so many bytes. Unpacked, that may be a
# hundred times as much, which a statement still has time for.
MAX_STORED_BYTES: Final = 2_097_152


class WebhookStatusObject(Enum):
    """Resource discriminator for webhook status payloads."""

    WEBHOOK_STATUS = "webhook_status"


class WebhookStatus(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint's position and health."""

    schema_name: ClassVar[str] = "webhook_status"
    example: ClassVar[dict[str, Any]] = {
        "object": "webhook_status",
        "endpoint_id": WebhookEndpoint.example["id"],
        "position": 1842,
        "behind": 0,
        "failing_since": None,
        "delivered": 1836,
        "failed": 2,
        "waiting": 0,
    }

    object: WebhookStatusObject
    endpoint_id: EndpointId
    position: Annotated[int, Meta(description="The last change that was sent or did not have to be.")]
    behind: Annotated[int, Meta(description="The number of changes since then.")]
    failing_since: Annotated[Time | None, Meta(description="The first failure since the last success; null if none.")]
    delivered: Annotated[int, Meta(description="Attempts that succeeded.")]
    failed: Annotated[int, Meta(description="Attempts that failed.")]
    waiting: Annotated[int, Meta(description="Events that failed and will be sent again.")]
    missed: Annotated[
        Missed | UnsetType,
        Meta(description="Changes that can no longer be sent: the endpoint was disabled for too long. Absent if none."),
    ] = UNSET


class TestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Request payload for sending an example event to a webhook endpoint."""

    __test__: ClassVar[bool] = False
    schema_name: ClassVar[str] = "webhook_test_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"type": "v1.contact.updated"}

    type: EventType = EventType("v1.contact.updated")


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt to deliver an event: the request and its response.

    `answer` is the first 4 KiB of the response body; `error` says why there was no response. `milliseconds` is the time from
    the first packet to the end of the response.
    """

    schema_name: ClassVar[str] = "webhook_attempt"
    example: ClassVar[dict[str, Any]] = {
        "at": "2026-03-01T12:00:00.250000Z",
        "url": WebhookEndpoint.example["url"],
        "headers": {
            "webhook-id": ids.example(ids.EVENT),
            "webhook-timestamp": "1772366400",
            "webhook-signature": "v1,zjFIB8HjEhFDZxTzXFYcsCJqNWLvzT9+TFnd4xbIVUI=",
        },
        "milliseconds": 4.2,
        "status": 204,
    }

    at: Annotated[datetime, Meta(tz=True)]
    url: str
    headers: dict[str, str]
    milliseconds: float
    status: int | None = None
    answer: str = ""
    error: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the endpoint accepted the event: any 2xx status."""
        return self.status is not None and 200 <= self.status < 300


class DeliveryState(Enum):
    """The state of a delivery.

    `queued`: not yet tried. `delivered`: accepted. `waiting`: failed, with another attempt to come. `failed`: given up after
    the last attempt. `skipped`: given up by request. `expired`: its change was erased before it was sent, or trimmed while its
    endpoint was disabled.
    """

    QUEUED = "queued"
    DELIVERED = "delivered"
    WAITING = "waiting"
    FAILED = "failed"
    SKIPPED = "skipped"
    EXPIRED = "expired"


class DeliveryObject(Enum):
    """Resource discriminator for webhook delivery payloads."""

    WEBHOOK_DELIVERY = "webhook_delivery"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event and its delivery to one endpoint. Attempts are kept only if the first one failed."""

    schema_name: ClassVar[str] = "webhook_delivery"
    example: ClassVar[dict[str, Any]] = {
        "object": "webhook_delivery",
        "id": Attempt.example["headers"]["webhook-id"],
        "type": "v1.contact.updated",
        "created_at": "2026-03-01T12:00:00.000000Z",
        "object_id": ids.example(ids.CONTACT),
        "state": "delivered",
        "attempt_count": 2,
        "next_attempt_at": None,
        "attempts": [Attempt.example],
    }

    object: DeliveryObject
    id: Annotated[str, fields.id_schema(ids.EVENT, "The event's id, as its receiver sees it.")]
    type: EventType
    created_at: Time
    object_id: Annotated[
        str | None, Meta(description="The object that the event is about; null once the ledger no longer keeps the change.")
    ]
    state: DeliveryState
    attempt_count: Annotated[int, Meta(description="Attempts since the event was first sent or last resent by request.")]
    next_attempt_at: Time | None
    attempts: Annotated[tuple[Attempt, ...], Meta(description="The latest attempts; lists leave out their `answer`.")]


class FullDelivery(Delivery, frozen=True, kw_only=True):
    """A delivery with the request body, which is null once the ledger no longer keeps the change, or it was erased."""

    schema_name: ClassVar[str] = "webhook_delivery_with_body"
    example: ClassVar[dict[str, Any]] = Delivery.example | {
        "request_body": f'{{"id":"{ids.example(ids.EVENT)}","type":"v1.contact.updated"}}'
    }

    request_body: str | None


class DeliveryList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a list."""

    schema_name: ClassVar[str] = "webhook_delivery_list"
    example: ClassVar[dict[str, Any]] = {"object": "list", "data": [Delivery.example], "has_more": False, "next_cursor": None}

    object: Literal["list"]
    data: tuple[Delivery, ...]
    has_more: bool
    next_cursor: str | None


class DeliveriesQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Query parameters for listing the deliveries of an endpoint."""

    schema_name: ClassVar[str] = "webhook_deliveries_query"
    rules: ClassVar[dict[str, fields.Rule]] = {"after": fields.time, "before": fields.time}

    limit: (
        Annotated[int, Meta(ge=1, le=100, description="Maximum number of deliveries on a page; 25 by default.")] | UnsetType
    ) = UNSET
    cursor: (
        Annotated[str, Meta(description="The `next_cursor` of the last page, unchanged. It contains the filters.")] | UnsetType
    ) = UNSET
    state: DeliveryState | UnsetType = UNSET
    types: Annotated[tuple[EventType, ...], Meta(min_length=1, description="Only events of these types.")] | UnsetType = UNSET
    after: Annotated[Time, Meta(description="Only events after this time.")] | UnsetType = UNSET
    before: Annotated[Time, Meta(description="Only events before this time.")] | UnsetType = UNSET


class ResendRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Request payload for resending events that failed for good."""

    schema_name: ClassVar[str] = "webhook_resend_request"
    rules: ClassVar[dict[str, fields.Rule]] = {"since": fields.time}
    example: ClassVar[dict[str, Any]] = {"since": "2026-03-01T12:00:00Z"}

    since: Annotated[Time, Meta(description="Resend events that happened at this time or later.")]


class Resent(msgspec.Struct, frozen=True):
    """The number of events that will be sent again."""

    schema_name: ClassVar[str] = "webhook_resent"
    example: ClassVar[dict[str, Any]] = {"resent": 3}

    resent: int
