"""An operation of the API, declared once. Routing, scopes, decoding and the OpenAPI document read the declaration."""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from herdbook import fields
from herdbook.db.paging import TimeColumn
from herdbook.errors import FieldError, Refusal

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)\}")
# Paths that the vendor's API does not have.
_OWN_PATHS: Final = "/herdbook/"
MAX_FILTER_VALUES: Final = 25
"""The values that a filter takes, unless it says otherwise."""


class Answer(NamedTuple):
    """A success: the JSON body, the object's version, and whether it repeats the answer to an earlier request.

    `status` and `headers` override or extend those that the operation declares. `stream` replaces the body: its parts are sent
    as they come, until the client disconnects. `media_type` is the type of the body or stream. `is_own` says that the caller
    created the object, so that it may see all of it without a scope to read. `variant` tells this answer from others that show
    the same version, and goes into the ETag behind it.
    """

    body: bytes
    version: int | None = None
    replayed: bool = False
    status: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: AsyncGenerator[bytes] | None = None
    media_type: bytes = b"application/json"
    is_own: bool = False
    variant: str = ""


class OtherAnswer(NamedTuple):
    """An additional answer of an operation that is not a problem: its body, and when it is sent.

    `headers` are those beyond the headers of all answers.
    """

    struct: type[msgspec.Struct]
    description: str
    headers: tuple[str, ...] = ()


# Takes the call, the ids in the path in order, then the body or the parts of a file, and the query, if the operation has them.
Handler: TypeAlias = Callable[..., Awaitable[Answer]]


# Takes the call, a body that was refused, the errors so far, and the ids in the path, and returns the further errors of the
# body: those of members that the workspace defines are not known before.
FurtherErrors: TypeAlias = Callable[..., Awaitable[Sequence[FieldError]]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation: only the facts that do not follow from others.

    `path` is relative to `/api`, and also works without that prefix; its parameters are ids. The document adds the scopes to
    the `description`. A caller needs all `scopes`; None means that no authentication is needed.

    `form` is a form body (`application/x-www-form-urlencoded`), which the handler parses itself. `is_large` allows a body up
    to the server's limit instead of the limit for one object. `envelope` is decoded instead of `body` if the handler checks
    the parts of a body one by one, so that one invalid part does not spoil the others. `query` declares the parameters of an
    operation that is not a list.

    `filters_of` is a list whose filters and search the query takes as well, which the handler reads itself.

    `bypasses_ledger` says that the answer is no object of the ledger, so it has no version, and that a write is not recorded.
    `expand` maps members that an answer has only on request to the scope that each needs in addition. `refusals` are those
    that do not follow from the rest; `openapi.refusals_of` returns all. `event_stream` describes the stream for clients that
    accept `text/event-stream`; None: no stream. `or_answer` is an alternative to `answer` that the query can select. `is_older`
    says that it is of the vendor's older API: it also takes the key in `X-Api-Key`, and a 429 has `retryAfterSeconds`.
    `has_variants` says that parts of the answer may be hidden while its version stays, so that the ETag tells more. `files` are
    the media types of an answer that is a file; `answer` is then a line of one as NDJSON. `further_errors` looks for errors
    that the declaration of the body does not know, in a body that has others.
    """

    method: str
    path: str
    id: str
    summary: str
    description: str
    tag: str
    scopes: tuple[str, ...] | None
    handler: Handler
    answer: type[msgspec.Struct]
    answer_description: str
    status: int = 200
    body: type[msgspec.Struct] | None = None
    form: type[msgspec.Struct] | None = None
    takes_file: bool = False
    is_large: bool = False
    envelope: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    bypasses_ledger: bool = False
    list_of: "ListOf | None" = None
    filters_of: "ListOf | None" = None
    expand: Mapping[str, str | None] | None = None
    refusals: tuple[type[Refusal], ...] = ()
    other_answers: Mapping[int, OtherAnswer] | None = None
    event_stream: str | None = None
    or_answer: type[msgspec.Struct] | None = None
    is_older: bool = False
    has_variants: bool = False
    files: tuple[str, ...] = ()
    further_errors: FurtherErrors | None = None

    @cached_property
    def path_parameters(self) -> tuple[str, ...]:
        """The names of the objects whose ids are in the path, such as `contact`, in order."""
        return tuple(name.removesuffix("_id") for name in _PATH_PARAMETER.findall(self.path))

    @cached_property
    def is_own(self) -> bool:
        """Whether the vendor's API does not have it."""
        return self.path.startswith(_OWN_PATHS)

    @cached_property
    def is_strict(self) -> bool:
        """Whether it refuses a body or a query parameter that it does not take.

        The vendor's operations ignore them, and so do those with a form (RFC 6749, section 3.2).
        """
        return self.is_own and self.form is None

    @cached_property
    def takes_no_body(self) -> bool:
        """Whether it has no use for a body."""
        return self.body is None and self.form is None and not self.takes_file

    @cached_property
    def takes_no_query(self) -> bool:
        """Whether it has no query parameters."""
        return self.query is None and self.list_of is None and self.expand is None

    @cached_property
    def shows_version(self) -> bool:
        """Whether the answer is the current state of an object, with its version as the ETag."""
        return not self.bypasses_ledger and self.list_of is self.query is self.envelope is None

    def narrows(self, status: int) -> bool:
        """Whether an answer may have more of an object than was sent, which only those are told who may read it.

        A newly created object consists only of what was sent.
        """
        return self.is_write and status != 201

    @cached_property
    def creates(self) -> bool:
        """Whether it creates an object through the ledger, each time that it is called."""
        return self.is_write and self.status == 201

    @cached_property
    def is_write(self) -> bool:
        """Whether it writes through the ledger, and so accepts If-Match and Idempotency-Key."""
        return self.method != "GET" and self.scopes is not None and not self.bypasses_ledger


class Filter(NamedTuple):
    """A filter of a list: `filter[name][eq]`, and `filter[name][in]` with up to `most` values if several are allowed.

    `read` returns the value to compare, and raises ValueError with the reason for an invalid one. `schema` and `description`
    are for the document.
    """

    name: str
    read: Callable[[str], str]
    schema: dict[str, Any]
    description: str
    most: int = MAX_FILTER_VALUES


def id_filter(name: str, prefix: str, kind: str, description: str) -> Filter:
    """Return a filter by the ids of a kind of object."""

    def read(text: str) -> str:
        if any(fields.id_of(prefix, kind)(text, "")):
            raise ValueError(f"the id of a {kind} is `{prefix}` followed by letters and digits, as the API returned it")
        return text

    return Filter(name, read, {"type": "string", "pattern": fields.id_pattern(prefix)}, description)


# By identity, so that what follows from it can be kept.
@dataclass(frozen=True, eq=False)
class ListOf:
    """Marks an operation as a list, with its parameters beyond those of all lists.

    `search` describes what a search compares; None: no search. `crm_types` are the `object_type`s of
    `filter[crm_associations][eq]`; empty: no such filter. `times` are the times to filter and sort by.
    """

    search: str | None = None
    crm_types: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    times: tuple[TimeColumn, ...] = ("updated_at",)
