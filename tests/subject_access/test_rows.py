"""The rows of a person: all of them, at one moment, and without a write."""

import json
from collections import Counter
from typing import Any, Final

import asyncpg
import pytest

from herdbook.auth.store import create_workspace
from herdbook.db.pool import Pool
from herdbook.erasure.places import PLACES
from herdbook.erasure.store import parameters
from herdbook.subject_access.others import Withholder
from herdbook.subject_access.store import rows_of, snapshot, subject_with_address
from tests.cast import Person
from tests.engagements.calls import create
from tests.erasure.test_erase_contact import ADDRESS, MARKER, marked
from tests.erasure.test_values_of_others import defined
from tests.importing.jobs import upload
from tests.merging.merges import contact


async def test_slices_lose_nothing(alice: Person, own_pool: Pool) -> None:
    """Engagements and outcomes of imports are read in slices, and each row of each place is still found, once."""
    await marked(alice)
    job = await upload(alice, f"First name,E-mail\n{MARKER},{ADDRESS}\n")
    await job.run()
    await create(alice, *map(str, range(45)), participants=[{"email": ADDRESS}])
    subject = await subject_with_address(own_pool, alice.workspace_id, ADDRESS)
    sliced = Counter([(place.table, row) async for place, row in rows_of(own_pool, alice.workspace_id, subject)])

    whole: Counter[tuple[str, bytes]] = Counter()
    for place in PLACES:
        further = (job.uuid, False, 0, 2) if place.is_of_imports else ()
        records = await own_pool.fetch(place.rows, *parameters(alice.workspace_id, subject), *further)
        whole.update((place.table, record[0]) for record in records)

    assert sliced == whole
    assert len(subject.engagement_ids) == 45
    assert max(sliced.values()) == 1


async def test_outcomes_are_read_in_slices(alice: Person, own_pool: Pool, pool: Any) -> None:
    """However long a file is, what came of each of its rows that name the person is read once."""
    ada = await marked(alice)
    job = await upload(alice, "First name\nGrace\n")
    await pool.execute(
        """
        insert into import_slice (workspace_id, job_id, is_check, last_row, verdicts, rows)
        select $1, $2, is_check, n, '{update}',
            json_build_array(json_build_object('row', n, 'verdict', 'update', 'id', $3::text))
        from unnest(array[1, 10000, 10001, 20000, 1000000]) as n cross join (values (false), (true)) as of(is_check)
        """,
        alice.workspace_id,
        job.uuid,
        ada.id,
    )

    rows = (await shown(own_pool, alice))["import_slice"]

    assert sorted(each["row"]["row"] for each in rows) == sorted(2 * [1, 10_000, 10_001, 20_000, 1_000_000])


async def shown(own_pool: Pool, alice: Person) -> dict[str, list[Any]]:
    """Return the rows of the marked person as the person may see them, by table."""
    subject = await subject_with_address(own_pool, alice.workspace_id, ADDRESS)
    withholder, found = Withholder(subject), dict[str, list[Any]]()
    async for place, row in rows_of(own_pool, alice.workspace_id, subject):
        found.setdefault(place.table, []).append(withholder.shown(place, json.loads(row)))
    return found


OTHERS: Final = ("bob.secret@x.test", "Bobson", "+4930555666")


async def test_views_and_mappings_tell_of_nobody_else(alice: Person, admin: Person, own_pool: Pool) -> None:
    """The person sees only what is about the person of a view and a mapping that name others, too."""
    await marked(alice)
    conditions = [{"field": "emails", "op": "eq", "value": each} for each in (ADDRESS, OTHERS[0])]
    names = [{"field": "last_name", "op": "eq", "value": OTHERS[1]}, {"field": "phone_numbers", "op": "eq", "value": OTHERS[2]}]
    for name, where in ((OTHERS[1], conditions), (f"{ADDRESS} or {OTHERS[0]}", names)):
        view = {"object_type": "contact", "name": name, "shared": True, "where": {"or": where}}
        assert (await admin.post("/api/herdbook/views", json=view)).status_code == 201
    job = await upload(alice, f"First name,E-mail,{OTHERS[1]}\nBob,{OTHERS[0]},x\n")
    fixed = [{"to": "description", "value": f"From {ADDRESS} to {' '.join(OTHERS)}"}]
    mapping = {"mapping": job.shown["mapping"] | {"fixed": fixed}, "save_as": f"{MARKER} {OTHERS[1]}"}
    assert (await admin.patch(job.url, json=mapping)).status_code == 200

    rows = await shown(own_pool, alice)

    assert [row["mentions"] for row in (*rows["saved_view"], *rows["import_mapping"])] == [[ADDRESS], [], [ADDRESS]]
    assert ADDRESS in [row["name"] for row in rows["saved_view"]]
    assert [each for each in OTHERS if each in json.dumps([rows["saved_view"], rows["import_mapping"]])] == []


async def test_outcomes_of_rows_tell_of_nobody_else(alice: Person, own_pool: Pool) -> None:
    """The person sees number and outcome of an imported row, and by what it names the person."""
    ada = await marked(alice)
    job = await upload(alice, f"First name,E-mail\n{MARKER},{ADDRESS}\nBob,{OTHERS[0]}\n")
    await job.run()

    [row] = (await shown(own_pool, alice))["import_slice"]

    assert (row["row"]["row"], row["mentions"]) == (2, [ada.id])


async def test_kept_answers_tell_of_nobody_else(alice: Person, admin: Person, own_pool: Pool) -> None:
    """Addresses, numbers and ids of others are withheld under any name, as in the fields of a company; other texts stay."""
    await defined(admin)
    ada, bob = await marked(alice), await contact(alice, OTHERS[0])
    company = (await alice.post("/api/v2/companies", json={"domains": []})).json()["id"]
    fields = {"mail": OTHERS[0], "line": OTHERS[2], "knows": bob.id, "said": ADDRESS}
    url, key = f"/api/herdbook/companies/{company}/record", {"Idempotency-Key": f"to {OTHERS[0]}."}
    assert (await admin.patch(url, json={"fields": fields}, headers=key)).status_code == 200
    assert ada

    text = json.dumps((await shown(own_pool, alice))["idempotency_record"])

    assert [each for each in (*OTHERS, bob.id) if each in text] == []
    assert ADDRESS in text
    assert company in text


async def test_one_moment(own_pool: Pool, pool: Any) -> None:
    """Reads within a snapshot see one moment, whatever others write meanwhile."""
    count = "select count(*) from workspace"
    async with own_pool.acquire() as connection, snapshot(connection):
        before = await connection.fetchval(count)
        await create_workspace(pool, "Later")

        assert await connection.fetchval(count) == before


async def test_no_writes(own_pool: Pool) -> None:
    """A write within a snapshot is refused."""
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        async with own_pool.acquire() as connection, snapshot(connection):
            await create_workspace(connection, "Never")
