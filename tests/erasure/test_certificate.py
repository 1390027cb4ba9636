"""The lists of a certificate and of a dry run: the calls that stay, and the imports that go."""

from typing import Any

from tests.cast import Person
from tests.engagements.calls import URL, Made, call
from tests.erasure.test_erase_contact import ADDRESS, PHONE, erase, marked
from tests.erasure.test_erase_participants import ERASE
from tests.merging.merges import contact


async def test_kept_calls_are_listed(alice: Person, admin: Person) -> None:
    """Calls that stay are listed by their ids, linked or not, deleted ones, too; those that go are in the other list."""
    ada = await marked(alice)
    linked = Made(await alice.post(URL, json=call("1", participants=[{"email": ADDRESS}])))
    unlinked = Made(await alice.post(URL, json=call("2", participants=[{"phone": PHONE}])))
    await alice.put(f"{unlinked.url}/contacts", json={"contact_ids": []})
    deleted = Made(await alice.post(URL, json=call("3", participants=[{"email": ADDRESS}])))
    await alice.delete(f"/api/herdbook/engagements/{deleted.id}")
    await alice.post(URL, json=call("4", participants=[{"email": "bob@x.test"}]))
    all_of_them = sorted(each.id for each in (linked, unlinked, deleted))
    with_calls = (await erase(admin, ada, dry_run="true", engagements="true")).json()
    expected = (await erase(admin, ada, dry_run="true")).json()
    certificate = (await erase(admin, ada)).json()

    assert with_calls["engagement_ids"] == sorted([linked.id, deleted.id])
    assert with_calls["kept_engagement_ids"] == [unlinked.id]
    for each in (expected, certificate):
        assert (each["engagement_ids"], each["kept_engagement_ids"]) == ([], all_of_them)
        assert each["kept"]["engagement"] == len(all_of_them)


async def test_kept_calls_of_an_address_are_listed(alice: Person, admin: Person) -> None:
    """The certificate of an erasure by address lists the calls, too."""
    made = Made(await alice.post(URL, json=call(participants=[{"email": "room@resource.calendar.google.com"}])))
    body = {"email": "room@resource.calendar.google.com"}
    expected, done = [(await admin.post(ERASE, json=body, params={"dry_run": each})).json() for each in ("true", "false")]

    assert expected["kept_engagement_ids"] == done["kept_engagement_ids"] == [made.id]


async def test_imports_are_listed(alice: Person, admin: Person, pool: Any) -> None:
    """All imports are listed with their state, also those that do not mention the person, before and after."""
    ada = await contact(alice, ADDRESS)
    files = (f"First name,E-mail\nAda,{ADDRESS}\n", "First name,E-mail\nGrace,grace@x.test\n")
    imports = [(await admin.post("/api/herdbook/imports", content=file)).json()["id"] for file in files]
    await pool.execute("update import_job set state = 'paused' where workspace_id = $1", alice.workspace_id)
    expected = (await erase(admin, ada, dry_run="true")).json()
    certificate = (await erase(admin, ada)).json()

    assert expected["imports"] == certificate["imports"] == [{"id": each, "state": "paused"} for each in imports]
    assert not await pool.fetch("select from import_job where workspace_id = $1", alice.workspace_id)
    gone = [await admin.get(f"/api/herdbook/imports/{each}") for each in imports]
    gone += [await admin.post(f"/api/herdbook/imports/{each}/run", json={}) for each in imports]
    assert [(each.status_code, "when a person is erased" in each.json()["detail"]) for each in gone] == [(404, True)] * 4
