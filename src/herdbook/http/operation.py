"""An operation of the API, declared once: routing, scopes, decoding and the OpenAPI document all read the declaration."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import msgspec

from herdbook.errors import Refusal


class Answer(NamedTuple):
    """A success: the body in JSON, the version of the object that it is, and whether it was given to an earlier request."""

    body: bytes
    version: int | None = None
    replayed: bool = False


# Takes the call, the path's parameters in their order, and the body where the operation has one.
Handler: TypeAlias = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation. `path` is relative to `/api`, and answers without that prefix, too."""

    method: str
    path: str
    id: str
    summary: str
    description: str
    tag: str
    scope: str
    handler: Handler
    answer: type[msgspec.Struct]
    answer_description: str
    status: int = 200
    body: type[msgspec.Struct] | None = None
    list_of: "ListOf | None" = None
    refusals: tuple[type[Refusal], ...] = ()

    @property
    def is_write(self) -> bool:
        """Whether it changes something, so that it takes If-Match and Idempotency-Key."""
        return self.method != "GET"


class ListOf(NamedTuple):
    """That an operation lists objects, and what it takes beyond what all lists take.

    `search` says what a search compares, `crm_type` is the `object_type` of `filter[crm_associations][eq]`; None: not taken.
    """

    search: str | None = None
    crm_type: str | None = None
