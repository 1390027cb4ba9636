"""POST /herdbook/contacts/bulk: single operations and whole requests."""

import gc
from asyncio import FIRST_COMPLETED, create_task, sleep, timeout, wait
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import asyncpg
import httpx
import pytest

from herdbook import ids, turns
from herdbook.bulk.commands import WriteAll, WriteItem
from herdbook.contacts.bulk import CONTACTS_IN_BULK
from herdbook.contacts.commands import CreateContact
from herdbook.contacts.model import ContactCreate
from herdbook.contacts.store import CONTACT
from herdbook.errors import Invalid
from herdbook.ledger.commands import Delete
from herdbook.ledger.unit_of_work import Origin, UnitOfWork
from herdbook.settings import Settings
from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.bulks import BULK, both_forms, create, delete, results, update, upsert, verdicts, write
from tests.custom_fields.definitions import define
from tests.serving import serving

CONTACTS: Final = "/api/v2/contacts"
UNKNOWN: Final = "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


def without_texts(problem: Json) -> Json:
    """Return a problem without its texts for people."""
    errors = [(error["field"], error["code"]) for error in problem.get("errors", ())]
    return {**problem, "detail": "", "errors": errors}


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(BULK, json={"operations": [create()]})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_bob_is_refused(bob: Person, stored: Stored) -> None:
    """A read-only credential cannot write anything."""
    response = await write(bob, create())

    assert response.status_code == 403
    assert await stored.changes() == []


@both_forms
async def test_charlie_is_refused(charlie: Person, alice: Person, ada: Thing, *, atomic: bool) -> None:
    """A contact of another workspace is not found, and it stays."""
    response = await write(charlie, update(ada.id, first_name="Eve"), delete(ada.id), atomic=atomic)

    assert response.status_code == (422 if atomic else 200)
    assert "not_found" in response.text
    assert (await alice.get(ada.url)).json() == ada.json


@both_forms
async def test_each_kind_of_operation(alice: Person, ada: Thing, grace: Thing, *, atomic: bool) -> None:
    """Contacts are created, updated and deleted. Results are in order and show contact and version as a read does."""
    found = await results(
        alice,
        create("mary@science.test", first_name="Mary"),
        update(ada.id, last_name="King"),
        delete(grace.id),
        update(ada.id, last_name="King"),
        atomic=atomic,
    )

    created, updated, deleted, unchanged = found
    mary = await alice.get(f"{CONTACTS}/{created['contact']['id']}")
    now = await alice.get(ada.url)
    assert created == {"index": 0, "result": "created", "version": 3, "contact": mary.json()}
    assert updated == {"index": 1, "result": "updated", "version": 4, "contact": now.json()}
    assert deleted == {"index": 2, "result": "deleted", "version": 5, "id": grace.id}
    assert unchanged == {"index": 3, "result": "unchanged", "version": 4, "contact": now.json()}
    assert (mary.headers["ETag"], now.headers["ETag"]) == ('"3"', '"4"')
    assert (now.json()["last_name"], mary.json()["emails"][0]["email"]) == ("King", "mary@science.test")
    assert (await alice.get(grace.url)).status_code == 404


@both_forms
async def test_it_is_one_request(
    alice: Person, ada: Thing, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]", *, atomic: bool
) -> None:
    """Each operation that changes something has its own ledger entry; all share the request and the credential."""
    response = await write(
        alice, create(), update(ada.id, last_name="King"), update(ada.id, last_name="King"), delete(ada.id), atomic=atomic
    )

    changes = (await stored.changes())[1:]
    sources = await pool.fetch(
        "select distinct request_id, credential_id from change where workspace_id = $1 and seq > 1", alice.workspace_id
    )
    request_id = ids.decoded(ids.REQUEST, response.headers["X-Request-Id"])
    assert [change.action for change in changes] == ["c", "u", "d"]
    assert [tuple(source) for source in sources] == [(request_id, alice.key.id)]
    assert "ETag" not in response.headers


@both_forms
async def test_an_operation_sees_what_those_before_it_did(alice: Person, ada: Thing, *, atomic: bool) -> None:
    """Operations run in order: an address moves between contacts, and a deleted contact is gone."""
    found = await results(
        alice,
        update(ada.id, emails=[{"email": "ada@home.test"}]),
        create("ada@engine.test", first_name="Augusta"),
        update(ada.id, last_name="King"),
        delete(ada.id),
        create("ada@home.test", first_name="Another"),
        atomic=atomic,
    )

    assert verdicts(found) == ["updated", "created", "updated", "deleted", "created"]
    assert found[2]["contact"]["emails"] == [{"email": "ada@home.test", "is_primary": True}]


# A refused operation, and the equivalent single request with the same refusal.
REFUSED: Final = {
    "a body": (create("nobody", first_name="", time_zone="Mars/Olympus"), "POST", CONTACTS),
    "a field": (create(firstname="Ada"), "POST", CONTACTS),
    "a patch": (update("{ada}", emails=None, last_name=5, phone_numbers=[{}]), "PATCH", CONTACTS + "/{ada}"),
    "two primaries": (
        update("{ada}", emails=[{"email": "a@x.test", "is_primary": True}, {"email": "A@x.test", "is_primary": True}]),
        "PATCH",
        CONTACTS + "/{ada}",
    ),
    "an address": (create("new@x.test", "ADA@engine.test"), "POST", CONTACTS),
    "a company": (create(company_id="cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"), "POST", CONTACTS),
    "a contact": (update(UNKNOWN, last_name="King"), "PATCH", f"{CONTACTS}/{UNKNOWN}"),
    "no id": (delete("nobody"), "DELETE", f"{CONTACTS}/nobody"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_refused_is_refused_as_by_itself(alice: Person, ada: Thing, refused: tuple[Json, str, str]) -> None:
    """A refused operation has its single request's problem, with its path before each field. The others are applied."""
    operation, method, path = refused
    operation = {**operation, "id": operation["id"].format(ada=ada.id)} if "id" in operation else operation
    single = await alice.request(method, path.format(ada=ada.id), json=operation.get("contact"))
    response = await write(alice, create(), operation, create())

    problem = response.json()["results"][1]["problem"]
    expected = single.json() | {"request_id": response.headers["X-Request-Id"]}
    for error in expected.get("errors", ()):
        error["field"] = f"operations[1].contact.{error['field']}"
    assert not single.is_success
    assert verdicts(response.json()["results"]) == ["created", "failed", "created"]
    assert without_texts(problem) == without_texts(expected)
    assert all("`operations[1].contact." in error["message"] for error in problem.get("errors", ()))


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (5, [("operations[1]", "invalid_type")]),
        ({}, [("operations[1].action", "required")]),
        ({"action": "destroy"}, [("operations[1].action", "invalid_choice")]),
        ({"action": 5, "contact": {}}, [("operations[1].action", "invalid_choice")]),
        ({"action": "create"}, [("operations[1].contact", "required")]),
        ({"action": "create", "contact": []}, [("operations[1].contact", "invalid_type")]),
        ({"action": "delete"}, [("operations[1].id", "required")]),
        ({"action": "delete", "id": 5}, [("operations[1].id", "invalid_type")]),
        (
            {"action": "create", "id": UNKNOWN, "contact": {"emails": [{"email": "a"}]}},
            [("operations[1].id", "unknown_field"), ("operations[1].contact.emails[0].email", "invalid_format")],
        ),
        ({"action": "delete", "id": UNKNOWN, "contact": {}}, [("operations[1].contact", "unknown_field")]),
        ({"action": "upsert", "contact": {}}, [("operations[1].contact.emails", "required")]),
        ({"action": "upsert", "contact": {"emails": []}}, [("operations[1].contact.emails", "too_short")]),
    ],
)
@both_forms
async def test_an_operation_is_judged_on_its_own(
    alice: Person, stored: Stored, operation: Json, expected: list[tuple[str, str]], *, atomic: bool
) -> None:
    """A malformed operation fails alone, with all its faults, unless the bulk is all or none."""
    response = await write(alice, create(), operation, atomic=atomic)

    if atomic:
        assert (response.status_code, faults(response)) == (422, expected)
        assert await stored.changes() == []
    else:
        done, failed = response.json()["results"]
        assert (done["result"], failed["result"], failed["problem"]["status"]) == ("created", "failed", 422)
        assert [(error["field"], error["code"]) for error in failed["problem"]["errors"]] == expected


@pytest.mark.parametrize("text", [b'{"action":"create","contact":{"first_name":"\xff"}}', b'{"action":"\xff"}', b"1e999"])
async def test_what_is_not_utf_8_spoils_no_other(alice: Person, text: bytes) -> None:
    """An operation with invalid UTF-8 or an invalid number fails alone."""
    body = b'{"operations":[{"action":"create","contact":{}},' + text + b"]}"
    response = await alice.post(BULK, content=body, headers={"Content-Type": "application/json"})

    assert verdicts(response.json()["results"]) == ["created", "failed"]
    assert response.json()["results"][1]["problem"]["status"] == 422


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("operations", "required")]),
        ({"operations": None}, [("operations", "invalid_type")]),
        ({"operations": {}}, [("operations", "invalid_type")]),
        ({"operations": []}, [("operations", "too_short")]),
        ({"operations": [create()] * 1001}, [("operations", "too_long")]),
        ({"operations": [create()], "atomic": None}, [("atomic", "invalid_type")]),
        ({"operations": [create()], "atomic": "true"}, [("atomic", "invalid_type")]),
        ({"operations": [create()], "dry_run": True}, [("dry_run", "unknown_field")]),
        ([create()], [("", "invalid_type")]),
    ],
)
async def test_a_wrong_envelope_is_refused(alice: Person, stored: Stored, body: Json, expected: list[tuple[str, str]]) -> None:
    """An invalid envelope is refused, and nothing is written."""
    response = await alice.post(BULK, json=body)

    assert (response.status_code, faults(response)) == (422, expected)
    assert await stored.changes() == []


@pytest.mark.parametrize("body", [b'{"operations":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}", b'{"operations":[{}'])
async def test_what_is_no_json_is_refused(alice: Person, body: bytes) -> None:
    """A body that is too deeply nested or truncated is refused like any other."""
    response = await alice.post(BULK, content=body, headers={"Content-Type": "application/json"})

    assert (response.status_code, faults(response)) == (422, [("", "invalid_json")])


async def test_if_match_matches_nothing(alice: Person, stored: Stored) -> None:
    """If-Match never matches, because many contacts have no common version."""
    response = await write(alice, create(), headers={"If-Match": "*"})

    assert response.status_code == 412
    assert await stored.changes() == []


@both_forms
async def test_a_thousand(alice: Person, stored: Stored, *, atomic: bool) -> None:
    """A bulk of the greatest size is written in order."""
    found = await results(alice, *(create(f"p{n}@x.test", first_name=f"P{n}") for n in range(1000)), atomic=atomic)

    changes = await stored.changes()
    assert verdicts(found) == ["created"] * 1000
    assert [result["version"] for result in found] == [change.seq for change in changes] == list(range(1, 1001))
    assert [result["contact"] for result in found] == [change.object for change in changes]
    assert [result["contact"]["first_name"] for result in found] == [f"P{n}" for n in range(1000)]


async def test_all_or_none_is_one_moment(alice: Person, ada: Thing) -> None:
    """An atomic bulk writes everything with one time."""
    found = await results(alice, *(create() for _ in range(200)), update(ada.id, last_name="King"), atomic=True)

    assert len({result["contact"]["updated_at"] for result in found}) == 1


async def test_all_or_none_is_none(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """An atomic bulk with a refusal writes nothing. Each faulty operation is named, judged after the valid ones before it."""
    response = await write(
        alice,
        create("new@x.test"),
        create("ADA@engine.test"),
        delete(grace.id),
        create("grace@navy.test"),
        update(grace.id, last_name="Murray"),
        create("NEW@x.test", time_zone="Mars/Olympus"),
        create("x@x.test", "new@x.test"),
        update(ada.id, company_id="cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"),
        create("x@x.test"),
        atomic=True,
    )

    assert response.status_code == 422
    assert response.json()["type"].endswith("/validation_failed")
    assert faults(response) == [
        ("operations[1].contact.emails[0].email", "already_in_use"),
        ("operations[4].id", "not_found"),
        ("operations[5].contact.time_zone", "unknown_time_zone"),
        ("operations[6].contact.emails[1].email", "already_in_use"),
        ("operations[7].contact.company_id", "not_found"),
    ]
    assert len(await stored.changes()) == 2
    assert [(await alice.get(contact.url)).json() for contact in (ada, grace)] == [ada.json, grace.json]
    assert (await alice.post(CONTACTS, json={"emails": [{"email": "new@x.test"}]})).status_code == 201


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("emails[0].email", {"emails": [{"email": "twice@engine.test"}]}),
        ("external_ids[0]", {"external_ids": ["17"]}),
        ("fields.number", {"fields": {"number": "17"}}),
    ],
    ids=["address", "external id", "unique field"],
)
@pytest.mark.parametrize("action", ["create", "upsert"])
async def test_a_value_that_an_operation_before_brings(  # a value, in either way
    alice: Person, frank: Person, field: str, value: Json, action: str
) -> None:
    """A conflict with a contact that the same request would bring names its operation, and no contact that is not there."""
    await define(frank, "number", unique=True)
    first = {"emails": [{"email": "first@engine.test"}], **value}
    operations = [{"action": action, "contact": first}, {"action": "create", "contact": value}]
    (error,) = (await write(alice, *operations, atomic=True)).json()["errors"]

    assert (error["field"], error["code"]) == (f"operations[1].contact.{field}", "already_in_use")
    assert "`operations[0]`" in error["message"]
    assert "conflict" not in error


async def test_a_value_that_an_operation_before_gives_to_another(alice: Person, ada: Thing) -> None:
    """A conflict with a contact that has the value by an operation before names both, because the contact was there."""
    given = update(ada.id, emails=[{"email": "twice@engine.test"}])
    (error,) = (await write(alice, given, create("twice@engine.test"), atomic=True)).json()["errors"]
    later = update(ada.id, last_name="Byron")
    (of_old,) = (await write(alice, later, create("ada@engine.test"), atomic=True)).json()["errors"]

    assert [each["conflict"]["id"] for each in (error, of_old)] == [ada.id] * 2
    assert "`operations[0]`" in error["message"]


async def test_a_contact_that_an_operation_would_bring_back_is_not_named(alice: Person, ada: Thing) -> None:
    """A deleted contact that an upsert of the same request would restore is deleted still."""
    await alice.delete(ada.url)
    back = {"action": "upsert", "contact": {"emails": ada.json["emails"]}}
    changed = update(ada.id, last_name="Byron")
    address = ada.json["emails"][0]["email"]
    (error,) = (await write(alice, back, changed, create(address), atomic=True)).json()["errors"]

    assert error["field"] == "operations[2].contact.emails[0].email"
    assert "`operations[0]`" in error["message"]
    assert "conflict" not in error


async def test_each_of_many_faults_is_named(alice: Person) -> None:
    """Each faulty operation is named, however many; beyond a limit not all faults are listed."""
    response = await write(alice, *([create(*["a"] * 100)] * 20), atomic=True)

    named = [field.partition(".")[0] for field, _ in faults(response)]
    assert list(dict.fromkeys(named)) == [f"operations[{index}]" for index in range(20)]
    assert 100 <= len(named) <= 120


async def test_each_of_many_that_fail_is_told_why(alice: Person) -> None:
    """Each operation that fails by itself has its problem, beyond a limit with a single fault."""
    found = await results(alice, *([create(*["a"] * 40)] * 50))
    told = [len(each["problem"]["errors"]) for each in found]

    assert verdicts(found) == ["failed"] * 50
    assert told == [40, 40, 20] + [1] * 47


@both_forms
async def test_addresses_and_numbers_are_limited_together(alice: Person, stored: Stored, *, atomic: bool) -> None:
    """All operations together are limited in addresses and numbers. More are refused at the start, with the remedy."""
    emails = [f"a{n}@x.test" for n in range(99)]
    phone_numbers = [{"phone_number": "100"}]
    operations = [create(*emails, phone_numbers=phone_numbers)] * 50
    most = await write(alice, *operations, atomic=atomic)
    before = await stored.changes()
    response = await write(alice, *operations, create("one@x.test"), atomic=atomic)

    assert most.status_code == (422 if atomic else 200)
    assert ("operations", "too_long") not in (faults(most) if atomic else [])
    assert response.status_code == 422
    assert faults(response) == [("operations", "too_long")]
    assert "Send them in several requests." in response.json()["detail"]
    assert await stored.changes() == before


async def test_others_have_their_turn_in_an_atomic_bulk(alice: Person) -> None:
    """Other tasks get many turns while a thousand operations are read and run, even if they are refused."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await sleep(0)
            turns += 1

    work = UnitOfWork(alice.workspace_id, 0, datetime.now(UTC), datetime.now(UTC))
    items = tuple(WriteItem(n, CreateContact(ContactCreate(first_name="Ada")), CONTACTS_IN_BULK) for n in range(1000))
    task = create_task(take_turns())
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    await work.carry_out_in_turns(WriteAll(CONTACTS_IN_BULK, items), origin)
    done = turns
    nobody = Delete(CONTACT, ids.new_id())
    work.note_looked_up(nobody.needs())
    with pytest.raises(Invalid):
        await work.carry_out_in_turns(WriteAll(CONTACTS_IN_BULK, (*items, WriteItem(1000, nobody, CONTACTS_IN_BULK))), origin)
    task.cancel()

    assert done >= 49
    assert turns >= 98
    assert (work.seq, len(work.changes)) == (1000, 1000)


@pytest.mark.parametrize("operation", [delete(UNKNOWN), create(unknown_field=1)], ids=["refused by the ledger", "invalid"])
async def test_refused_operations_leave_no_garbage(alice: Person, operation: Json) -> None:
    """Refusals and their operations do not refer to each other, because collecting thousands of them takes long."""
    await write(alice, operation)
    gc.collect()
    gc.disable()
    found = await results(alice, *([operation] * 200))
    garbage = gc.collect()
    gc.enable()

    assert verdicts(found) == ["failed"] * 200
    assert garbage < 200


@both_forms
async def test_a_retry_gets_the_first_answer(alice: Person, ada: Thing, stored: Stored, *, atomic: bool) -> None:
    """A retry with the same Idempotency-Key gets the first answer and writes nothing."""
    key = {"Idempotency-Key": str(uuid4())}
    operations = [create(first_name="Mary"), update(ada.id, last_name="King"), delete(ada.id)]
    first, second = [await write(alice, *operations, atomic=atomic, headers=key) for _ in range(2)]

    assert (second.status_code, second.json()) == (200, first.json())
    assert (first.headers.get("Idempotency-Replayed"), second.headers["Idempotency-Replayed"]) == (None, "true")
    assert "ETag" not in second.headers
    assert len(await stored.changes()) == 4


@both_forms
async def test_another_bulk_with_the_same_key_is_refused(alice: Person, stored: Stored, *, atomic: bool) -> None:
    """A key belongs to its first request, even if that wrote nothing."""
    key = {"Idempotency-Key": str(uuid4())}
    await write(alice, delete(UNKNOWN), headers=key)
    response = await write(alice, create(), atomic=atomic, headers=key)
    other = await alice.post(CONTACTS, json={}, headers=key)

    assert [each.status_code for each in (response, other)] == [422, 422]
    assert faults(response) == [("Idempotency-Key", "idempotency_key_reused")]
    assert await stored.changes() == []


async def test_a_key_must_be_one(alice: Person, stored: Stored) -> None:
    """An invalid key is refused before anything is written."""
    response = await write(alice, create(), headers={"Idempotency-Key": ""})

    assert (response.status_code, faults(response)) == (422, [("Idempotency-Key", "invalid_format")])
    assert await stored.changes() == []


async def test_a_retry_finishes_what_was_interrupted(
    alice: Person, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A retry after a crash gets the stored results of finished operations, and the rest run now."""
    key = {"Idempotency-Key": str(uuid4())}
    operations = [create(first_name=f"P{n}") for n in range(120)]
    first = (await write(alice, *operations, headers=key)).json()["results"]
    # As if the server had died after 70 operations.
    await pool.execute(
        "delete from idempotency_record where workspace_id = $1 and key like $2 and split_part(key, e'\n', 2)::int >= 70",
        alice.workspace_id,
        f"{key['Idempotency-Key']}\n%",
    )
    again = await write(alice, *operations, headers=key)

    second = again.json()["results"]
    assert second[:70] == first[:70]
    assert [result["version"] for result in second[70:]] == list(range(121, 171))
    assert "Idempotency-Replayed" not in again.headers
    assert (await write(alice, *operations, headers=key)).json()["results"] == second
    assert len(await stored.changes()) == 170


async def test_what_failed_is_tried_again(alice: Person, ada: Thing) -> None:
    """Refusals are not kept: a retry runs the refused operations again and gets the first answer for the rest."""
    key = {"Idempotency-Key": str(uuid4())}
    operations = [create(first_name="Mary"), create("ada@engine.test")]
    first = (await write(alice, *operations, headers=key)).json()["results"]
    same = await write(alice, *operations, headers=key)
    await alice.delete(ada.url)
    other = await write(alice, *operations, headers=key)

    assert verdicts(first) == ["created", "failed"]
    assert (verdicts(same.json()["results"]), same.headers["Idempotency-Replayed"]) == (["created", "failed"], "true")
    assert verdicts(other.json()["results"]) == ["created", "created"]
    assert other.json()["results"][0] == first[0]
    assert "Idempotency-Replayed" not in other.headers


async def test_keys_of_single_requests_are_others(alice: Person) -> None:
    """No caller can send the keys under which single operations are stored."""
    key = str(uuid4())
    await write(alice, create(), headers={"Idempotency-Key": key})
    response = await alice.post(CONTACTS, json={}, headers={"Idempotency-Key": f"{key}\n0"})

    assert faults(response) == [("Idempotency-Key", "invalid_format")]


async def test_a_queue_that_is_too_short_is_waited_for(
    alice: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wave too large for the workspace's queue is sent in parts, in order, until all of it is done."""
    monkeypatch.setattr(turns, "_PAUSE_SECONDS", 0.001)
    async with serving(Settings(rate_limit=0, queue_limit=7), database_url) as client:
        found = await results(Person(client, alice.workspace_id, alice.key), *(create() for _ in range(60)))

    assert [result["version"] for result in found] == list(range(1, 61))


async def test_what_does_not_fit_in_the_queue_fails(
    alice: Person, ada: Thing, database_url: str, pool: "asyncpg.Pool[asyncpg.Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each operation fails like a single request while the queue stays full, and none of them is applied."""
    monkeypatch.setattr(turns, "_PAUSE_SECONDS", 0.001)
    async with serving(Settings(rate_limit=0, queue_limit=1), database_url) as client, timeout(20):
        person = Person(client, alice.workspace_id, alice.key)
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("select from workspace where id = $1 for update", alice.workspace_id)
            under_way = create_task(person.patch(ada.url, json={"last_name": "King"}))
            while not await pool.fetchval("select exists (select from pg_locks where not granted)"):
                assert not under_way.done()
            others = [create_task(person.patch(ada.url, json={"last_name": "Byron"})) for _ in range(2)]
            # The first one to be refused has found the queue full.
            await wait(others, return_when=FIRST_COMPLETED)
            found = await results(person, create(), delete(ada.id))
        assert sorted([(await each).status_code for each in (under_way, *others)]) == [200, 200, 429]

    assert [result["problem"]["status"] for result in found] == [429, 429]
    assert found[0]["problem"]["type"].endswith("/busy")
    assert (await alice.get(ada.url)).status_code == 200


async def test_what_a_bulk_cannot_be_says_the_remedy(alice: Person) -> None:
    """The message for no operations says how many, and the one for If-Match says to leave the header out."""
    path = "/api/herdbook/contacts/bulk"
    empty = await alice.post(path, json={"operations": []})
    bulk = {"operations": [{"action": "create", "contact": {"first_name": "Ada"}}]}
    conditional = await alice.post(path, json=bulk, headers={"If-Match": '"1"'})

    assert empty.json()["errors"][0]["message"] == "`operations` has 0 items. Send at least 1."
    assert conditional.status_code == 412
    assert conditional.json()["detail"].endswith("Send the request without `If-Match`.")


async def test_words_that_a_bulk_gives_and_takes_away_are_not_left(alice: Person, stored: Stored) -> None:
    """A contact that one transaction creates and changes is found by its last words alone."""
    first, second = await results(
        alice,
        upsert("zoe@words.test", first_name="Zoe Zenobia", last_name="Zorn"),
        upsert("zoe@words.test", "zoe@other.test", first_name="Zoe Maria"),
        atomic=True,
    )

    assert verdicts([first, second]) == ["created", "updated"]
    words = await stored.words(Thing(await alice.get(f"{CONTACTS}/{second['contact']['id']}")))
    assert {"maria", "other"} <= words
    assert "zenobia" not in words
