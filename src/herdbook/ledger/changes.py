"""The entries of the ledger: what changed, from what, to what, when, by whom, in which request."""

from datetime import datetime
from enum import Enum
from typing import Any, Final, Literal, LiteralString
from uuid import UUID

import msgspec

from herdbook.ledger.insertion import insertion

_encode: Final = msgspec.json.Encoder(order="deterministic").encode


def same(one: Any, other: Any) -> bool:
    """Whether two values, or what they hold, are kept as the same JSON. The order of the members of an object means nothing.

    Python also takes 1, 1.0 and true for equal, 0 and -0.0, and decimal numbers with other digits.
    """
    if one is other or one != other:
        return one is other
    # Most members of a changed object are the very same objects as before.
    if isinstance(one, msgspec.Struct):
        return all(map(same, msgspec.structs.astuple(one), msgspec.structs.astuple(other)))
    return _encode(one) == _encode(other)


class Action(Enum):
    """The action of a change; one byte in the table."""

    CREATED = "c"
    UPDATED = "u"
    DELETED = "d"
    RESTORED = "r"
    ERASED = "x"


class Erased(msgspec.Struct, frozen=True, kw_only=True):
    """The object of an entry after its object was erased: nothing but the id."""

    erased: Literal[True] = True
    id: str


def is_erased(object_: bytes) -> bool:
    """Whether the object of an entry was erased. No other object begins with this member."""
    return object_.startswith(b'{"erased":true,')


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an entry that describes an object.

    `kind` is the letter of its type: one byte in the table, because there are more entries than anything else. `object` is the
    object after the change, with everything that is kept of it. `previous` holds the old values of the members that an update
    changed; it is None for the other actions. `previous_version` is the number of the object's entry before this one.
    `merged_into` is the object that replaces this one, in entries that delete an object by merging or restore it after.
    """

    kind: str
    object_id: UUID
    action: Action
    object: Any
    previous: Any = None
    previous_version: int | None = None
    merged_into: UUID | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a workspace's ledger. `seq` has no gaps in a workspace, and follows the order of commits."""

    workspace_id: UUID
    seq: int
    at: datetime
    kind: str
    object_id: UUID
    action: Action
    request_id: UUID
    credential_id: UUID
    object: Any
    previous: Any = None
    previous_version: int | None = None
    merged_into: UUID | None = None


SAVE_CHANGES: Final = insertion(
    "change_entered",
    "change",
    {
        "seq": "bigint",
        "at": "timestamptz",
        "kind": '"char"',
        "object_id": "uuid",
        "action": '"char"',
        "request_id": "uuid",
        "credential_id": "uuid",
        "previous": "json",
        "object": "json",
        "previous_version": "bigint",
        "merged_into": "uuid",
    },
)

# Continues `from chain`, whose rows have the columns of `change` in the workspace `$1`, with the entry of the same object
# before each as `e`. Entries of older releases lack the number of that one, so for them the ledger is searched backwards. The
# limit forces a lookup for each row, by the whole key.
PREVIOUS_ENTRY: Final[LiteralString] = """
    cross join lateral (
        select c.* from change c
        where c.workspace_id = $1 and c.seq = coalesce(
            chain.previous_version,
            case when chain.action::text <> 'c' then (
                select p.seq from change p
                where p.workspace_id = $1 and p.seq < chain.seq and p.object_id = chain.object_id
                    and p.kind = chain.kind
                order by p.seq desc limit 1
            ) end
        )
        limit 1
    ) as e
"""
