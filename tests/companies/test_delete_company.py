"""DELETE /v2/companies/{company_id}."""

import json
from asyncio import TaskGroup
from collections.abc import Sequence
from functools import partial
from typing import cast
from uuid import uuid4

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.companies.commands import RELEASE_CONTACTS, DeleteCompany, ReleaseContacts
from herdbook.contacts.commands import ContactsOfCompany
from herdbook.contacts.store import MAX_RELEASED_CONTACTS
from herdbook.db.pool import Executor
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Person, Stored, Thing

URL = "/api/v2/companies"
CONTACTS = "/api/v2/contacts"
UNKNOWN = f"{URL}/cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def hire(alice: Person, company: Thing, *names: str) -> list[Thing]:
    """Create contacts of a company, many in one batch."""
    async with TaskGroup() as tasks:
        writes = [
            tasks.create_task(alice.post(CONTACTS, json={"first_name": name, "company_id": company.id})) for name in names
        ]
    return [Thing(write.result()) for write in writes]


async def test_anonymous_is_refused(client: httpx.AsyncClient, engine: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.delete(engine.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, engine: Thing, stored: Stored) -> None:
    """A company of another workspace is not found, and it stays with its contacts."""
    await hire(alice, engine, "Ada")
    response = await charlie.delete(engine.url)

    assert response.status_code == 404
    assert (await alice.get(engine.url)).json() == engine.json
    assert len(await stored.changes()) == 2


async def test_bob_is_refused(bob: Person, engine: Thing, stored: Stored) -> None:
    """A read-only credential cannot delete anything."""
    response = await bob.delete(engine.url)

    assert response.status_code == 403
    assert "companies:write" in response.json()["detail"]
    assert len(await stored.changes()) == 1


async def test_it_tells_what_was_deleted(alice: Person, engine: Thing) -> None:
    """The response names the company and has no ETag, because nothing is left that has a version."""
    response = await alice.delete(engine.url)

    assert response.status_code == 200
    assert response.json() == {"id": engine.id, "object": "company", "deleted": True}
    assert "ETag" not in response.headers


async def test_it_is_gone_from_everywhere(alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A deleted company is not read, listed or found; its row stays, with a mark."""
    await alice.delete(engine.url)
    row = await pool.fetchrow("select version, updated_at, deleted_at from company where id = $1", engine.uuid)
    words = await pool.fetchval("select count(*) from company_word where company_id = $1", engine.uuid)

    assert (await alice.get(engine.url)).status_code == 404
    assert (await alice.get(URL)).json()["data"] == []
    assert words == 0
    assert row is not None
    assert row["version"] == 2
    assert row["deleted_at"] == row["updated_at"]


async def test_the_change_is_entered(alice: Person, engine: Thing, stored: Stored) -> None:
    """The ledger keeps the company's last state."""
    await alice.delete(engine.url)
    change = (await stored.changes())[-1]

    assert (change.seq, change.kind, change.action) == (2, "o", "d")
    assert (change.previous, change.object) == (None, engine.json)


async def test_a_second_time_there_is_nothing(alice: Person, engine: Thing, stored: Stored) -> None:
    """A second deletion is refused and writes nothing."""
    await alice.delete(engine.url)
    response = await alice.delete(engine.url)

    assert response.status_code == 404
    assert len(await stored.changes()) == 2


async def test_the_domains_go_to_the_next(alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Domains always belong to the newest company when companies are created and deleted in turn."""
    domains = [{"domain": "a.test"}, {"domain": "b.test"}]
    await alice.patch(engine.url, json={"domains": domains})
    for _ in range(3):
        await alice.delete(engine.url)
        engine = Thing(await alice.post(URL, json={"domains": domains}))

    held = await pool.fetch("select domain from company_domain where workspace_id = $1", alice.workspace_id)
    assert sorted(record["domain"] for record in held) == ["a.test", "b.test"]


async def test_the_domains_go_on_within_a_batch(alice: Person, engine: Thing) -> None:
    """Within a batch, a company after the deletion gets the domains, and one before it does not."""
    company = {"domains": engine.json["domains"]}
    async with TaskGroup() as tasks:
        # The others wait while the first runs, so they share a batch.
        tasks.create_task(alice.post(CONTACTS, json={}))
        writes = [
            tasks.create_task(alice.post(URL, json=company)),
            tasks.create_task(alice.delete(engine.url)),
            tasks.create_task(alice.post(URL, json=company)),
            tasks.create_task(alice.patch(engine.url, json={"name": "Eve's"})),
            tasks.create_task(alice.delete(engine.url)),
        ]

    assert [write.result().status_code for write in writes] == [409, 200, 201, 404, 404]


async def test_the_contacts_lose_their_company(alice: Person, engine: Thing, stored: Stored) -> None:
    """The company is deleted first. Then each contact gets a new version without it, otherwise unchanged."""
    staff = await hire(alice, engine, "Ada", "Grace")
    await alice.delete(engine.url)
    answers = [await alice.get(contact.url) for contact in staff]
    *_, deletion, first, second = await stored.changes()

    for contact, answer in zip(staff, answers, strict=True):
        was = {name: value for name, value in contact.json.items() if name != "company"}
        assert answer.json() == {**was, "updated_at": answer.json()["updated_at"]}
        assert answer.json()["updated_at"] > contact.json["updated_at"]
    # The order of the two is not defined.
    by_version = {answer.headers["ETag"]: answer.json() for answer in answers}
    assert by_version == {'"5"': first.object, '"6"': second.object}
    assert [(change.kind, change.action) for change in (deletion, first, second)] == [("o", "d"), ("c", "u"), ("c", "u")]
    assert [change.previous for change in (first, second)] == [{"company": {"id": engine.id, "object": "company"}}] * 2


async def test_other_contacts_stay_as_they_are(alice: Person, engine: Thing, ada: Thing, stored: Stored) -> None:
    """Contacts of other companies or none, contacts that left the company, and deleted ones are not touched."""
    other = Thing(await alice.post(URL, json={"name": "The Mill", "domains": []}))
    (grace,) = await hire(alice, other, "Grace")
    mover, leaver, gone = await hire(alice, engine, "Mover", "Leaver", "Gone")
    moved = await alice.patch(mover.url, json={"company_id": other.id})
    left = await alice.patch(leaver.url, json={"company_id": None})
    await alice.delete(gone.url)
    await alice.delete(engine.url)

    answers = [(await alice.get(contact.url)).json() for contact in (ada, grace, mover, leaver)]
    assert answers == [ada.json, grace.json, moved.json(), left.json()]
    assert [(change.kind, change.action) for change in (await stored.changes())[-2:]] == [("c", "d"), ("o", "d")]


async def test_what_happens_in_the_same_batch_counts(alice: Person, engine: Thing, ada: Thing, stored: Stored) -> None:
    """Contacts that join before the deletion lose the company, those that left are untouched, and later joins are refused."""
    other = Thing(await alice.post(URL, json={"domains": []}))
    mover, leaver, gone, stayer = await hire(alice, engine, "Mover", "Leaver", "Gone", "Stayer")
    join = {"company_id": engine.id}
    async with TaskGroup() as tasks:
        # The others wait while the first runs, so they share a batch.
        tasks.create_task(alice.post(CONTACTS, json={}))
        before = [
            tasks.create_task(alice.post(CONTACTS, json={"first_name": "New", **join})),
            tasks.create_task(alice.patch(ada.url, json=join)),
            tasks.create_task(alice.patch(mover.url, json={"company_id": other.id})),
            tasks.create_task(alice.patch(leaver.url, json={"company_id": None})),
            tasks.create_task(alice.delete(gone.url)),
            tasks.create_task(alice.patch(stayer.url, json={"last_name": "changed"})),
        ]
        deletion = tasks.create_task(alice.delete(engine.url))
        behind = [
            tasks.create_task(alice.post(CONTACTS, json=join)),
            tasks.create_task(alice.patch(ada.url, json=join)),
            tasks.create_task(alice.patch(mover.url, json={"last_name": "changed"})),
        ]

    new = Thing(before[0].result())
    now = {contact.id: (await alice.get(contact.url)).json() for contact in (new, ada, mover, leaver, stayer)}
    entries = [
        (change.action, change.object["id"])
        for change in await stored.changes()
        if change.object["updated_at"] == new.json["created_at"] and change.object["id"] in now
    ]
    assert [write.result().status_code for write in (*before, deletion, *behind)] == [201, *[200] * 6, 422, 422, 200]
    assert {contact.get("company", {}).get("id") for contact_id, contact in now.items() if contact_id != mover.id} == {None}
    assert now[mover.id]["company"]["id"] == other.id
    assert now[stayer.id]["last_name"] == "changed"
    assert (await alice.get(gone.url)).status_code == 404
    # One batch has one time: the releases are between the writes before the deletion and those after it.
    assert entries[:4] == [("c", new.id), ("u", ada.id), ("u", mover.id), ("u", leaver.id)]
    assert sorted(entries[4:8]) == sorted([("u", stayer.id)] * 2 + [("u", new.id), ("u", ada.id)])
    assert entries[8:] == [("u", mover.id)]


async def released(stored: Stored, company: Thing) -> list[str]:
    """Return the contacts that lost a company, in the order of the entries."""
    was = {"company": {"id": company.id, "object": "company"}}
    return [change.object["id"] for change in await stored.changes() if change.previous == was]


async def test_a_company_of_many_contacts(
    alice: Person, engine: Thing, ada: Thing, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Contacts beyond a batch's limit are released in slices: each gets one version, and other writes get through."""
    many = 1_100
    assert many > 2 * MAX_RELEASED_CONTACTS
    staff: list[Thing] = []
    for slice_ in range(0, many, 550):
        staff += await hire(alice, engine, *(f"Nobody {n}" for n in range(slice_, slice_ + 550)))
    headers = {"If-Match": engine.etag, "Idempotency-Key": str(uuid4())}
    async with TaskGroup() as tasks:
        deletion = tasks.create_task(alice.delete(engine.url, headers=headers))
        other = tasks.create_task(alice.patch(ada.url, json={"last_name": "King"}))
    again = await alice.delete(engine.url, headers=headers)

    left = await pool.fetchval(
        "select count(*) from contact where workspace_id = $1 and (company_id is not null or object::jsonb ? 'company')",
        alice.workspace_id,
    )
    assert (deletion.result().status_code, other.result().status_code) == (200, 200)
    assert (again.content, again.headers["Idempotency-Replayed"]) == (deletion.result().content, "true")
    assert sorted(await released(stored, engine)) == sorted(contact.id for contact in staff)
    assert left == 0
    assert await pool.fetchval("select count(*) from company_contact where workspace_id = $1", alice.workspace_id) == 0
    assert [change.object for change in await stored.changes() if change.action == "d"] == [engine.json]
    # The company, Ada, her change and the deletion, and for each contact its creation and its release.
    assert len(await stored.changes()) == 4 + 2 * many


@pytest.mark.parametrize("many", [MAX_RELEASED_CONTACTS - 1, MAX_RELEASED_CONTACTS, MAX_RELEASED_CONTACTS + 1])
async def test_a_slice_may_be_full(alice: Person, engine: Thing, stored: Stored, many: int) -> None:
    """All contacts are released if they fill a slice, or are one fewer or one more."""
    staff = await hire(alice, engine, *(["Nobody"] * many))
    response = await alice.delete(engine.url)

    assert response.status_code == 200
    assert sorted(await released(stored, engine)) == sorted(contact.id for contact in staff)


async def race(alice: Person, engine: Thing, movers: Sequence[Thing]) -> list[int]:
    """Create contacts of a company and move some to it before, during and after its deletion; return the statuses."""
    async with TaskGroup() as tasks:
        writes = [tasks.create_task(alice.post(CONTACTS, json={"company_id": engine.id})) for _ in range(100)]
        writes += [tasks.create_task(alice.delete(engine.url))]
        writes += [tasks.create_task(alice.patch(mover.url, json={"company_id": engine.id})) for mover in movers]
    return [write.result().status_code for write in writes]


async def test_nobody_is_left_behind(
    alice: Person, engine: Thing, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Contacts that join during the slices are released or refused: none belongs to a deleted company."""
    other = Thing(await alice.post(URL, json={"domains": []}))
    movers = await hire(alice, other, *(["Mover"] * 300))
    staff = await hire(alice, engine, *(["Nobody"] * 600))
    statuses = await race(alice, engine, movers)

    joined = 600 + sum(status in (200, 201) for status in statuses) - 1
    left = await pool.fetchval("select count(*) from contact where company_id = $1", engine.uuid)
    assert set(statuses) <= {200, 201, 422}
    assert statuses[100] == 200
    assert len(set(await released(stored, engine))) == len(await released(stored, engine)) == joined
    assert {contact.id for contact in staff} <= set(await released(stored, engine))
    assert left == 0
    assert (await alice.get(engine.url)).status_code == 404


async def test_if_match_lets_the_current_version_through(alice: Person, engine: Thing) -> None:
    """A deletion with the current ETag succeeds. Contacts are not part of the company's version."""
    await hire(alice, engine, "Ada")
    response = await alice.delete(engine.url, headers={"If-Match": engine.etag})

    assert response.status_code == 200


async def test_if_match_stops_other_versions(alice: Person, engine: Thing, stored: Stored) -> None:
    """A stale If-Match prevents the deletion, and contacts, domains and words stay."""
    (ada,) = await hire(alice, engine, "Ada")
    changed = await alice.patch(engine.url, json={"description": "changed"})
    response = await alice.delete(engine.url, headers={"If-Match": engine.etag})
    taken = await alice.post(URL, json={"domains": engine.json["domains"]})

    assert response.status_code == 412
    assert response.headers["ETag"] == changed.headers["ETag"]
    assert (await alice.get(engine.url)).json() == changed.json()
    assert (await alice.get(ada.url)).json() == ada.json
    assert taken.status_code == 409
    assert len((await alice.get(URL, params={"search": "analytical"})).json()["data"]) == 1
    assert len(await stored.changes()) == 3


async def test_a_stale_version_stops_before_the_first_contact(alice: Person, engine: Thing, stored: Stored) -> None:
    """A stale version releases no contact of a large company, whoever changes it meanwhile."""
    await hire(alice, engine, *(["Nobody"] * (MAX_RELEASED_CONTACTS + 1)))
    response = await alice.delete(engine.url, headers={"If-Match": '"7"'})

    assert response.status_code == 412
    assert await released(stored, engine) == []


async def test_a_retry_gets_the_first_answer(alice: Person, engine: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key gets the first answer, not 404."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.delete(engine.url, headers=key) for _ in range(2)]

    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "ETag" not in second.headers
    assert len(await stored.changes()) == 2


async def test_what_was_interrupted_is_finished(
    alice: Person, engine: Thing, ledger: Ledger, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A later round finishes a deletion that was interrupted between slices, under the same request and credential."""
    await hire(alice, engine, *(["Nobody"] * (MAX_RELEASED_CONTACTS + 1)))
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    await ledger.write(alice.workspace_id, DeleteCompany(engine.uuid, ContactsOfCompany()), origin)
    interrupted = len(await released(stored, engine))
    unfinished = "select object_id from unfinished where workspace_id = $1"
    noted = await pool.fetchval(unfinished, alice.workspace_id)
    await finish(cast("Executor", pool), ledger, RELEASE_CONTACTS, partial(ReleaseContacts, contacts=ContactsOfCompany()))

    assert noted == engine.uuid
    assert await pool.fetchval(unfinished, alice.workspace_id) is None
    assert interrupted == MAX_RELEASED_CONTACTS
    assert len(await released(stored, engine)) == MAX_RELEASED_CONTACTS + 1
    assert await pool.fetchval("select count(*) from company_contact where workspace_id = $1", alice.workspace_id) == 0
    made = "select count(*) from change where request_id = $1 and credential_id = $2"
    assert await pool.fetchval(made, origin.request_id, origin.credential_id) == 1 + MAX_RELEASED_CONTACTS + 1


async def test_a_slice_leaves_a_company_alone_that_is_there(
    alice: Person, engine: Thing, ledger: Ledger, stored: Stored
) -> None:
    """Only deleted companies lose their contacts."""
    await hire(alice, engine, "Ada")
    origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
    written = await ledger.write(alice.workspace_id, ReleaseContacts(engine.uuid, ContactsOfCompany()), origin)

    assert json.loads(written.body) == {"all": True}
    assert await released(stored, engine) == []


async def test_object_comes_before_if_match(alice: Person) -> None:
    """404 takes precedence over 412."""
    response = await alice.delete(UNKNOWN, headers={"If-Match": '"7"'})

    assert response.status_code == 404


@pytest.mark.parametrize("company_id", ["nobody", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, stored: Stored, company_id: str) -> None:
    """Malformed ids get the same answer as unknown ids."""
    response = await alice.delete(f"{URL}/{company_id}")

    assert response.status_code == 404
    assert await stored.changes() == []
