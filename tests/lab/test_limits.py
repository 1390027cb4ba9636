"""The bounds of a lab, and the rate limit of its workspaces."""

import os
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from herdbook.db.pool import OwnConnection
from herdbook.disk import DiskWatch
from herdbook.lab.faults import MOST_RULES
from herdbook.lab.files import MOST_FILE_BYTES
from herdbook.lab.journal import MOST_BODY, MOST_ENTRIES, Journal, JournalEntry, JournalQuery, Room, message
from herdbook.lab.lab import MOST_SEEDS, LabDisk
from herdbook.lab.store import DATABASES, create_database, drop_database
from herdbook.settings import SettingOutOfRange, Settings
from tests.cli import programs
from tests.lab.conftest import LAB, NEW_YEAR, TOKEN, Bench, Desk
from tests.serving import serving

CONTACTS = "/api/v2/contacts"
IMPORTS = "/api/herdbook/imports"
# Room for one file of the largest size, and some more.
LIMIT = MOST_FILE_BYTES + 10_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the data of a lab."""
    return tmp_path_factory.mktemp("lab")


@pytest_asyncio.fixture(scope="module")
async def narrow(embedded_url: str, folder: Path) -> AsyncGenerator[Bench]:
    """A lab that has two workspaces at most, little room for files, and lets one request a second through, and two at once."""
    settings = Settings(lab=True, lab_token=TOKEN, lab_workspaces=2, rate_limit=1, rate_limit_burst=2, data_dir=folder)
    settings = replace(settings, lab_limit=LIMIT)
    async with serving(settings, embedded_url) as client:
        yield Bench(client)


@pytest_asyncio.fixture
async def desk(narrow: Bench) -> AsyncGenerator[Desk]:
    """A workspace of the narrow lab."""
    desk = await narrow.workspace(clock=NEW_YEAR)
    yield desk
    await desk.command("DELETE")


async def test_the_rate_limit_follows_the_clock(narrow: Bench) -> None:
    """While the clock stands still no token comes back; each second of a move brings one."""
    desk = await narrow.workspace(clock=NEW_YEAR)

    statuses = [(await desk.ask("GET", CONTACTS)).status_code for _ in range(3)]
    await desk.command("PATCH", "/clock", json={"advance_seconds": 1})
    statuses.append((await desk.ask("GET", CONTACTS)).status_code)

    assert statuses == [200, 200, 429, 200]
    await desk.command("DELETE")


async def test_past_its_bound_the_lab_says_what_to_do(narrow: Bench) -> None:
    """The lab has no more workspaces than its setting says."""
    made = [await narrow.workspace() for _ in range(2)]

    response = await narrow.ask("POST", f"{LAB}/workspaces", json={})

    assert response.status_code == 422
    assert "--lab-workspaces" in response.json()["detail"]
    for desk in made:
        await desk.command("DELETE")


async def test_labs_share_a_database_server(narrow: Bench, embedded_url: str, tmp_path: Path) -> None:
    """A second lab has a database of its own, and takes nothing from the first."""
    desk = await narrow.workspace()
    token = {"Authorization": f"Bearer {TOKEN}"}
    with programs.serving(tmp_path, "--lab", f"--database-url={embedded_url}", HERDBOOK_LAB_TOKEN=TOKEN) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=programs.PATIENCE) as client:
            made = await client.post(f"{LAB}/workspaces", json={}, headers=token)

    assert made.status_code == 201
    assert (await desk.ask("GET", CONTACTS)).status_code == 200
    await desk.command("DELETE")


async def test_there_are_so_many_labs_on_a_database_server(embedded_url: str) -> None:
    """Once all databases of labs are taken, another lab is refused, and those that have them keep them."""
    kept: list[OwnConnection] = []
    async with AsyncExitStack() as labs:

        async def take() -> None:
            for _ in range(len(DATABASES) + 1):
                name, keeping = await create_database(embedded_url)
                labs.push_async_callback(drop_database, embedded_url, name)
                labs.push_async_callback(keeping.close)
                kept.append(keeping)

        with pytest.raises(SettingOutOfRange, match="other servers have a lab"):
            await take()
        assert {await each.fetchval("select current_database()") for each in kept} <= set(DATABASES)
    assert kept


def test_a_lab_is_not_open_to_other_machines_by_itself() -> None:
    """An address that others reach needs --lab-anywhere."""
    with pytest.raises(SettingOutOfRange, match="--lab-anywhere"):
        Settings(lab=True, host="0.0.0.0")  # noqa: S104  # the address that is refused

    assert Settings(lab=True, lab_anywhere=True, host="0.0.0.0").lab  # noqa: S104


def test_a_lab_has_one_worker() -> None:
    """The workspaces are in the memory of one process."""
    with pytest.raises(SettingOutOfRange, match="one worker"):
        Settings(lab=True, workers=2)


def filled(journal: Journal, body: bytes = b"") -> JournalEntry:
    """Add an entry to a journal."""
    return journal.add(
        lambda number: JournalEntry(number=number, kind="request", at=NEW_YEAR, began_seconds=0, request=message([], body))
    )


async def test_a_journal_keeps_the_last_entries_and_says_how_many_it_dropped() -> None:
    """The last entry that has room drops nothing, and the next one drops the first."""
    journal = Journal(Room())
    for _ in range(MOST_ENTRIES):
        filled(journal)
    whole = await journal.found(JournalQuery(limit=1))
    filled(journal)
    fuller = await journal.found(JournalQuery(limit=1))

    assert (whole.entries[0].number, whole.count, whole.dropped) == (1, MOST_ENTRIES, 0)
    assert (fuller.entries[0].number, fuller.count, fuller.dropped) == (2, MOST_ENTRIES, 1)


async def test_all_journals_together_have_a_bound() -> None:
    """A journal that would exceed it drops its own oldest entries, and one that ends makes room."""
    room = Room(most_bytes=100_000)
    one, other = Journal(room), Journal(room)
    filled(one, b"x" * 50_000)
    filled(other, b"x" * 40_000)
    filled(other, b"x" * 40_000)
    crowded = other.dropped, room.bytes <= 100_000
    one.clear()
    filled(other, b"x" * 40_000)

    assert crowded == (1, True)
    assert other.dropped == 1


def test_long_paths_and_queries_take_room() -> None:
    """A journal counts all of an entry that a client can make long."""
    room = Room()
    journal = Journal(room)
    sizes: list[int] = []
    for path, query in (("", ""), ("x" * 8000, ""), ("", "x" * 8000)):
        before = room.bytes
        journal.add(
            lambda number, path=path, query=query: JournalEntry(
                number=number,
                kind="request",
                at=NEW_YEAR,
                began_seconds=0,
                path=path,
                query=query,
                request=message([], b""),
            )
        )
        sizes.append(room.bytes - before)

    assert [size - sizes[0] for size in sizes] == [0, 8000, 8000]


async def test_a_body_in_the_journal_is_cut(desk: Desk) -> None:
    """A body of exactly the bound is whole; one byte more is cut and marked."""
    url = desk.inbox_url.replace("http://127.0.0.1:9000", "")
    for size in (MOST_BODY, MOST_BODY + 1):
        await desk.lab.client.post(url, content=b"x" * size)

    entries = (await desk.command("GET", "/journal", params={"kind": "inbox"}))["entries"]

    assert [(len(each["request"]["body"]), each["request"]["is_cut"]) for each in entries] == [
        (MOST_BODY, False),
        (MOST_BODY, True),
    ]


async def test_an_inbox_is_told_a_bounded_number_of_answers(desk: Desk) -> None:
    """1,000 answers may be set, and one more is refused."""
    path = f"{desk.path}/inbox"

    statuses = [(await desk.lab.ask("PUT", path, json={"statuses": [500] * many})).status_code for many in (1000, 1001)]

    assert statuses == [200, 422]


async def test_a_workspace_has_a_bounded_number_of_rules(desk: Desk) -> None:
    """The rule beyond the bound is refused, and the refusal says how many there may be."""
    rule = {"fault": "status", "operation": "list-tags"}

    answers = [await desk.lab.ask("POST", f"{desk.path}/faults", json=rule) for _ in range(MOST_RULES + 1)]

    assert [each.status_code for each in answers] == [201] * MOST_RULES + [422]
    assert str(MOST_RULES) in answers[-1].json()["detail"]


async def test_a_lab_has_a_bounded_number_of_seeds_and_snapshots(desk: Desk) -> None:
    """Past the bound both are refused with the remedy; removing one makes room."""
    lab = desk.lab
    added = [await lab.ask("POST", f"{LAB}/seeds", json={"name": f"s{n}", "objects": []}) for n in range(MOST_SEEDS + 1)]
    snapshot = await lab.ask("POST", f"{desk.path}/snapshot", json={"name": "one-more"})
    await lab.command("DELETE", f"{LAB}/seeds", params={"name": "s0"})
    then = await lab.ask("POST", f"{desk.path}/snapshot", json={"name": "one-more"})

    assert [each.status_code for each in added] == [201] * MOST_SEEDS + [422]
    assert "Remove some" in added[-1].json()["detail"]
    assert (snapshot.status_code, then.status_code) == (422, 201)


async def test_files_have_a_bound(desk: Desk, folder: Path) -> None:
    """A file is taken while the largest one has room, and refused with the remedy when a byte less is free."""
    taken = folder / "lab" / "imports" / "taken"
    taken.parent.mkdir(parents=True, exist_ok=True)
    answers: list[tuple[int, str]] = []
    for size in (LIMIT - MOST_FILE_BYTES, LIMIT - MOST_FILE_BYTES + 1):
        taken.touch()
        os.truncate(taken, size)
        # The rate limit of this lab lets two requests through.
        await desk.command("PATCH", "/clock", json={"advance_seconds": 10})
        sent = await desk.ask("POST", IMPORTS, params={"name": "people.csv"}, content=b"email\nada@engine.example\n")
        answers.append((sent.status_code, sent.json().get("detail", "")))
        if sent.status_code == 201:
            await desk.ask("DELETE", f"{IMPORTS}/{sent.json()['id']}")
    taken.unlink()

    assert [status for status, _ in answers] == [201, 422]
    assert "--lab-limit" in answers[1][1]


async def test_a_file_of_an_import_has_a_bound_of_its_own(desk: Desk) -> None:
    """Even where the server takes larger ones, a lab does not."""
    headers = {"Content-Length": str(MOST_FILE_BYTES + 1)}

    refused = await desk.ask("POST", IMPORTS, params={"name": "people.csv"}, content=b"", headers=headers)

    assert refused.status_code == 413


def test_the_database_has_a_bound() -> None:
    """At its bound writes go on; a byte more, and they are refused with the remedy until the database is smaller."""
    disk = LabDisk(DiskWatch(None), most_bytes=1000)
    seen: list[bool] = []
    for size in (1000, 1001, 1000):
        disk.note(size)
        seen.append(disk.is_full)

    assert seen == [False, True, False]
    disk.note(1001)
    assert "--lab-limit" in disk.refusal


def test_a_full_disk_of_the_server_is_one_of_the_lab() -> None:
    """Nothing is written in the lab either."""
    of_server = DiskWatch(None)
    disk = LabDisk(of_server, most_bytes=1000)

    of_server.is_full = True
    disk.note(0)

    assert disk.is_full
    assert disk.refusal == of_server.refusal
