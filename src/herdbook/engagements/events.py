"""The data of the events about engagements and their transcripts, from the entries of the ledger."""

from typing import Any, Final

import msgspec

from herdbook.engagements.model import Engagement
from herdbook.ledger.object_types import EventData

_LISTS_IN_DETAILS: Final = ("contact_ids", "company_ids", "tag_ids")


def engagement_data(object_: bytes, previous: bytes | None) -> EventData:
    """Remove the fields that the API does not show, and report the former lists that were in `details`."""
    shown = msgspec.json.encode(msgspec.json.decode(object_, type=Engagement))
    if previous is None:
        return EventData(shown, None)
    changed: dict[str, Any] = msgspec.json.decode(previous)
    old = changed.pop("details", None)
    if old is not None:
        new = msgspec.json.decode(object_)["details"]
        for name in _LISTS_IN_DETAILS:
            if old.get(name, []) != new.get(name, []):
                changed[name] = old.get(name, [])
    return EventData(shown, msgspec.json.encode(changed))


class _Transcript(msgspec.Struct):
    timeline: msgspec.Raw
    engagement: msgspec.Raw = msgspec.Raw()


def transcript_data(object_: bytes, _: bytes | None) -> EventData | None:
    """Return the engagement of a transcript. One without a timeline cannot be read, so it sends no event."""
    transcript = msgspec.json.decode(object_, type=_Transcript)
    engagement = bytes(transcript.engagement)
    return EventData(engagement, None) if engagement and bytes(transcript.timeline) != b"null" else None
