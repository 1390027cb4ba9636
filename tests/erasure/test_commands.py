"""`herdbook erase` and `herdbook erasures`, on the database of a server."""

import asyncio
import json
from pathlib import Path

import pytest

from herdbook import ids
from tests.cast import Person
from tests.cli.programs import Finished, herdbook
from tests.erasure.test_erase_contact import NOBODY, marked
from tests.merging.merges import contact, merged


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
        own = {"request_id", "credential_id"}

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


async def test_a_list_needs_a_folder(alice: Person, database_url: str, tmp_path: Path) -> None:
    """A list that cannot be written is refused with the reason."""
    assert alice, "the database has a workspace"
    refused = await run(tmp_path, database_url, "erasures", "export", "nowhere/erasures.jsonl")

    assert refused.status == 1
    assert "`nowhere/erasures.jsonl` cannot be written: No such file or directory. Choose" in refused.complained
