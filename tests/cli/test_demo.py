"""`herdbook demo`."""

import json
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import Running, herdbook, serving, until


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A demo that has printed its introduction."""
    with serving(tmp_path_factory.mktemp("demo"), command="demo") as demo:
        until(lambda: "Ctrl-C" in said(demo))
        yield demo


def said(demo: Running) -> str:
    """Return the demo's output."""
    return (demo.folder / "out.txt").read_text()


def everybody(demo: Running) -> list[Any]:
    """Return all contacts of the demo."""
    contacts: list[Any] = []
    page = demo.get("/api/v2/contacts", params={"limit": 100}).json()
    contacts += page["data"]
    while page["has_more"]:
        page = demo.get("/api/v2/contacts", params={"limit": 100, "cursor": page["next_cursor"]}).json()
        contacts += page["data"]
    return contacts


def test_it_has_people_and_companies(demo: Running) -> None:
    """The demo has some two hundred contacts of two dozen companies, with addresses that belong to nobody."""
    contacts = everybody(demo)
    companies = {contact["company"]["id"] for contact in contacts}

    assert len(contacts) == 180
    assert len(companies) == 24
    assert all(item["email"].endswith(".example") for contact in contacts for item in contact["emails"])
    assert demo.get(f"/api/v2/companies/{companies.pop()}").status_code == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_curl_works_as_printed(demo: Running) -> None:
    """The printed curl command changes a contact."""
    lines = said(demo).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("curl"))
    command = "\n".join(lines[start : start + 4])
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["description"] == "Wrote the first program."


def test_it_has_a_folder_of_its_own(demo: Running) -> None:
    """The demo never uses the folder of `herdbook serve`, whatever the options."""
    assert (demo.folder / "herdbook-demo/postgres").is_dir()
    assert not (demo.folder / "herdbook-data").exists()


def test_it_can_be_started_again(tmp_path: Path) -> None:
    """A second start shows the same people and a new key, and the old key is invalid."""
    with serving(tmp_path, command="demo") as first:
        before = everybody(first)
    with serving(tmp_path, command="demo") as second:
        after = everybody(second)

    assert after == before
    assert second.key != first.key


def test_a_key_that_nobody_saw_is_invalid(demo: Running) -> None:
    """The key that was printed is the only valid one."""
    listed = herdbook("keys", "list", "--data-dir=herdbook-demo", folder=demo.folder).said
    states = [line.split()[-1] for line in listed.splitlines() if "apik_" in line]

    assert states.count("works") == 1


def records(demo: Running, plural: str) -> list[Any]:
    """Return the records of some contacts or companies of the demo."""
    listed = demo.get(f"/api/v2/{plural}", params={"limit": 30}).json()["data"]
    return [demo.get(f"/api/herdbook/{plural}/{each['id']}/record").json() for each in listed]


def test_it_has_what_a_team_keeps(demo: Running) -> None:
    """Contacts and companies have values of the team's own fields, of most kinds, with labels, tags and notes."""
    fields = demo.get("/api/herdbook/fields", params={"limit": 100}).json()["data"]
    contacts, companies = records(demo, "contacts"), records(demo, "companies")
    notes = [
        note for contact in everybody(demo) for note in demo.get(f"/api/herdbook/contacts/{contact['id']}/notes").json()["data"]
    ]
    used = {(each["object"], key) for each in (*contacts, *companies) for key in each["fields"]}
    unused = {(field["object_type"], field["key"]) for field in fields} - used

    assert len({field["kind"] for field in fields}) >= 9
    assert unused <= {("contact", "website"), ("contact", "profile_links")}
    assert any(each.get("tag_ids") for each in contacts)
    assert any(each.get("tag_ids") for each in companies)
    assert {item.get("label") for each in contacts for item in each["emails"]} == {"work", "home"}
    assert len(notes) == 20
    assert [note["is_pinned"] for note in notes].count(True) == 1
    assert all(note["created_by"].startswith("usr_") for note in notes)
