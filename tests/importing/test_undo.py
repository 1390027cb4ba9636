"""POST /herdbook/imports/{id}/undo: an import is taken back in the background."""

from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from herdbook import ids
from herdbook.importing import api
from herdbook.settings import Settings
from tests.cast import Json, Person, Stored, Thing, faults
from tests.history.chains import assert_chained
from tests.history.consistency import assert_consistent
from tests.importing.jobs import URL, Job, counts, upload
from tests.serving import serving

ROWS = 1100
COMPANIES = 7
_LINES = [f"First{n},Last{n},p{n}@engine.test,Company {n % COMPANIES},Pioneers,Note {n % 3}\n" for n in range(ROWS)]
_HEADINGS = "First Name,Last Name,E-mail,Company,Tags,Notes\n"
PEOPLE = _HEADINGS + "".join(_LINES)
# One slice is enough where nothing happens between two.
FEW = _HEADINGS + "".join(_LINES[:150])


async def undone(job: Job) -> Json:
    """Undo an import to the end; return its undo."""
    return await job.finished("undo", "undone")


async def kept(job: Job, **params: Any) -> Json:
    """Return the objects that the undo has kept."""
    response = await job.person.get(f"{job.url}/kept", params=params)
    assert response.status_code == 200, response.text
    return response.json()


async def shown(person: Person, plural: str) -> Json:
    """Return the first objects of a kind."""
    return (await person.get(f"/api/v2/{plural}", params={"limit": 100})).json()["data"]


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """Nobody undoes without a credential."""
    assert (await client.post(f"{URL}/{ids.example(ids.IMPORT)}/undo")).status_code == 401
    assert (await client.get(f"{URL}/{ids.example(ids.IMPORT)}/kept")).status_code == 401


async def test_charlie_sees_no_import(alice: Person, charlie: Person) -> None:
    """An import of another workspace is unknown."""
    job = await upload(alice, FEW)

    assert (await charlie.post(f"{job.url}/undo")).status_code == 404
    assert (await charlie.get(f"{job.url}/kept")).status_code == 404


async def test_bob_may_not_undo(alice: Person, bob: Person) -> None:
    """A credential that may only read undoes nothing."""
    job = await upload(alice, FEW)

    assert (await bob.post(f"{job.url}/undo")).status_code == 403


async def test_an_import_is_taken_back(alice: Person, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """All that an import created and changed is as before, and what somebody has edited since stays and is listed."""
    there = Thing(await alice.post("/api/v2/contacts", json={"first_name": "Ada", "emails": [{"email": "p0@engine.test"}]}))
    job = await upload(alice, PEOPLE)
    assert await job.run() == counts(create=ROWS - 1, update=1)
    edited = (await alice.get("/api/v2/contacts", params={"search": "p77@engine.test"})).json()["data"][0]
    await alice.patch(f"/api/v2/contacts/{edited['id']}", json={"description": "Edited."})

    undo = (await undone(job))["undo"]

    assert (undo["kept"], undo["progress"]["done"]) == (3, undo["progress"]["total"])
    assert undo["reverted"] == ROWS - 1 + COMPANIES - 1 + ROWS
    assert undo["began_at"] <= undo["ended_at"]
    assert undo["by"]["credential_id"] == ids.encoded(ids.CREDENTIAL, alice.key.id)
    listed = await kept(job)
    assert [(each["number"], each["kept"]["object"], each["kept"]["reason"]) for each in listed["data"]] == [
        (1, "contact", "changed_since"),
        (2, "company", "in_use"),
        (3, "tag", "in_use"),
    ]
    assert listed["data"][0]["kept"]["id"] == edited["id"]
    assert (await kept(job, after=1, limit=1)) == {"object": "list", "data": listed["data"][1:2], "has_more": True}
    left = await shown(alice, "contacts")
    assert {each["id"] for each in left} == {there.id, edited["id"]}
    assert (await alice.get(there.url)).json() == there.json | {"updated_at": left[0]["updated_at"]}
    assert await stored.addresses(there) == {"p0@engine.test"}
    await assert_consistent(pool, alice.workspace_id)
    await assert_chained(pool, alice.workspace_id)


async def test_an_undo_comes_once(alice: Person, stored: Stored) -> None:
    """An import that is undone is not undone again, neither run nor changed, and can be deleted."""
    job = await upload(alice, FEW)
    await job.run()
    await undone(job)
    before = await stored.changes()

    again = await alice.post(f"{job.url}/undo")

    assert (again.status_code, faults(again)) == (422, [("state", "not_allowed")])
    assert faults(await alice.post(f"{job.url}/run")) == [("state", "not_allowed")]
    assert await stored.changes() == before
    assert (await alice.delete(job.url)).status_code == 200


async def test_an_import_that_changed_nothing_has_no_undo(alice: Person) -> None:
    """There is nothing to take back before the run, nor after a run that changed nothing."""
    job = await upload(alice, FEW)

    assert faults(await alice.post(f"{job.url}/undo")) == [("state", "not_allowed")]


async def test_a_cancelled_import_is_taken_back(alice: Person) -> None:
    """The rows that were done before somebody stopped the import go, too."""
    job = await upload(alice, PEOPLE)
    await alice.post(f"{job.url}/run")
    while not (await job.read())["progress"]["done"]:
        pass
    assert (await alice.post(f"{job.url}/cancel")).json()["result"]["create"] > 0

    undo = (await undone(job))["undo"]

    assert undo["kept"] == 0
    assert await shown(alice, "contacts") == await shown(alice, "companies") == []


@pytest.mark.parametrize("state", ["running", "paused"])
async def test_a_run_is_not_undone_before_it_ends(alice: Person, state: str) -> None:
    """It is paused or at work: somebody must cancel it first."""
    job = await upload(alice, PEOPLE)
    await alice.post(f"{job.url}/run")
    while not (await job.read())["progress"]["done"]:
        pass
    if state == "paused":
        await alice.post(f"{job.url}/pause")

    refused = await alice.post(f"{job.url}/undo")

    assert (refused.status_code, faults(refused)) == (422, [("state", "not_allowed")])
    await alice.post(f"{job.url}/cancel")


async def test_a_dry_run_of_an_undo_changes_nothing(alice: Person, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """It tells what the undo would do, as the undo of a request does; of an import with very many changes it is refused."""
    job = await upload(alice, FEW)
    await job.run()
    before = await stored.changes()

    tried = await alice.post(f"{job.url}/undo", params={"dry_run": "true"})
    monkeypatch.setattr(api, "_MAX_TRIED", 100)
    refused = await alice.post(f"{job.url}/undo", params={"dry_run": "true"})

    assert (tried.status_code, tried.json()["dry_run"], tried.json()["kept"]) == (200, True, [])
    assert faults(refused) == [("dry_run", "not_allowed")]
    assert await stored.changes() == before
    assert len(tried.json()["reverted"]) == (await undone(job))["undo"]["reverted"]


async def test_an_undo_of_the_request_shows(alice: Person) -> None:
    """An import whose request was undone is undone, by whom the list says; once that is undone, it is finished again."""
    job = await upload(alice, "First name,E-mail\nAda,ada@engine.test\n")
    await job.run()
    undo = await alice.post("/api/herdbook/undo", json={"request_id": job.shown["request_id"]})

    (listed,) = (await alice.get(URL)).json()["data"]
    assert {**listed, "file": None, "mapping": None} == {**await job.read(), "file": None, "mapping": None}
    assert listed["state"] == "undone"
    assert listed["undo"]["request_id"] == undo.headers["X-Request-Id"]
    assert listed["undo"]["by"]["credential_id"] == ids.encoded(ids.CREDENTIAL, alice.key.id)
    await alice.post("/api/herdbook/undo", json={"request_id": undo.headers["X-Request-Id"]})
    assert (await job.read())["state"] == "finished"


async def test_an_object_goes_with_all_rows_that_meant_it(alice: Person) -> None:
    """Rows far apart have changed one contact. It is undone once, and a contact that was there gets its first state back."""
    there = Thing(await alice.post("/api/v2/contacts", json={"first_name": "Ada", "emails": [{"email": "p0@engine.test"}]}))
    rows = "".join(f"p{n},p{n}@engine.test,\n" for n in range(ROWS))
    job = await upload(alice, f"First name,E-mail,Phone\n{rows},p0@engine.test,+4930123456\n,p1@engine.test,+4930123457\n")
    await job.map(existing="overwrite")
    assert await job.run() == counts(create=ROWS - 1, update=3)

    undo = (await undone(job))["undo"]

    assert (undo["reverted"], undo["kept"]) == (ROWS, 0)
    assert undo["progress"]["done"] == undo["progress"]["total"] == ROWS + 2
    (left,) = await shown(alice, "contacts")
    assert (left["id"], left["first_name"], left.get("phone_numbers", [])) == (there.id, "Ada", [])


async def test_an_undo_needs_no_file(alice: Person, database_url: str, tmp_path: Path) -> None:
    """The file of an import is in no backup, and its undo goes on without it."""
    async with serving(Settings(rate_limit=0, data_dir=tmp_path), database_url) as client:
        job = await upload(Person(client, alice.workspace_id, alice.key), FEW)
        await job.run()
        (path,) = [each for each in (tmp_path / "imports").rglob("*") if each.is_file()]
        path.unlink()

        assert (await undone(job))["undo"]["kept"] == 0


async def test_an_import_is_waited_for(alice: Person) -> None:
    """A client that waits has the answer once the state is another, and at once if it is another already."""
    job = await upload(alice, PEOPLE)
    began = (await alice.post(f"{job.url}/run")).json()["state"]

    waited = (await alice.get(job.url, params={"wait": 30, "state": began})).json()
    at_once = (await alice.get(job.url, params={"wait": 30, "state": "running"})).json()

    assert (began, waited["state"], at_once["state"]) == ("running", "finished", "finished")
