"""The checks on what a server tells after a fault.

Clients give each write a mark that no other write has: a text in the object, or the deletion, restoration or erasure of an
object. A mark that the change feed has once was done once.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from evidence.changes import Change
from evidence.rows import Place, Row, place_of, row_of
from herdbook import ids
from herdbook.ledger.changes import Action
from herdbook.object_types import OBJECT_TYPES
from herdbook.webhooks.events import EventEntry, to_event


class Outcome(Enum):
    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass
class Write:
    """A write as its client saw it. A whole one does all its marks or none; its outcome is unknown until the last answer.

    `object_id` is the object that it created, if it may be erased, and its mark with it.
    """

    kind: str
    marks: Sequence[str]
    is_whole: bool = True
    outcome: Outcome = Outcome.UNKNOWN
    object_id: str = ""


class Fault(NamedTuple):
    """A promise that was broken: the check that found it, and the finding."""

    check: str
    finding: str


class FaultFound(Exception):
    """A fault that ends what found it."""

    def __init__(self, check: str, finding: str) -> None:
        super().__init__(finding)
        self.fault = Fault(check, finding)


CHECKS = {
    "lost": "acknowledged writes that the feed lacks",
    "doubled": "writes that the feed has more than once",
    "torn": "writes of all or nothing of which the feed has a part",
    "refused": 'refused writes ("nothing was done") that the feed has',
    "gap": "numbers of changes that are missing or come twice",
    "time": "changes that are older than the one before",
    "row": "rows that differ from the replay of the feed",
    "key": "columns, unique keys and index entries that do not follow from the rows",
    "erased": "erased persons of whom an answer, the feed or a table still tells",
    "event": "events that a webhook endpoint never received",
    "order": "events that an endpoint first received before an earlier one of the same object",
    "content": "events with a wrong signature, or that differ from the change in the feed",
    "recording": "recordings whose file is missing or has other bytes",
    "backup": "backups that cannot be restored, or that a failed command left",
    "answer": "answers that no fault explains",
    "damage": "tables and indexes in which PostgreSQL finds damage",
}


class Event(NamedTuple):
    """The event that a webhook endpoint receives of a change: the object, and the hash of the body."""

    place: Place
    digest: bytes


BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass
class Replay:
    """The feed of a workspace as it was read, up to a position, and what follows from it."""

    workspace_id: UUID
    position: int = 0
    at: datetime = BEGINNING
    marks: Counter[str] = field(default_factory=Counter[str])
    rows: dict[Place, Row] = field(default_factory=dict[Place, Row])
    changed: set[Place] = field(default_factory=set[Place])
    """The places of the changes since this set was last cleared."""
    events: dict[int, Event] = field(default_factory=dict[int, Event])
    """The event of each change of which a webhook endpoint is told, by the change's number."""
    emptied: dict[int, str] = field(default_factory=dict[int, str])
    """The object of each change that was emptied before it was read, by the change's number."""

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
            place, row = place_of(change), row_of(change)
            self.changed.add(place)
            if row is None:
                self.rows.pop(place, None)
                self.emptied[change.position] = change.object_id
            else:
                self.rows[place] = row
            if (body := self._event_of(change)) is not None:
                self.events[change.position] = Event(place, digest_of(body))
        return faults

    def _event_of(self, change: Change) -> bytes | None:
        object_type = OBJECT_TYPES.named(change.name)
        entry = EventEntry(
            change.position,
            change.at,
            object_type.kind + Action[change.action.upper()].value,
            bytes(change.data.object),
            bytes(change.data.previous_attributes) or None,
            ids.decoded(object_type.prefix, change.merged_into or ""),
        )
        event = to_event(OBJECT_TYPES, self.workspace_id, entry)
        return None if event is None else event.body


def digest_of(body: bytes) -> bytes:
    """Return the hash by which two bodies are compared."""
    return hashlib.sha256(body).digest()


def check_writes(writes: Iterable[Write], marks: Mapping[str, int], emptied: Collection[str] = ()) -> list[Fault]:
    """Compare what clients saw with the marks of the feed, but for those of objects that were emptied."""
    faults: list[Fault] = []
    for write in writes:
        if write.object_id in emptied:
            continue
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


def check_rows(rows: Mapping[Place, Row], there: Mapping[Place, Row]) -> list[Fault]:
    """Compare rows that follow from the feed with those in the tables."""
    differing = [place for place in rows.keys() | there.keys() if rows.get(place) != there.get(place)]
    return [Fault("row", f"{each}: {rows.get(each)} by the feed, {there.get(each)} in the table") for each in differing]


def check_events(due: Mapping[int, Event], arrived: Collection[int]) -> list[Fault]:
    """Seek the events that are due among those that arrived."""
    return [Fault("event", f"change {number} of {event.place}") for number, event in due.items() if number not in arrived]


def check_order(due: Mapping[int, Event], arrived: Iterable[int]) -> list[Fault]:
    """Check the order in which the events of an object first arrived. Repeats of earlier ones are allowed."""
    faults: list[Fault] = []
    last: dict[Place, int] = {}
    for number in dict.fromkeys(arrived):
        # A change that was emptied since is not due any more.
        if (event := due.get(number)) is None:
            continue
        if number < last.get(event.place, 0):
            faults.append(Fault("order", f"change {number} of {event.place} after {last[event.place]}"))
        last[event.place] = number
    return faults


def check_contents(replay: Replay, received: Iterable[tuple[int, bytes]]) -> list[Fault]:
    """Compare the bodies of events, which came with the numbers of their changes, with the feed."""
    faults: list[Fault] = []
    for number, body in received:
        event = replay.events.get(number)
        if (event is None or event.digest != digest_of(body)) and number not in replay.emptied:
            faults.append(Fault("content", f"change {number}: {body[:500]!r}"))
    return faults
