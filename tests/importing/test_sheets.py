"""A workbook with several sheets: they are listed, and another one is chosen."""

import asyncio
import io
import zipfile
from pathlib import Path
from typing import Any

# XlsxWriter has no types.
import xlsxwriter  # pyright: ignore[reportMissingTypeStubs]

from herdbook.importing.api import READING
from herdbook.settings import Settings
from tests.cast import Person, faults
from tests.importing.jobs import URL, counts, upload
from tests.serving import serving

PEOPLE = [["First name", "E-mail"], ["Ada", "ada@engine.test"], ["Grace", "grace@navy.test"]]
FIRMS = [["Company name", "Domain"], ["Engines", "engine.test"]]


def workbook(folder: Path, **sheets: list[list[str]]) -> bytes:
    """Return a workbook with these sheets."""
    file = folder / "book.xlsx"
    book: Any
    with xlsxwriter.Workbook(file) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for number, row in enumerate(rows):
                sheet.write_row(number, 0, row)
    return file.read_bytes()


async def test_another_sheet_is_chosen(alice: Person, tmp_path: Path) -> None:
    """The first sheet with values is read, and then the chosen one, whose columns and rows are the import's."""
    job = await upload(alice, workbook(tmp_path, Empty=[], People=PEOPLE, More=PEOPLE[:1] + PEOPLE[2:], Firms=FIRMS))
    listed = job.shown["file"]
    assert (listed["sheets"], listed["sheet"], listed["rows"]) == (["Empty", "People", "More", "Firms"], 1, 2)

    chosen = (await alice.patch(job.url, json={"sheet": "Firms"})).json()["file"]
    assert (chosen["sheet"], chosen["rows"]) == (3, 1)
    assert [column["name"] for column in chosen["columns"]] == ["Company name", "Domain"]
    job.shown = (await alice.patch(job.url, json={"sheet": "More"})).json()
    assert job.targets == ["first_name", "email"]

    assert await job.run() == counts(create=1)
    (contact,) = (await alice.get("/api/v2/contacts")).json()["data"]
    assert contact["first_name"] == "Grace"


async def test_a_sheet_that_cannot_be_read_changes_nothing(alice: Person, tmp_path: Path) -> None:
    """A sheet that is not there, or is empty, is refused, and the import reads the former one. A table has no sheets."""
    job = await upload(alice, workbook(tmp_path, People=PEOPLE, Empty=[]))
    of_one = await upload(alice, workbook(tmp_path, People=PEOPLE))

    missing = await alice.patch(job.url, json={"sheet": "Firms"})
    empty = await alice.patch(job.url, json={"sheet": "Empty"})
    of_none = await alice.patch(of_one.url, json={"sheet": "People"})

    assert faults(missing) == faults(of_none) == [("sheet", "invalid_choice")]
    assert faults(empty) == [("sheet", "unreadable")]
    assert of_one.shown["file"]["sheets"] == []
    assert await job.run() == counts(create=2)


async def test_a_header_is_none_of_the_chosen_sheet(alice: Person, tmp_path: Path) -> None:
    """A change of the header reads the chosen sheet again, and the problems are rows of it."""
    job = await upload(alice, workbook(tmp_path, People=PEOPLE, More=[["Ada", "no address"], ["Mary", "mary@engine.test"]]))
    await alice.patch(job.url, json={"sheet": "More"})
    job.shown = (await alice.patch(job.url, json={"has_header": False})).json()
    await job.map(["first_name", "email"])

    assert await job.run() == counts(create=1, problem=1)
    assert "no address" in (await alice.get(f"{job.url}/problems")).text


async def test_the_files_of_a_workbook_go(alice: Person, database_url: str, tmp_path: Path) -> None:
    """The workbook and the tables of its sheets go with their import."""
    folder = tmp_path / "data"
    async with serving(Settings(rate_limit=0, data_dir=folder), database_url) as client:
        person = Person(client, alice.workspace_id, alice.key)
        job = await upload(person, workbook(tmp_path, People=PEOPLE, More=PEOPLE))
        await person.patch(job.url, json={"sheet": "More"})
        kept = [each.suffix for each in sorted((folder / "imports").rglob("*")) if each.is_file()]

        await person.delete(job.url)

        assert kept == ["", ".sheet0", ".sheet1"]
        assert not any(each.is_file() for each in (folder / "imports").rglob("*"))


async def test_few_workbooks_are_read_at_once(alice: Person, tmp_path: Path) -> None:
    """A workspace that has some workbooks read, and others waiting, is asked to come again; nothing of the last one is kept."""
    content = workbook(tmp_path, People=PEOPLE)
    async with READING.turn(alice.workspace_id):
        waiting = [asyncio.create_task(READING.begin(alice.workspace_id)) for _ in range(4)]
        await asyncio.sleep(0)
        refused = await alice.post(URL, content=content)
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert refused.status_code == 429
    assert (await alice.get(URL)).json()["data"] == []
    assert (await upload(alice, content)).shown["file"]["rows"] == 2


async def test_a_workbook_under_a_password_is_told(alice: Person) -> None:
    """Spreadsheet programs put such a workbook into a stream of this name, in a compound file."""
    locked = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".ljust(1536, b"\0") + "EncryptedPackage".encode("utf-16-le").ljust(512, b"\0")

    answer = await alice.post(URL, content=locked)

    assert answer.json()["errors"][0]["message"] == "The workbook is locked by a password. Save it without one."


async def test_a_damaged_sheet_is_named(alice: Person, tmp_path: Path) -> None:
    """The refusal says which sheet cannot be read and what to do, in words that are not those of a library."""
    whole = workbook(tmp_path, People=PEOPLE)
    damaged = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(damaged, "w") as target:
        for part in source.namelist():
            content = source.read(part)
            target.writestr(part, content[: len(content) // 2] if "worksheets/" in part else content)

    answers = [await alice.post(URL, content=each) for each in (damaged.getvalue(), whole[: len(whole) // 2])]

    said = [each.json()["errors"][0]["message"] for each in answers]
    assert said[0].startswith("The sheet `People` of the workbook is damaged, and cannot be read. Open it")
    assert said[1].startswith("The file begins like a workbook, and cannot be read as one: it is damaged, or another kind")
