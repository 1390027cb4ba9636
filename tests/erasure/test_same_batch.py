"""Slices of an erasure in one batch with other commands that change what they erase."""

import asyncio
from typing import Any
from uuid import UUID

import msgspec
import pytest

from herdbook import ids
from herdbook.contacts.store import CONTACT
from herdbook.db.pool import Pool
from herdbook.engagements.commands import ReplaceTags, SetTimeline
from herdbook.engagements.model import TimelineRequest
from herdbook.engagements.store import ENGAGEMENT
from herdbook.erasure.commands import EraseSlice, Expirable, ExpireObjects
from herdbook.erasure.erasing import command_for
from herdbook.history import store
from herdbook.history.commands import Restore, UndoReversals
from herdbook.history.undoing import reversal_of
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.object_types import OBJECT_TYPES
from herdbook.transcript_comments.commands import CreateTranscriptComment
from herdbook.transcript_comments.model import TranscriptCommentCreate
from tests.cast import Person, Thing
from tests.engagements.calls import TIMELINE, URL, Made, call, timed
from tests.erasure.test_erase_contact import ADDRESS, MARKER, everything, marked
from tests.erasure.test_slices import engage
from tests.history.consistency import assert_consistent
from tests.merging.merges import contact, merge

_NOBODY = Origin(ids.new_id(), ids.NIL)


def _id(made: Made) -> UUID:
    found = ids.decoded(ids.ENGAGEMENT, made.id)
    assert found is not None
    return found


async def _begin(ledger: Ledger, own_pool: Pool, person: Person, *contacts: Thing, with_engagements: bool = False) -> None:
    """Erase contacts without a slice."""
    for each in contacts:
        command = await command_for(own_pool, person.workspace_id, each.uuid, with_engagements=with_engagements)
        await ledger.write(person.workspace_id, command, _NOBODY)


async def _together(ledger: Ledger, person: Person, *commands: Command) -> list[Any]:
    """Carry out commands in one batch."""
    writes = (ledger.write(person.workspace_id, each, _NOBODY) for each in commands)
    return await asyncio.gather(*writes, return_exceptions=True)


async def _end(ledger: Ledger, pool: Any, person: Person) -> None:
    """Do one slice of each erasure in one batch, until all are finished."""
    task = "select id from erasure_task where workspace_id = $1 order by id"
    while left := await pool.fetch(task, person.workspace_id):
        done = await _together(ledger, person, *(EraseSlice(each[0]) for each in left))
        assert not any(isinstance(each, Exception) for each in done)


async def _mentions_of_bob(pool: Any, person: Person) -> list[Any]:
    statement = """
        select seq from change where workspace_id = $1 and (object::text ~ 'bob@x.test' or previous::text ~ 'bob@x.test')
        union all
        select version from engagement where workspace_id = $1 and details::text ~ 'bob@x.test'
    """
    return await pool.fetch(statement, person.workspace_id)


async def test_two_persons_of_the_same_engagements(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """Two participants of the same engagements are erased at once, and nothing is left of either."""
    ada, bob = await marked(alice), await contact(alice, "bob@x.test", first_name="Bob")
    await engage(ledger, alice, 0, 5)
    await _begin(ledger, own_pool, alice, ada, bob)

    await _end(ledger, pool, alice)

    assert await everything(pool, alice.workspace_id) == {}
    assert await _mentions_of_bob(pool, alice) == []
    await assert_consistent(pool, alice.workspace_id)


async def test_two_persons_of_a_deleted_engagement(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """Two participants of a deleted engagement are erased at once, although its version stays the same."""
    ada, bob = await marked(alice), await contact(alice, "bob@x.test", first_name="Bob")
    participants = [{"email": ADDRESS, "name": MARKER}, {"email": "bob@x.test", "name": "Bob"}]
    engagement = Made(await alice.post(URL, json=call(participants=participants)))
    await alice.delete(f"/api/herdbook/engagements/{engagement.id}")
    await _begin(ledger, own_pool, alice, ada, bob)

    await _end(ledger, pool, alice)

    assert await everything(pool, alice.workspace_id) == {}
    assert await _mentions_of_bob(pool, alice) == []


async def test_two_persons_with_engagements(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """Two erasures at once that both erase the same engagement leave nothing of it, and tell of it once."""
    ada, bob = await marked(alice), await contact(alice, "bob@x.test", first_name="Bob")
    participants = [{"email": ADDRESS, "name": MARKER}, {"email": "bob@x.test", "name": "Bob"}]
    engagement = Made(await alice.post(URL, json=timed(participants=participants, transcript=MARKER)))
    for number in range(60):
        await alice.post(f"{engagement.url}/transcript_comments", json={"body": f"{MARKER} {number}"})
    await _begin(ledger, own_pool, alice, ada, bob, with_engagements=True)

    await _end(ledger, pool, alice)

    assert await everything(pool, alice.workspace_id) == {}
    erased = "select kind::text, count(*) from change where workspace_id = $1 and action = 'x' group by 1"
    assert dict(await pool.fetch(erased, alice.workspace_id)) == {"c": 2, "e": 1, "r": 1, "n": 60}


async def test_a_change_before_the_slice(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """An engagement that its batch has changed is left to the next slice, with its whole history."""
    ada = await marked(alice)
    await engage(ledger, alice, 0, 3)
    tag = Thing(await alice.post("/api/v2/tags", json={"name": "T"}))
    engagements = await pool.fetch("select id from engagement where workspace_id = $1", alice.workspace_id)
    await _begin(ledger, own_pool, alice, ada)
    await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)
    tagging = [ReplaceTags(engagement_id=each[0], tag_ids=(tag.id,), private_scopes=frozenset()) for each in engagements]

    await _together(ledger, alice, *tagging, EraseSlice(ada.uuid))
    await _end(ledger, pool, alice)

    assert await everything(pool, alice.workspace_id) == {}
    await assert_consistent(pool, alice.workspace_id)


async def test_a_timeline_before_the_slice(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """A timeline that is set in the batch of the slice goes with its engagement."""
    ada = await marked(alice)
    engagement = Made(await alice.post(URL, json=call(participants=[{"email": ADDRESS}])))
    timeline = msgspec.convert(
        TIMELINE | {"entries": [each | {"text": MARKER} for each in TIMELINE["entries"]]}, TimelineRequest
    )
    await _begin(ledger, own_pool, alice, ada, with_engagements=True)
    await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)

    setting = SetTimeline(engagement_id=_id(engagement), timeline=timeline, private_scopes=frozenset())
    first, _ = await _together(ledger, alice, setting, EraseSlice(ada.uuid))
    await _end(ledger, pool, alice)

    assert not isinstance(first, Exception)
    assert await everything(pool, alice.workspace_id) == {}


async def test_a_comment_before_the_slice(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """A comment that is made in the batch of the slice goes with its engagement."""
    ada = await marked(alice)
    engagement = Made(await alice.post(URL, json=timed(participants=[{"email": ADDRESS}])))
    comment = CreateTranscriptComment(
        engagement_id=_id(engagement), fields=TranscriptCommentCreate(body=MARKER), user_id=None, sees_private=True
    )
    await _begin(ledger, own_pool, alice, ada, with_engagements=True)
    await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)

    made, _ = await _together(ledger, alice, comment, EraseSlice(ada.uuid))
    await _end(ledger, pool, alice)

    assert not isinstance(made, Exception)
    assert await everything(pool, alice.workspace_id) == {}
    assert not await pool.fetch("select from transcript_comment where workspace_id = $1", alice.workspace_id)


async def test_two_slices_of_one_erasure(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """A request and a later round may do the same slice in one batch: it is done once."""
    ada = await marked(alice)
    engagement = Made(await alice.post(URL, json=timed(participants=[{"email": ADDRESS}])))
    for number in range(120):
        await alice.post(f"{engagement.url}/transcript_comments", json={"body": f"{MARKER} {number}"})
    await _begin(ledger, own_pool, alice, ada, with_engagements=True)

    while await pool.fetch("select from erasure_task where workspace_id = $1", alice.workspace_id):
        await _together(ledger, alice, EraseSlice(ada.uuid), EraseSlice(ada.uuid))

    erased = "select count(*) from change where workspace_id = $1 and action = 'x' and kind = 'n'"
    assert await pool.fetchval(erased, alice.workspace_id) == 120
    assert await everything(pool, alice.workspace_id) == {}


async def test_a_record_with_two_persons(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """A kept answer whose key names one person and whose text names another goes as a whole."""
    ada, bob = await marked(alice), await contact(alice, "bob@x.test", first_name="Bob")
    await alice.patch(bob.url, json={"first_name": "Rob"}, headers={"Idempotency-Key": ADDRESS})
    await _begin(ledger, own_pool, alice, ada, bob)

    await _end(ledger, pool, alice)

    assert await everything(pool, alice.workspace_id) == {}


async def test_restored_before_it_expires(alice: Person, ledger: Ledger, pool: Any) -> None:
    """A deleted engagement that is restored in the batch of its removal stays."""
    engagement = Made(await alice.post(URL, json=call()))
    await alice.delete(f"/api/herdbook/engagements/{engagement.id}")
    version = await pool.fetchval("select version from engagement where id = $1", _id(engagement))
    expiring = ExpireObjects(ENGAGEMENT, (Expirable(_id(engagement), version),))

    await _together(ledger, alice, Restore(object_type=ENGAGEMENT, object_id=_id(engagement)), expiring)

    assert (await alice.get(engagement.url)).status_code == 200


async def test_a_merge_is_taken_back_meanwhile(alice: Person, ledger: Ledger, pool: Any, own_pool: Pool) -> None:
    """A contact whose merge was undone before the erasure is written stays, with its engagements."""
    ada, grace = await marked(alice), await contact(alice, first_name="Grace")
    merging = await merge(alice, ada, grace)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=True)
    await alice.post("/api/herdbook/undo", json={"request_id": merging.headers["X-Request-Id"]})
    engagement = Made(await alice.post(URL, json=call()))
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [grace.id]})

    await ledger.write(alice.workspace_id, command, _NOBODY)
    await _end(ledger, pool, alice)

    assert (await alice.get(grace.url)).json()["first_name"] == "Grace"
    assert (await alice.get(engagement.url)).status_code == 200


async def test_a_merged_contact_is_restored_in_the_batch(alice: Person, ledger: Ledger, own_pool: Pool) -> None:
    """A merged contact that is restored in the batch of the erasure, before it, stays."""
    ada, grace = await marked(alice), await contact(alice, first_name="Grace")
    await merge(alice, ada, grace)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=True)

    restored, erased = await _together(ledger, alice, Restore(object_type=CONTACT, object_id=grace.uuid), command)

    assert not isinstance(restored, Exception)
    assert not isinstance(erased, Exception)
    assert (await alice.get(grace.url)).status_code == 200
    assert (await alice.get(ada.url)).status_code == 404


@pytest.mark.parametrize("earlier_slices", range(6))
async def test_an_undo_that_was_read_before(
    alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, earlier_slices: int
) -> None:
    """An undo whose state was read before an erasure brings no person back into a deleted engagement, after whatever slice."""
    ada = await marked(alice)
    engagement = Made(await alice.post(URL, json=call(participants=[{"email": ADDRESS, "name": MARKER}])))
    deleted = await alice.delete(f"/api/herdbook/engagements/{engagement.id}")
    request_id = ids.decoded(ids.REQUEST, deleted.headers["X-Request-Id"])
    assert request_id is not None
    touched = await store.touched(own_pool, OBJECT_TYPES, alice.workspace_id, request_id)
    entries = await store.first_entries(own_pool, alice.workspace_id, [each.first for each in touched])
    reversals = tuple(reversal_of(alice.workspace_id, each, entries[each.first]) for each in touched)
    shown_id = ids.encoded(ids.REQUEST, request_id)
    undo = UndoReversals(request_id=shown_id, reversals=reversals, object_types=OBJECT_TYPES, may_name=frozenset())
    await _begin(ledger, own_pool, alice, ada)
    for _ in range(earlier_slices):
        await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), _NOBODY)

    _, undone = await _together(ledger, alice, EraseSlice(ada.uuid), undo)

    assert not isinstance(undone, Exception)
    await _end(ledger, pool, alice)
    assert await everything(pool, alice.workspace_id) == {}
    await assert_consistent(pool, alice.workspace_id)
