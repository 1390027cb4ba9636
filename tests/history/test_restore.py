"""POST /herdbook/contacts/{contact_id}/restore, and the same for companies and tags."""

from asyncio import TaskGroup
from collections import Counter
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from tests.cast import Person, Stored, Thing, faults
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.history.requests import CONTACTS, Register, history, person_named, restore, without_time


async def former_addresses(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> set[str]:
    """Return the addresses stored for deleted contacts."""
    records = await pool.fetch("select address from contact_former_email where workspace_id = $1", workspace_id)
    return {record["address"] for record in records}


async def test_anonymous_is_refused(client: httpx.AsyncClient, alice: Person, ada: Thing) -> None:
    """Without a credential the answer is 401, and nothing is restored."""
    await alice.delete(ada.url)
    response = await client.post(f"/api/herdbook/contacts/{ada.id}/restore")

    assert response.status_code == 401
    assert (await alice.get(ada.url)).status_code == 404


async def test_charlie_is_refused(charlie: Person, alice: Person, ada: Thing) -> None:
    """A contact of another workspace is not found, and stays deleted."""
    await alice.delete(ada.url)
    response = await restore(charlie, ada)

    assert response.status_code == 404
    assert (await alice.get(ada.url)).status_code == 404


async def test_bob_is_refused(bob: Person, alice: Person, ada: Thing) -> None:
    """A read-only credential restores nothing."""
    await alice.delete(ada.url)
    response = await restore(bob, ada)

    assert response.status_code == 403


async def test_what_was_deleted_is_back(
    alice: Person, ada: Thing, engine: Thing, renewal: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A restored object equals the deleted one except for time and version, and search finds it again."""
    for thing in (ada, engine, renewal):
        await alice.delete(thing.url)
        response = await restore(alice, thing)
        read = await alice.get(thing.url)

        assert response.status_code == 200
        assert without_time(response.json()) == without_time(thing.json)
        assert response.json()["updated_at"] > thing.json["updated_at"]
        assert (read.content, read.headers["ETag"]) == (response.content, response.headers["ETag"])
    assert [each["id"] for each in (await alice.get(f"{CONTACTS}?search=lovelace")).json()["data"]] == [ada.id]
    taken = await alice.post("/api/v2/companies", json={"domains": engine.json["domains"]})
    assert taken.status_code == 409
    await assert_consistent(pool, alice.workspace_id)
    await assert_chained(pool, alice.workspace_id)


async def test_what_is_there_stays_as_it_is(alice: Person, ada: Thing, register: Register) -> None:
    """Restoring an object that is not deleted succeeds and writes nothing."""
    response = await restore(alice, ada)

    assert (response.status_code, response.json(), response.headers["ETag"]) == (200, ada.json, ada.etag)
    assert await register.entries() == 2


@pytest.mark.parametrize("contact_id", ["cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "nobody", "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_never_was_is_not_found(alice: Person, contact_id: str) -> None:
    """An id without a contact is not found."""
    response = await alice.post(f"/api/herdbook/contacts/{contact_id}/restore")

    assert response.status_code == 404


async def test_what_others_have_now_is_not_taken_from_them(alice: Person, dave: Person, ada: Thing, register: Register) -> None:
    """A restoration that needs taken addresses is refused: each is named, its value and holder only to those who may read."""
    both = await person_named(alice, "a@x.test", "ada2@engine.test", "b@x.test")
    await alice.delete(both.url)
    new = await person_named(alice, "B@x.test")
    await alice.patch(ada.url, json={"emails": [{"email": "ada2@engine.test"}]})
    before = await register.entries()
    response = await restore(alice, both)

    assert response.status_code == 409
    assert faults(response) == [("emails[1].email", "already_in_use"), ("emails[2].email", "already_in_use")]
    assert response.json()["conflict"] == {"object": "contact", "id": ada.id}
    assert [each["message"].split(" now ")[0] for each in response.json()["errors"]] == [
        "The value `ada2@engine.test` of `emails[1].email`",
        "The value `b@x.test` of `emails[2].email`",
    ]
    unread = await restore(dave, both)
    assert "conflict" not in unread.json()
    assert "@" not in unread.text
    assert await register.entries() == before
    await alice.delete(new.url)
    await alice.delete(ada.url)
    assert (await restore(alice, both)).status_code == 200


async def test_names_of_tags_and_domains_are_not_taken_either(alice: Person, engine: Thing, renewal: Thing) -> None:
    """Taken domains and taken names of tags are refused alike."""
    for thing, body, field in (
        (engine, {"domains": [{"domain": "ENGINE.test"}]}, "domains[0].domain"),
        (renewal, {"name": "renewal"}, "name"),
    ):
        await alice.delete(thing.url)
        other = (await alice.post(thing.url.rpartition("/")[0], json=body)).json()
        response = await restore(alice, thing)
        assert (response.status_code, faults(response)) == (409, [(field, "already_in_use")])
        assert response.json()["conflict"]["id"] == other["id"]


async def test_a_company_that_is_gone_is_left_out(alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A contact whose company was deleted is restored without it; once the company is back, it is restored with it."""
    first, second = [await person_named(alice, company_id=engine.id, first_name=name) for name in ("Ada", "Grace")]
    for contact in (first, second):
        await alice.delete(contact.url)
    await alice.delete(engine.url)
    alone = await restore(alice, first)
    await restore(alice, engine)
    employed = await restore(alice, second)

    assert "company" not in alone.json()
    assert employed.json()["company"]["id"] == engine.id
    await assert_consistent(pool, alice.workspace_id)


async def test_a_restored_company_has_no_contacts(alice: Person, engine: Thing) -> None:
    """A restored company has no contacts: each was released by a change of its own."""
    ada = await person_named(alice, company_id=engine.id)
    await alice.delete(engine.url)
    await restore(alice, engine)

    assert "company" not in (await alice.get(ada.url)).json()


async def test_addresses_are_noted_while_a_contact_is_deleted(
    alice: Person, grace: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A deleted contact's addresses are stored until it is restored; those of a merged contact belong to the target."""
    both = await person_named(alice, "A@x.test", "b@X.test")
    await alice.delete(both.url)
    deleted = await former_addresses(pool, alice.workspace_id)
    await restore(alice, both)
    restored = await former_addresses(pool, alice.workspace_id)
    await alice.post(f"/api/herdbook/contacts/{both.id}/merge", json={"from": [grace.id]})

    assert (deleted, restored) == ({"a@x.test", "b@x.test"}, set())
    assert await former_addresses(pool, alice.workspace_id) == set()


async def test_a_merged_contact_can_come_back(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """A merged contact can be restored once its addresses are free, and is then no longer merged."""
    await alice.post(f"/api/herdbook/contacts/{grace.id}/merge", json={"from": [ada.id]})
    refused = await restore(alice, ada)
    await alice.patch(grace.url, json={"emails": grace.json["emails"]})
    response = await restore(alice, ada)

    assert (refused.status_code, refused.json()["conflict"]["id"]) == (409, grace.id)
    assert without_time(response.json()) == without_time(ada.json)
    assert (await stored.row(ada))["merged_into"] is None
    assert (await alice.get(ada.url)).status_code == 200


async def test_if_match_names_the_deletion(alice: Person, ada: Thing) -> None:
    """If-Match with the version of the deletion, as the history shows it, restores the object; any other version is refused."""
    await alice.delete(ada.url)
    deletion = (await history(alice, ada))["data"][0]["version"]
    stale = await restore(alice, ada, headers={"If-Match": ada.etag})
    restored = await restore(alice, ada, headers={"If-Match": f'"{deletion}"'})
    again = await restore(alice, ada, headers={"If-Match": f'"{deletion}"'})

    assert (stale.status_code, stale.headers["ETag"]) == (412, f'"{deletion}"')
    assert restored.status_code == 200
    assert (again.status_code, again.headers["ETag"]) == (412, restored.headers["ETag"])


async def test_a_retry_gets_the_first_answer(alice: Person, ada: Thing) -> None:
    """A repeat with the same Idempotency-Key does nothing, even if the object was changed and deleted since."""
    await alice.delete(ada.url)
    key = {"Idempotency-Key": str(uuid4())}
    first = await restore(alice, ada, headers=key)
    await alice.patch(ada.url, json={"emails": []})
    await alice.delete(ada.url)
    second = await restore(alice, ada, headers=key)
    other = await restore(alice, ada, headers={**key, "If-Match": '"1"'})

    assert (second.content, second.headers["ETag"]) == (first.content, first.headers["ETag"])
    assert second.headers["Idempotency-Replayed"] == "true"
    assert (await alice.get(ada.url)).status_code == 404
    assert (other.status_code, faults(other)) == (422, [("Idempotency-Key", "idempotency_key_reused")])


async def test_many_at_the_same_time(alice: Person, ada: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A restoration among concurrent changes and deletions brings back the state of its own moment."""
    async with TaskGroup() as tasks:
        asked = [
            tasks.create_task(request)
            for number in range(40)
            for request in (
                alice.delete(ada.url),
                restore(alice, ada),
                alice.patch(ada.url, json={"emails": [{"email": f"ada{number}@engine.test"}]}),
                alice.post(CONTACTS, json={"emails": [{"email": f"ada{number - 5}@engine.test"}]}),
            )
        ]
    statuses = Counter(task.result().status_code for task in asked)

    assert statuses.keys() <= {200, 201, 404, 409, 503}
    assert statuses[200] > 40
    await assert_consistent(pool, alice.workspace_id)
    await assert_chained(pool, alice.workspace_id)
