"""The webhook endpoint as clients see it, and the rules that need nothing but the endpoint itself."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
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

_Url: TypeAlias = Annotated[str, Meta(min_length=1, max_length=2000, description="The URL to send events to.")]
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
            "`https` and a host, without user name, password and fragment. A receiver that asks for a password gets an "
            "`Authorization` header: send it in `headers`."
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


# The names that HTTP gives to one connection, those of the message itself, and those that authenticate an event.
_RESERVED_HEADERS: Final = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"),
        *("transfer-encoding", "upgrade", "http2-settings", "host", "content-length", "content-type", "content-encoding"),
        *("expect", "accept", "user-agent", "date"),
    }
)
_RESERVED_PREFIXES: Final = ("svix-", "webhook-")
_HEADER_NAME: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEADER_VALUE: Final = r"[!-~](?:[ \t!-~]*[!-~])?"
_header_name: Final = re.compile(_HEADER_NAME).fullmatch
_header_value: Final = re.compile(_HEADER_VALUE).fullmatch
_MAX_HEADERS: Final = 20


class ShownHeader(msgspec.Struct, frozen=True):
    """A header that is sent with each event. Its value is shown only in the answer to the request that sets it at creation."""

    schema_name: ClassVar[str] = "webhook_header_name"

    name: str


class WebhookHeader(ShownHeader, frozen=True, forbid_unknown_fields=True):
    """A header of the caller's own, such as a gateway's key, that is sent with each event. Its value is kept as a secret."""

    schema_name: ClassVar[str] = "webhook_header"

    name: Annotated[str, Meta(min_length=1, max_length=100, extra_json_schema={"pattern": f"^{_HEADER_NAME}$"})]
    value: Annotated[str, Meta(min_length=1, max_length=2000, extra_json_schema={"pattern": f"^{_HEADER_VALUE}$"})]


def _headers(items: Sequence[WebhookHeader | None] | None, path: str) -> Iterator[FieldError]:
    seen: dict[str, int] = {}
    for index, item in enumerate(items or ()):
        if item is None:
            continue
        place, name = f"{path}[{index}]", item.name.lower()
        if _header_name(name) is None:
            message = f"`{place}.name` is not the name of a header, such as `X-Api-Key`."
            yield FieldError(f"{place}.name", "invalid_format", message)
        elif name in _RESERVED_HEADERS or name.startswith(_RESERVED_PREFIXES):
            message = f"`{place}.name` is a header that the server or the connection sets. Choose another one."
            yield FieldError(f"{place}.name", "reserved", message)
        elif seen.setdefault(name, index) != index:
            message = f"`{place}.name` is the same as `{path}[{seen[name]}].name`. Send each header once."
            yield FieldError(f"{place}.name", "duplicate", message)
        if _header_value(item.value) is None:
            message = f"`{place}.value` must be ASCII text in one line, without white space around it."
            yield FieldError(f"{place}.value", "invalid_characters", message)


def header_lines(headers: Sequence[WebhookHeader] | UnsetType | None) -> str | None:
    """Return headers as they are sent, or None if there are none."""
    return "".join(f"{header.name}: {header.value}\r\n" for header in headers or ()) or None


_RULES: Final[dict[str, fields.Rule]] = {"url": _address, "description": fields.text, "headers": _headers}
_Headers: TypeAlias = Annotated[
    tuple[WebhookHeader, ...],
    Meta(max_length=_MAX_HEADERS, description="Own headers to send with each event. Their values are not shown again."),
]
_EventTypes: TypeAlias = Annotated[
    tuple[EventType, ...], Meta(min_length=1, max_length=fields.MAX_ITEMS, description="The event types to send; null: all.")
]
_IncludeFields: TypeAlias = Annotated[
    bool,
    Meta(
        description="Whether events of contacts and companies also show the members of herdbook's own, such as `fields`, and a "
        "change of these alone sends one."
    ),
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
    headers: _Headers | UnsetType = UNSET
    include_fields: _IncludeFields = False


class WebhookEndpointUpdate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for updating a webhook endpoint."""

    schema_name: ClassVar[str] = "webhook_endpoint_update_request"
    rules: ClassVar[dict[str, fields.Rule]] = _RULES
    example: ClassVar[dict[str, Any]] = {"event_types": None}

    url: _Url | UnsetType = UNSET
    description: fields.Description | None | UnsetType = UNSET
    event_types: _EventTypes | None | UnsetType = UNSET
    headers: _Headers | None | UnsetType = UNSET
    include_fields: _IncludeFields | UnsetType = UNSET


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
    headers: tuple[ShownHeader, ...] | UnsetType = UNSET
    headers_set_at: Time | UnsetType = UNSET
    include_fields: _IncludeFields = False


class WebhookEndpointWithSecret(WebhookEndpoint, frozen=True, kw_only=True):
    """A newly created webhook endpoint, with the secret that signs its events, and its own headers with their values."""

    schema_name: ClassVar[str] = "webhook_endpoint_with_secret"
    example: ClassVar[dict[str, Any]] = WebhookEndpoint.example | {
        "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="
    }

    secret: _Secret
    headers: tuple[WebhookHeader, ...] | UnsetType = UNSET


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
    if patch.headers is not UNSET:
        others["headers"] = tuple(ShownHeader(header.name) for header in patch.headers or ()) or UNSET
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
        "secret": WebhookEndpointWithSecret.example["secret"],
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
