"""A person whom a restored backup mentions by an address alone is erased again, and nobody who was not erased."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from herdbook import ids
from herdbook.db.pool import Pool
from herdbook.erasure import again_store, store
from herdbook.erasure.erasing import erase_again
from herdbook.erasure.model import erased_address, keyed_hash
from herdbook.erasure_list import ErasureList, ListedErasure
from herdbook.ledger.ledger import Ledger
from tests.cast import Person, Thing
from tests.cli.programs import herdbook, serving
from tests.engagements.calls import URL, Made, call
from tests.erasure.test_again import listed
from tests.erasure.test_erase_contact import ADDRESS, MARKER, everything
from tests.erasure.test_erase_participants import expired
from tests.erasure.test_values_of_others import defined, fields_of, written
from tests.history.consistency import assert_consistent
from tests.importing.jobs import upload
from tests.merging.merges import contact, merged

Place = Callable[[Person], Awaitable[object]]
KEY = {"Idempotency-Key": f"key of {ADDRESS}"}


async def erased_elsewhere(pool: Pool, person: Person, path: Path, *values: str) -> ErasureList:
    """Return a list with the erasure of ids and addresses, which this database has not seen."""
    key, now = await store.read_key(pool), datetime.now(UTC)
    erasures = ErasureList(path)
    hashes = [keyed_hash(key, person.workspace_id, each) for each in values]
    erasures.add(
        [ListedErasure(key, person.workspace_id, each, now, ids.new_id(), ids.NIL, with_engagements=False) for each in hashes]
    )
    return erasures


async def test_a_restore_makes_no_erasure_by_address(
    alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """After a restore with the person in a call, a second one in which another contact has the address leaves that contact."""
    desk = await contact(alice, "info@x.test", first_name="Desk")
    await alice.patch(desk.url, json={"emails": [{"email": "desk@x.test"}]})
    ada = await contact(alice, "info@x.test", first_name="Ada")
    linked = Made(await alice.post(URL, json=call(participants=[{"email": "info@x.test", "name": "Ada"}])))
    await alice.put(f"{linked.url}/contacts", json={"contact_ids": []})
    erasures = await erased_elsewhere(own_pool, alice, tmp_path / "erasures.jsonl", ada.id, "info@x.test")
    assert await erase_again(own_pool, ledger, erasures) == 1
    await pool.execute("delete from erasure where workspace_id = $1", alice.workspace_id)
    await alice.patch(desk.url, json={"emails": [{"email": "info@x.test"}]})

    assert await erase_again(own_pool, ledger, erasures) == 0
    assert (await alice.get(desk.url)).status_code == 200


async def test_a_restore_adds_no_address(alice: Person, ledger: Ledger, own_pool: Pool, tmp_path: Path) -> None:
    """An address that somebody else had by the time of the erasure is not kept with it once the contact that had it is back."""
    ada = await contact(alice, "info@x.test", first_name="Ada")
    erasures = await erased_elsewhere(own_pool, alice, tmp_path / "erasures.jsonl", ada.id)
    before = {each.hash for each in erasures.read()}

    assert await erase_again(own_pool, ledger, erasures) == 1
    assert {each.hash for each in await listed(own_pool, alice)} == before


async def test_a_restore_with_a_merge_makes_no_erasure_of_the_other(
    alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """A contact that goes because the backup has the person merged into it is back with a backup from before the merge."""
    desk, ada = [await contact(alice, f"{name}@x.test", first_name=name) for name in ("desk", "ada")]
    await merged(alice, desk, ada)
    erasures = await erased_elsewhere(own_pool, alice, tmp_path / "erasures.jsonl", ada.id, "ada@x.test")
    before = {each.hash for each in erasures.read()}

    assert await erase_again(own_pool, ledger, erasures) == 1
    assert await pool.fetchval("select count(*) from contact where workspace_id = $1", alice.workspace_id) == 0
    assert {each.hash for each in await listed(own_pool, alice)} == before


async def test_a_restore_without_the_contact_makes_no_erasure_by_address(
    admin: Person, ledger: Ledger, own_pool: Pool, tmp_path: Path
) -> None:
    """The hash of an erased contact's address stays what it was if the backup mentions the address alone."""
    await defined(admin)
    engine = Thing(await admin.post("/api/v2/companies", json={"domains": []}))
    await written(admin, engine, mail=ADDRESS)
    erasures = await erased_elsewhere(own_pool, admin, tmp_path / "erasures.jsonl", ADDRESS)
    before = {each.hash for each in erasures.read()}

    await erase_again(own_pool, ledger, erasures)

    assert await fields_of(admin, engine) == {}
    assert {each.hash for each in await listed(own_pool, admin)} == before


async def _value_of_company(admin: Person) -> None:
    engine = Thing(await admin.post("/api/v2/companies", json={"domains": []}))
    await written(admin, engine, mail=f" {ADDRESS.upper()} ")


async def _former_value_of_contact(admin: Person) -> None:
    grace = await contact(admin, first_name="Grace")
    await written(admin, grace, said=ADDRESS)
    await written(admin, grace, said="Tea")


async def _value_of_deleted_contact(admin: Person) -> None:
    grace = await contact(admin, first_name="Grace")
    await written(admin, grace, mail=ADDRESS)
    await admin.delete(grace.url)


async def _view(admin: Person) -> None:
    condition = {"field": "emails", "op": "eq", "value": ADDRESS.upper()}
    view = {"object_type": "contact", "name": MARKER, "shared": True, "where": {"or": [condition]}}
    assert (await admin.post("/api/herdbook/views", json=view)).status_code == 201


async def _name_of_view(admin: Person) -> None:
    view = {"object_type": "contact", "name": f"Mails to {ADDRESS}.", "shared": True, "search": "tea"}
    assert (await admin.post("/api/herdbook/views", json=view)).status_code == 201


async def _mapping(admin: Person) -> None:
    job = await upload(admin, "First name,E-mail\nBob,bob@x.test\n")
    fixed = [{"to": "description", "value": f"Like {MARKER}, {ADDRESS}."}]
    mapping = {"mapping": job.shown["mapping"] | {"fixed": fixed}, "save_as": "one"}
    assert (await admin.patch(job.url, json=mapping)).status_code == 200


async def _key_of_answer(admin: Person) -> None:
    grace = await contact(admin, first_name="Grace")
    assert (await admin.patch(grace.url, json={"last_name": "H"}, headers=KEY)).status_code == 200


async def _answer(admin: Person) -> None:
    engine = Thing(await admin.post("/api/v2/companies", json={"domains": []}))
    url = f"/api/herdbook/companies/{engine.id}/record"
    assert (
        await admin.patch(url, json={"fields": {"mail": ADDRESS}}, headers={"Idempotency-Key": engine.id})
    ).status_code == 200


PLACES = [
    _value_of_company,
    _former_value_of_contact,
    _value_of_deleted_contact,
    _view,
    _name_of_view,
    _mapping,
    _key_of_answer,
    _answer,
]


@pytest.mark.parametrize("place", PLACES)
async def test_an_address_alone_is_erased_again(
    admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path, place: Place
) -> None:
    """Each place that mentions the address of an erased contact, or one that was erased by itself, is emptied again."""
    await defined(admin)
    for each in (ADDRESS, erased_address(ADDRESS)):
        await place(admin)
        assert await everything(pool, admin.workspace_id) != {}
        erasures = await erased_elsewhere(own_pool, admin, tmp_path / "erasures.jsonl", each)

        await erase_again(own_pool, ledger, erasures)

        assert await everything(pool, admin.workspace_id) == {}
    await assert_consistent(pool, admin.workspace_id)


async def test_participants_of_an_erased_contact_are_erased_again(
    admin: Person, alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """A participant whose contact is no more in the backup goes by the address that the contact had."""
    await expired(pool, own_pool, ledger, alice)
    erasures = await erased_elsewhere(own_pool, admin, tmp_path / "erasures.jsonl", ADDRESS)

    await erase_again(own_pool, ledger, erasures)

    assert await everything(pool, alice.workspace_id) == {}


async def test_imports_that_came_back_go(
    admin: Person, alice: Person, ledger: Ledger, pool: Any, own_pool: Pool, tmp_path: Path
) -> None:
    """The samples of a file may be about a person who is no contact in the backup: all imports of the workspace go."""
    await upload(alice, f"First name\n{MARKER}\n")
    erasures = await erased_elsewhere(own_pool, admin, tmp_path / "erasures.jsonl", ids.example(ids.CONTACT))

    await erase_again(own_pool, ledger, erasures)

    assert await pool.fetchval("select count(*) from import_job where workspace_id = $1", alice.workspace_id) == 0


async def test_the_address_of_a_later_contact_stays(admin: Person, ledger: Ledger, own_pool: Pool, tmp_path: Path) -> None:
    """An address is another's if a contact that was created after the erasure has the address."""
    await defined(admin)
    engine = Thing(await admin.post("/api/v2/companies", json={"domains": []}))
    await written(admin, engine, mail=ADDRESS)
    erasures = await erased_elsewhere(own_pool, admin, tmp_path / "erasures.jsonl", erased_address(ADDRESS))
    later = await contact(admin, ADDRESS)

    assert await erase_again(own_pool, ledger, erasures) == 0
    assert (await admin.get(later.url)).status_code == 200
    assert await fields_of(admin, engine) == {"mail": ADDRESS}


def test_a_restored_backup_of_an_address(tmp_path: Path) -> None:
    """A field and a view that an erasure by address has emptied are emptied again once an earlier backup is restored."""
    with serving(tmp_path) as server:
        field = {"object_type": "company", "key": "mail", "label": "Mail", "kind": "email"}
        assert server.post("/api/herdbook/fields", field).status_code == 201
        company = server.post("/api/v2/companies", {"name": "Engine", "domains": [{"domain": "engine.test"}]}).json()["id"]
        record, headers = f"/api/herdbook/companies/{company}/record", {"Authorization": server.key}
        written = requests.patch(server.url + record, json={"fields": {"mail": ADDRESS}}, headers=headers, timeout=90)
        assert written.status_code == 200
        condition = {"field": "emails", "op": "eq", "value": ADDRESS}
        view = {"object_type": "contact", "name": MARKER, "shared": True, "where": condition}
        assert server.post("/api/herdbook/views", view).status_code == 201
        assert herdbook("backup", "b", folder=tmp_path).status == 0
        erased = herdbook("erase", ADDRESS, folder=tmp_path)
        assert erased.status == 0, erased.complained
    assert herdbook("restore", "b", "--replace", folder=tmp_path).status == 0

    with serving(tmp_path) as server:
        told = [server.get(each).text for each in (record, "/api/herdbook/views")]

    assert [ADDRESS in each for each in told] == [False, False]


async def test_a_start_ends_while_others_write(alice: Person, own_pool: Pool) -> None:
    """Rows that another server adds during the look at a restored database do not make it look for ever."""
    read = 0
    await alice.post(URL, json=call("0", participants=[{"email": "0@x.test"}]))
    async for _ in again_store.mentions(own_pool, alice.workspace_id):
        read += 1
        assert read < 20
        await alice.post(URL, json=call(str(read), participants=[{"email": f"{read}@x.test"}]))

    assert read > 0


async def test_all_slices_are_looked_at(alice: Person, own_pool: Pool, pool: Any) -> None:
    """However many rows there are, and however large some are, each is looked at."""
    await pool.execute(
        """
        insert into import_mapping (workspace_id, name, columns, mapping)
        select $1, n || '@x.test', json_build_array(case when n % 100 = 0 then repeat(md5(n::text), 10000) end), '{}'
        from generate_series(1, 2300) as n
        """,
        alice.workspace_id,
    )
    found = [address async for each in again_store.mentions(own_pool, alice.workspace_id) for address in each.addresses]

    assert sorted(found) == sorted(f"{n}@x.test" for n in range(1, 2301))
