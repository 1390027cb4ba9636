"""The parts of a bulk's requests and answers that all types of objects share."""

from enum import Enum
from typing import Annotated, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields
from herdbook.http.problems import Problem

MAX_OPERATIONS: Final = 1000
# Limits the items of lists, such as e-mail addresses, of all operations together.
MAX_BULK_ITEMS: Final = 5000

# Limits the bytes of an answer's results. Each has the whole of its object, which may have much more than the operation.
MAX_RESULT_BYTES: Final = 16_777_216


class BulkWrite(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of a bulk's payload beside its operations."""

    atomic: Annotated[bool, Meta(description="Whether to apply all operations or, if one is refused, none.")] = False


class BulkOperation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="action"):
    """An operation of a bulk, told by its `action`. Each type of objects has its own."""


class BulkEnvelope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same payload, with operations that are not decoded yet."""

    rules: ClassVar[dict[str, fields.Rule]] = {}

    atomic: bool = False
    operations: Annotated[tuple[msgspec.Raw, ...], Meta(min_length=1, max_length=MAX_OPERATIONS)]


class BulkOutcome(Enum):
    """How an operation ended."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    RESTORED = "restored"
    DELETED = "deleted"
    FAILED = "failed"


class BulkItem(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one operation. Each type of objects adds the member with the whole of the object."""

    index: Annotated[int, Meta(description="The position of the operation in the request, counted from 0.")]
    result: BulkOutcome
    version: Annotated[int, Meta(description="The object's version, as in its ETag.")] | UnsetType = UNSET
    id: Annotated[str, Meta(description="The object that was deleted.")] | UnsetType = UNSET
    problem: Annotated[Problem, Meta(description="Why the operation failed.")] | UnsetType = UNSET


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """The results of all operations, in the order of the request. Each type of objects adds them, as `results`."""

    object: Literal["bulk_result"]
    atomic: bool
