"""POST /herdbook/undo: a request's changes are reversed, and restored when the undo is undone."""

from collections.abc import AsyncGenerator, Awaitable
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.cast import Json, Person, Thing, faults
from tests.engagements.calls import TIMELINE, Made, call, timed
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.history.requests import (
    COMPANIES,
    CONTACTS,
    NEVER_MADE,
    UNDO,
    Register,
    Undone,
    ask_to_undo,
    history,
    now,
    person_named,
    restore,
    told,
    undo,
    without_time,
)

_EXPANDED = "contacts,companies,tags,transcript"


@pytest_asyncio.fixture(autouse=True)
async def agreement(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> AsyncGenerator[None]:
    """Check after each test that the tables are consistent."""
    yield
    await assert_consistent(pool, workspace_id)
    await assert_chained(pool, workspace_id)


async def seen(person: Person, thing: Thing) -> Json:
    """Return everything readable about an object except update times, or None if it does not exist."""
    if not isinstance(thing, Made) or "/engagements/" not in thing.url:
        return await now(person, thing)
    response = await person.get(thing.url, params={"expand": _EXPANDED})
    if response.status_code != 200:
        return None
    shown = without_time(response.json())
    timeline = await person.get(thing.timeline_url)
    return {**shown, "contacts": [each["id"] for each in shown["contacts"]], "timeline": timeline.json().get("entries")}


async def back_and_forth(person: Person, asked: Awaitable[httpx.Response], *things: Thing) -> Undone:
    """Make a request, undo it, undo the undo, and undo that one; check the state after each step."""
    before = [await seen(person, thing) for thing in things]
    response = await asked
    assert response.status_code < 300, response.text
    after = [await seen(person, thing) for thing in things]
    assert before != after
    undone = await undo(person, response)
    assert [await seen(person, thing) for thing in things] == before
    redone = await undo(person, undone)
    assert [await seen(person, thing) for thing in things] == after
    assert redone.reverted.keys() == undone.reverted.keys()
    again = await undo(person, redone)
    assert [await seen(person, thing) for thing in things] == before
    assert again.reverted == undone.reverted
    assert undone.kept == redone.kept == again.kept == {}
    return undone


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """Without a credential the answer is 401."""
    response = await client.post(UNDO, json={"request_id": NEVER_MADE})

    assert response.status_code == 401


async def test_charlie_is_refused(charlie: Person, alice: Person, ada: Thing) -> None:
    """A request of another workspace is not found, and its changes stay."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    refused, never = await ask_to_undo(charlie, changed), await ask_to_undo(charlie, NEVER_MADE)

    assert refused.status_code == never.status_code == 404
    assert refused.json()["detail"] == never.json()["detail"]
    assert (await alice.get(ada.url)).json() == changed.json()


async def test_it_tells_what_came_of_it(alice: Person, ada: Thing) -> None:
    """The answer lists the reverted objects with their actions; the changes belong to the undo's own request."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    response = await ask_to_undo(alice, changed)
    (latest, *_) = (await history(alice, ada))["data"]

    assert response.json() == {
        "object": "undo",
        "request_id": changed.headers["X-Request-Id"],
        "dry_run": False,
        "reverted": [{"object": "contact", "id": ada.id, "action": "updated"}],
        "kept": [],
    }
    assert "ETag" not in response.headers
    assert latest["request_id"] == response.headers["X-Request-Id"]
    assert latest["changes"] == {"first_name": {"from": "Augusta", "to": "Ada"}}
    assert (await alice.get(ada.url)).json()["updated_at"] == latest["at"] > changed.json()["updated_at"]


async def test_an_update(alice: Person, ada: Thing, engine: Thing) -> None:
    """An update's fields return to their old values, and the others stay."""
    await alice.patch(ada.url, json={"description": "Wrote the first program.", "time_zone": "Europe/London"})
    changed = {
        "first_name": None,
        "last_name": "King",
        "description": None,
        "company_id": engine.id,
        "emails": [{"email": "new@engine.test"}],
        "phone_numbers": [{"phone_number": "+44 20 7946 0958"}],
    }
    undone = await back_and_forth(alice, alice.patch(ada.url, json=changed), ada)

    assert undone.reverted == {ada.id: "updated"}


async def test_a_creation(alice: Person) -> None:
    """A created contact is deleted, and its address is free."""
    response = await alice.post(CONTACTS, json={"emails": [{"email": "new@x.test"}]})
    undone = await undo(alice, response)

    assert undone.reverted == {response.json()["id"]: "deleted"}
    other = await person_named(alice, "new@x.test")
    assert (await undo(alice, undone)).kept == {response.json()["id"]: "conflict"}
    await alice.delete(other.url)
    assert (await undo(alice, undone)).reverted == {response.json()["id"]: "restored"}


async def test_a_deletion(alice: Person, ada: Thing) -> None:
    """A deleted contact is restored."""
    undone = await back_and_forth(alice, alice.delete(ada.url), ada)

    assert undone.reverted == {ada.id: "restored"}


async def test_a_restoration(alice: Person, ada: Thing) -> None:
    """A restored contact is deleted again."""
    await alice.delete(ada.url)
    undone = await back_and_forth(alice, restore(alice, ada), ada)

    assert undone.reverted == {ada.id: "deleted"}


async def test_restored_object_with_notes_is_deleted_again(alice: Person, ada: Thing, engine: Thing) -> None:
    """Notes of the time before the deletion stay with a contact or company that goes again; one that came since keeps it."""
    for thing in (ada, engine):
        notes = f"{thing.url.replace('/v2/', '/herdbook/')}/notes"
        note = (await alice.post(notes, json={"text": "Of before."})).json()
        await alice.delete(thing.url)

        undone = await back_and_forth(alice, restore(alice, thing), thing)

        assert undone.reverted == {thing.id: "deleted"}
        restored = await restore(alice, thing)
        assert [each["id"] for each in (await alice.get(notes)).json()["data"]] == [note["id"]]
        await alice.post(notes, json={"text": "Of after."})
        assert (await undo(alice, restored)).kept == {thing.id: "in_use"}


async def test_crm_associations(alice: Person, ada: Thing, engine: Thing) -> None:
    """CRM links are removed and restored."""
    for thing, kind in ((ada, "contact"), (engine, "company")):
        url, link = f"{thing.url}/crm_association", {"object_type": kind, "crm_object_id": "7", "source": "hubspot"}
        await back_and_forth(alice, alice.put(url, json=link), thing)
        await alice.put(url, json=link)
        await back_and_forth(alice, alice.delete(url), thing)


async def test_companies_and_tags(alice: Person, engine: Thing, renewal: Thing) -> None:
    """Changes of companies and tags are undone."""
    await back_and_forth(alice, alice.patch(engine.url, json={"name": None, "domains": [{"domain": "x.test"}]}), engine)
    await back_and_forth(alice, alice.patch(renewal.url, json={"name": "Later", "hex_color": None}), renewal)
    await back_and_forth(alice, alice.delete(renewal.url), renewal)


async def test_the_deletion_of_a_company(alice: Person, engine: Thing) -> None:
    """A deleted company is restored with its contacts."""
    staff = [await person_named(alice, first_name=name, company_id=engine.id) for name in ("Ada", "Grace")]
    undone = await back_and_forth(alice, alice.delete(engine.url), engine, *staff)

    assert undone.reverted == {engine.id: "restored", **{contact.id: "updated" for contact in staff}}


async def test_a_bulk(alice: Person, ada: Thing, grace: Thing) -> None:
    """All operations of a bulk are undone together, even if one got the address that another one gave up."""
    former = await person_named(alice, "former@x.test")
    await alice.delete(former.url)
    for atomic in (True, False):
        operations: Json = [
            {"action": "update", "id": ada.id, "contact": {"emails": [{"email": "other@x.test"}]}},
            {"action": "update", "id": grace.id, "contact": {"emails": [{"email": "ada@engine.test"}]}},
            {"action": "update", "id": ada.id, "contact": {"emails": [{"email": "grace@navy.test"}], "last_name": "King"}},
            {"action": "create", "contact": {"emails": [{"email": "other@x.test"}]}},
            {"action": "upsert", "contact": {"emails": [{"email": "former@x.test"}], "first_name": "Back"}},
            {"action": "delete", "id": grace.id},
        ]
        body = {"atomic": atomic, "operations": operations}
        undone = await back_and_forth(alice, alice.post("/api/herdbook/contacts/bulk", json=body), ada, grace, former)
        assert sorted(undone.reverted.values()) == ["deleted", "deleted", "restored", "updated"]


async def test_what_comes_to_nothing_is_not_told(alice: Person, ada: Thing, grace: Thing) -> None:
    """An object that a request created and deleted, or changed and changed back, is neither reverted nor kept."""
    operations: Json = [
        {"action": "update", "id": ada.id, "contact": {"first_name": "Augusta"}},
        {"action": "update", "id": ada.id, "contact": {"first_name": "Ada"}},
        {"action": "update", "id": grace.id, "contact": {"first_name": "Amazing"}},
    ]
    response = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    undone = await undo(alice, response)

    assert (undone.reverted, undone.kept) == ({grace.id: "updated"}, {})


async def test_a_merge(alice: Person, engine: Thing, renewal: Thing) -> None:
    """The target loses what it gained, the sources are restored, and engagements name them again."""
    ada = await person_named(alice, "ada@x.test", first_name="Ada")
    sources = [await person_named(alice, f"{name}@x.test", first_name=name, company_id=engine.id) for name in ("a", "b")]
    engagement = Made(await alice.post("/api/v2/engagements", json=call("merged")))
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": [each.id for each in sources]})
    await alice.put(f"{engagement.url}/tags", json={"tag_ids": [renewal.id]})
    body = {"from": [each.id for each in sources]}
    merging = alice.post(f"/api/herdbook/contacts/{ada.id}/merge", json=body)
    undone = await back_and_forth(alice, merging, ada, *sources, engagement)

    assert undone.reverted == {
        **{each.id: "restored" for each in sources},
        ada.id: "updated",
        engagement.id: "updated",
    }
    assert (await undo(alice, (await history(alice, ada))["data"][0]["request_id"])).kept == {}
    assert (await alice.get(sources[0].url)).headers["Location"] == ada.url
    assert ("deleted", ada.id) == next(
        (entry["action"], entry["merged_into"]) for entry in (await history(alice, sources[0]))["data"]
    )


async def test_an_engagement(alice: Person) -> None:
    """An engagement, its transcript and the contacts created for it are deleted and restored together."""
    participants = [{"name": "Ada Lovelace", "email": "ada@engine.test"}]
    response = await alice.post("/api/v2/engagements", json=timed("new", participants=participants))
    made = Made(response)
    shown = await seen(alice, made)
    undone = await undo(alice, response)
    gone = await seen(alice, made)
    redone = await undo(alice, undone)

    assert sorted(undone.reverted.values()) == ["deleted"] * 2
    assert {each["object"] for each in undone.json["reverted"]} == {"contact", "engagement", "transcript"}
    assert (gone, await seen(alice, made)) == (None, shown)
    assert {each["action"] for each in redone.json["reverted"]} == {"restored"}
    assert (await alice.get(f"{CONTACTS}?search=lovelace")).json()["data"]


async def test_an_external_id_is_free_again(alice: Person) -> None:
    """The external id of an undone engagement can be reused; the engagement then stays deleted."""
    response = await alice.post("/api/v2/engagements", json=call("once"))
    undone = await undo(alice, response)
    again = await alice.post("/api/v2/engagements", json=call("once"))
    kept = (await undo(alice, undone)).json["kept"]

    assert again.status_code == 201
    assert [(each["object"], each["reason"]) for each in kept] == [
        ("transcript", "engagement_not_found"),
        ("engagement", "conflict"),
    ]
    assert kept[1]["conflict"] == {"object": "engagement", "id": again.json()["id"]}


async def test_links_of_engagements(alice: Person, step: Made, ada: Thing, engine: Thing, renewal: Thing) -> None:
    """An engagement's links are restored, together with the companies of its contacts."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    await back_and_forth(alice, alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]}), step)
    await back_and_forth(alice, alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]}), step)

    assert (await told(alice, step))[-1][0] == "created"


async def test_timelines(alice: Person, waiting: Made, step: Made) -> None:
    """A transcript returns to its previous state: none, text alone or another timeline."""
    changed = {**TIMELINE, "entries": TIMELINE["entries"][:1]}
    for engagement in (waiting, step):
        for timeline in (TIMELINE, changed):
            await back_and_forth(alice, alice.put(engagement.set_timeline_url, json=timeline), engagement)
            await alice.put(engagement.set_timeline_url, json=timeline)


async def test_a_timeline_can_be_set_anew(alice: Person, waiting: Made) -> None:
    """A timeline can be set again after an undo; the undo itself can then no longer be undone."""
    undone = await undo(alice, await alice.put(waiting.set_timeline_url, json=TIMELINE))
    gone = await seen(alice, waiting)
    await alice.put(waiting.set_timeline_url, json=TIMELINE)
    kept = (await undo(alice, undone)).json["kept"]

    assert (gone["timeline"], gone["transcript"], gone["processing_status"]) == (None, None, "PENDING")
    assert [(each["object"], each["reason"]) for each in kept] == [
        ("engagement", "changed_since"),
        ("transcript", "changed_since"),
    ]


async def test_comments(alice: Person) -> None:
    """A comment's text, status and existence are undone."""
    engagement = Made(await alice.post("/api/v2/engagements", json=timed("said")))
    comment = Made(await alice.post(f"{engagement.url}/transcript_comments", json={"body": "Is it?"}))

    await back_and_forth(alice, alice.patch(comment.url, json={"body": "It is.", "status": "RESOLVED"}), comment)
    await back_and_forth(alice, alice.delete(comment.url), comment)
    assert (await undo(alice, (await alice.delete(comment.url)))).reverted == {comment.id: "restored"}


async def test_a_dry_run_does_nothing(alice: Person, engine: Thing, register: Register) -> None:
    """A dry run returns the answer of the real request, and changes nothing."""
    ada = await person_named(alice, company_id=engine.id)
    deleted = await alice.delete(engine.url)
    entries = await register.entries()
    tried = await undo(alice, deleted, params={"dry_run": "true"})
    unchanged = await register.entries()
    undone = await undo(alice, deleted, params={"dry_run": "false"})

    assert (unchanged, await register.entries()) == (entries, entries + 2)
    assert tried.json == {**undone.json, "dry_run": True}
    assert undone.reverted == {engine.id: "restored", ada.id: "updated"}


async def test_a_retry_gets_the_first_answer(alice: Person, ada: Thing, register: Register) -> None:
    """A repeat with the same Idempotency-Key gets the same answer and does nothing; a dry run counts as another request."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    key = {"Idempotency-Key": str(uuid4())}
    first = await ask_to_undo(alice, changed, headers=key)
    entries = await register.entries()
    second = await ask_to_undo(alice, changed, headers=key)
    other = await ask_to_undo(alice, changed, headers=key, params={"dry_run": "true"})

    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert await register.entries() == entries
    assert (other.status_code, faults(other)) == (422, [("Idempotency-Key", "idempotency_key_reused")])


async def test_undone_once_it_is_changed_since(alice: Person, ada: Thing, register: Register) -> None:
    """A second undo of the same request does nothing."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    await undo(alice, changed)
    entries = await register.entries()
    second = await undo(alice, changed)

    assert (second.reverted, second.kept) == ({}, {ada.id: "already_undone"})
    assert await register.entries() == entries


async def test_what_changed_nothing_is_no_request(alice: Person, ada: Thing) -> None:
    """A request that changed nothing or was refused cannot be undone; the refusal gives the possible reasons."""
    for response in (await alice.get(ada.url), await alice.patch(ada.url, json={}), await alice.post(COMPANIES, json={"x": 1})):
        refused = await ask_to_undo(alice, response)
        assert refused.status_code == 404
        assert "The request may have changed nothing" in refused.json()["detail"]


async def test_what_is_no_longer_kept_is_no_request(alice: Person, ada: Thing, grace: Thing, register: Register) -> None:
    """A request whose entries are trimmed, entirely or perhaps in part, cannot be undone."""
    operations = [{"action": "delete", "id": each.id} for each in (ada, grace)]
    response = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    # The entries of a bulk are in any order.
    last = max([(await history(alice, each))["data"][0]["version"] for each in (ada, grace)])
    await register.trim(last - 1)
    cut = await ask_to_undo(alice, response)
    await register.trim(last)

    assert (cut.status_code, cut.json()["type"].rpartition("/")[2]) == (410, "no_longer_kept")
    assert (await ask_to_undo(alice, response)).status_code == 404


async def test_the_clock_does_not_decide_what_is_kept(alice: Person, ada: Thing, grace: Thing, register: Register) -> None:
    """If the database's clock is behind that of the server, entries seem older than their request."""
    operations = [{"action": "delete", "id": each.id} for each in (ada, grace)]
    response = await alice.post("/api/herdbook/contacts/bulk", json={"operations": operations})
    last = max([(await history(alice, each))["data"][0]["version"] for each in (ada, grace)])
    await register.age(last, 1)
    await register.trim(last - 1)
    cut = await ask_to_undo(alice, response)
    await register.age(last, -1)

    assert cut.status_code == 410, cut.text


async def test_what_is_trimmed_before_it_does_not_matter(alice: Person, ada: Thing, grace: Thing, register: Register) -> None:
    """A request newer than all trimmed entries can be undone."""
    await alice.patch(grace.url, json={"first_name": "Amazing"})
    await alice.patch(grace.url, json={"first_name": "Grace"})
    response = await alice.patch(ada.url, json={"first_name": "Augusta"})
    await register.trim(int(response.headers["ETag"].strip('"')) - 2)

    assert (await undo(alice, response)).reverted == {ada.id: "updated"}


async def test_a_condition_cannot_hold(alice: Person, ada: Thing, register: Register) -> None:
    """If-Match always fails, because an undo concerns no single object."""
    changed = await alice.patch(ada.url, json={"first_name": "Augusta"})
    entries = await register.entries()
    response = await ask_to_undo(alice, changed, headers={"If-Match": "*"})

    assert response.status_code == 412
    assert await register.entries() == entries


@pytest.mark.parametrize("request_id", ["rid_7", NEVER_MADE.lower()])
async def test_a_malformed_id_is_shown_its_form(alice: Person, request_id: str) -> None:
    """An id that no request can have is not found; the refusal quotes it and shows the right form."""
    response = await alice.post(UNDO, json={"request_id": request_id})

    assert response.status_code == 404
    assert response.json()["detail"].startswith(f"`{request_id}` is not the id of a request. Send `rid_` and 26 digits")


async def test_what_is_no_id_is_refused(alice: Person) -> None:
    """The body must name a request."""
    for body, fault in (
        ({}, ("request_id", "required")),
        ({"request_id": "7"}, ("request_id", "invalid_format")),
        ({"request_id": NEVER_MADE, "dry_run": True}, ("dry_run", "unknown_field")),
    ):
        response = await alice.post(UNDO, json=body)
        assert (response.status_code, faults(response)) == (422, [fault])
