"""The changes of the feed, and the marks of writes in them."""

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from herdbook.ledger.changes import is_erased

MARKED = {
    "contact": "description",
    "company": "name",
    "tag": "name",
    "field": "label",
    "note": "text",
    "engagement": "title",
    "transcript": "text",
    "transcript_comment": "body",
}
"""The member that holds the mark of a write, by the type of the object."""


class Members(msgspec.Struct):
    """The members that hold a mark, now or before."""

    description: str | None | UnsetType = UNSET
    name: str | None | UnsetType = UNSET
    label: str | None | UnsetType = UNSET
    text: str | None | UnsetType = UNSET
    title: str | None | UnsetType = UNSET
    body: str | None | UnsetType = UNSET


class Data(msgspec.Struct):
    """The object as the feed has it, and the former values of what an update changed."""

    object: msgspec.Raw
    previous_attributes: msgspec.Raw = msgspec.Raw()


class Change(msgspec.Struct):
    """A change of the feed, with its object as it was sent."""

    position: int
    type: str
    at: datetime
    object_id: str
    data: Data
    merged_into: str | None = None

    @property
    def name(self) -> str:
        """The name of the object's type."""
        return self.type.partition(".")[0]

    @property
    def action(self) -> str:
        return self.type.partition(".")[2]

    @property
    def is_emptied(self) -> bool:
        """Whether the object, or what was kept of it, was erased since."""
        return is_erased(bytes(self.data.object))

    def mark(self) -> str | None:
        """Return the mark of the write that made this change, if it has one."""
        if self.action in ("deleted", "restored", "erased"):
            return ended(self.type, self.object_id)
        member = MARKED.get(self.name)
        if member is None or self.is_emptied:
            return None
        if self.action == "updated":
            previous = bytes(self.data.previous_attributes) or b"{}"
            if getattr(msgspec.json.decode(previous, type=Members), member) is UNSET:
                return None
        return getattr(msgspec.json.decode(self.data.object, type=Members), member) or None


def ended(change_type: str, object_id: str) -> str:
    """Return the mark of a deletion, a restoration or an erasure, which an object has but once."""
    return f"{change_type} {object_id}"
