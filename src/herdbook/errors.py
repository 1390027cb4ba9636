"""The refusals: every answer that is not success, in the words of the domain.

    Refusal
    ├── Unauthenticated      no credential, or one that does not stand
    ├── Forbidden            the credential lacks a scope
    ├── RateLimited          the credential asks too often, or too many sign-ins have failed
    ├── Busy                 too many writes wait in the workspace, or too many recordings
    ├── TooManyFollowers     the workspace is followed by as many requests as the server serves
    ├── Invalid              the body does not hold what the operation takes
    ├── KeyReused            an Idempotency-Key comes back with another request
    ├── InvalidQuery         a query parameter does
    ├── NotFound             the object is not there, or not for this caller
    ├── Stale                If-Match names another version, or If-None-Match this one
    ├── Taken                another active object holds what this one claims
    ├── NoLongerKept         it lies before the oldest entry that the ledger keeps
    ├── Unavailable          the database cannot be reached or has no room, or the disk fails; nothing was written
    ├── OutcomeUnknown       the connection broke while committing, and the outcome could not be read
    └── of the protocol: NoRoute, MethodNotAllowed, TooLarge, UnsupportedMediaType, UnsupportedCoding, Malformed, InvalidHeader,
                         HeadTooLarge, TooSlow

Which status each becomes on the wire is decided in one place, `http/problems.py`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

# What a message quotes of a request is cut to this many characters, and a refusal tells no more errors than this.
LONGEST_QUOTE: Final = 100
MAX_ERRORS: Final = 100


def quoted(text: str) -> str:
    """Return a text that a client sent as a message can quote it."""
    return text if len(text) <= LONGEST_QUOTE else text[:LONGEST_QUOTE] + "…"


class FieldError(NamedTuple):
    """One thing that is wrong with one field: a path such as `emails[1].email`, a stable code, a sentence with the remedy."""

    field: str
    code: str
    message: str


class Refusal(Exception):
    """The base of all refusals; `detail` is the sentence that the caller reads."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class Unauthenticated(Refusal):
    """The request carries no credential, or one that does not stand; `is_presented` tells which."""

    def __init__(self, detail: str, *, is_presented: bool = True) -> None:
        super().__init__(detail)
        self.is_presented = is_presented


class Forbidden(Refusal):
    """The credential stands, but lacks the scope that the operation needs."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This credential lacks the scope `{scope}`. Use one that has it, or a `workspace:admin` key.")
        self.scope = scope


class RateLimited(Refusal):
    """There were too many of something, such as requests with a credential; `retry_after` is in whole seconds."""

    def __init__(self, retry_after: int, what: str = "requests with this credential") -> None:
        super().__init__(f"Too many {what}. Nothing was done. Try again in {retry_after} s.")
        self.retry_after = retry_after


class Busy(Refusal):
    """As many things wait as the queue of the workspace, or of the server, holds; `retry_after` is in whole seconds."""

    def __init__(self, waiting: int, retry_after: int = 1, things: str = "writes", place: str = "in this workspace") -> None:
        super().__init__(f"{waiting} {things} are waiting {place} already. Nothing was done. Try again shortly.")
        self.retry_after = retry_after


class TooManyFollowers(Refusal):
    """As many streams and waiting requests follow the workspace as a process serves; `retry_after` is in whole seconds."""

    def __init__(self, following: int, retry_after: int = 10) -> None:
        super().__init__(f"{following} streams and waiting requests follow this workspace already. Close some, or try later.")
        self.retry_after = retry_after


class FieldsRefusal(Refusal):
    """A refusal that names the fields at fault."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(" ".join(error.message for error in errors))
        self.errors = tuple(errors)


class Invalid(FieldsRefusal):
    """The body does not hold what the operation takes; every error is listed, not the first alone."""


class KeyReused(FieldsRefusal):
    """An Idempotency-Key comes back with another request than the one it was first used for."""

    def __init__(self) -> None:
        message = "This Idempotency-Key was used for another request. Use a new key for a new request."
        super().__init__([FieldError("Idempotency-Key", "idempotency_key_reused", message)])


class InvalidQuery(FieldsRefusal):
    """A query parameter does not hold what the operation takes."""


class NotFound(Refusal):
    """The object is not there, was deleted, or belongs to another workspace: the caller cannot tell which."""

    def __init__(self, kind: str, remedy: str = "Check the id, and that it was not deleted.") -> None:
        super().__init__(f"There is no such {kind} in this workspace. {remedy}")


class Stale(Refusal):
    """If-Match names a version that is not the current one, or If-None-Match the one that is."""

    def __init__(self, version: int | None) -> None:
        now = "there is no current version" if version is None else f'the current ETag is "{version}"'
        super().__init__(f"If-Match or If-None-Match does not hold: {now}. Read the object again, then decide.")
        self.version = version


class Taken(FieldsRefusal):
    """Another active object holds what this one claims.

    `holders` are (object, id) pairs in the order of the errors, for the eyes of callers with `read_scope`.
    """

    def __init__(self, errors: Sequence[FieldError], holders: Sequence[tuple[str, str]], read_scope: str) -> None:
        super().__init__(errors)
        self.holders = tuple(holders)
        self.read_scope = read_scope


class NoLongerKept(Refusal):
    """What is asked for lies before the oldest entry that the ledger keeps; `oldest` and `head` are the positions there are."""

    def __init__(self, detail: str, oldest: int, head: int) -> None:
        super().__init__(detail)
        self.oldest = oldest
        self.head = head


class Unavailable(Refusal):
    """The database or the disk fails or has no room, or the server is stopping or has none; nothing was written."""

    retry_after = 1


# Details of `Unavailable` where the client can do nothing; the log says which folder, and how much is free.
DISK_IS_FULL: Final = "The server's disk is almost full. Nothing was written. Tell its operator."
DATABASE_IS_FULL: Final = "The database has no memory or connections left for this. Nothing was written. Tell its operator."


class OutcomeUnknown(Refusal):
    """The connection to the database broke during the commit, and the outcome could not be read since."""

    def __init__(self) -> None:
        super().__init__(
            "The database went away while this write was being committed, so it may or may not have happened. "
            "Read the object before you repeat the write, or repeat it with the same Idempotency-Key."
        )


class NoRoute(Refusal):
    """No operation has this path."""


class MethodNotAllowed(Refusal):
    """The path is known, but not with this method; `allowed` are the methods it has."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"This path takes {', '.join(allowed)}.")
        self.allowed = tuple(allowed)


class TooLarge(Refusal):
    """The body is larger than the server takes."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes. Send less in one request.")


class UnsupportedMediaType(Refusal):
    """The body is declared as something else than JSON."""

    def __init__(self, media_type: str) -> None:
        super().__init__(f"The body is declared as `{quoted(media_type)}`. Send JSON, with `Content-Type: application/json`.")


class UnsupportedCoding(Refusal):
    """The body is sent in a content coding, and the server decodes none (RFC 9110, section 8.4)."""

    def __init__(self, coding: str) -> None:
        super().__init__(f"The body is coded as `{quoted(coding)}`. Send it as it is, without `Content-Encoding`.")


class Malformed(Refusal):
    """What arrived is no HTTP request."""


class InvalidHeader(FieldsRefusal):
    """A header of the request does not hold what it has to."""


class HeadTooLarge(Refusal):
    """The head of the request is larger than the server takes."""

    def __init__(self, most_bytes: int, most_lines: int) -> None:
        super().__init__(f"The head is larger than {most_bytes} bytes or {most_lines} lines. Send fewer or shorter headers.")


class TooSlow(Refusal):
    """The request was not there in time; `awaited` is the part of it that was not, `seconds` the time that it had."""

    def __init__(self, awaited: str, seconds: float) -> None:
        super().__init__(f"The {awaited} of the request was not there after {seconds:g} s. Send it again, all at once.")
