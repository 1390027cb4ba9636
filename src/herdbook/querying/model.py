"""The parts of a query, and of its answer, that are the same for all types of objects."""

from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from herdbook import fields

MAX_SORT_KEYS: Final = 3
CONDITION_EXAMPLE: Final = {"field": "fields.birthday", "op": "before", "value": "1900-01-01"}


class Sort(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A member to sort by. Objects without a value come last."""

    field: Annotated[str, Meta(description="A member, or `fields.` and the key of a field.")]
    direction: Literal["asc", "desc"] = "asc"


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Request payload for a query."""

    rules: ClassVar[dict[str, fields.Rule]] = {}

    where: Annotated[
        Any,
        Meta(
            description="A condition: `field`, `op` and `value`; `and` or `or` with an array of conditions; or `not` with one.",
            extra_json_schema={"type": ["object", "null"]},
        ),
    ] = None
    sort: Annotated[
        tuple[Sort, ...],
        Meta(max_length=MAX_SORT_KEYS, description="By default, the object that was changed last is first."),
    ] = ()
    limit: Annotated[int, Meta(ge=1, le=100, description="The objects on a page.")] = 25
    cursor: Annotated[
        str | None,
        Meta(description="The `next_cursor` of the last page, null or empty for the first. Send `where` and `sort` as before."),
    ] = None
    count: Annotated[bool, Meta(description="Whether to count the matches, too.")] = False


class QueryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the objects that a query finds."""

    object: Annotated[str, Meta(description="Resource discriminator.")]
    data: tuple[Any, ...]
    has_more: bool
    next_cursor: str | None
    count: Annotated[int, Meta(description="The matches, as far as they were counted.")] | UnsetType = UNSET
    count_is_exact: Annotated[bool, Meta(description="Whether all matches were counted.")] | UnsetType = UNSET
