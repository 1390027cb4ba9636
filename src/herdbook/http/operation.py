"""An operation of the API, declared once: routing, scopes, decoding and the OpenAPI document all read the declaration."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec

from herdbook.db.paging import TimeColumn
from herdbook.errors import Refusal


class Answer(NamedTuple):
    """A success: the body in JSON, the version of the object that it is, and whether it was given to an earlier request.

    `status` and `headers` are those that differ from what the operation declares, or go beyond it. `stream` comes in place of
    the body: parts that are sent as they come, until the client has gone; `media_type` is what either is.
    """

    body: bytes
    version: int | None = None
    replayed: bool = False
    status: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()
    stream: AsyncGenerator[bytes] | None = None
    media_type: bytes = b"application/json"


class OtherAnswer(NamedTuple):
    """An answer that an operation gives beside its first one, and that is no problem of ours: its body and when it comes.

    `headers` are those that it has beside the ones that all answers have.
    """

    struct: type[msgspec.Struct]
    description: str
    headers: tuple[str, ...] = ()


# Takes the call, the path's parameters in their order, the body where the operation has one, and the query where it has one.
Handler: TypeAlias = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation. `path` is relative to `/api`, and answers without that prefix, too.

    `scopes` are all needed; None says that nobody needs to say who they are. `expand` are the members that an answer has only
    when it is asked for them, and the scope that each needs beside those of the operation. `form` is a body that is a form
    (`application/x-www-form-urlencoded`), which the handler reads itself. `is_large` says that a body may be as large as the
    server takes, and not only as one object needs. `envelope` is what is read of a body whose parts the
    handler judges one by one, so that one that is wrong spoils no other. `query` are the parameters of what is no list. An
    errand is a write that the ledger takes no part in. Without `has_version`, what is read changes while no object does.
    `or_answer` is what it answers in place of `answer`, where the query asks for that.
    `event_stream` says what those are sent who accept `text/event-stream`; None: no such thing.
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
    is_large: bool = False
    envelope: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] | None = None
    is_errand: bool = False
    has_version: bool = True
    list_of: "ListOf | None" = None
    expand: Mapping[str, str | None] | None = None
    refusals: tuple[type[Refusal], ...] = ()
    other_answers: Mapping[int, OtherAnswer] | None = None
    event_stream: str | None = None
    or_answer: type[msgspec.Struct] | None = None

    @property
    def shows_version(self) -> bool:
        """Whether its answer is an object as it is now, with its version as the ETag."""
        return self.has_version and not self.is_errand and self.list_of is self.query is self.envelope is None

    def narrows(self, status: int) -> bool:
        """Whether an answer may have more of an object than was sent, which only those are told who may read it.

        What it creates is made of what was sent.
        """
        return self.is_write and status != 201

    @property
    def is_write(self) -> bool:
        """Whether it changes something, so that it takes If-Match and Idempotency-Key."""
        return self.method != "GET" and self.scopes is not None and not self.is_errand


class Filter(NamedTuple):
    """A filter of a list: `filter[name][eq]`, and `filter[name][in]` with up to `most` values where there may be several.

    `read` returns the value that is compared, and raises ValueError, which says why, for what can be none. `schema` and
    `description` are for the document.
    """

    name: str
    read: Callable[[str], str]
    schema: dict[str, Any]
    description: str
    most: int = 25


class ListOf(NamedTuple):
    """That an operation lists objects, and what it takes beyond what all lists take.

    `search` says what a search compares; None: not taken. `crm_types` are the `object_type`s of `filter[crm_associations][eq]`;
    none: not taken. `times` are the times that can be filtered, and by which a list can be sorted.
    """

    search: str | None = None
    crm_types: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()
    times: tuple[TimeColumn, ...] = ("updated_at",)
