"""Objects that cannot be reverted stay as they are, with all that depend on them; everything else is undone."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import cast
from uuid import UUID

import asyncpg
import httpx
import pytest_asyncio

from herdbook import ids
from herdbook.db.pool import Executor
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.merging.commands import MoveReferences
from herdbook.merging.store import CONTACT_MERGE
from tests.cast import Json, Person, Thing
from tests.engagements.calls import TIMELINE, Made, call, timed
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.history.requests import (
    CONTACTS,
    Register,
    ask_to_undo,
    company_named,
    now,
    person_named,
    restore,
    undo,
)

BULK = "/api/herdbook/contacts/bulk"


@pytest_asyncio.fixture(autouse=True)
async def agreement(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> AsyncGenerator[None]:
    """Check after each test that the tables are consistent."""
    yield
    await assert_consistent(pool, workspace_id)
    await assert_chained(pool, workspace_id)


def emails(*addresses: str) -> Json:
    """Return addresses in the form of a body."""
    return [{"email": address} for address in addresses]


def gives(thing: Thing, *addresses: str) -> Json:
    """Return the bulk operation that gives a contact these addresses."""
    return {"action": "update", "id": thing.id, "contact": {"emails": emails(*addresses)}}


async def addresses(person: Person, *things: Thing) -> list[list[str]]:
    """Return the addresses of contacts."""
    shown = [await now(person, thing) for thing in things]
    return [[email["email"] for email in each["emails"]] for each in shown]


async def test_what_was_changed_since_stays(alice: Person, ada: Thing, grace: Thing) -> None:
    """An object with a later change stays, even if the change is unrelated; the others are reverted."""
    response = await alice.post(BULK, json={"operations": [gives(ada, "a@x.test"), gives(grace, "g@x.test")]})
    changed = await alice.patch(ada.url, json={"description": "changed"})
    undone = await undo(alice, response)

    assert (undone.reverted, undone.kept) == ({grace.id: "updated"}, {ada.id: "changed_since"})
    assert undone.json["kept"][0]["message"]
    assert (await alice.get(ada.url)).json() == changed.json()


async def test_what_was_deleted_since_stays_deleted(alice: Person, ada: Thing) -> None:
    """A later deletion counts as a change."""
    response = await alice.patch(ada.url, json={"first_name": "Augusta"})
    await alice.delete(ada.url)

    assert (await undo(alice, response)).kept == {ada.id: "changed_since"}


async def test_what_others_have_by_now_stays_theirs(alice: Person, dave: Person, ada: Thing) -> None:
    """An address that another contact holds by now stays there; it and the holder are named to those who may read them."""
    response = await alice.patch(ada.url, json={"emails": []})
    other = await person_named(alice, "new@x.test", "ADA@engine.test")
    (kept,) = (await undo(alice, response)).json["kept"]
    (told,) = (await undo(dave, response)).json["kept"]

    assert kept == {
        "object": "contact",
        "id": ada.id,
        "reason": "conflict",
        "field": "emails[0].email",
        "message": "The value `ada@engine.test` of `emails[0].email` now belongs to another active contact. "
        "Free it there first.",
        "conflict": {"object": "contact", "id": other.id},
    }
    message = "`emails[0].email` now belongs to another active contact. Free it there first."
    assert told == {name: value for name, value in kept.items() if name != "conflict"} | {"message": message}


async def test_addresses_that_went_round_go_back(alice: Person) -> None:
    """Addresses that three contacts passed on in a circle return to each of them at once."""
    a, b, c = [await person_named(alice, f"{name}@x.test") for name in "abc"]
    operations = [gives(a), gives(b, "a@x.test"), gives(c, "b@x.test"), gives(a, "c@x.test")]
    undone = await undo(alice, await alice.post(BULK, json={"operations": operations}))

    assert undone.reverted == {each.id: "updated" for each in (a, b, c)}
    assert await addresses(alice, a, b, c) == [["a@x.test"], ["b@x.test"], ["c@x.test"]]


async def test_where_one_stays_those_who_need_it_stay(alice: Person) -> None:
    """A contact that stays keeps the next one's address, so that one stays too, and so on down the chain."""
    a, b, c, d = [await person_named(alice, f"{name}@x.test") for name in "abcd"]
    operations = [gives(d), gives(c, "d@x.test"), gives(b, "c@x.test"), gives(a, "b@x.test")]
    response = await alice.post(BULK, json={"operations": operations})
    await alice.patch(a.url, json={"first_name": "changed"})
    undone = await undo(alice, response)
    again = await ask_to_undo(alice, undone.response)

    assert undone.kept == {a.id: "changed_since", b.id: "conflict", c.id: "conflict", d.id: "conflict"}
    assert [each["conflict"]["id"] for each in undone.json["kept"] if "conflict" in each] == [c.id, b.id, a.id]
    assert await addresses(alice, a, b, c, d) == [["b@x.test"], ["c@x.test"], ["d@x.test"], []]
    assert again.status_code == 404


async def test_where_one_stays_the_others_go(alice: Person) -> None:
    """In the opposite direction, each contact whose own address is free is reverted."""
    a, b, c = [await person_named(alice, f"{name}@x.test") for name in "abc"]
    operations = [gives(c), gives(b, "c@x.test"), gives(a, "b@x.test")]
    response = await alice.post(BULK, json={"operations": operations})
    await alice.patch(c.url, json={"first_name": "changed"})
    undone = await undo(alice, response)

    assert (undone.reverted, undone.kept) == ({a.id: "updated", b.id: "updated"}, {c.id: "changed_since"})
    assert await addresses(alice, a, b, c) == [["a@x.test"], ["b@x.test"], []]


async def test_two_had_the_same_one_after_the_other(alice: Person, register: Register) -> None:
    """An address that two contacts held during a request returns to the first alone."""
    one, other = await person_named(alice, "same@x.test"), await person_named(alice)
    first = await alice.patch(one.url, json={"emails": []})
    await alice.patch(other.url, json={"emails": emails("same@x.test")})
    second = await alice.patch(other.url, json={"emails": []})
    await register.join(second, first)
    undone = await undo(alice, first)

    assert (undone.reverted, undone.kept) == ({one.id: "updated"}, {other.id: "conflict"})
    assert undone.json["kept"][0]["conflict"]["id"] == one.id


async def test_a_contact_needs_its_company(alice: Person, ada: Thing, engine: Thing) -> None:
    """A contact whose former company is deleted stays as it is, and is reverted once the company is back."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    response = await alice.patch(ada.url, json={"company_id": None})
    await alice.delete(engine.url)
    undone = await undo(alice, response)
    await restore(alice, engine)

    assert undone.kept == {ada.id: "company_not_found"}
    assert (await undo(alice, response)).reverted == {ada.id: "updated"}
    assert (await now(alice, ada))["company"]["id"] == engine.id


async def test_a_company_that_goes_is_not_there(alice: Person, ada: Thing, register: Register) -> None:
    """A contact does not get back a company that the undone request itself created."""
    created = await alice.post("/api/v2/companies", json={"domains": []})
    await alice.patch(ada.url, json={"company_id": created.json()["id"]})
    await register.join(await alice.patch(ada.url, json={"company_id": None}), created)
    undone = await undo(alice, created)

    assert undone.reverted == {created.json()["id"]: "deleted"}
    assert undone.kept == {ada.id: "company_not_found"}


async def test_a_company_that_cannot_come_back_leaves_its_contacts(alice: Person, ada: Thing, engine: Thing) -> None:
    """A deleted company whose domain is taken by now stays deleted, and its contacts stay without it."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    response = await alice.delete(engine.url)
    other = await company_named(alice, "engine.test")
    undone = await undo(alice, response)

    assert undone.kept == {engine.id: "conflict", ada.id: "company_not_found"}
    assert undone.json["kept"][0]["conflict"] == {"object": "company", "id": other.id}
    assert undone.reverted == {}


async def test_a_company_with_contacts_stays(alice: Person, ada: Thing) -> None:
    """A created company stays while it has contacts, and is deleted once they are gone."""
    response = await alice.post("/api/v2/companies", json={"domains": []})
    company_id = response.json()["id"]
    await alice.patch(ada.url, json={"company_id": company_id})
    undone = await undo(alice, response)
    await alice.delete(ada.url)

    assert undone.kept == {company_id: "in_use"}
    assert (await undo(alice, response)).reverted == {company_id: "deleted"}


async def test_who_has_come_meanwhile_keeps_a_company(alice: Person, ada: Thing, grace: Thing, engine: Thing) -> None:
    """The undo of a restoration does not delete a company that gained other contacts meanwhile."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    undone = await undo(alice, await alice.delete(engine.url))
    await alice.patch(grace.url, json={"company_id": engine.id})
    kept = await undo(alice, undone)
    await alice.patch(grace.url, json={"company_id": None})

    assert (kept.kept, kept.reverted) == ({engine.id: "in_use"}, {ada.id: "updated"})
    assert (await now(alice, engine)) is not None


async def test_a_merge_that_went_on_goes_back_in_part(alice: Person, ada: Thing, grace: Thing) -> None:
    """A target that was changed after a merge keeps what it gained, so the sources stay merged."""
    response = await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
    await alice.patch(grace.url, json={"first_name": "Amazing"})
    undone = await undo(alice, response)

    assert undone.kept == {ada.id: "conflict", grace.id: "changed_since"}
    assert (await alice.get(ada.url)).status_code == 308


async def test_a_merge_that_went_on_leaves_its_engagements(
    alice: Person, ada: Thing, grace: Thing, pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger, register: Register
) -> None:
    """Engagements stay with the target while the source stays merged, so nothing moves later and the answer stays true."""
    engagement = Made(await alice.post("/api/v2/engagements", json=call("merged")))
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [ada.id]})
    response = await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
    await alice.patch(grace.url, json={"first_name": "Amazing"})
    undone = await undo(alice, response)
    entries = await register.entries()
    await finish(cast("Executor", pool), ledger, CONTACT_MERGE.task, partial(MoveReferences, CONTACT_MERGE))
    expanded = await alice.get(engagement.url, params={"expand": "contacts"})

    assert undone.reverted == {}
    assert undone.kept == {ada.id: "conflict", grace.id: "changed_since", engagement.id: "contact_not_found"}
    assert [each["id"] for each in expanded.json()["contacts"]] == [grace.id]
    assert await register.entries() == entries
    assert (await undo(alice, response)).json == undone.json


async def test_a_contact_that_later_engagements_name_stays(alice: Person) -> None:
    """A contact that one engagement created and another one names stays when the first is undone."""
    caller = [{"name": "Ada", "phone": "+442079460958"}]
    first = await alice.post("/api/v2/engagements", json=call("first", participants=caller))
    second = Made(await alice.post("/api/v2/engagements", json=call("second", participants=caller)))
    (contact,) = (await alice.get(second.url, params={"expand": "contacts"})).json()["contacts"]
    undone = await undo(alice, first)
    third = Made(await alice.post("/api/v2/engagements", json=call("third", participants=caller)))

    assert undone.kept == {contact["id"]: "in_use"}
    assert first.json()["id"] in undone.reverted
    for made in (second, third):
        shown = (await alice.get(made.url, params={"expand": "contacts"})).json()["contacts"]
        assert [each["id"] for each in shown] == [contact["id"]]


async def test_what_named_an_object_before_does_not_keep_it(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """Earlier links of engagements do not hinder an undo: a deletion leaves them in place."""
    engagement = Made(await alice.post("/api/v2/engagements", json=call("linked")))
    await alice.patch(ada.url, json={"company_id": engine.id})
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [ada.id]})
    await alice.put(f"{engagement.url}/tags", json={"tag_ids": [renewal.id]})
    for thing in (ada, engine, renewal):
        undone = await undo(alice, await alice.delete(thing.url))
        assert (await undo(alice, undone)).kept == {}
        await restore(alice, thing)


async def test_what_came_since_keeps_an_object(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """A contact, company or tag stays once an engagement has come to name it, whichever request brought it into being."""
    engagement = Made(await alice.post("/api/v2/engagements", json=call("linked")))
    asked: list[tuple[Thing, httpx.Response]] = []
    for thing in (ada, engine, renewal):
        await alice.delete(thing.url)
        asked.append((thing, await restore(alice, thing)))
    employed = await person_named(alice, company_id=engine.id)
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [ada.id, employed.id]})
    await alice.put(f"{engagement.url}/tags", json={"tag_ids": [renewal.id]})
    await alice.patch(employed.url, json={"company_id": None})

    for thing, response in asked:
        undone = await undo(alice, response)
        assert (undone.reverted, undone.kept) == ({}, {thing.id: "in_use"})
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": []})
    await alice.put(f"{engagement.url}/tags", json={"tag_ids": []})
    for thing, response in asked:
        assert (await undo(alice, response)).reverted == {thing.id: "deleted"}


async def test_a_contact_into_which_others_were_merged_stays(alice: Person, grace: Thing) -> None:
    """A contact into which others were merged stays, even if it gained nothing; the sources still redirect to it."""
    created = await alice.post(CONTACTS, json={"first_name": "Grace", "last_name": "Hopper"})
    bare = await person_named(alice, first_name="G.")
    await alice.post(f"/api/herdbook/contacts/{created.json()['id']}/merge", json={"from": [bare.id]})
    undone = await undo(alice, created)

    assert grace.id
    assert undone.kept == {created.json()["id"]: "in_use"}
    assert (await alice.get(bare.url)).status_code == 308


async def test_an_engagement_with_comments_stays(alice: Person) -> None:
    """An engagement with comments stays with its transcript and contacts; without the comment, all are deleted."""
    response = await alice.post("/api/v2/engagements", json=timed("said", participants=[{"email": "new@x.test"}]))
    made = Made(response)
    comment = Made(await alice.post(f"{made.url}/transcript_comments", json={"body": "Is it?"}))
    undone = await undo(alice, response)
    kept = {each["object"]: each["reason"] for each in undone.json["kept"]}
    read = await alice.get(comment.url)
    await alice.delete(comment.url)

    assert (undone.reverted, kept) == ({}, {"contact": "in_use", "engagement": "in_use", "transcript": "in_use"})
    assert read.status_code == 200
    assert (await undo(alice, response)).kept == {}


async def test_an_engagement_whose_transcript_is_newer_stays(alice: Person) -> None:
    """An engagement whose transcript was replaced since stays, so that the new transcript is not left without it."""
    response = await alice.post("/api/v2/engagements", json=timed("said"))
    made = Made(response)
    await alice.put(made.set_timeline_url, json={**TIMELINE, "entries": TIMELINE["entries"][:1]})
    undone = await undo(alice, response)

    assert {each["object"]: each["reason"] for each in undone.json["kept"]} == {
        "engagement": "in_use",
        "transcript": "changed_since",
    }
    assert (await alice.get(made.timeline_url)).status_code == 200


async def test_a_timeline_with_comments_stays(alice: Person, waiting: Made) -> None:
    """A timeline with comments stays, and the engagement stays completed."""
    response = await alice.put(waiting.set_timeline_url, json=TIMELINE)
    comment = Made(await alice.post(f"{waiting.url}/transcript_comments", json={"body": "Is it?"}))
    undone = await undo(alice, response)

    assert undone.reverted == {}
    assert {each["object"]: each["reason"] for each in undone.json["kept"]} == {
        "engagement": "in_use",
        "transcript": "in_use",
    }
    assert (await alice.get(comment.url)).status_code == 200
    assert (await alice.get(waiting.timeline_url)).status_code == 200


async def test_a_comment_needs_its_timeline(alice: Person, waiting: Made) -> None:
    """A deleted comment does not return to a timeline that was undone."""
    timeline = await alice.put(waiting.set_timeline_url, json=TIMELINE)
    comment = Made(await alice.post(f"{waiting.url}/transcript_comments", json={"body": "Is it?"}))
    deleted = await alice.delete(comment.url)
    await undo(alice, timeline)
    kept = (await undo(alice, deleted)).kept
    await alice.put(waiting.set_timeline_url, json=TIMELINE)

    assert kept == {comment.id: "transcript_not_found"}
    assert (await undo(alice, deleted)).kept == {comment.id: "transcript_not_found"}


async def test_links_to_what_is_gone_do_not_come_back(alice: Person, ada: Thing, renewal: Thing) -> None:
    """An engagement is not linked again to an object that was deleted since; once that is restored, it is."""
    engagement = Made(await alice.post("/api/v2/engagements", json=call("linked")))
    for thing, what in ((ada, "contact"), (renewal, "tag")):
        url, name = f"{engagement.url}/{what}s", f"{what}_ids"
        await alice.put(url, json={name: [thing.id]})
        response = await alice.put(url, json={name: []})
        await alice.delete(thing.url)
        tried = await undo(alice, response, params={"dry_run": "true"})
        undone = await undo(alice, response)
        await restore(alice, thing)
        assert tried.kept == undone.kept == {engagement.id: f"{what}_not_found"}
        assert (await undo(alice, response)).reverted == {engagement.id: "updated"}


async def test_a_deleted_engagement_has_kept_its_links(alice: Person, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """An engagement comes back with links to objects that were deleted since, as if it had never been gone."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    engagement = Made(await alice.post("/api/v2/engagements", json=call("linked")))
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [ada.id]})
    await alice.put(f"{engagement.url}/tags", json={"tag_ids": [renewal.id]})
    response = await alice.delete(f"/api/herdbook/engagements/{engagement.id}")
    for thing in (ada, engine, renewal):
        await alice.delete(thing.url)

    assert (await undo(alice, response)).reverted == {engagement.id: "restored"}
    for thing in (engine, ada, renewal):
        await restore(alice, thing)
    shown = (await alice.get(engagement.url, params={"expand": "contacts,companies,tags"})).json()
    linked = [each["id"] for name in ("contacts", "companies", "tags") for each in shown[name]]
    assert linked == [ada.id, engine.id, renewal.id]


async def test_a_deleted_engagement_does_not_name_a_merged_contact(alice: Person, ada: Thing, grace: Thing) -> None:
    """An engagement whose contact was merged since stays deleted until the merge is undone: nothing else would follow it."""
    engagement = Made(await alice.post("/api/v2/engagements", json=call("linked")))
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [grace.id]})
    response = await alice.delete(f"/api/herdbook/engagements/{engagement.id}")
    merge = await alice.post(f"/api/herdbook/contacts/{ada.id}/merge", json={"from": [grace.id]})

    assert (await undo(alice, response)).kept == {engagement.id: "contact_not_found"}
    await undo(alice, merge)
    assert (await undo(alice, response)).reverted == {engagement.id: "restored"}


async def test_users_stay(alice: Person, owner: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Users cannot be reverted, because no operation changes them; only those who may read users see them named."""
    request_id: UUID = await pool.fetchval(
        "select request_id from change where workspace_id = $1 and object_id = $2", alice.workspace_id, owner.uuid
    )
    undone = await undo(alice, ids.encoded(ids.REQUEST, request_id))

    assert undone.kept == {owner.id: "not_supported"}
    assert (await now(alice, owner)) is not None
