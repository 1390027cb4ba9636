"""The refusals: every answer that is no success, in the words of the domain.

    Refusal
    ├── Unauthenticated      the credential is missing or invalid
    ├── Forbidden            the credential lacks a scope
    ├── RateLimited          the credential makes too many requests, or too many sign-ins have failed
    ├── Busy                 too many writes wait in the workspace, or too many recordings
    ├── TooManyFollowers     too many requests follow the workspace
    ├── Invalid              the body is not valid for the operation
    ├── KeyReused            an Idempotency-Key was sent with a different request
    ├── AnswerErased         an Idempotency-Key was sent again, and its first answer was erased with a person
    ├── InvalidQuery         a query parameter is not valid
    ├── NotFound             the object does not exist, or not for this caller
    ├── Stale                If-Match names another version, or If-None-Match the current one
    ├── Taken                another active object holds a key that this one claims
    ├── NoLongerKept         the position is before the oldest entry that the ledger keeps
    ├── Unavailable          the database cannot be reached or is full, or the disk fails; nothing was written
    ├── OutcomeUnknown       the connection broke while committing, and the outcome could not be read
    ├── FromElsewhere        a form of the console was sent by a page of another origin
    └── of the protocol: NoRoute, MethodNotAllowed, TooLarge, UnsupportedMediaType, UnsupportedCoding, Malformed, InvalidHeader,
                         HeadTooLarge, TooSlow

`http/problems.py` alone decides the status of each.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

# Messages quote at most this many characters of a request, and a refusal lists at most this many errors.
MAX_QUOTE: Final = 100
MAX_ERRORS: Final = 100
T = TypeVar("T")


def quoted(text: str) -> str:
    """Return a text from a client, cut to the length that messages quote."""
    return text if len(text) <= MAX_QUOTE else text[:MAX_QUOTE] + "…"


class HolderOfValue(NamedTuple):
    """The active object that has a value which a request claims, and the scope of callers who may see it."""

    object: str
    id: str
    read_scope: str


class FieldError(NamedTuple):
    """One error of one field: a path such as `emails[1].email`, a stable code, and a message with the remedy.

    `missing` is the id that the field holds, if no object has it. `merged_into` is the object that replaces that one. `holder`
    is the object that has the value of the field, if only one may have it.
    """

    field: str
    code: str
    message: str
    missing: str = ""
    merged_into: str = ""
    holder: HolderOfValue | None = None


def bounded(errors: Sequence[FieldError], path: str) -> list[FieldError]:
    """Return at most `MAX_ERRORS` of the errors below a path. The last one counts those that are left out, if any."""
    if len(errors) <= MAX_ERRORS:
        return [*errors]
    listed = errors[: MAX_ERRORS - 1]
    message = f"`{path}` has {len(errors) - len(listed)} further errors, which are not listed. Correct the others first."
    return [*listed, FieldError(path, "further_errors", message)]


def first_errors(errors: Iterable[FieldError], path: str, most: int = MAX_ERRORS, whole: str = "The body") -> list[FieldError]:
    """Return at most so many of the errors below a path. If there are more, the last one says so, unless it is the only one.

    An empty path stands for the whole of the request's part that has the errors, called `whole`.

    Those that are left out are not counted, because a large request may have very many, and each takes time to find.
    """
    found = list(itertools.islice(errors, most + 1))
    if len(found) <= most or most < 2:
        return found[:most]
    called = f"`{path}`" if path else whole
    message = f"{called} has further errors, which are not listed. Correct the others first."
    return [*found[: most - 1], FieldError(path, "further_errors", message)]


class Refusal(Exception):
    """The base of all refusals; `detail` is the message for the caller."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unauthenticated(Refusal):
    """The credential is missing or invalid; `is_presented` is false if it is missing."""

    def __init__(self, detail: str, *, is_presented: bool = True) -> None:
        super().__init__(detail)
        self.is_presented = is_presented


class Forbidden(Refusal):
    """The credential is valid, but lacks the scope that the operation needs."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This credential lacks the scope `{scope}`. Use one that has it, or a `workspace:admin` key.")
        self.scope = scope


class FromElsewhere(Refusal):
    """A form of the console was sent by a page of another origin."""

    def __init__(self) -> None:
        super().__init__(
            "This form was not sent by a page of this console. Nothing was done. Open the console, and send it there."
        )


class RateLimited(Refusal):
    """A rate limit was exceeded, such as that on requests of one credential; `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int, what: str = "requests with this credential") -> None:
        super().__init__(f"Too many {what}. Nothing was done. Try again in {retry_after} s.")
        self.retry_after = retry_after


class Busy(Refusal):
    """The queue of the workspace or of the server is full; `retry_after` is in whole seconds."""

    def __init__(self, waiting: int, retry_after: int = 1, things: str = "writes", place: str = "in this workspace") -> None:
        super().__init__(f"{waiting} {things} are waiting {place} already. Nothing was done. Try again shortly.")
        self.retry_after = retry_after


class TooManyFollowers(Refusal):
    """Too many streams and waiting requests follow the workspace for one process; `retry_after` is in whole seconds."""

    def __init__(self, following: int, retry_after: int = 10) -> None:
        super().__init__(f"{following} streams and waiting requests follow this workspace already. Close some, or try later.")
        self.retry_after = retry_after


class FieldsRefusal(Refusal):
    """A refusal that names the fields at fault."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(" ".join(error.message for error in errors))
        self.errors = tuple(errors)


class Invalid(FieldsRefusal):
    """The body is not valid for the operation; every error is listed, not only the first."""


def together(checks: Iterable[Callable[[], None]], act: Callable[[], T]) -> T:
    """Check some members of a request, and return the result of what it asks for, which checks the others.

    All errors of the body are listed together. Another refusal counts if there are none. Refusals: those of all parts.
    """
    errors: list[FieldError] = []
    for check in checks:
        try:
            check()
        except Invalid as invalid:
            errors += invalid.errors
    try:
        result = act()
    except Invalid as invalid:
        errors += invalid.errors
    except Refusal:
        if not errors:
            raise
    else:
        if not errors:
            return result
    raise Invalid(first_errors(errors, ""))


class KeyReused(FieldsRefusal):
    """An Idempotency-Key was sent with a request that differs from its first one."""

    def __init__(self) -> None:
        message = "This Idempotency-Key was used for another request. Use a new key for a new request."
        super().__init__([FieldError("Idempotency-Key", "idempotency_key_reused", message)])


class AnswerErased(Refusal):
    """An Idempotency-Key was sent again, but its first answer was erased, because it had data of an erased person."""

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key was done before, and is not done again. Its answer was erased, because it had "
            "data of an erased person. Read the objects instead."
        )


class InvalidQuery(FieldsRefusal):
    """A query parameter is not valid for the operation."""


class NotFound(Refusal):
    """The object does not exist, was deleted, or belongs to another workspace; the caller cannot tell which.

    `merged_into` is the object that replaces it, if it was merged and the caller may know that. `fault` is the first sentence
    of the message, if the usual one is not true.
    """

    def __init__(
        self,
        kind: str,
        remedy: str = "Check the id, and that it was not deleted.",
        object_id: UUID | None = None,
        merged_into: str | None = None,
        *,
        fault: str = "",
    ) -> None:
        super().__init__(f"{fault or f'There is no such {kind} in this workspace.'} {remedy}")
        self.kind = kind
        self.object_id = object_id
        self.merged_into = merged_into


class Stale(Refusal):
    """If-Match names a version that is not current, or If-None-Match names the current one."""

    def __init__(self, version: int | None) -> None:
        # A request that changes no stored object, such as a create or a bulk, has none to compare with.
        super().__init__(
            "`If-Match` names a version, but there is none to compare it with. Send the request without `If-Match`."
            if version is None
            else f'`If-Match` does not name the current version, `"{version}"`. Read the object again, then decide.'
        )
        self.version = version


class Taken(FieldsRefusal):
    """Another active object holds a key that this one claims.

    `holders` are (object, id) pairs in the order of the errors. Only callers with `read_scope` may see them.
    """

    def __init__(self, errors: Sequence[FieldError], holders: Sequence[tuple[str, str]], read_scope: str) -> None:
        held = zip(errors, holders, strict=True)
        super().__init__([error._replace(holder=HolderOfValue(*holder, read_scope)) for error, holder in held])
        self.holders = tuple(holders)
        self.read_scope = read_scope


class NoLongerKept(Refusal):
    """The position is before the oldest entry that the ledger keeps; `oldest` and `head` are the limits of valid positions."""

    def __init__(self, detail: str, oldest: int, head: int) -> None:
        super().__init__(detail)
        self.oldest = oldest
        self.head = head


class Unavailable(Refusal):
    """The database or the disk fails or is full, or the server is stopping or overloaded; nothing was written."""

    retry_after = 1


# Details of `Unavailable` when the client can do nothing; the log has the folder and its free space.
DISK_IS_FULL: Final = "The server's disk is almost full. Nothing was written. Tell its operator."
DATABASE_IS_FULL: Final = "The database has no memory or connections left for this. Nothing was written. Tell its operator."


class OutcomeUnknown(Refusal):
    """The connection to the database broke during the commit and the outcome could not be read, or the server was stopped."""

    def __init__(self) -> None:
        super().__init__(
            "The database went away during the commit, or the server was stopped, so this write may or may not have happened. "
            "Read the object before you repeat the write, or repeat it with the same Idempotency-Key."
        )


class NoRoute(Refusal):
    """No operation has this path."""


class MethodNotAllowed(Refusal):
    """The path does not support this method; `allowed` are the methods that it supports."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"This path supports {', '.join(allowed)}.")
        self.allowed = tuple(allowed)


class TooLarge(Refusal):
    """The body is larger than the server accepts."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes. Send less in one request.")


class UnsupportedMediaType(Refusal):
    """The body is declared as something other than JSON."""

    def __init__(self, media_type: str) -> None:
        super().__init__(f"The body is declared as `{quoted(media_type)}`. Send JSON, with `Content-Type: application/json`.")


class UnsupportedCoding(Refusal):
    """The body has a content coding that the server cannot undo, or not the one that it declares (RFC 9110, section 8.4)."""

    def __init__(self, coding: str, *, is_broken: bool = False) -> None:
        fault = "is not complete and valid" if is_broken else "has the content coding"
        named = f"in the content coding `{quoted(coding)}`" if is_broken else f"`{quoted(coding)}`"
        super().__init__(f"The body {fault} {named}. Send it as `gzip` or `deflate`, or plain, without `Content-Encoding`.")


class Malformed(Refusal):
    """The request is no valid HTTP."""


class InvalidHeader(FieldsRefusal):
    """A header of the request is not valid."""


class HeadTooLarge(Refusal):
    """The head of the request is larger than the server accepts."""

    def __init__(self, most_bytes: int, most_lines: int) -> None:
        super().__init__(f"The head is larger than {most_bytes} bytes or {most_lines} lines. Send fewer or shorter headers.")


class TooSlow(Refusal):
    """The request did not arrive in time; `awaited` is the missing part, `seconds` the time limit."""

    def __init__(self, awaited: str, seconds: float) -> None:
        super().__init__(f"The {awaited} of the request did not arrive within {seconds:g} s. Send it again, without pauses.")
