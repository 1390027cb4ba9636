"""`herdbook erase` and `herdbook erasures`, on the database of a server."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
import requests

from herdbook import ids
from tests.cast import Person, Thing
from tests.cli.programs import PATIENCE, PROGRAM, Finished, herdbook, serving
from tests.erasure.test_again import LINE
from tests.erasure.test_erase_contact import ADDRESS, MARKER, NOBODY, marked
from tests.erasure.test_taken_back import undo
from tests.merging.merges import contact, merge, merged


async def run(folder: Path, database_url: str, *arguments: str) -> Finished:
    """Run a command beside the server of these tests, in a folder with a data folder."""
    (folder / "herdbook-data").mkdir(exist_ok=True)
    return await asyncio.to_thread(herdbook, *arguments, f"--database-url={database_url}", folder=folder)


@pytest.mark.parametrize("option", [(), ("--dry-run",)])
async def test_it_names_what_replaces_a_contact(
    alice: Person, database_url: str, tmp_path: Path, option: tuple[str, ...]
) -> None:
    """A merged contact is refused with the one to erase instead; a dry run refuses no less."""
    first, second = await contact(alice, "first@x.test"), await contact(alice, "second@x.test")
    await merged(alice, second, first)
    workspace = f"--workspace={ids.encoded(ids.WORKSPACE, alice.workspace_id)}"
    of_merged = await run(tmp_path, database_url, "erase", first.id, workspace, *option)
    of_nobody = await run(tmp_path, database_url, "erase", NOBODY, workspace, *option)

    assert (of_merged.status, of_merged.said) == (1, "")
    assert f"It was merged into `{second.id}`. Use that one." in of_merged.complained
    assert of_nobody.complained == "herdbook: There is no such contact in this workspace. Check the id.\n"


async def test_its_options_and_results_are_those_of_the_operation(
    alice: Person, admin: Person, database_url: str, tmp_path: Path
) -> None:
    """The command has the options of the operation by the same names, the older one too, and prints the same certificate."""
    ada = await marked(alice)
    workspace = f"--workspace={ids.encoded(ids.WORKSPACE, alice.workspace_id)}"
    for named, *options in (("false",), ("true", "--engagements"), ("true", "--with-engagements")):
        asked = await admin.post(f"/api/herdbook/contacts/{ada.id}/erase?dry_run=true&engagements={named}")
        done = await run(tmp_path, database_url, "erase", ada.id, workspace, "--dry-run", *options)
        (printed,) = json.loads(done.said)
        own = {"request_id", "credential_id", "credential_name"}

        assert {name: value for name, value in printed.items() if name not in own} == {
            name: value for name, value in asked.json().items() if name not in own
        }
        assert printed["engagements"] is (named == "true")


async def test_applying_a_list_removes_recordings(alice: Person, database_url: str, tmp_path: Path) -> None:
    """Recordings of engagements that are gone are removed at once, not only by the next server."""
    recording = tmp_path / "herdbook-data" / "media" / alice.workspace_id.hex / ids.new_id().hex
    recording.parent.mkdir(parents=True)
    recording.write_bytes(b"speech")
    (tmp_path / "erasures.jsonl").touch()
    done = await run(tmp_path, database_url, "erasures", "apply", "erasures.jsonl")

    assert (done.status, done.said) == (0, "Contacts erased again: 0\n")
    assert not recording.exists()


@pytest.mark.parametrize("text", [json.dumps(LINE), json.dumps(LINE) + "\n" + json.dumps(LINE)[:40]])
async def test_a_list_that_is_cut(alice: Person, database_url: str, tmp_path: Path, text: str) -> None:
    """A copy that ends within a line is refused: whom the rest meant would be forgotten."""
    assert alice, "the database has a workspace"
    (tmp_path / "copy.jsonl").write_text(text)
    refused = await run(tmp_path, database_url, "erasures", "apply", "copy.jsonl")

    assert (refused.status, refused.said) == (1, "")
    assert "`copy.jsonl` ends within a line, so it is not whole. Copy the list again. Nothing was done." in refused.complained


async def test_a_list_needs_a_folder(alice: Person, database_url: str, tmp_path: Path) -> None:
    """A list that cannot be written is refused with the reason."""
    assert alice, "the database has a workspace"
    refused = await run(tmp_path, database_url, "erasures", "export", "nowhere/erasures.jsonl")

    assert refused.status == 1
    assert "`nowhere/erasures.jsonl` cannot be written: No such file or directory. Choose" in refused.complained


def test_a_person_in_a_file_alone(tmp_path: Path) -> None:
    """Files of imports are not searched. A record and an erasure for an address that nothing has name them, and leave them."""
    rows = "".join(f"N{number},{number}@x.test\n" for number in range(30))
    with serving(tmp_path) as server:
        url, headers = f"{server.url}/api/herdbook/imports", {"Authorization": server.key}
        file = f"First name,E-mail\n{rows}{MARKER},{ADDRESS}\n"
        import_id = requests.post(url, data=file, headers=headers, timeout=90).json()["id"]
        record = herdbook("subject-access", ADDRESS, "record", folder=tmp_path)
        dry_run, done = [herdbook("erase", ADDRESS, *option, folder=tmp_path) for option in (("--dry-run",), ())]
        left = requests.get(f"{url}/{import_id}", headers=headers, timeout=90)

    for each in (record, dry_run, done):
        assert each.status == 1
        assert f"not searched, and any row may be about the person: {import_id}." in each.complained
    assert left.status_code == 200


def test_a_record_and_a_certificate_name_the_imports(tmp_path: Path) -> None:
    """A record says which files were not searched, to both who make and who read it. The contact takes them along."""
    with serving(tmp_path) as server:
        assert server.post("/api/v2/contacts", {"emails": [{"email": ADDRESS}]}).status_code == 201
        url, headers = f"{server.url}/api/herdbook/imports", {"Authorization": server.key}
        import_id = requests.post(url, data="First name\nGrace\n", headers=headers, timeout=90).json()["id"]
        record = herdbook("subject-access", ADDRESS, "record", folder=tmp_path)
        dry_run, done = [herdbook("erase", ADDRESS, *option, folder=tmp_path) for option in (("--dry-run",), ())]

    assert [[each["imports"] for each in json.loads(run.said)] for run in (dry_run, done)] == 2 * [
        [[{"id": import_id, "state": "uploaded"}]]
    ]
    assert record.status == 0
    assert f"any row may be about the person: {import_id}." in record.said
    assert import_id in (tmp_path / "record" / "index.html").read_text()
    assert json.loads((tmp_path / "record" / "data.json").read_bytes())["about"]["unread_imports"] == [import_id]


async def mistaken(alice: Person, admin: Person) -> tuple[Thing, Thing]:
    """Create two contacts that were merged by mistake, which was undone."""
    ada = await contact(alice, "ada@x.test", first_name="Ada", last_name="Lovelace")
    olga = await contact(alice, "olga@other.example", first_name="Olga")
    merging = await merge(alice, olga, ada)
    await undo(admin, merging.headers["X-Request-Id"])
    return ada, olga


async def test_who_was_merged_by_mistake_stays(alice: Person, admin: Person, database_url: str, tmp_path: Path) -> None:
    """A contact that had the address only through a merge that was undone is somebody else, in a dry run, too."""
    ada, olga = await mistaken(alice, admin)
    workspace = f"--workspace={ids.encoded(ids.WORKSPACE, alice.workspace_id)}"
    would = await run(tmp_path, database_url, "erase", "ada@x.test", workspace, "--dry-run")
    done = await run(tmp_path, database_url, "erase", "ada@x.test", workspace)

    assert (would.status, would.complained) == (0, f"{ada.id}  Ada Lovelace, ada@x.test\n")
    assert (done.status, done.complained) == (0, "")
    assert [each["contact_id"] for each in json.loads(done.said)] == [ada.id]
    assert (await alice.get(ada.url)).status_code == 404
    assert (await alice.get(olga.url)).status_code == 200


async def several(alice: Person) -> tuple[Thing, Thing]:
    """Create two contacts that had the same address, one after the other."""
    first = await contact(alice, "office@x.test", first_name="Ada")
    await alice.patch(first.url, json={"emails": [{"email": "ada@x.test"}]})
    return first, await contact(alice, "office@x.test", "grace@x.test", first_name="Grace")


async def test_several_contacts_are_shown_by_name(alice: Person, database_url: str, tmp_path: Path) -> None:
    """A dry run shows names and addresses beside the certificates; without a terminal, several contacts need `--yes`."""
    first, second = await several(alice)
    workspace = f"--workspace={ids.encoded(ids.WORKSPACE, alice.workspace_id)}"
    would = await run(tmp_path, database_url, "erase", "office@x.test", workspace, "--dry-run")
    refused = await run(tmp_path, database_url, "erase", "office@x.test", workspace)
    left = [(await alice.get(each.url)).status_code for each in (first, second)]
    done = await run(tmp_path, database_url, "erase", "office@x.test", workspace, "--yes")

    shown = [f"{first.id}  Ada, ada@x.test", f"{second.id}  Grace, office@x.test, grace@x.test"]
    assert would.complained.splitlines() == [*shown, "Check that these contacts are one person."]
    assert [each["contact_id"] for each in json.loads(would.said)] == [first.id, second.id]
    assert (refused.status, refused.said, left) == (1, "", [200, 200])
    assert "`office@x.test` means 2 contacts. Nothing was erased. Erase one of them by its id, or all" in refused.complained
    assert (done.status, [each["contact_id"] for each in json.loads(done.said)]) == (0, [first.id, second.id])


@pytest.mark.parametrize(("answer", "status"), [("yes\n", 0), ("\n", 1), ("y\n", 1)])
async def test_a_terminal_is_asked(alice: Person, database_url: str, tmp_path: Path, answer: str, status: int) -> None:
    """On a terminal, several contacts are erased only after a `yes`."""
    first, second = await several(alice)
    (tmp_path / "herdbook-data").mkdir()
    workspace = f"--workspace={ids.encoded(ids.WORKSPACE, alice.workspace_id)}"
    command = [str(PROGRAM), "erase", "office@x.test", workspace, f"--database-url={database_url}"]
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer.encode())
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=tmp_path, stdin=theirs, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)

    assert done.returncode == status, done.stderr
    assert "Erase these 2 contacts for good? Type `yes` to go on: " in done.stderr
    assert {(await alice.get(each.url)).status_code for each in (first, second)} == ({404} if status == 0 else {200})
