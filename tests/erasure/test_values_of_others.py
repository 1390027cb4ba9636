"""The values of fields of other contacts and companies that are an address, a number or the id of the erased person."""

from typing import Any

import pytest

from herdbook.erasure import steps
from tests.cast import Json, Person, Thing
from tests.custom_fields.definitions import define
from tests.erasure.test_erase_contact import ADDRESS, PHONE, erase, everything, feed, marked
from tests.erasure.test_erase_participants import ERASE
from tests.history.consistency import assert_consistent
from tests.merging.merges import contact


async def defined(admin: Person) -> None:
    """Define fields of both types that may name a person."""
    for object_type in ("contact", "company"):
        await define(admin, "mail", "email", object_type, unique=True)
        await define(admin, "line", "phone", object_type, unique=True)
        await define(admin, "knows", "contact", object_type)
        await define(admin, "said", "text", object_type)


async def written(admin: Person, thing: Thing, **fields: Any) -> Json:
    """Set values of a contact or a company, and return its record."""
    plural = "contacts" if thing.id.startswith("cnt_") else "companies"
    response = await admin.patch(f"/api/herdbook/{plural}/{thing.id}/record", json={"fields": fields})
    assert response.status_code == 200, response.text
    return response.json()


async def fields_of(admin: Person, thing: Thing) -> Json:
    """Return the values of a contact or a company."""
    return (await written(admin, thing)).get("fields", {})


async def test_values_that_name_the_person_go(alice: Person, admin: Person, pool: Any) -> None:
    """Addresses, numbers and references go from fields of others, in any spelling, with their history; other values stay."""
    await defined(admin)
    ada = await marked(alice)
    grace = await contact(alice, "grace@x.test", first_name="Grace")
    zoe = await contact(alice, "zoe@x.test", first_name="Zoë")
    engine = Thing(await alice.post("/api/v2/companies", json={"domains": [{"domain": "engine.test"}]}))
    await written(admin, grace, mail=ADDRESS.upper(), line="0049 30 1234567", knows=ada.id, said="Tea at four")
    await written(admin, engine, mail=ADDRESS, line="+49 (30) 1234567", knows=ada.id, said=f" {ADDRESS} ")
    await written(admin, zoe, mail="zoe@y.test", line="+49 30 1234568", knows=grace.id, said="1234567")
    expected = (await erase(admin, ada, dry_run="true")).json()
    before = await feed(admin)
    certificate = (await erase(admin, ada)).json()
    told = (await feed(admin))[len(before) :]

    assert await everything(pool, alice.workspace_id) == {}
    assert [await fields_of(admin, each) for each in (grace, engine)] == [{"said": "Tea at four"}, {}]
    assert await fields_of(admin, zoe) == {
        "mail": "zoe@y.test",
        "line": "+49301234568",
        "knows": grace.id,
        "said": "1234567",
    }
    assert expected["others"] == certificate["others"] == [grace.id, engine.id]
    assert (expected["rows"]["other_contact"], expected["rows"]["other_company"]) == (1, 1)
    assert certificate["rows"] == {**expected["rows"], "other_change": 2}
    assert [(each["type"], each["object_id"]) for each in told] == [
        ("contact.erased", ada.id),
        ("contact.updated", grace.id),
        ("company.updated", engine.id),
    ]
    assert ada.id not in str([each for each in told if each["object_id"] != ada.id])
    claimed = "select count(*) from contact_field_value where workspace_id = $1 and value like '%zyxomma%'"
    assert not await pool.fetchval(claimed, alice.workspace_id)
    assert [await fields_of(admin, grace), await fields_of(admin, engine)] == [{"said": "Tea at four"}, {}]
    assert await written(admin, zoe, mail=ADDRESS), "the unique value is free"
    await assert_consistent(pool, alice.workspace_id)


@pytest.mark.parametrize("many", [1, 60])
async def test_values_of_an_earlier_time_and_of_deleted_objects_go(
    alice: Person, admin: Person, pool: Any, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """Values that another object only had before, or has while it is deleted, go, too, however many entries have them."""
    monkeypatch.setattr(steps, "MAX_CLEARED", 2)
    await defined(admin)
    ada = await marked(alice)
    others = [await contact(alice, f"grace{n}@x.test", first_name="Grace") for n in range(3)]
    engine = Thing(await alice.post("/api/v2/companies", json={"domains": [{"domain": "engine.test"}]}))
    for number in range(many):
        await written(admin, others[0], said=ADDRESS, line=None)
        await written(admin, others[0], said=f"Tea {number}", line="+49 30 1234567")
    await written(admin, others[0], line=None)
    for each in (*others[1:], engine):
        await written(admin, each, said=ADDRESS, knows=ada.id)
    for each in (others[1], engine):
        await admin.delete(each.url)
    certificate = (await erase(admin, ada)).json()

    assert await everything(pool, alice.workspace_id) == {}
    assert certificate["others"] == [others[1].id, others[2].id, engine.id]
    assert certificate["rows"]["other_change"] == 2 * many + 6
    stored = await pool.fetch(
        "select object::text, previous::text from change where workspace_id = $1 and object_id <> $2",
        alice.workspace_id,
        ada.uuid,
    )
    assert not [entry for entry in stored if ada.id in str(entry)]
    history = (await admin.get(f"/api/herdbook/contacts/{others[0].id}/history", params={"limit": 100})).json()["data"]
    assert history[0]["changes"] == {}
    assert (await admin.post(f"/api/herdbook/contacts/{others[1].id}/restore")).status_code == 200
    assert await fields_of(admin, others[1]) == {}
    await assert_consistent(pool, alice.workspace_id)


async def test_values_of_an_earlier_time_go_where_the_first_entries_are_gone(alice: Person, admin: Person, pool: Any) -> None:
    """Entries are read after those that are kept no longer, however many these were."""
    await defined(admin)
    await pool.execute("update workspace set seq = seq + 10000 where id = $1", alice.workspace_id)
    ada = await marked(alice)
    grace = await contact(alice, "grace@x.test", first_name="Grace")
    await written(admin, grace, said=ADDRESS)
    await written(admin, grace, said="Tea at four")
    await pool.execute("delete from change where workspace_id = $1 and seq < 10000", alice.workspace_id)

    assert (await erase(admin, ada)).json()["finished"]

    assert await everything(pool, alice.workspace_id) == {}


async def test_what_another_contact_has_names_nobody(alice: Person, admin: Person) -> None:
    """An address or a number of another active contact stays in the fields of a third one."""
    await defined(admin)
    ada = await contact(alice, ADDRESS, phone_numbers=[{"phone_number": PHONE}])
    await contact(alice, "grace@x.test", phone_numbers=[{"phone_number": "030/1234567"}, {"phone_number": PHONE}])
    zoe = await contact(alice, "zoe@x.test")
    await written(admin, zoe, line=PHONE, mail=ADDRESS)

    assert (await erase(admin, ada)).json()["others"] == [zoe.id]
    assert await fields_of(admin, zoe) == {"line": PHONE}


async def test_an_extension_tells_another_telephone(alice: Person, admin: Person) -> None:
    """A number with another extension is another telephone, and digits in a text are no number."""
    await defined(admin)
    ada = await contact(alice, ADDRESS, phone_numbers=[{"phone_number": f"{PHONE} ext. 5"}])
    others = [await contact(alice, f"grace{n}@x.test") for n in range(3)]
    for other, line in zip(others, (f"{PHONE};ext=5", f"{PHONE} x6", PHONE), strict=True):
        await written(admin, other, line=line, said=PHONE.removeprefix("+"))

    assert (await erase(admin, ada)).json()["others"] == [others[0].id]
    assert [sorted(await fields_of(admin, each)) for each in others] == [["said"], ["line", "said"], ["line", "said"]]


async def test_an_address_without_a_contact(alice: Person, admin: Person, pool: Any) -> None:
    """The erasure of an address that no contact has takes it from the fields of others, and counts the entries."""
    await defined(admin)
    grace = await contact(alice, "grace@x.test")
    await written(admin, grace, mail=ADDRESS)
    await written(admin, grace, said="Tea")
    expected = (await admin.post(ERASE, json={"email": ADDRESS}, params={"dry_run": "true"})).json()
    certificate = (await admin.post(ERASE, json={"email": ADDRESS})).json()

    assert (expected["others"], expected["rows"]) == ([grace.id], {"other_contact": 1})
    assert (certificate["others"], certificate["rows"]) == ([grace.id], {"other_contact": 1, "other_change": 2})
    assert await everything(pool, alice.workspace_id) == {}
    await assert_consistent(pool, alice.workspace_id)


async def test_undo_does_not_bring_a_value_back(alice: Person, admin: Person, pool: Any) -> None:
    """An undo of the request that cleared or set such a value does not bring it back."""
    await defined(admin)
    ada = await marked(alice)
    grace = await contact(alice, "grace@x.test")
    url = f"/api/herdbook/contacts/{grace.id}/record"
    await written(admin, grace, mail=ADDRESS, knows=ada.id)
    cleared = await admin.patch(url, json={"fields": {"mail": None, "knows": None, "said": "Tea"}})
    assert (await erase(admin, ada)).status_code == 200
    undone = await admin.post("/api/herdbook/undo", json={"request_id": cleared.headers["X-Request-Id"]})

    assert undone.status_code == 200, undone.text
    assert await fields_of(admin, grace) == {}
    assert await everything(pool, alice.workspace_id) == {}
