"""What a write answers to a credential that may not read what it wrote: no more of it than was sent.

A write answers the object as it is from then on. That is more than was sent where the object was there before.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, NamedTuple, Protocol, cast, get_args, get_type_hints

import msgspec

from herdbook.auth.authenticate import Caller
from herdbook.wire import Time

# These tell which object it is, and that it was written.
_ALWAYS: Final = frozenset({"object", "id", "created_at", "updated_at"})


class Readable(Protocol):
    """An object that is read with these scopes, all of them."""

    read_scopes: ClassVar[tuple[str, ...]]


class WrittenObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object, to a credential that may not read it. Beside these members there may be those that were sent."""

    schema_name: ClassVar[str] = "written_object"

    object: str
    id: str
    created_at: Time
    updated_at: Time


class ShownObject(NamedTuple):
    """An object in an answer: the members that lead to it, through lists, too; and the scopes that it is read with."""

    path: tuple[str, ...]
    scopes: tuple[str, ...]

    def may_be_read_by(self, caller: Caller) -> bool:
        """Whether somebody has the scopes."""
        return all(map(caller.may, self.scopes))


def shown_objects(answer: type[msgspec.Struct]) -> tuple[ShownObject, ...]:
    """Return which objects an answer shows."""
    return tuple(_shown_in(answer, ()))


def needs_other_schema(answer: type[msgspec.Struct]) -> bool:
    """Whether an object lacks a member that its schema requires, once what was not sent is left out."""
    return hasattr(answer, "read_scopes") and any(
        field.required and field.encode_name not in _ALWAYS for field in msgspec.structs.fields(answer)
    )


def without_unread(answer: bytes, sent: bytes, unread: Iterable[ShownObject]) -> bytes:
    """Return an answer without what was not sent of some of its objects."""
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
    # A list may hold more than was sent, and which item is primary may depend on what was there.
    return {
        name: value
        for name, value in shown.items()
        if name in _ALWAYS or (name in sent and sent[name] == value and not isinstance(value, dict | list))
    }
