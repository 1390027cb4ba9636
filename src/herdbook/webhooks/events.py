"""Conversion of ledger entries to webhook events."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from herdbook import ids
from herdbook.engagements.model import Engagement
from herdbook.shared_schemas import shown_time
from herdbook.webhooks.model import EventType

_SEQ_BITS: Final = 48
_WORKSPACE_BITS: Final = 32
# Keyed by an entry's kind and action, one letter each. Restoring an object sends `created`, as for a new one.
_TYPES: Final[dict[str, EventType]] = {
    letter + action: event_type
    for letter, name in (("c", "CONTACT"), ("o", "COMPANY"), ("e", "ENGAGEMENT"), ("t", "TAG"))
    for action, event_type in (
        ("c", EventType[f"{name}_CREATED"]),
        ("u", EventType[f"{name}_UPDATED"]),
        ("d", EventType[f"{name}_DELETED"]),
        ("r", EventType[f"{name}_CREATED"]),
    )
} | {"rc": EventType.TRANSCRIPT_TIMELINE_COMPLETED, "ru": EventType.TRANSCRIPT_TIMELINE_COMPLETED}
_LISTS_IN_DETAILS: Final = ("contact_ids", "company_ids", "tag_ids")


class Event(NamedTuple):
    """The event of a ledger entry: its id, its type, and the request body."""

    id: str
    type: EventType
    body: bytes


def marks(event_types: Sequence[EventType] | None) -> list[str]:
    """Return the kinds and actions, two letters each, of the entries behind these event types; None: all types."""
    return [mark for mark, event_type in _TYPES.items() if event_types is None or event_type in event_types]


def event_type(mark: str) -> EventType | None:
    """Return the event type for an entry's kind and action, or None if it has none."""
    return _TYPES.get(mark)


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


def to_event(workspace_id: UUID, seq: int, at: datetime, mark: str, object_: bytes, previous: bytes | None) -> Event | None:
    """Return the event of an entry, or None if webhooks send none for it.

    The event of a deleted object has its last state. A transcript without a timeline cannot be read, so it sends no event.
    """
    type_ = _TYPES.get(mark)
    if type_ is None:
        return None
    if mark[0] == "e":
        object_, previous = _engagement(object_, previous)
    elif mark[0] == "r":
        shown = _timeline_owner(object_)
        if shown is None:
            return None
        object_, previous = shown, None
    id_ = event_id(workspace_id, seq, at)
    body = (
        f'{{"id":"{id_}","type":"{type_.value}","api_version":"v1","created_at":"{_shown(at)}",'
        f'"workspace_id":"{_shown_workspace(workspace_id)}","data":{{"object":'
    ).encode() + object_
    if previous is not None:
        body += b',"previous_attributes":' + previous
    return Event(id_, type_, body + b"}}")


# All entries of a batch share one time, and a courier reads many entries of one workspace in a row.
_shown = lru_cache(maxsize=16)(shown_time)


@lru_cache(maxsize=1024)
def _shown_workspace(workspace_id: UUID) -> str:
    return ids.encoded(ids.WORKSPACE, workspace_id)


def _engagement(object_: bytes, previous: bytes | None) -> tuple[bytes, bytes | None]:
    """Remove the fields that the API does not show, and report the former lists that were in `details`."""
    shown = msgspec.json.encode(msgspec.json.decode(object_, type=Engagement))
    if previous is None:
        return shown, None
    changed: dict[str, Any] = msgspec.json.decode(previous)
    old = changed.pop("details", None)
    if old is not None:
        new = msgspec.json.decode(object_)["details"]
        for name in _LISTS_IN_DETAILS:
            if old.get(name, []) != new.get(name, []):
                changed[name] = old.get(name, [])
    return shown, msgspec.json.encode(changed)


class _Transcript(msgspec.Struct):
    timeline: msgspec.Raw
    engagement: msgspec.Raw = msgspec.Raw()


def _timeline_owner(object_: bytes) -> bytes | None:
    """Return the engagement of a transcript that has a timeline."""
    transcript = msgspec.json.decode(object_, type=_Transcript)
    return bytes(transcript.engagement) or None if bytes(transcript.timeline) != b"null" else None
