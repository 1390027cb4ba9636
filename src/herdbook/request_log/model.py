"""A request as it is kept, and as clients see it."""

import functools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, ClassVar, Final, Literal, NamedTuple
from urllib.parse import parse_qsl
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields, ids
from herdbook.auth.keys import CLIENT_PREFIX, PREFIX
from herdbook.errors import FieldError
from herdbook.history.model import HistoryAction, HistoryBy, HistoryEntry
from herdbook.http.operation import Operation
from herdbook.http.page import DEFAULT_LIMIT, MAX_PAGE_SIZE, filter_parameters, time_parameters
from herdbook.http.request_log import AnsweredRequest
from herdbook.shared_schemas import Time, shown_time

# More are deleted, the oldest first.
MOST_REQUESTS: Final = 100_000
_is_id: Final = re.compile(r"[a-z][a-z-]*_[0-9A-HJKMNP-TV-Z]{26}").fullmatch
_STATUS: Final = re.compile(r"^[1-5]([0-9][0-9]|xx)$")
_PARAMETER: Final = re.compile(r"\{\w+\}")
_OF_LISTS: Final = ("limit", "cursor", "order_by", "search")


class KeptRequest(msgspec.Struct, frozen=True):
    """A request as it is written."""

    workspace_id: UUID
    id: UUID
    credential_id: UUID
    operation: str
    method: str
    path: str
    query: str | None
    status: int
    milliseconds: float


class RequestFilter(NamedTuple):
    """The wanted requests: one, those of a credential, with a text in their paths, with a status from one to another."""

    id: UUID | None = None
    credential_id: UUID | None = None
    path: str | None = None
    statuses: tuple[int, int] = (0, 999)


class RequestRow(NamedTuple):
    """A kept request with the name of its credential, and the user for whom that was made."""

    request: KeptRequest
    credential_name: str | None
    user_id: UUID | None
    is_client: bool


class ChangeRow(NamedTuple):
    """A change that a request made. `kind_action` holds the letters of its kind and action."""

    seq: int
    at: datetime
    kind_action: str
    object_id: UUID


class RequestCursor(msgspec.Struct, frozen=True):
    """The position in the list of requests: the id of the last one on a page."""

    id: str


def _key(value: str, path: str) -> Iterator[FieldError]:
    if credential_of(value) is None:
        message = f"`{path}` is not the id of a key or a client. Send one as `herdbook keys list` or `by` of a request has it."
        yield FieldError(path, "invalid_format", message)


def _status(value: str, path: str) -> Iterator[FieldError]:
    if _STATUS.match(value) is None:
        yield FieldError(path, "invalid_format", f"`{path}` is no status. Send one such as `404`, or a class such as `4xx`.")


def credential_of(text: str) -> UUID | None:
    """Return the credential that a text names: by its id in answers, or as the beginning of a key."""
    head = text.strip().partition(".")[0]
    found = (ids.decoded(prefix, head) for prefix in (ids.CREDENTIAL, CLIENT_PREFIX, PREFIX))
    return next((each for each in found if each is not None), None)


class RequestsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of the list of requests."""

    schema_name: ClassVar[str] = "requests_query"
    rules: ClassVar[dict[str, fields.Rule]] = {
        "request_id": fields.id_of(ids.REQUEST, "request"),
        "key": _key,
        "status": _status,
    }

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE_SIZE, description="The maximum number of requests on a page.")] = DEFAULT_LIMIT
    cursor: Annotated[str, Meta(description="The `next_cursor` of the previous page, unchanged.")] | UnsetType = UNSET
    request_id: Annotated[str, Meta(description="Only the request with this `X-Request-Id`.")] | UnsetType = UNSET
    key: Annotated[str, Meta(description="Only requests with this API key or OAuth client, by its id.")] | UnsetType = UNSET
    path: (
        Annotated[str, Meta(min_length=1, max_length=255, description="Only requests with this text in their path.")]
        | UnsetType
    ) = UNSET
    status: (
        Annotated[
            str,
            Meta(
                description="Only requests with this status, or of a class such as `4xx`.",
                extra_json_schema={"pattern": _STATUS.pattern},
            ),
        ]
        | UnsetType
    ) = UNSET

    def wanted(self) -> RequestFilter:
        """Return the filter of these parameters."""
        statuses = (0, 999)
        if self.status is not UNSET:
            statuses = int(self.status.replace("xx", "00")), int(self.status.replace("xx", "99"))
        return RequestFilter(
            None if self.request_id is UNSET else ids.decoded(ids.REQUEST, self.request_id),
            None if self.key is UNSET else credential_of(self.key),
            None if self.path is UNSET else self.path,
            statuses,
        )


class LoggedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request, without its body and the values of its parameters."""

    schema_name: ClassVar[str] = "request"
    example: ClassVar[dict[str, Any]] = {
        "object": "request",
        "id": ids.example(ids.REQUEST),
        "at": "2026-03-01T12:00:00.000000Z",
        "operation": "update-contact",
        "method": "PATCH",
        "path": f"/api/v2/contacts/{ids.example(ids.CONTACT)}",
        "parameters": [],
        "status": 200,
        "milliseconds": 3.5,
        "by": HistoryEntry.example["by"],
    }

    object: Literal["request"] = "request"
    id: Annotated[str, fields.id_schema(ids.REQUEST)]
    at: Annotated[Time, Meta(description="The time of its arrival.")]
    operation: Annotated[str, Meta(description="The id of the operation, or of the form of the console.")]
    method: str
    path: Annotated[str, Meta(description="The path with the ids in it; other parameters are shown by name, in braces.")]
    parameters: Annotated[tuple[str, ...], Meta(description="The names of the query parameters that the operation knows.")]
    status: int
    milliseconds: Annotated[float, Meta(description="The time until its answer.")]
    by: HistoryBy


class LoggedRequestList(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the request log, the latest request first."""

    schema_name: ClassVar[str] = "request_list"
    example: ClassVar[dict[str, Any]] = {
        "object": "list",
        "data": [LoggedRequest.example],
        "has_more": False,
        "next_cursor": None,
    }

    object: Literal["list"] = "list"
    data: tuple[LoggedRequest, ...]
    has_more: bool
    next_cursor: str | None


class MadeChange(msgspec.Struct, frozen=True, kw_only=True):
    """A change that a request made, and the event that it became for webhooks."""

    schema_name: ClassVar[str] = "request_change"

    object_type: str
    object_id: str
    action: HistoryAction
    version: Annotated[int, Meta(description="The object's version after this change.")]
    event_id: Annotated[str, fields.id_schema(ids.EVENT)] | None
    event_type: Annotated[str | None, Meta(description="Null if no event tells of such a change.")]


class RequestWithChanges(msgspec.Struct, frozen=True, kw_only=True):
    """A request with the changes that it made."""

    schema_name: ClassVar[str] = "request_with_changes"
    example: ClassVar[dict[str, Any]] = {
        "object": "request_with_changes",
        "id": ids.example(ids.REQUEST),
        "logged": LoggedRequest.example,
        "changes": [
            {
                "object_type": "contact",
                "object_id": ids.example(ids.CONTACT),
                "action": "updated",
                "version": 1842,
                "event_id": ids.example(ids.EVENT),
                "event_type": "v1.contact.updated",
            }
        ],
        "has_more_changes": False,
    }

    object: Literal["request_with_changes"] = "request_with_changes"
    id: Annotated[str, fields.id_schema(ids.REQUEST)]
    logged: Annotated[LoggedRequest | None, Meta(description="Null if the log no longer has it, but its changes are kept.")]
    changes: Annotated[tuple[MadeChange, ...], Meta(description="The first changes that it made, in their order.")]
    has_more_changes: bool


def shown(row: RequestRow) -> LoggedRequest:
    """Return a request as clients see it."""
    kept = row.request
    return LoggedRequest(
        id=ids.encoded(ids.REQUEST, kept.id),
        # An id begins with the time of its arrival.
        at=shown_time(datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=kept.id.int >> 80)),
        operation=kept.operation,
        method=kept.method,
        path=kept.path,
        parameters=tuple(kept.query.split("&")) if kept.query else (),
        status=kept.status,
        milliseconds=kept.milliseconds,
        by=HistoryBy.of(kept.credential_id, row.credential_name, row.user_id, is_client=row.is_client),
    )


def kept(request: AnsweredRequest) -> KeptRequest:
    """Return a request as it is written: without any text that its sender has chosen."""
    path = _filled(request.path, request.parameters) if request.parameters else request.path
    query = None
    if request.query_string and request.operation is not None:
        query = "&".join(_names(request.query_string, request.operation)) or None
    return KeptRequest(
        request.workspace_id,
        request.id,
        request.credential_id,
        request.name,
        request.method,
        path if request.operation is None else "/api" + path,
        query,
        request.status,
        request.seconds * 1000,
    )


def _filled(path: str, parameters: Sequence[str]) -> str:
    """Return a path with its ids. Any other parameter may be a name or a secret, so it is left out."""
    texts, names = _parts(path)
    shown = texts[0]
    for text, name, parameter in zip(texts[1:], names, parameters, strict=True):
        shown += (parameter if _is_id(parameter) else name) + text
    return shown


@functools.cache
def _parts(path: str) -> tuple[list[str], list[str]]:
    """Return the texts around the parameters of a path, and the parameters in their braces."""
    return _PARAMETER.split(path), _PARAMETER.findall(path)


def _names(query_string: bytes, operation: Operation) -> Iterator[str]:
    """Yield the names of the parameters that an operation knows."""
    known: set[str] = set()
    if (list_of := operation.list_of or operation.filters_of) is not None:
        known |= {*_OF_LISTS} | time_parameters(list_of).keys() | filter_parameters(list_of).keys()
    if operation.query is not None:
        known |= {field.encode_name for field in msgspec.structs.fields(operation.query)}
    if operation.expand is not None:
        known.add("expand")
    sent = parse_qsl(query_string.decode("latin-1"), keep_blank_values=True)
    return (name for name, _ in sent if name in known)
