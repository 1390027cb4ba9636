"""Each check finds the fault that is planted for it, and nothing else."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
import pytest
from standardwebhooks import Webhook

from evidence.changes import Change, ended
from evidence.checks import (
    Event,
    Fault,
    Outcome,
    Replay,
    Write,
    check_contents,
    check_events,
    check_order,
    check_rows,
    check_writes,
    digest_of,
)
from evidence.receiver import Receiver
from evidence.rows import Row
from herdbook import ids
from herdbook.contacts.model import Contact
from herdbook.webhook_endpoints.signing import new_secret
from herdbook.webhooks.events import event_id

WORKSPACE = ids.new_id()
ADA, GRACE = (ids.encoded(ids.CONTACT, ids.new_id()) for _ in range(2))
DELETED = ended("contact.deleted", ADA)
PLACES = ("contact", ids.new_id()), ("contact", ids.new_id())
MOMENT = datetime.fromisoformat("2026-03-01T12:00:01+00:00")


def change(position: int, action: str = "created", object_id: str = ADA, at: int = 0, **data: object) -> Change:
    """Return a change of a contact as the feed has it; its time follows from its position, unless it is given."""
    written = {
        "position": position,
        "type": f"contact.{action}",
        "at": f"2026-03-01T12:00:{at or position:02}.000000Z",
        "object_id": object_id,
        "data": {"object": {"description": f"mark-{position}"}, **data},
    }
    return msgspec.json.decode(msgspec.json.encode(written), type=Change)


def names(faults: Sequence[Fault]) -> list[str]:
    return [fault.check for fault in faults]


def acknowledged(*marks: str) -> Write:
    return Write("create", marks, outcome=Outcome.ACKNOWLEDGED)


def row(version: int, object_: bytes = b"{}", *, is_deleted: bool = False) -> Row:
    return Row(version, MOMENT, MOMENT if is_deleted else None, object_, None, None, None)


def test_a_feed_without_a_fault() -> None:
    """A feed in order has no fault; creations, changed descriptions, deletions and restorations have marks."""
    replay = Replay(WORKSPACE)
    faults = replay.take(
        [
            change(1),
            change(2, "updated", previous_attributes={"description": "mark-1"}),
            change(3, "updated", previous_attributes={"first_name": "Ada"}),
            change(4, "deleted"),
            change(5, "restored"),
        ]
    )

    assert faults == []
    assert dict(replay.marks) == {"mark-1": 1, "mark-2": 1, DELETED: 1, ended("contact.restored", ADA): 1}
    assert check_writes([acknowledged("mark-1"), acknowledged(DELETED)], replay.marks) == []


@pytest.mark.parametrize(("positions", "found"), [((1, 3), ["gap"]), ((1, 1), ["gap"]), ((2,), ["gap"])])
def test_a_gap(positions: tuple[int, ...], found: list[str]) -> None:
    """A number that is missing, or comes twice, is found."""
    assert names(Replay(WORKSPACE).take([change(each, at=9) for each in positions])) == found


def test_a_time_that_goes_back() -> None:
    """A change that is older than the one before is found; one of the same time is allowed."""
    assert names(Replay(WORKSPACE).take([change(1, at=5), change(2, at=5), change(3, at=4)])) == ["time"]


def test_a_lost_write() -> None:
    """An acknowledged write that the feed lacks is found; one of unknown outcome may be missing."""
    assert names(check_writes([acknowledged("mark-1"), Write("PATCH", ["mark-2"])], {})) == ["lost"]


def test_a_write_of_which_a_part_is_lost() -> None:
    """An acknowledged bulk must be there with all its operations."""
    bulk = Write("bulk", ["mark-1", "mark-2"], is_whole=False, outcome=Outcome.ACKNOWLEDGED)

    assert names(check_writes([bulk], {"mark-1": 1})) == ["lost"]


@pytest.mark.parametrize("outcome", [Outcome.ACKNOWLEDGED, Outcome.UNKNOWN])
def test_a_doubled_write(outcome: Outcome) -> None:
    """A write that was done twice is found, whatever its client was told."""
    assert names(check_writes([Write("create", ["mark-1"], outcome=outcome)], {"mark-1": 2})) == ["doubled"]


def test_a_torn_write() -> None:
    """A part of a write that must be all or nothing is found, even if its outcome was unknown."""
    marks = ["mark-1", "mark-2"]

    assert names(check_writes([Write("atomic", marks)], {"mark-2": 1})) == ["torn"]
    assert names(check_writes([Write("bulk", marks, is_whole=False)], {"mark-2": 1})) == []


def test_a_refused_write_that_was_done() -> None:
    """A write that was answered with "nothing was done" and is there all the same is found."""
    assert names(check_writes([Write("PATCH", ["mark-1"], outcome=Outcome.REFUSED)], {"mark-1": 1})) == ["refused"]


def test_a_mark_that_was_erased() -> None:
    """The entries of an erased object have no marks any more, and its writes are not found lost. Others are."""
    replay = Replay(WORKSPACE)
    replay.take([change(1, object={"erased": True, "id": ADA}), change(2, "erased", object={"erased": True, "id": ADA})])
    writes = [Write("create", ["mark-1"], outcome=Outcome.ACKNOWLEDGED, object_id=each) for each in (ADA, GRACE)]

    assert replay.rows == {}
    assert names(check_writes(writes, replay.marks, {*replay.emptied.values()})) == ["lost"]
    assert names(check_writes([acknowledged(ended("contact.erased", ADA))], replay.marks)) == []


@pytest.mark.parametrize("stored", [row(1), row(2, is_deleted=True), row(2, b'{"a":1}'), None])
def test_a_row_that_differs(stored: Row | None) -> None:
    """A row of another version, state or content, or that is missing or should not be there, is found."""
    place, _ = PLACES
    rows = {} if stored is None else {place: stored}

    assert check_rows({place: row(2)}, {place: row(2)}) == []
    assert names(check_rows({place: row(2)}, rows)) == ["row"]
    assert names(check_rows(rows, {place: row(2)})) == ["row"]


def test_a_missing_event() -> None:
    """An event that never arrived is found."""
    replay = Replay(WORKSPACE)
    contact = Contact.example
    replay.take([change(1, object=contact), change(2, object_id=GRACE, object=contact), change(3, "deleted", object=contact)])

    assert check_events(replay.events, {1, 2, 3}) == []
    assert names(check_events(replay.events, {1, 3})) == ["event"]


def test_events_in_another_order() -> None:
    """A later event of an object that arrives first is found; repeats, and other objects in between, are allowed."""
    one, other = (Event(place, b"") for place in PLACES)
    due = {1: one, 2: one, 3: other}

    assert check_order(due, [3, 1, 1, 2, 1]) == []
    assert names(check_order(due, [2, 3, 1])) == ["order"]


def test_an_event_with_another_content() -> None:
    """An event that differs from its change in a byte is found, as is one of a change that sends none."""
    replay = Replay(WORKSPACE)
    replay.events[1] = Event(PLACES[0], digest_of(b"{}"))

    assert check_contents(replay, [(1, b"{}")]) == []
    assert names(check_contents(replay, [(1, b"{ }"), (2, b"{}")])) == ["content", "content"]


@pytest.mark.parametrize(("body", "found"), [(b"{}", []), (b"{ }", ["content"])])
def test_an_event_with_another_signature(body: bytes, found: list[str]) -> None:
    """An event whose signature is not of its body is found."""
    receiver = Receiver()
    receiver.secret = new_secret()
    now = datetime.now(MOMENT.tzinfo)
    id_ = event_id(WORKSPACE, 1, now)
    signature = Webhook(receiver.secret).sign(id_, now, "{}")
    headers = {"webhook-id": id_, "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    receiver.receive(headers, body)

    assert names(receiver.faults) == found
    assert receiver.take(1) == [(1, body)]
