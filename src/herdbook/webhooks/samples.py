"""Example events for testing a receiver."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from herdbook.companies.model import Company
from herdbook.contacts.model import Contact
from herdbook.engagements.model import Engagement, Timeline
from herdbook.tags.model import Tag
from herdbook.webhooks.events import Event, marks, to_event
from herdbook.webhooks.model import EventType

_encode: Final = msgspec.json.Encoder().encode
# Keyed by an entry's kind: the object, and the former values for an update.
_OBJECTS: Final[Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]] = {
    "c": (Contact.example, {"last_name": "Byron"}),
    "o": (Company.example, {"name": "Difference Engine"}),
    "e": (Engagement.example, {"title": "The next step"}),
    "t": (Tag.example, {"hex_color": None}),
    "r": ({"timeline": Timeline.example, "engagement": Engagement.example}, {}),
}


def sample(workspace_id: UUID, event_type: EventType) -> Event:
    """Return an example event of a type. It looks real, but no ledger entry exists for it."""
    mark = marks([event_type])[0]
    object_, previous = _OBJECTS[mark[0]]
    is_update = mark[1] == "u"
    event = to_event(workspace_id, 0, datetime.now(UTC), mark, _encode(object_), _encode(previous) if is_update else None)
    assert event is not None, "every type has a sample object"
    return event
