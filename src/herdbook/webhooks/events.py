"""Conversion of ledger entries to webhook events."""

from collections.abc import Collection, Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Final, LiteralString, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids, sources
from herdbook.ledger.changes import Action, Erased, is_erased
from herdbook.ledger.object_types import EventData, ObjectTypes
from herdbook.shared_schemas import shown_time

_SEQ_BITS: Final = 48
_WORKSPACE_BITS: Final = 32
_encode: Final = msgspec.json.Encoder().encode


class Event(NamedTuple):
    """The event of a ledger entry: its id, its type, and the request body."""

    id: str
    type: str
    body: bytes


@cache
def _types(object_types: ObjectTypes) -> Mapping[str, str]:
    """Return the event types by the kind and action of an entry, one letter each."""
    return {
        each.kind + action.value: event_type
        for each in object_types
        if each.events is not None
        for action, event_type in each.events.types.items()
    }


def kind_actions(object_types: ObjectTypes, event_types: Collection[str] | None) -> list[str]:
    """Return the kinds and actions, two letters each, of the entries behind these event types; None: all types."""
    return [kind_action for kind_action, type_ in _types(object_types).items() if event_types is None or type_ in event_types]


@cache
def sends_event(object_types: ObjectTypes, *, with_own: bool) -> LiteralString:
    """Return the SQL condition on an entry `change` that tells whether it sends an event, if its kind and action do.

    `with_own`: the endpoint asks for own members.
    """
    cases: list[LiteralString] = [
        " when '" + each.kind + "' then (" + condition + ")"
        for each in object_types
        if each.events is not None and (condition := each.events.sends(with_own=with_own)) is not None
    ]
    return "case change.kind::text" + "".join(cases) + " else true end" if cases else "true"


def event_type(object_types: ObjectTypes, kind_action: str) -> str | None:
    """Return the event type for an entry's kind and action, or None if it has none."""
    return _types(object_types).get(kind_action)


def event_id(workspace_id: UUID, seq: int, at: datetime) -> str:
    """Return the event id of an entry. It is computed, not stored, and always the same.

    It begins with the time in milliseconds, as a ULID does; then come bits of the workspace's id, and the entry's number.
    """
    milliseconds = int(at.timestamp() * 1000)
    workspace = workspace_id.int & ((1 << _WORKSPACE_BITS) - 1)
    return ids.encoded(ids.EVENT, UUID(int=((milliseconds << _WORKSPACE_BITS | workspace) << _SEQ_BITS) | seq))


def seq_of(text: str) -> int | None:
    """Return the entry number in an event id, or None if the text is not an event id."""
    decoded = ids.decoded(ids.EVENT, text)
    return None if decoded is None else decoded.int & ((1 << _SEQ_BITS) - 1)


class EventEntry(NamedTuple):
    """The part of a ledger entry that makes an event. `kind_action` holds the letters of its kind and action.

    `merged_into` is the object that replaces this one, if the entry deletes it by merging.
    """

    seq: int
    at: datetime
    kind_action: str
    object: bytes
    previous: bytes | None
    merged_into: UUID | None = None


def to_event(object_types: ObjectTypes, workspace_id: UUID, entry: EventEntry, *, with_own: bool = False) -> Event | None:
    """Return the event of an entry, or None if webhooks send none for it. The event of a deleted object has its last state.

    `with_own`: the event shows own members, and an update of these alone has one.
    """
    object_type = object_types.of(entry.kind_action[0])
    type_, events = event_type(object_types, entry.kind_action), object_type.events
    if type_ is None or events is None:
        return None
    if is_erased(entry.object):
        data = EventData(entry.object, None) if entry.kind_action[1] == Action.ERASED.value else None
    else:
        data = events.shown(entry.object, entry.previous, with_own=with_own)
    if data is None:
        return None
    id_ = event_id(workspace_id, entry.seq, entry.at)
    body = (
        f'{{"id":"{id_}","type":"{type_}","api_version":"v1","created_at":"{_shown(entry.at)}",'
        f'"workspace_id":"{_shown_workspace(workspace_id)}","data":{{"object":'
    ).encode() + data.object
    if data.previous is not None:
        body += b',"previous_attributes":' + data.previous
    body += b"}"
    if entry.merged_into is not None and entry.kind_action[1] == Action.DELETED.value:
        body += f',"merged_into":"{ids.encoded(object_type.prefix, entry.merged_into)}"'.encode()
    return Event(id_, type_, body + b"}")


def sample(object_types: ObjectTypes, workspace_id: UUID, type_: str, *, with_own: bool) -> Event:
    """Return an example event of a type, with own members or without. It looks real, but no ledger entry exists for it."""
    kind_action = kind_actions(object_types, [type_])[0]
    object_type = object_types.of(kind_action[0])
    assert object_type.events is not None, "its events have this type"
    is_update = kind_action[1] == Action.UPDATED.value
    previous = _encode(object_type.events.example_previous) if is_update else None
    is_erasure = kind_action[1] == Action.ERASED.value
    example = Erased(id=ids.example(object_type.prefix)) if is_erasure else object_type.example
    entry = EventEntry(0, sources.now(), kind_action, _encode(example), previous)
    event = to_event(object_types, workspace_id, entry, with_own=with_own)
    assert event is not None, "every type has an example"
    return event


# All entries of a batch share one time, and a courier reads many entries of one workspace in a row.
_shown = lru_cache(maxsize=16)(shown_time)


@lru_cache(maxsize=1024)
def _shown_workspace(workspace_id: UUID) -> str:
    return ids.encoded(ids.WORKSPACE, workspace_id)
