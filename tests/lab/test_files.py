"""Files in the lab's workspaces: imports, exports and recordings, by a clock that a test moves."""

import csv
import io
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio
import trustme

from tests.engagements.calls import URL as ENGAGEMENTS
from tests.engagements.labs import WAV, certificate, recorded
from tests.engagements.media_server import answer, media_server
from tests.lab.conftest import NEW_YEAR, Bench, Desk

CONTACTS = "/api/v2/contacts"
IMPORTS = "/api/herdbook/imports"
PEOPLE = "first name,email\nAda,ada@engine.example\nGrace,grace@navy.example\nJoan,joan@navy.example\n"
DAY = 86_400


@pytest_asyncio.fixture(
    params=[{"clock": NEW_YEAR}, {"clock": NEW_YEAR, "clock_runs": True}, {}], ids=["still", "ahead", "now"]
)
async def desk(bench: Bench, request: pytest.FixtureRequest) -> AsyncGenerator[Desk]:
    """A workspace whose clock stands still, or runs from a moment, or is that of the server."""
    desk = await bench.workspace(**request.param)
    yield desk
    await desk.command("DELETE")


@pytest_asyncio.fixture
async def still(bench: Bench) -> AsyncGenerator[Desk]:
    """A workspace whose clock stands still."""
    desk = await bench.workspace(clock=NEW_YEAR)
    yield desk
    await desk.command("DELETE")


@pytest_asyncio.fixture(scope="module")
async def recording(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[str]:
    """The address of a recording on this machine."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        async with media_server(certificate(authority)) as served:
            yield served.puts("/call", answer(WAV))


async def upload(desk: Desk, content: str = PEOPLE) -> str:
    """Upload a file; return the path of the import."""
    response = await desk.ask("POST", IMPORTS, params={"name": "people.csv"}, content=content)
    assert response.status_code == 201, response.text
    return f"{IMPORTS}/{response.json()['id']}"


async def finished(desk: Desk, path: str, act: str) -> dict[str, Any]:
    """Begin some work on an import, and return the import once that is done."""
    begun = await desk.ask("POST", f"{path}/{act}")
    assert begun.status_code == 200, begun.text
    return (await desk.ask("GET", path, params={"state": begun.json()["state"], "wait": 20})).json()


async def test_an_import_runs_to_its_end_and_is_undone(desk: Desk) -> None:
    """A dry run, the run and the undo of an import work in a lab, whatever its clock shows."""
    path = await upload(desk)

    checked = await finished(desk, path, "check")
    done = await finished(desk, path, "run")
    names = {each["first_name"] for each in (await desk.ask("GET", CONTACTS)).json()["data"]}
    undone = await finished(desk, path, "undo")

    assert (checked["state"], checked["checked"]["create"]) == ("checked", 3)
    assert (done["state"], done["result"]["create"]) == ("finished", 3)
    assert names == {"Ada", "Grace", "Joan"}
    assert (undone["state"], undone["undo"]["reverted"]) == ("undone", 3)
    assert (await desk.ask("GET", CONTACTS)).json()["data"] == []


async def test_imports_of_two_workspaces_are_apart(bench: Bench, still: Desk) -> None:
    """Each is worked on by its own workspace, and the other one has none of it."""
    other = await bench.workspace(clock="2027-01-01T00:00:00Z")
    path = await upload(still)

    await finished(still, path, "run")

    assert (await other.ask("GET", path)).status_code == 404
    assert (await other.ask("GET", CONTACTS)).json()["data"] == []


async def test_an_import_expires_by_the_clock(still: Desk) -> None:
    """It is kept for seven days, and its file goes with it."""
    path = await upload(still)
    await still.command("PATCH", "/clock", json={"advance_seconds": 7 * DAY})
    before = await still.ask("GET", path)

    await still.command("PATCH", "/clock", json={"advance_seconds": 1})

    assert before.status_code == 200
    assert (await still.ask("GET", path)).status_code == 404


async def test_a_reset_ends_an_import(still: Desk) -> None:
    """Neither the import nor its file is there afterwards, and the next one works."""
    path = await upload(still, PEOPLE + "".join(f"Person {n},person-{n}@engine.example\n" for n in range(2000)))
    await still.ask("POST", f"{path}/run")

    await still.command("POST", "/reset")
    after = (await still.ask("GET", path)).status_code, (await still.ask("GET", CONTACTS)).json()["data"]
    done = await finished(still, await upload(still), "run")

    assert after == (404, [])
    assert done["result"]["create"] == 3


async def test_an_import_that_a_snapshot_has_says_that_its_file_is_gone(bench: Bench, still: Desk) -> None:
    """Files are no part of a snapshot."""
    path = await upload(still)
    await still.command("POST", "/snapshot", json={"name": "with-import"})
    other = await bench.workspace("with-import", clock=NEW_YEAR)

    ended = await finished(other, path, "run")

    assert ended["state"] == "failed"
    assert "The file of the import is gone" in ended["error"]


async def test_an_export_has_the_objects_of_the_workspace(bench: Bench) -> None:
    """It comes in parts, and the journal has it."""
    desk = await bench.workspace("crm-small", clock=NEW_YEAR)

    answer = await desk.ask("GET", "/api/herdbook/exports", params={"object_type": "contact", "format": "csv"})
    rows = [*csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff")))]
    (entry,) = (await desk.command("GET", "/journal", params={"operation": "export-objects"}))["entries"]

    assert desk.made["objects"]["ada"] in {each["id"] for each in rows} <= {*desk.made["objects"].values()}
    assert entry["outcome"] == "answered"


async def test_an_export_may_be_cut(bench: Bench) -> None:
    """A fault of the body works for an answer that comes in parts."""
    desk = await bench.workspace("crm-small", clock=NEW_YEAR)
    await desk.command("POST", "/faults", json={"fault": "truncate", "times": 1})
    params = {"object_type": "contact", "format": "csv"}

    cut, whole = [await desk.ask("GET", "/api/herdbook/exports", params=params) for _ in range(2)]

    assert len(cut.content) == len(whole.content) // 2


async def test_a_recording_is_served_until_its_address_expires_by_the_clock(still: Desk, recording: str) -> None:
    """A lab fetches from this machine. The address of the recording is good for 15 minutes of the workspace's clock."""
    made = await still.ask("POST", ENGAGEMENTS, json=recorded(recording))
    assert made.status_code == 201, made.text
    address = (await still.ask("GET", f"{ENGAGEMENTS}/{made.json()['id']}?expand=media_url")).json()["media_url"]

    statuses = [(await still.lab.client.get(address)).status_code]
    await still.command("PATCH", "/clock", json={"advance_seconds": 900})
    statuses.append((await still.lab.client.get(address)).status_code)
    await still.command("PATCH", "/clock", json={"advance_seconds": 1})
    statuses.append((await still.lab.client.get(address)).status_code)

    assert statuses == [200, 200, 404]
