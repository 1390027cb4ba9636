"""Refusals as problem details (RFC 9457). This module alone knows their statuses."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import errors
from herdbook.http.coding import CODINGS


@dataclasses.dataclass(frozen=True)
class ProblemType:
    """The form of one kind of refusal: the last part of its `type`, its title, its status."""

    name: str
    title: str
    status: int
    description: str


# Descriptions are the vendor's for the statuses that its page lists.
PROBLEM_TYPES: Final[dict[type[errors.Refusal], ProblemType]] = {
    errors.Unauthenticated: ProblemType("unauthorized", "Unauthorized", 401, "Authentication is missing or invalid."),
    errors.Forbidden: ProblemType("forbidden", "Forbidden", 403, "Authenticated but missing required scope."),
    errors.FromElsewhere: ProblemType("from_elsewhere", "Forbidden", 403, "A form was sent by a page of another origin."),
    errors.RateLimited: ProblemType("rate_limited", "Too Many Requests", 429, "Too many requests."),
    errors.Busy: ProblemType("busy", "Too Many Requests", 429, "Too many requests."),
    errors.TooManyFollowers: ProblemType("too_many_followers", "Too Many Requests", 429, "Too many requests."),
    errors.Invalid: ProblemType("validation_failed", "Validation Failed", 422, "Request body validation failed."),
    errors.KeyReused: ProblemType("idempotency_key_reused", "Idempotency Key Reused", 422, "Request body validation failed."),
    errors.AnswerErased: ProblemType(
        "answer_erased", "Answer Erased", 410, "The request was done before, and its answer was erased."
    ),
    errors.InvalidQuery: ProblemType("invalid_request", "Invalid Request", 400, "A query parameter is invalid."),
    errors.NotFound: ProblemType("not_found", "Not Found", 404, "The requested resource does not exist."),
    errors.Stale: ProblemType(
        "precondition_failed", "Precondition Failed", 412, "If-Match names another version, or If-None-Match this one."
    ),
    errors.Taken: ProblemType("conflict", "Conflict", 409, "The request conflicts with an existing active resource."),
    errors.NoLongerKept: ProblemType(
        "no_longer_kept", "No Longer Kept", 410, "The position is older than the oldest that is kept."
    ),
    errors.Unavailable: ProblemType(
        "unavailable", "Service Unavailable", 503, "The database, the disk or the server is temporarily unavailable."
    ),
    errors.OutcomeUnknown: ProblemType("outcome_unknown", "Outcome Unknown", 500, "Unexpected server error."),
    errors.NoRoute: ProblemType("not_found", "Not Found", 404, "The requested resource does not exist."),
    errors.MethodNotAllowed: ProblemType(
        "method_not_allowed", "Method Not Allowed", 405, "This path does not support the method."
    ),
    errors.TooLarge: ProblemType("too_large", "Content Too Large", 413, "The body is too large."),
    errors.UnsupportedMediaType: ProblemType(
        "unsupported_media_type", "Unsupported Media Type", 415, "The body is declared as something other than JSON."
    ),
    errors.UnsupportedCoding: ProblemType(
        "unsupported_content_coding",
        "Unsupported Media Type",
        415,
        "The body has an unsupported content coding, or not the one that it declares.",
    ),
    errors.Malformed: ProblemType("malformed_request", "Bad Request", 400, "The request is not valid HTTP."),
    errors.InvalidHeader: ProblemType("invalid_header", "Bad Request", 400, "A header is invalid."),
    errors.HeadTooLarge: ProblemType(
        "head_too_large", "Request Header Fields Too Large", 431, "The request line and headers are too large."
    ),
    errors.TooSlow: ProblemType("too_slow", "Request Timeout", 408, "The request did not arrive in time."),
}
INTERNAL_ERROR: Final = ProblemType("internal_error", "Internal Server Error", 500, "Unexpected server error.")


class Holder(msgspec.Struct, frozen=True):
    """The active object that already has the value that the request claims."""

    schema_name: ClassVar[str] = "conflict_holder"

    object: str
    id: str


class ErrorItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Structured validation or field-level error detail."""

    schema_name: ClassVar[str] = "error_item"

    field: Annotated[str, Meta(description="Request field or parameter associated with the error.")] = ""
    code: Annotated[str, Meta(description="Stable machine-readable error code.")]
    message: Annotated[str, Meta(description="Human-readable explanation of the error.")]
    merged_into: Annotated[
        str, Meta(description="The object that replaces the one that the field names, which was merged.")
    ] = ""
    conflict: (
        Annotated[
            Holder,
            Meta(
                description="The object that has the value of the field, if the caller may read it. Only herdbook's own "
                "operations tell it of each error."
            ),
        ]
        | UnsetType
    ) = UNSET


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457 problem details response returned for client-visible failures."""

    schema_name: ClassVar[str] = "error"

    type: Annotated[str, Meta(description="Stable URI identifying the error category.", extra_json_schema={"format": "uri"})]
    title: Annotated[str, Meta(description="Short human-readable summary of the error.")]
    status: Annotated[int, Meta(description="HTTP status code for this error response.")]
    detail: Annotated[str, Meta(description="Human-readable explanation specific to this request.")]
    request_id: Annotated[str, Meta(description="Correlation identifier for support and debugging.")]
    errors: Annotated[tuple[ErrorItem, ...], Meta(description="Optional field-level validation errors.")] | UnsetType = UNSET
    conflict: (
        Annotated[Holder, Meta(description="The object that already has the claimed value, if the caller may read it.")]
        | UnsetType
    ) = UNSET
    merged_into: (
        Annotated[
            str, Meta(description="The object that replaces the requested one, which was merged, if the caller may read it.")
        ]
        | UnsetType
    ) = UNSET
    oldest: Annotated[int, Meta(description="The oldest position to continue from.")] | UnsetType = UNSET
    head: Annotated[int, Meta(description="The position of the latest change.")] | UnsetType = UNSET
    retry_after_seconds: (
        Annotated[int, Meta(description="The value of `Retry-After`, in a 429 of the older export.")] | UnsetType
    ) = msgspec.field(default=UNSET, name="retryAfterSeconds")


# Whether the caller has a scope.
May: TypeAlias = Callable[[str], bool]


def problem_of(
    refusal: Exception, request_id: str, type_base: str, *, may: May | None = None, names_each_holder: bool = False
) -> Problem:
    """Return the problem for a refusal. For any other exception, it reveals only the request id.

    It names the objects that hold values to callers who `may` read them: the first one, and with `names_each_holder` that of
    each error.
    """
    kind = PROBLEM_TYPES.get(type(refusal)) if isinstance(refusal, errors.Refusal) else None
    members: dict[str, Any] = {}
    detail = "Something went wrong on our side. Report the request id to the operator of this server."
    if kind is None:
        kind = INTERNAL_ERROR
    else:
        assert isinstance(refusal, errors.Refusal)
        detail = refusal.detail
    if isinstance(refusal, errors.FieldsRefusal):
        members["errors"] = tuple(_item_of(each, may if names_each_holder else None) for each in refusal.errors)
    if isinstance(refusal, errors.Taken) and may is not None and may(refusal.read_scope):
        members["conflict"] = Holder(*refusal.holders[0])
    if isinstance(refusal, errors.NotFound) and refusal.merged_into is not None:
        members["merged_into"] = refusal.merged_into
    if isinstance(refusal, errors.NoLongerKept):
        members |= {"oldest": refusal.oldest, "head": refusal.head}
    return Problem(
        type=type_base + kind.name,
        title=kind.title,
        status=kind.status,
        detail=detail,
        request_id=request_id,
        **members,
    )


def _item_of(error: errors.FieldError, may: May | None) -> ErrorItem:
    held = error.holder
    return ErrorItem(
        field=error.field,
        code=error.code,
        message=error.message,
        merged_into=error.merged_into,
        conflict=UNSET if held is None or may is None or not may(held.read_scope) else Holder(held.object, held.id),
    )


def with_retry_after(problem: Problem, refusal: Exception) -> Problem:
    """Return the problem of a refusal with the seconds to wait, if it is a 429."""
    match refusal:
        case errors.RateLimited(retry_after=seconds) | errors.Busy(retry_after=seconds):
            return msgspec.structs.replace(problem, retry_after_seconds=seconds)
        case _:
            return problem


def problem_headers(refusal: Exception) -> list[tuple[bytes, bytes]]:
    """Return the headers of a refusal."""
    match refusal:
        case errors.Unauthenticated():
            # RFC 6750, section 3: without a credential, the challenge has no error code.
            error = b', error="invalid_token"' if refusal.is_presented else b""
            return [(b"www-authenticate", b'Bearer realm="herdbook"' + error)]
        case errors.RateLimited() | errors.Busy() | errors.TooManyFollowers() | errors.Unavailable():
            return [(b"retry-after", str(refusal.retry_after).encode())]
        case errors.Stale(version=int() as version):
            return [(b"etag", f'"{version}"'.encode())]
        case errors.UnsupportedCoding():
            return [(b"accept-encoding", CODINGS.encode())]
        case errors.MethodNotAllowed():
            return [(b"allow", ", ".join(refusal.allowed).encode())]
        case _:
            return []
