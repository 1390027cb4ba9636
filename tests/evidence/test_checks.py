"""Each check finds the fault that is planted for it, and nothing else."""

from collections.abc import Sequence
from uuid import uuid4

import msgspec
import pytest

from evidence.checks import (
    Change,
    Fault,
    Outcome,
    Replay,
    Row,
    Write,
    back,
    check_events,
    check_order,
    check_rows,
    check_writes,
    gone,
)
from herdbook import ids

ADA, GRACE = (ids.encoded(ids.CONTACT, ids.new_id()) for _ in range(2))


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


def test_a_feed_without_a_fault() -> None:
    """A feed in order has no fault; creations, changed descriptions, deletions and restorations have marks."""
    replay = Replay()
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
    assert dict(replay.marks) == {"mark-1": 1, "mark-2": 1, gone(ADA): 1, back(ADA): 1}
    assert check_writes([acknowledged("mark-1"), acknowledged(gone(ADA))], replay.marks) == []


@pytest.mark.parametrize(("positions", "found"), [((1, 3), ["gap"]), ((1, 1), ["gap"]), ((2,), ["gap"])])
def test_a_gap(positions: tuple[int, ...], found: list[str]) -> None:
    """A number that is missing, or comes twice, is found."""
    assert names(Replay().take([change(each, at=9) for each in positions])) == found


def test_a_time_that_goes_back() -> None:
    """A change that is older than the one before is found; one of the same time is allowed."""
    assert names(Replay().take([change(1, at=5), change(2, at=5), change(3, at=4)])) == ["time"]


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


@pytest.mark.parametrize("stored", [Row(1, is_deleted=False, object=b"{}"), Row(2, is_deleted=True, object=b"{}"), None])
def test_a_row_that_differs(stored: Row | None) -> None:
    """A row of another version, of another state, or that is missing or should not be there, is found."""
    contact_id, row = uuid4(), Row(2, is_deleted=False, object=b"{}")
    rows = {} if stored is None else {contact_id: stored}

    assert check_rows({contact_id: row}, {contact_id: row}) == []
    assert names(check_rows({contact_id: row}, rows)) == ["row"]
    assert names(check_rows(rows, {contact_id: row})) == ["row"]


def test_a_row_with_other_bytes() -> None:
    """A row whose object differs in a byte is found."""
    contact_id = uuid4()
    rows = [{contact_id: Row(2, is_deleted=False, object=bytes_)} for bytes_ in (b'{"a":1}', b'{"a":2}')]

    assert names(check_rows(*rows)) == ["row"]


def test_a_missing_event() -> None:
    """An event that never arrived is found."""
    replay = Replay()
    replay.take([change(1), change(2, object_id=GRACE), change(3, "deleted")])

    assert check_events(replay.events, {1, 2, 3}) == []
    assert names(check_events(replay.events, {1, 3})) == ["event"]


def test_events_in_another_order() -> None:
    """A later event of an object that arrives first is found; repeats, and other objects in between, are allowed."""
    due = {1: ADA, 2: ADA, 3: GRACE}

    assert check_order(due, [3, 1, 1, 2, 1]) == []
    assert names(check_order(due, [2, 3, 1])) == ["order"]
