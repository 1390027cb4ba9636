"""The checks on what a server tells after a fault.

Clients give each write a mark that no other write has: a description, or the deletion or restoration of an object. A mark
that the change feed has once was done once.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from herdbook import ids
from herdbook.contacts.store import CONTACT


class Outcome(Enum):
    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass
class Write:
    """A write as its client saw it. A whole one does all its marks or none; its outcome is unknown until the last answer."""

    kind: str
    marks: Sequence[str]
    is_whole: bool = True
    outcome: Outcome = Outcome.UNKNOWN


class Fault(NamedTuple):
    """A promise that was broken: the check that found it, and the finding."""

    check: str
    finding: str


CHECKS = {
    "lost": "acknowledged writes that the feed lacks",
    "doubled": "writes that the feed has more than once",
    "torn": "writes of all or nothing of which the feed has a part",
    "refused": 'refused writes ("nothing was done") that the feed has',
    "gap": "numbers of changes that are missing or come twice",
    "time": "changes that are older than the one before",
    "row": "rows that differ from the replay of the feed",
    "event": "events that a webhook endpoint never received",
    "order": "events that an endpoint first received before an earlier one of the same object",
    "recording": "recordings whose file is missing or has other bytes",
    "answer": "answers that no fault explains",
    "damage": "tables and indexes in which PostgreSQL finds damage",
}


class Members(msgspec.Struct):
    """The members that hold a mark, now or before: the description of a contact, the title of an engagement."""

    description: str | None | UnsetType = UNSET
    title: str | None | UnsetType = UNSET


class Data(msgspec.Struct):
    object: msgspec.Raw
    previous_attributes: Members | UnsetType = UNSET


class Change(msgspec.Struct):
    """A change of the feed, with the object as it was sent."""

    position: int
    type: str
    at: str
    object_id: str
    data: Data

    def mark(self) -> str | None:
        """Return the mark of the write that made this change, if it has one."""
        kind, _, action = self.type.partition(".")
        if kind == "contact" and action in ("deleted", "restored"):
            return gone(self.object_id) if action == "deleted" else back(self.object_id)
        previous = self.data.previous_attributes
        if action == "updated" and (kind != "contact" or previous is UNSET or previous.description is UNSET):
            return None
        members = msgspec.json.decode(self.data.object, type=Members)
        return members.description or members.title or None


def gone(object_id: str) -> str:
    """Return the mark of a deletion."""
    return f"deleted {object_id}"


def back(object_id: str) -> str:
    """Return the mark of a restoration."""
    return f"restored {object_id}"


class Row(NamedTuple):
    """A contact's row, with the bytes of its object."""

    version: int
    is_deleted: bool
    object: bytes


@dataclass
class Replay:
    """The feed as it was read, up to a position: the marks, the rows that follow from it, and the events that are due."""

    position: int = 0
    at: str = ""
    marks: Counter[str] = field(default_factory=Counter[str])
    rows: dict[UUID, Row] = field(default_factory=dict[UUID, Row])
    events: dict[int, str] = field(default_factory=dict[int, str])
    """The object of each change that a webhook endpoint is told of, by the change's number."""

    def take(self, changes: Iterable[Change]) -> list[Fault]:
        """Add the next changes of the feed; return what is wrong with their numbers and times."""
        faults: list[Fault] = []
        for change in changes:
            if change.position != self.position + 1:
                faults.append(Fault("gap", f"change {change.position} follows change {self.position}"))
            if change.at < self.at:
                faults.append(Fault("time", f"change {change.position} is of {change.at}, the one before of {self.at}"))
            self.position, self.at = change.position, change.at
            if (mark := change.mark()) is not None:
                self.marks[mark] += 1
            if (contact_id := ids.decoded(ids.CONTACT, change.object_id)) is not None:
                is_deleted = change.type == "contact.deleted"
                self.rows[contact_id] = Row(change.position, is_deleted, bytes(change.data.object))
                if change.type in EVENT_TYPES:
                    self.events[change.position] = change.object_id
        return faults


assert CONTACT.events is not None
EVENT_TYPES = frozenset(f"contact.{action.name.lower()}" for action in CONTACT.events.types)


def check_writes(writes: Iterable[Write], marks: Mapping[str, int]) -> list[Fault]:
    """Compare what clients saw with the marks of the feed."""
    faults: list[Fault] = []
    for write in writes:
        found = [marks.get(mark, 0) for mark in write.marks]
        done = sum(map(bool, found))
        told = f"{write.kind} {write.marks[0]}, {done} of {len(found)} marks"
        if write.outcome is Outcome.ACKNOWLEDGED and done < len(found):
            faults.append(Fault("lost", told))
        if write.outcome is Outcome.REFUSED and done:
            faults.append(Fault("refused", told))
        if write.is_whole and 0 < done < len(found):
            faults.append(Fault("torn", told))
        if max(found) > 1:
            faults.append(Fault("doubled", told))
    return faults


def check_rows(rows: Mapping[UUID, Row], stored: Mapping[UUID, Row]) -> list[Fault]:
    """Compare rows that follow from the feed with those in the table."""
    differing = [object_id for object_id in rows.keys() | stored.keys() if rows.get(object_id) != stored.get(object_id)]
    return [Fault("row", f"{each}: {rows.get(each)} by the feed, {stored.get(each)} in the table") for each in differing]


def check_events(due: Mapping[int, str], arrived: Collection[int]) -> list[Fault]:
    """Seek the events that are due among those that arrived."""
    return [Fault("event", f"change {number} of {object_id}") for number, object_id in due.items() if number not in arrived]


def check_order(due: Mapping[int, str], arrived: Iterable[int]) -> list[Fault]:
    """Check the order in which the events of an object first arrived. Repeats of earlier ones are allowed."""
    faults: list[Fault] = []
    last: dict[str, int] = {}
    for number in dict.fromkeys(arrived):
        object_id = due.get(number, "")
        if number < last.get(object_id, 0):
            faults.append(Fault("order", f"change {number} of {object_id} after {last[object_id]}"))
        last[object_id] = number
    return faults
