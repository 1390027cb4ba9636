"""Filters the answer of a write for a credential that may not read the object: it shows no more than was sent.

A write answers the object's new state, which is more than was sent if the object existed before.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple, Protocol, cast, get_args, get_type_hints

import msgspec

from herdbook.auth.authenticate import Caller
from herdbook.shared_schemas import Time

# Members that identify the object and confirm the write.
_ALWAYS: Final = frozenset({"object", "id", "created_at", "updated_at"})


class Readable(Protocol):
    """An object that is read with all of these scopes."""

    read_scopes: ClassVar[tuple[str, ...]]


class WrittenObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object, as shown to a credential that may not read it. Members that were sent may be present, too."""

    schema_name: ClassVar[str] = "written_object"

    object: str
    id: str
    created_at: Time
    updated_at: Time


class ShownObject(NamedTuple):
    """An object in an answer: the path of members to it, through lists too, and the scopes to read it."""

    path: tuple[str, ...]
    scopes: tuple[str, ...]

    def may_be_read_by(self, caller: Caller) -> bool:
        """Whether the caller has the scopes."""
        return all(map(caller.may, self.scopes))


@cache
def shown_objects(answer: type[msgspec.Struct]) -> tuple[ShownObject, ...]:
    """Return the objects that an answer shows."""
    return tuple(_shown_in(answer, ()))


def needs_other_schema(answer: type[msgspec.Struct]) -> bool:
    """Whether an object loses a required member when members that were not sent are left out."""
    return hasattr(answer, "read_scopes") and any(
        field.required and field.encode_name not in _ALWAYS for field in msgspec.structs.fields(answer)
    )


def without_unread(answer: bytes, sent: bytes, unread: Iterable[ShownObject]) -> bytes:
    """Return an answer in which the unreadable objects show only members that were sent."""
    body = msgspec.json.decode(answer)
    for shown in unread:
        if not shown.path:
            body = _as_sent(body, msgspec.json.decode(sent or b"{}"))
            continue
        *way, last = shown.path
        for holder in _reached([body], way):
            if last in holder:
                holder[last] = _as_sent(holder[last], {})
    return msgspec.json.encode(body)


def _shown_in(type_: Any, path: tuple[str, ...]) -> Iterator[ShownObject]:
    if hasattr(type_, "read_scopes"):
        yield ShownObject(path, cast("Readable", type_).read_scopes)
    elif isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        hints = get_type_hints(type_)
        for field in msgspec.structs.fields(type_):
            yield from _shown_in(hints[field.name], (*path, field.encode_name))
    else:
        for part in get_args(type_):
            yield from _shown_in(part, path)


def _reached(holders: list[dict[str, Any]], way: Sequence[str]) -> list[dict[str, Any]]:
    for name in way:
        values: list[Any] = [holder[name] for holder in holders if name in holder]
        holders = []
        for value in values:
            holders += value if isinstance(value, list) else [value]
    return holders


def _as_sent(shown: dict[str, Any], sent: dict[str, Any]) -> dict[str, Any]:
    # Leave out lists: they may hold more than was sent, and the primary item may depend on earlier ones.
    return {
        name: value
        for name, value in shown.items()
        if name in _ALWAYS or (name in sent and sent[name] == value and not isinstance(value, dict | list))
    }
