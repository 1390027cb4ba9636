"""The kept answers to repeated requests about calls, comments and notes that are erased with a person."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import httpx
import pytest

from herdbook import ids
from herdbook.db.pool import Pool
from herdbook.erasure.commands import EraseSlice
from herdbook.erasure.erasing import command_for
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Person, Thing
from tests.engagements.calls import TIMELINE, URL, Made, call, timed
from tests.erasure.test_erase_contact import ADDRESS, MARKER, PHONE, erase, everything, marked
from tests.erasure.test_slices import engage
from tests.erasure.test_values_of_others import defined, written

# They mention neither an address nor the id of the person.
SAID: Final = f"{MARKER} spoke"
SPOKEN: Final = TIMELINE | {"entries": [{"speaker_index": 0, "start_seconds": 0, "end_seconds": 2.5, "text": SAID}]}


async def repeatable(admin: Person, alice: Person) -> list[Callable[[], Awaitable[httpx.Response]]]:
    """Write of a call with the person in each way, and return the requests, each with its Idempotency-Key."""
    with_person = {"participants": [{"email": ADDRESS}], "title": SAID}
    made = Made(await alice.post(URL, json=timed("first", **with_person)))
    comment = Made(await alice.post(f"{made.url}/transcript_comments", json={"body": SAID}))
    ada = (await alice.get(made.url, params={"expand": "contacts"})).json()["contacts"][0]["id"]
    asked: list[tuple[Person, str, str, Any]] = [
        (alice, "POST", URL, timed("second", **with_person)),
        (alice, "POST", URL, call("third", **with_person)),
        (alice, "PUT", made.set_timeline_url, SPOKEN),
        (alice, "PUT", made.set_timeline_url, SPOKEN),
        (alice, "PUT", f"{made.url}/tags", {"tag_ids": []}),
        (alice, "POST", f"{made.url}/transcript_comments", {"body": SAID}),
        (alice, "PATCH", comment.url, {"body": f"{SAID} again"}),
        (alice, "PATCH", comment.url, {"status": "RESOLVED"}),
        (admin, "POST", f"/api/herdbook/contacts/{ada}/notes", {"text": SAID}),
        (alice, "DELETE", comment.url, None),
        (alice, "DELETE", f"/api/herdbook/engagements/{made.id}", None),
    ]

    def request(number: int) -> Callable[[], Awaitable[httpx.Response]]:
        person, method, url, body = asked[number]
        headers = {"Idempotency-Key": f"key {number}"}
        return lambda: person.request(method, url, json=body, headers=headers)

    return [request(number) for number in range(len(asked))]


async def test_answers_about_erased_calls_go(alice: Person, admin: Person, pool: Any) -> None:
    """Answers that show a call, transcript, comment or note go with it, though they do not mention the person."""
    ada = await marked(alice)
    requests = await repeatable(admin, alice)
    first = [await request() for request in requests]
    assert [each.status_code for each in first if each.status_code > 201] == []
    records = "select count(*) from idempotency_record where workspace_id = $1"
    many = await pool.fetchval(records, alice.workspace_id)
    expected = (await erase(admin, ada, engagements="true", dry_run="true")).json()
    certificate = (await erase(admin, ada, engagements="true")).json()

    again = [await request() for request in requests]

    assert [(each.status_code, each.json()["type"].rpartition("/")[2]) for each in again] == [(410, "answer_erased")] * many
    assert await everything(pool, alice.workspace_id) == {}
    assert certificate["rows"]["idempotency_record"] == expected["rows"]["idempotency_record"] == many


async def test_answers_about_others_stay(alice: Person, admin: Person) -> None:
    """Answers about calls and comments that stay are repeated as before, also if the erasure takes other calls along."""
    ada = await marked(alice)
    await alice.post(URL, json=timed("gone", participants=[{"email": ADDRESS}]))
    body, headers = timed("kept", participants=[{"email": "bob@x.test"}]), {"Idempotency-Key": "kept"}
    kept = Made(await alice.post(URL, json=body, headers=headers))
    comment, key = f"{kept.url}/transcript_comments", {"Idempotency-Key": "comment"}
    commented = await alice.post(comment, json={"body": "Tea"}, headers=key)
    operations = {"operations": [{"action": "create", "contact": {"first_name": "Grace"}}], "atomic": True}
    bulk = await alice.post("/api/herdbook/contacts/bulk", json=operations, headers={"Idempotency-Key": "bulk"})
    erasing = {"engagements": "true"}, {"Idempotency-Key": "erase"}
    url = f"/api/herdbook/contacts/{ada.id}/erase"
    erased = await admin.post(url, params=erasing[0], headers=erasing[1])

    assert (await alice.post(URL, json=body, headers=headers)).json() == kept.json
    assert (await alice.post(comment, json={"body": "Tea"}, headers=key)).json() == commented.json()
    again = await alice.post("/api/herdbook/contacts/bulk", json=operations, headers={"Idempotency-Key": "bulk"})
    assert again.json() == bulk.json()
    assert (await admin.post(url, params=erasing[0], headers=erasing[1])).json() == erased.json()


@pytest.mark.parametrize("has_entry", [True, False])
async def test_answers_go_whose_entries_are_gone(
    alice: Person,
    admin: Person,
    pool: Any,
    has_entry: bool,  # noqa: FBT001
) -> None:
    """An answer that shows a call, whose entry is kept no longer, goes, too; one about a contact stays."""
    ada = await marked(alice)
    grace = await alice.post("/api/v2/contacts", json={"first_name": "Grace"}, headers={"Idempotency-Key": "grace"})
    body, headers = timed(participants=[{"email": ADDRESS}], title=SAID), {"Idempotency-Key": "call"}
    await alice.post(URL, json=body, headers=headers)
    if not has_entry:
        await pool.execute("delete from change where workspace_id = $1", alice.workspace_id)
    await erase(admin, ada, engagements="true")

    assert (await alice.post(URL, json=body, headers=headers)).status_code == 410
    again = await alice.post("/api/v2/contacts", json={"first_name": "Grace"}, headers={"Idempotency-Key": "grace"})
    assert again.json() == grace.json()


async def test_many_answers_go(alice: Person, admin: Person, ledger: Ledger, pool: Any) -> None:
    """The answers about more calls than a slice takes all go."""
    ada = await marked(alice)
    await engage(ledger, alice, 0, 30)
    comments = {"body": SAID}
    calls = (await alice.get(URL, params={"limit": 100})).json()["data"]
    for number, each in enumerate(calls):
        url = f"/api/herdbook/engagements/{each['id']}/transcript_timeline"
        assert (await alice.put(url, json=SPOKEN, headers={"Idempotency-Key": f"t{number}"})).status_code == 200
        url = f"{URL}/{each['id']}/transcript_comments"
        assert (await alice.post(url, json=comments, headers={"Idempotency-Key": f"c{number}"})).status_code == 201

    assert (await erase(admin, ada, engagements="true")).json()["rows"]["idempotency_record"] == 60
    assert await everything(pool, alice.workspace_id) == {}


async def test_answers_that_are_kept_meanwhile_go(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool
) -> None:
    """Whenever a company whose field has the address is changed while the erasure is under way, the answer goes with it."""
    await defined(admin)
    ada = await marked(alice)
    engine = Thing(await alice.post("/api/v2/companies", json={"domains": [{"domain": "engine.test"}]}))
    await written(admin, engine, mail=ADDRESS)
    origin = Origin(ids.new_id(), ids.NIL)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=False)
    await ledger.write(alice.workspace_id, command, origin)
    told = list[bool]()
    while await pool.fetch("select from erasure_task where workspace_id = $1", alice.workspace_id):
        url, key = f"/api/herdbook/companies/{engine.id}/record", {"Idempotency-Key": f"key {len(told)}"}
        changed = await admin.patch(url, json={"fields": {"said": str(len(told))}}, headers=key)
        told.append(ADDRESS in changed.text)
        await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), origin)

    assert (told[0], told[-1]) == (True, False)
    assert await everything(pool, alice.workspace_id) == {}


async def test_a_number_in_a_key_goes(alice: Person, admin: Person, pool: Any) -> None:
    """A record whose key has a number of the person goes as a whole, and one with another number stays."""
    ada = await marked(alice)
    for key in (f"sms {PHONE} 1", "sms +49301234568 1"):
        await alice.post("/api/v2/contacts", json={"first_name": "Grace"}, headers={"Idempotency-Key": key})
    await erase(admin, ada)

    assert await everything(pool, alice.workspace_id) == {}
    keys = await pool.fetch("select key from idempotency_record where workspace_id = $1", alice.workspace_id)
    assert [record[0] for record in keys] == ["sms +49301234568 1"]


async def test_an_unknown_participant_goes(alice: Person, admin: Person, pool: Any) -> None:
    """An answer that names a participant by the number goes, though it has neither an address nor an id of the person."""
    participants = [{"phone": "49301234567"}, {"email": "bob@x.test"}]
    body, headers = call(participants=participants), {"Idempotency-Key": "call"}
    made = await alice.post(URL, json=body, headers=headers)
    assert made.json()["unknown_participants"] == [{"index": 0, "phone": "49301234567"}]
    ada = await marked(alice)
    await erase(admin, ada)

    assert await everything(pool, alice.workspace_id) == {}
    assert (await alice.post(URL, json=body, headers=headers)).status_code == 410
