"""POST /herdbook/imports, and what becomes of the rows."""

import httpx
import pytest

from tests.cast import Person, Stored, Thing, faults
from tests.importing.jobs import URL, counts, upload

PEOPLE = (
    "Full Name,E-mail,Phone,Company,Tags,Notes\n"
    'Ada Lovelace,ada@engine.test,+44 20 7946 0958,Analytical Engines,Pioneers,"Met in London,\nin spring"\n'
    "Grace Hopper,grace@navy.test,+1 202 555 0123,US Navy,Pioneers;Navy,\n"
)


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """Nobody imports without a credential."""
    assert (await client.post(URL, content=PEOPLE)).status_code == 401


async def test_bob_may_not_import(bob: Person) -> None:
    """A credential that may only read imports nothing."""
    assert (await bob.post(URL, content=PEOPLE.encode())).status_code == 403


async def test_charlie_sees_no_import(alice: Person, charlie: Person) -> None:
    """An import of another workspace is unknown."""
    job = await upload(alice, PEOPLE)

    assert (await charlie.get(job.url)).status_code == 404


async def test_a_file_is_imported(alice: Person) -> None:
    """Each row becomes a contact with its company, tags and note."""
    job = await upload(alice, PEOPLE)
    assert job.targets == ["full_name", "email", "phone", "company_name", "tags", "note"]

    assert await job.run() == counts(create=2)

    found = (await alice.get("/api/v2/contacts", params={"search": "ada"})).json()["data"][0]
    record = (await alice.get(f"/api/herdbook/contacts/{found['id']}/record")).json()
    company = (await alice.get(f"/api/v2/companies/{record['company']['id']}")).json()
    notes = (await alice.get(f"/api/herdbook/contacts/{found['id']}/notes")).json()["data"]
    assert (record["first_name"], record["last_name"]) == ("Ada", "Lovelace")
    assert record["emails"][0]["email"] == "ada@engine.test"
    assert record["phone_numbers"][0]["phone_number"] == "+44 20 7946 0958"
    assert company["name"] == "Analytical Engines"
    assert len(record["tag_ids"]) == 1
    assert [note["text"] for note in notes] == ["Met in London,\nin spring"]


async def test_the_same_file_again_changes_nothing(alice: Person, stored: Stored) -> None:
    """A second run finds everything there, and says so."""
    await (await upload(alice, PEOPLE)).run()
    before = await stored.changes()

    assert await (await upload(alice, PEOPLE)).run() == counts(unchanged=2)
    assert await stored.changes() == before


async def test_a_dry_run_writes_nothing(alice: Person, stored: Stored) -> None:
    """A dry run tells what would come of each row."""
    await (await upload(alice, PEOPLE.replace(",+44 20 7946 0958", ","))).run()
    changed = PEOPLE + "Ada Again,ADA@engine.test,,,,\nNobody,not an address,,,,\nAlan Turing,alan@bletchley.test,,,,\n"
    job = await upload(alice, changed)
    before = await stored.changes()

    assert await job.check() == counts(create=1, update=1, unchanged=1, duplicate=1, problem=1)

    rows = await job.rows("check")
    assert [row["verdict"] for row in rows] == ["update", "unchanged", "duplicate", "problem", "create"]
    assert rows[0]["changed"] == ["phone_numbers"]
    assert rows[2]["duplicate_of"] == 2
    assert rows[3]["faults"][0]["column"] == 1
    assert await stored.changes() == before


async def test_a_file_that_is_no_text_is_refused(alice: Person) -> None:
    """A sentence says what is wrong, and no import is there."""
    refused = await alice.post(URL, content=b"PK\x03\x04 and so on")

    assert (refused.status_code, faults(refused)) == (422, [("file", "unreadable")])
    assert (await alice.get(URL)).json()["data"] == []


@pytest.mark.parametrize("name", ["name", "sheet"])
async def test_a_name_with_a_nul_is_refused(alice: Person, name: str) -> None:
    """No program and no database takes such a name."""
    refused = await alice.post(URL, params={name: "People\0"}, content=b"E-mail\nada@engine.test\n")

    assert refused.status_code == 400
    assert [field for field, _ in faults(refused)] == [name]


async def test_one_undo_takes_back_an_import(alice: Person, stored: Stored) -> None:
    """An undo of the import's request takes back what it created and changed, and names what somebody has edited since."""
    there = Thing(await alice.post("/api/v2/contacts", json={"first_name": "Ada", "emails": [{"email": "p0@engine.test"}]}))
    rows = "".join(f"First{n},Last{n},p{n}@engine.test,Company {n % 7}\n" for n in range(1100))
    job = await upload(alice, "First Name,Last Name,E-mail,Company\n" + rows)
    assert await job.run() == counts(create=1099, update=1)
    edited = (await alice.get("/api/v2/contacts", params={"search": "p77@engine.test"})).json()["data"][0]
    await alice.patch(f"/api/v2/contacts/{edited['id']}", json={"description": "Edited."})

    undone = await alice.post("/api/herdbook/undo", json={"request_id": job.shown["request_id"]})

    assert undone.status_code == 200, undone.text
    kept = {(each["object"], each["reason"]) for each in undone.json()["kept"]}
    assert kept == {("contact", "changed_since"), ("company", "in_use")}
    assert len(undone.json()["reverted"]) == 1099 + 6
    left = (await alice.get("/api/v2/contacts", params={"limit": 100})).json()["data"]
    assert {each["id"] for each in left} == {there.id, edited["id"]}
    assert (await alice.get(there.url)).json() == there.json | {"updated_at": left[0]["updated_at"]}
    assert await stored.addresses(there) == {"p0@engine.test"}
