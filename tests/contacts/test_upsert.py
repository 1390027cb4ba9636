"""Upserts by e-mail address, which the bulk endpoint of contacts takes."""

from typing import Final, LiteralString, cast
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from herdbook.db.pool import Executor
from herdbook.workspaces.store import set_region
from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.bulks import (
    addresses,
    both_forms,
    create,
    delete,
    numbers,
    result,
    results,
    update,
    upsert,
    verdicts,
    write,
)

CONTACTS: Final = "/api/v2/contacts"


def fault(failed: Json) -> tuple[int, str, str]:
    """Return the status, and the first field with its code, of an operation that failed."""
    assert failed["result"] == "failed"
    error = failed["problem"]["errors"][0]
    return failed["problem"]["status"], error["field"], error["code"]


@pytest_asyncio.fixture
async def mary(alice: Person) -> Thing:
    """A contact in Alice's workspace with two addresses and two numbers; the second of each is primary."""
    contact = {
        "first_name": "Mary",
        "description": "Mathematics",
        "emails": [{"email": "Mary@home.test"}, {"email": "mary@science.test", "is_primary": True}],
        "phone_numbers": [{"phone_number": "100"}, {"phone_number": "+44 20 7946 0958", "is_primary": True}],
    }
    return Thing(await alice.post(CONTACTS, json=contact))


async def test_nobody_had_it(alice: Person, mary: Thing) -> None:
    """An upsert creates a contact if none has or had the address; null leaves a field empty."""
    found = await result(alice, upsert("ada@engine.test", first_name="Ada", last_name=None, time_zone="GB"))

    contact = found["contact"]
    assert found["result"] == "created"
    assert contact == (await alice.get(f"{CONTACTS}/{contact['id']}")).json()
    assert (contact["first_name"], contact["last_name"], contact["time_zone"]) == ("Ada", None, "GB")
    assert addresses(contact) == ["ada@engine.test*"]
    assert (await alice.get(mary.url)).json() == mary.json


@pytest.mark.parametrize("address", ["mary@science.test", "MARY@Science.test", "mary@home.test"])
async def test_who_has_it_is_updated(alice: Person, mary: Thing, address: str) -> None:
    """An upsert updates the contact that has the address, primary or not: absent leaves a field alone, null clears it."""
    found = await result(alice, upsert(address, last_name="Somerville", description=None))

    assert (found["result"], found["contact"]) == ("updated", (await alice.get(mary.url)).json())
    assert found["contact"] == {
        **{name: value for name, value in mary.json.items() if name != "description"},
        "last_name": "Somerville",
        "updated_at": found["contact"]["updated_at"],
    }


@pytest.mark.parametrize(("one", "other"), [("groß@x.test", "gross@x.test"), ("ﬁne@x.test", "fine@x.test")])
async def test_an_address_is_one_persons(alice: Person, one: str, other: str) -> None:
    """An address that differs in one letter belongs to another person, whom no upsert overwrites."""
    anna = (await result(alice, create(one, first_name="Anna")))["contact"]
    bob = await result(alice, upsert(other, first_name="Bob"))
    again = await result(alice, upsert(one.replace("x.test", "X.TEST"), last_name="Groß"))

    assert bob["result"] == "created"
    assert (await alice.get(f"{CONTACTS}/{anna['id']}")).json()["first_name"] == "Anna"
    assert again["contact"]["id"] == anna["id"]


async def test_the_primary_address_decides(alice: Person, ada: Thing, mary: Thing) -> None:
    """The address marked as primary selects the contact, else the first."""
    first = await result(alice, upsert("ada@engine.test", "new@x.test", last_name="King"))
    marked = await result(alice, upsert("other@x.test", "mary@home.test", primary="mary@home.test", last_name="Somerville"))

    assert (first["contact"]["id"], marked["contact"]["id"]) == (ada.id, mary.id)
    assert addresses(marked["contact"]) == ["Mary@home.test*", "mary@science.test", "other@x.test"]


async def test_addresses_are_added(alice: Person, mary: Thing, stored: Stored) -> None:
    """The contact keeps its addresses, their order, spelling and primary mark. New ones are appended."""
    found = await result(alice, upsert(" new@x.test", "MARY@home.test", "x@x.test", primary="MARY@home.test"))
    again = await result(alice, upsert("mary@science.test", "y@x.test"))

    assert addresses(found["contact"]) == ["Mary@home.test*", "mary@science.test", "new@x.test", "x@x.test"]
    assert addresses(again["contact"]) == ["Mary@home.test*", "mary@science.test", "new@x.test", "x@x.test", "y@x.test"]
    assert await stored.addresses(mary) == {
        *("mary@home.test", "mary@science.test", "new@x.test", "x@x.test", "y@x.test"),
    }


async def test_another_primary_address_is_marked(alice: Person, mary: Thing) -> None:
    """The address that found the contact becomes primary only if it is marked, and the old one stays."""
    unmarked = await result(alice, upsert("mary@home.test", last_name="Somerville"))
    marked = await result(alice, upsert("mary@home.test", primary="mary@home.test"))

    assert addresses(unmarked["contact"]) == ["Mary@home.test", "mary@science.test*"]
    assert addresses(marked["contact"]) == ["Mary@home.test*", "mary@science.test"]
    assert marked["contact"]["id"] == mary.id


async def test_false_marks_nothing(alice: Person, mary: Thing) -> None:
    """`is_primary` false neither clears a primary address nor sets another one."""
    emails = [{"email": each["email"], "is_primary": False} for each in mary.json["emails"]]
    found = await result(alice, {"action": "upsert", "contact": {"emails": emails}})

    assert found == {"index": 0, "result": "unchanged", "version": 1, "contact": mary.json}


async def test_numbers_are_added(alice: Person, mary: Thing) -> None:
    """Phone numbers are appended in the same way: another spelling is the same number."""
    sent = [{"phone_number": "+442079460958"}, {"phone_number": "200"}, {"phone_number": "200"}, {"phone_number": "100"}]
    found = await result(alice, upsert("mary@home.test", phone_numbers=sent))
    marked = await result(alice, upsert("mary@home.test", phone_numbers=[{"phone_number": "100", "is_primary": True}]))
    nothing = await result(alice, upsert("mary@home.test", phone_numbers=[]))

    assert numbers(found["contact"]) == ["100", "+44 20 7946 0958*", "200"]
    assert numbers(marked["contact"]) == ["100*", "+44 20 7946 0958", "200"]
    assert nothing["result"] == "unchanged"
    assert mary.json["phone_numbers"][1]["is_primary"]


async def test_a_number_in_two_spellings_keeps_both(alice: Person, ada: Thing) -> None:
    """A mark on one spelling of a number means that spelling."""
    spellings = ["+442079460958", "+44 20 7946 0958"]
    await alice.patch(ada.url, json={"phone_numbers": [{"phone_number": each} for each in spellings]})
    sent = [{"phone_number": "+44 20 7946 0958", "is_primary": True}]
    found = await result(alice, upsert("ada@engine.test", phone_numbers=sent))

    assert numbers(found["contact"]) == ["+442079460958", "+44 20 7946 0958*"]


async def test_first_numbers_have_a_primary_one(alice: Person, ada: Thing) -> None:
    """The first phone numbers of a contact have a primary one: the marked one, else the first."""
    found = await result(alice, upsert("ada@engine.test", phone_numbers=[{"phone_number": "1"}, {"phone_number": "2"}]))

    assert numbers(found["contact"]) == ["1*", "2"]
    assert found["contact"]["id"] == ada.id


async def test_what_changes_nothing_writes_nothing(alice: Person, mary: Thing, stored: Stored) -> None:
    """An upsert that changes nothing keeps the version and `updated_at`, and adds no ledger entry."""
    found = await result(alice, upsert("MARY@home.test", first_name="Mary", phone_numbers=[{"phone_number": "+442079460958"}]))

    assert found == {"index": 0, "result": "unchanged", "version": 1, "contact": mary.json}
    assert len(await stored.changes()) == 1


async def test_nothing_is_taken_from_anybody(alice: Person, ada: Thing, mary: Thing) -> None:
    """An address of another active contact is refused with its path in the body, and nothing is written."""
    of_mary = await result(alice, upsert("mary@home.test", "new@x.test", "ADA@engine.test", last_name="Somerville"))
    of_nobody = await result(alice, upsert("new@x.test", "ada@engine.test"))

    assert fault(of_mary) == (409, "operations[0].contact.emails[2].email", "already_in_use")
    assert fault(of_nobody) == (409, "operations[0].contact.emails[1].email", "already_in_use")
    assert of_mary["problem"]["conflict"] == {"object": "contact", "id": ada.id}
    assert [(await alice.get(contact.url)).json() for contact in (ada, mary)] == [ada.json, mary.json]
    assert (await result(alice, create("new@x.test")))["result"] == "created"


@pytest.mark.parametrize("company_id", ["cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_a_company_must_be_there(alice: Person, mary: Thing, company_id: str) -> None:
    """An unknown company is refused, whether the contact exists or not."""
    known = await result(alice, upsert("mary@home.test", company_id=company_id))
    new = await result(alice, upsert("new@x.test", company_id=company_id))

    expected = (422, "operations[0].contact.company_id", "not_found")
    assert (fault(known), fault(new)) == (expected, expected)
    assert (await alice.get(mary.url)).json() == mary.json


async def test_together_they_may_be_too_many(alice: Person, mary: Thing) -> None:
    """A contact has at most a hundred addresses and a hundred numbers, old and new together."""
    emails = await result(alice, upsert("mary@home.test", *(f"m{n}@x.test" for n in range(99))))
    sent = [{"phone_number": f"2{n}"} for n in range(99)]
    phone_numbers = await result(alice, upsert("mary@home.test", phone_numbers=sent))
    as_many = await result(alice, upsert("mary@home.test", *(f"m{n}@x.test" for n in range(98)), phone_numbers=sent[1:]))

    assert fault(emails) == (422, "operations[0].contact.emails", "too_long")
    assert fault(phone_numbers) == (422, "operations[0].contact.phone_numbers", "too_long")
    assert as_many["contact"]["id"] == mary.id
    assert (len(as_many["contact"]["emails"]), len(as_many["contact"]["phone_numbers"])) == (100, 100)


@both_forms
async def test_one_address_twice(alice: Person, *, atomic: bool) -> None:
    """The second of two upserts of a new address updates the contact that the first has created."""
    first, second, third = await results(
        alice,
        upsert("ada@engine.test", first_name="Ada"),
        upsert("ADA@engine.test", "ada@home.test", last_name="King"),
        upsert("ada@home.test", first_name="Ada"),
        atomic=atomic,
    )

    assert verdicts([first, second, third]) == ["created", "updated", "unchanged"]
    assert first["contact"]["id"] == second["contact"]["id"]
    assert (second["contact"]["first_name"], second["contact"]["last_name"]) == ("Ada", "King")
    assert addresses(third["contact"]) == ["ada@engine.test*", "ada@home.test"]


@both_forms
async def test_who_has_it_by_then_is_meant(alice: Person, ada: Thing, mary: Thing, *, atomic: bool) -> None:
    """An upsert updates the current holder of an address that has just changed hands."""
    found = await results(
        alice,
        update(ada.id, emails=[{"email": "ada@home.test"}]),
        update(mary.id, emails=[{"email": "ada@engine.test"}]),
        upsert("ada@engine.test", last_name="Somerville"),
        upsert("mary@home.test", last_name="New"),
        atomic=atomic,
    )

    assert verdicts(found) == ["updated", "updated", "updated", "created"]
    assert found[2]["contact"]["id"] == mary.id


async def test_who_had_it_comes_back(alice: Person, mary: Thing, stored: Stored) -> None:
    """An upsert restores a deleted contact that had the address, with all its data, and applies the members sent."""
    await alice.delete(mary.url)
    found = await result(alice, upsert("MARY@home.test", "new@x.test", last_name="Somerville", description=None))

    contact = found["contact"]
    assert (found["result"], found["version"]) == ("restored", 3)
    assert contact == {
        **{name: value for name, value in mary.json.items() if name != "description"},
        "last_name": "Somerville",
        "emails": [*mary.json["emails"], {"email": "new@x.test", "is_primary": False}],
        "updated_at": contact["updated_at"],
    }
    read = await alice.get(mary.url)
    assert (read.json(), read.headers["ETag"]) == (contact, '"3"')
    assert await stored.addresses(mary) == {"mary@home.test", "mary@science.test", "new@x.test"}
    assert [(change.action, change.object) for change in await stored.changes()][-1] == ("r", contact)
    assert [each["id"] for each in (await alice.get(CONTACTS, params={"search": "somerville"})).json()["data"]] == [mary.id]


async def test_only_what_is_free_comes_back(alice: Person, mary: Thing) -> None:
    """A restored contact loses addresses that others hold by now. Without its primary one, the first left is primary."""
    await alice.delete(mary.url)
    other = Thing(await alice.post(CONTACTS, json={"emails": [{"email": "mary@science.test"}]}))
    found = await result(alice, upsert("mary@home.test", "new@x.test"))

    assert (found["result"], found["contact"]["id"]) == ("restored", mary.id)
    assert addresses(found["contact"]) == ["Mary@home.test*", "new@x.test"]
    assert (await alice.get(other.url)).json() == other.json


async def test_nothing_is_taken_by_coming_back(alice: Person, mary: Thing, ada: Thing) -> None:
    """An upsert with another contact's address is refused, and nothing is restored."""
    await alice.delete(mary.url)
    found = await result(alice, upsert("mary@home.test", "ada@engine.test"))

    assert fault(found) == (409, "operations[0].contact.emails[1].email", "already_in_use")
    assert (await alice.get(mary.url)).status_code == 404
    assert (await alice.get(ada.url)).json() == ada.json


async def test_a_company_that_is_gone_does_not_come_back(alice: Person, ada: Thing, mary: Thing, engine: Thing) -> None:
    """A restored contact has its company again, unless the company was deleted meanwhile."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    await alice.patch(mary.url, json={"company_id": engine.id})
    await alice.delete(ada.url)
    await alice.delete(mary.url)
    before = await result(alice, upsert("ada@engine.test"))
    await alice.delete(engine.url)
    after = await result(alice, upsert("mary@home.test"))

    assert (before["result"], before["contact"]["company"]["id"]) == ("restored", engine.id)
    assert after["result"] == "restored"
    assert "company" not in after["contact"]


async def test_the_last_that_had_it_comes_back(alice: Person) -> None:
    """An upsert restores the contact that was deleted last among those that had the address."""
    made = [Thing(await alice.post(CONTACTS, json={"first_name": name})) for name in ("First", "Second", "Third")]
    for contact in (made[1], made[2], made[0]):
        await alice.patch(contact.url, json={"emails": [{"email": "info@x.test"}]})
        await alice.delete(contact.url)
    await alice.patch(f"{CONTACTS}/nobody", json={})
    found = [await result(alice, upsert("info@x.test"))]
    await alice.patch(made[0].url, json={"emails": []})
    await alice.delete(made[0].url)
    found.append(await result(alice, upsert("info@x.test")))

    assert [(each["result"], each["contact"]["id"]) for each in found] == [
        ("restored", made[0].id),
        ("restored", made[2].id),
    ]


async def test_what_an_active_contact_had_is_nobodys(alice: Person, ada: Thing) -> None:
    """An address that a contact released while active restores nobody."""
    await alice.patch(ada.url, json={"emails": [{"email": "ada@home.test"}]})
    before = await result(alice, upsert("ada@engine.test"))
    await alice.delete(ada.url)
    after = await result(alice, upsert("ada@engine.test"))

    assert (before["result"], after["result"]) == ("created", "unchanged")
    assert (await alice.get(ada.url)).status_code == 404


@pytest.mark.parametrize(
    ("insert", "member"),
    [
        ("insert into contact_former_email values ($1, 'old@x.test', $2)", {"emails": [{"email": "old@x.test"}]}),
        (
            "insert into contact_former_external_id values ($1, 'old', $2)",
            {"match_by": "external_ids", "external_ids": ["old"]},
        ),
    ],
    ids=["address", "external id"],
)
async def test_who_does_not_have_it_does_not_come_back(
    alice: Person, mary: Thing, pool: "asyncpg.Pool[asyncpg.Record]", insert: LiteralString, member: Json
) -> None:
    """No deleted contact is restored that an index names for an address, or an id, which it does not have."""
    await alice.delete(mary.url)
    await pool.execute(insert, alice.workspace_id, mary.uuid)
    found = await result(alice, {"action": "upsert", "contact": member})

    assert found["result"] == "created"


@both_forms
async def test_what_was_deleted_just_before_comes_back(
    alice: Person, mary: Thing, engine: Thing, stored: Stored, *, atomic: bool
) -> None:
    """A contact that the same request deleted is restored like any other."""
    await alice.patch(mary.url, json={"company_id": engine.id})
    found = await results(
        alice,
        delete(mary.id),
        create("mary@science.test"),
        upsert("mary@home.test", last_name="Somerville"),
        upsert("mary@home.test", "x@x.test"),
        delete(mary.id),
        upsert("x@x.test"),
        atomic=atomic,
    )

    assert verdicts(found) == ["deleted", "created", "restored", "updated", "deleted", "restored"]
    assert found[5]["contact"]["id"] == mary.id
    assert found[5]["contact"]["company"]["id"] == engine.id
    assert addresses(found[5]["contact"]) == ["Mary@home.test*", "x@x.test"]
    assert await stored.addresses(mary) == {"mary@home.test", "x@x.test"}


@both_forms
async def test_who_gets_it_and_is_deleted_comes_back(
    alice: Person, ada: Thing, mary: Thing, engine: Thing, *, atomic: bool
) -> None:
    """A contact is also restored if it received the address in the same request."""
    await alice.patch(mary.url, json={"company_id": engine.id})
    found = await results(
        alice,
        delete(ada.id),
        update(mary.id, emails=[{"email": "ada@engine.test"}]),
        delete(mary.id),
        upsert("ada@engine.test"),
        atomic=atomic,
    )

    assert verdicts(found) == ["deleted", "updated", "deleted", "restored"]
    assert (found[3]["contact"]["id"], found[3]["contact"]["company"]["id"]) == (mary.id, engine.id)


async def test_a_retry_gets_the_first_answer(alice: Person, mary: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key gets the first answer, which still says that the contact was created."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await write(alice, upsert("new@x.test"), upsert("mary@home.test"), headers=key) for _ in range(2)]

    assert verdicts(second.json()["results"]) == ["created", "unchanged"]
    assert first.json() == second.json()
    assert len(await stored.changes()) == 2
    assert mary.json["id"] == second.json()["results"][1]["contact"]["id"]


async def test_who_may_not_read_is_not_told(dave: Person, ada: Thing) -> None:
    """Only a caller who may read contacts learns which contact has an address."""
    found = await result(dave, upsert("new@x.test", "ada@engine.test"))

    assert fault(found) == (409, "operations[0].contact.emails[1].email", "already_in_use")
    assert "conflict" not in found["problem"]
    assert ada.id not in str(found)


async def test_charlie_meets_nobody(charlie: Person, alice: Person, ada: Thing, mary: Thing) -> None:
    """Contacts of other workspaces, deleted or not, have no effect."""
    await alice.delete(mary.url)
    found = await results(charlie, upsert("ada@engine.test", first_name="Eve"), upsert("mary@home.test"))

    assert verdicts(found) == ["created", "created"]
    assert (await alice.get(ada.url)).json() == ada.json
    assert (await alice.get(mary.url)).status_code == 404


LINK = {"object_type": "contact", "crm_object_id": "17", "source": "hubspot"}


@both_forms
async def test_a_number_is_looked_up(alice: Person, *, atomic: bool) -> None:
    """An upsert by number updates the contact that has it in any form, and creates one only once."""
    numbers = ("+442079460958", "442079460958", "+442079460958")
    asked: list[Json] = [{"phone_numbers": [{"phone_number": number}], "match_by": "phone_numbers"} for number in numbers]
    results = (await write(alice, *({"action": "upsert", "contact": each} for each in asked), atomic=atomic)).json()["results"]

    assert [each["result"] for each in results] == ["created", "unchanged", "unchanged"]
    assert {each["contact"]["id"] for each in results} == {results[0]["contact"]["id"]}


SPELLINGS = (
    *("+1 415 555 1786", "(415) 555-1786", "415.555.1786", "14155551786", "0014155551786", "011 1 415 555 1786"),
    *("sip:14155551786@pbx", "tel:415-555-1786", "14155551786@c.us", "tel:4155551786;phone-context=+1"),
)


@pytest.mark.parametrize("first", ["+1 415 555 1786", "001 (415) 555-1786", "415-555-1786"])
async def test_another_spelling_of_a_number_is_not_added(
    alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", first: str
) -> None:
    """An upsert takes a number for one that the contact has, as it does to find the contact."""
    await set_region(cast("Executor", pool), alice.workspace_id, "US")
    asked = [{"phone_numbers": [{"phone_number": each}], "match_by": "phone_numbers"} for each in (first, *SPELLINGS)]
    results = (await write(alice, *({"action": "upsert", "contact": each} for each in asked))).json()["results"]

    assert [each["result"] for each in results] == ["created", *["unchanged"] * len(SPELLINGS)]
    assert numbers(results[-1]["contact"]) == [f"{first}*"]


async def test_an_upsert_by_a_number_needs_digits(alice: Person) -> None:
    """A text that is no number finds nobody, so it is refused, not created each time."""
    sent = [{"phone_number": "200"}, {"phone_number": "anonymous", "is_primary": True}]
    response = await write(
        alice, {"action": "upsert", "contact": {"match_by": "phone_numbers", "phone_numbers": sent}}, atomic=True
    )

    assert response.status_code == 422
    assert faults(response) == [("operations[0].contact.phone_numbers[1].phone_number", "invalid_format")]


@both_forms
async def test_a_link_is_looked_up(alice: Person, *, atomic: bool) -> None:
    """An upsert by CRM record updates the contact that is linked to it; another source is another record."""
    ada = Thing(await alice.post("/api/v2/contacts", json={"first_name": "Ada", "crm_association": LINK}))
    operations: list[Json] = [
        {"action": "upsert", "contact": {"last_name": name, "match_by": "crm_association", "crm_association": link}}
        for name, link in (("King", LINK), ("Other", {**LINK, "source": "else"}), ("Another", {**LINK, "source": "else"}))
    ]
    results = (await write(alice, *operations, atomic=atomic)).json()["results"]

    assert ada.json["crm_association"] == LINK
    assert [each["result"] for each in results] == ["updated", "created", "updated"]
    assert (results[0]["contact"]["id"], results[0]["contact"]["last_name"]) == (ada.id, "King")
    assert results[1]["contact"]["id"] == results[2]["contact"]["id"] != ada.id


MANY_LINKED = """
    insert into contact (workspace_id, id, version, updated_at, search, crm_object_id, object)
    select $1, gen_random_uuid(), n, now(), E'\\x1e', '17', '{"crm_association": {"source": "else"}}'
    from generate_series(1, 150) as n
"""


async def test_a_link_is_found_among_many_of_other_sources(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """Contacts that other sources link to records of the same id do not hide a contact."""
    await pool.execute(MANY_LINKED, alice.workspace_id)
    asked = {"match_by": "crm_association", "crm_association": LINK}
    results = (await write(alice, *[{"action": "upsert", "contact": asked}] * 2)).json()["results"]

    assert [each["result"] for each in results] == ["created", "unchanged"]


async def test_an_upsert_sets_and_removes_a_link(alice: Person, ada: Thing) -> None:
    """An upsert by address replaces the link of the contact; null removes it."""
    address = ada.json["emails"][0]["email"]
    linked = (await write(alice, upsert(address, crm_association=LINK))).json()["results"][0]["contact"]
    unlinked = (await write(alice, upsert(address, crm_association=None))).json()["results"][0]["contact"]

    assert (linked["id"], linked["crm_association"]) == (ada.id, LINK)
    assert (unlinked["id"], "crm_association" in unlinked) == (ada.id, False)


@pytest.mark.parametrize("name", ["emails", "phone_numbers", "crm_association", "external_ids"])
async def test_what_is_looked_up_must_be_there(alice: Person, name: str) -> None:
    """An upsert without the member to look up is refused."""
    response = await write(alice, {"action": "upsert", "contact": {"first_name": "Ada", "match_by": name}}, atomic=True)

    assert response.status_code == 422
    assert faults(response) == [(f"operations[0].contact.{name}", "required")]
