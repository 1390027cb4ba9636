"""The webhook endpoint as clients see it, and the rules that need nothing but the endpoint itself."""

import ipaddress
import re
from collections.abc import Iterator
from datetime import datetime
from enum import Enum, StrEnum
from typing import Annotated, Any, ClassVar, Final, NamedTuple, TypeAlias
from uuid import UUID

import idna
import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids, shared_schemas
from herdbook.business_types import BUSINESS_TYPES
from herdbook.errors import FieldError
from herdbook.shared_schemas import Time, shown_time

# A courier holds the lease of an endpoint for this long, unless it renews it.
LEASE_SECONDS: Final = 5.0
DEFAULT_OVERLAP_SECONDS: Final = 86_400
_MAX_OVERLAP_SECONDS: Final = 604_800
_MAX_PORTS: Final = 65_535
# Strict, so that every URL parser splits the address into the same parts.
_ADDRESS: Final = re.compile(
    r"[Hh][Tt][Tt][Pp][Ss]?://(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[^\x00-,/:-@\[-^`{-\x7f]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?:[/?][!\"$-~]*)?"
)

_Url: TypeAlias = Annotated[
    str, Meta(min_length=1, max_length=2000, description="The URL to send events to.", extra_json_schema={"format": "uri"})
]
EndpointId: TypeAlias = Annotated[str, fields.id_schema(ids.WEBHOOK_ENDPOINT)]
_Secret: TypeAlias = Annotated[str, Meta(description="The secret that signs events. Store it where you receive them.")]


class EndpointKey(NamedTuple):
    """The key of an endpoint: its workspace and its id."""

    workspace_id: UUID
    endpoint_id: UUID


class EventType(StrEnum):
    """The type of an event, named as on the vendor's webhooks page."""

    # Each kind of object declares its events.
    vars().update((name, name) for object_type in BUSINESS_TYPES for name in object_type.event_types)


def _address(value: str, path: str) -> Iterator[FieldError]:
    match = _ADDRESS.fullmatch(value)
    if match is None or not _is_host(match["ipv6"], match["name"]) or not 0 < int(match["port"] or 80) <= _MAX_PORTS:
        message = (
            f"`{path}` is not a webhook address. Send one such as `https://example.com/webhooks`: with `http` or "
            "`https` and a host, without user name, password and fragment."
        )
        yield FieldError(path, "invalid_format", message)


def _is_host(ipv6: str | None, name: str | None) -> bool:
    try:
        if ipv6 is not None:
            ipaddress.IPv6Address(ipv6)
        elif name is not None and not name.isascii():
            idna.encode(name.lower())
    except ValueError:
        return False
    return True


_RULES: Final[dict[str, fields.Rule]] = {"url": _address, "description": fields.text}
_EventTypes: TypeAlias = Annotated[
    tuple[EventType, ...], Meta(min_length=1, max_length=fields.MAX_ITEMS, description="The event types to send; null: all.")
]
_EXAMPLE: Final = {
    "url": "http://127.0.0.1:9000/webhooks",
    "description": "The CRM's copy of contacts.",
    "event_types": ["v1.contact.created", "v1.contact.updated", "v1.contact.deleted"],
}


class WebhookEndpointCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for creating a webhook endpoint."""

    schema_name: ClassVar[str] = "webhook_endpoint_create_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = _EXAMPLE

    url: _Url
    description: fields.Description | UnsetType = UNSET
    event_types: _EventTypes | None = None


class WebhookEndpointUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating a webhook endpoint."""

    schema_name: ClassVar[str] = "webhook_endpoint_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"event_types": None}

    url: _Url | UnsetType = UNSET
    description: fields.Description | None | UnsetType = UNSET
    event_types: _EventTypes | None | UnsetType = UNSET


class WebhookEndpointObject(Enum):
    """Resource discriminator for webhook endpoint payloads."""

    WEBHOOK_ENDPOINT = "webhook_endpoint"


class DisabledReason(Enum):
    """Why an endpoint is disabled: by request, because it answered 410, or because it failed for five days."""

    BY_REQUEST = "by_request"
    GONE = "gone"
    FAILING = "failing"


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint that is sent the changes of a workspace."""

    schema_name: ClassVar[str] = "webhook_endpoint"
    example: ClassVar[dict[str, Any]] = {
        "object": "webhook_endpoint",
        "id": ids.example(ids.WEBHOOK_ENDPOINT),
        "is_enabled": True,
        "created_at": "2026-03-01T12:00:00.000000Z",
        "updated_at": "2026-03-01T12:00:00.000000Z",
    } | _EXAMPLE

    object: WebhookEndpointObject
    id: EndpointId
    url: _Url
    is_enabled: bool
    created_at: Time
    updated_at: Time
    description: str | None = None
    event_types: _EventTypes | None = None
    disabled_reason: DisabledReason | UnsetType = UNSET
    secret_rotated_at: Time | UnsetType = UNSET


class NewWebhookEndpoint(WebhookEndpoint, frozen=True, kw_only=True):
    """A newly created webhook endpoint, with the secret that signs its events."""

    schema_name: ClassVar[str] = "new_webhook_endpoint"
    example: ClassVar[dict[str, Any]] = WebhookEndpoint.example | {
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
    }

    secret: _Secret


class Missed(msgspec.Struct, frozen=True):
    """The changes, by position, that were trimmed before they could be sent because the endpoint was disabled."""

    schema_name: ClassVar[str] = "webhook_missed"
    example: ClassVar[dict[str, Any]] = {"from": 1843, "to": 2048}

    first: int = msgspec.field(name="from")
    last: int = msgspec.field(name="to")


def missed(first: int | None, last: int | None) -> Missed | None:
    """Return the missed range as the API shows it, or None if nothing was missed."""
    return None if first is None or last is None else Missed(first, last)


class EnabledWebhookEndpoint(WebhookEndpoint, frozen=True, kw_only=True):
    """A webhook endpoint that was enabled again, with the changes that can no longer be sent to it."""

    schema_name: ClassVar[str] = "enabled_webhook_endpoint"
    example: ClassVar[dict[str, Any]] = WebhookEndpoint.example | {"missed": Missed.example}

    missed: Annotated[Missed | UnsetType, Meta(description="Absent if nothing was missed.")] = UNSET


def patched(before: WebhookEndpoint, patch: WebhookEndpointUpdate | WebhookEndpointCreate) -> WebhookEndpoint:
    """Return the endpoint with the patch applied. Absent leaves a field alone; null clears it (RFC 7396)."""
    others: dict[str, Any] = {}
    if patch.event_types is not UNSET and patch.event_types is not None:
        # Sort and remove duplicates, so that the same set of types makes no change.
        others["event_types"] = tuple(each for each in EventType if each in patch.event_types)
    return shared_schemas.patched(before, patch, others)


class EnableFrom(Enum):
    """The point at which an enabled endpoint resumes: after the last event it was sent, so that none is lost, or now."""

    WHERE_IT_STOPPED = "where_it_stopped"
    NOW = "now"


class EnableRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Request payload for enabling a webhook endpoint."""

    schema_name: ClassVar[str] = "webhook_endpoint_enable_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"from": "where_it_stopped"}

    start: EnableFrom = msgspec.field(default=EnableFrom.WHERE_IT_STOPPED, name="from")


class RotateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Request payload for rotating the secret of a webhook endpoint."""

    schema_name: ClassVar[str] = "webhook_secret_rotate_request"
    rules: ClassVar[dict[str, fields.Rule]] = {}
    example: ClassVar[dict[str, Any]] = {"overlap_seconds": DEFAULT_OVERLAP_SECONDS}

    overlap_seconds: Annotated[
        float,
        Meta(ge=0, le=_MAX_OVERLAP_SECONDS, description="How long the former secret signs as well; one day by default."),
    ] = DEFAULT_OVERLAP_SECONDS


class WebhookSecretObject(Enum):
    """Resource discriminator for webhook secret payloads."""

    WEBHOOK_SECRET = "webhook_secret"  # noqa: S105  # not a secret


class WebhookSecret(msgspec.Struct, frozen=True, kw_only=True):
    """The secret that signs an endpoint's events, and the time until which the former secret also signs."""

    schema_name: ClassVar[str] = "webhook_secret"
    example: ClassVar[dict[str, Any]] = {
        "object": "webhook_secret",
        "endpoint_id": WebhookEndpoint.example["id"],
        "secret": NewWebhookEndpoint.example["secret"],
        "former_secret_until": None,
    }

    object: WebhookSecretObject
    endpoint_id: EndpointId
    secret: _Secret
    former_secret_until: Time | None


def shown_secret(endpoint_id: str, secret: str, former_secret_until: datetime | None) -> WebhookSecret:
    """Return a secret as the API shows it."""
    return WebhookSecret(
        object=WebhookSecretObject.WEBHOOK_SECRET,
        endpoint_id=endpoint_id,
        secret=secret,
        former_secret_until=None if former_secret_until is None else shown_time(former_secret_until),
    )
