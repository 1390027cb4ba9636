"""`herdbook import`, against a running server and a data folder."""

import json
import stat
from pathlib import Path

import requests

from tests.cli.programs import PATIENCE, herdbook, serving
from tests.importing.test_sheets import workbook

FILE = "Full Name;E-Mail;Firma\nAda Lovelace;ada@engine.test;Engines\nGrace Hopper;no address;Navy\n"


def test_a_file_is_imported_into_a_server_and_again_into_its_folder(tmp_path: Path) -> None:
    """A dry run writes nothing; a run tells what came of the rows; the same file again finds them, beside the server or not."""
    (tmp_path / "people.csv").write_text(FILE)
    with serving(tmp_path) as server:
        at_server = {"HERDBOOK_SERVER": server.url, "HERDBOOK_API_KEY": server.key}

        tried = herdbook("import", "people.csv", "--dry-run", folder=tmp_path, **at_server)
        listed = server.get("/api/v2/contacts").json()["data"]
        done = herdbook("import", "people.csv", "--json", folder=tmp_path, **at_server)
        beside = herdbook("import", "people.csv", "--problems", "bad.csv", folder=tmp_path)

    again = herdbook("import", "people.csv", "--json", folder=tmp_path)
    assert (tried.status, listed) == (3, [])
    assert "new: 1, with problems: 1." in tried.said
    assert "Row 3, E-Mail: " in tried.complained
    assert (done.status, json.loads(done.said)["result"]["create"]) == (3, 1)
    assert "unchanged: 1, with problems: 1." in beside.said
    assert (tmp_path / "bad.csv").read_text(encoding="utf-8-sig").splitlines()[1].startswith("Grace Hopper;no address;Navy;")
    assert json.loads(again.said)["result"]["unchanged"] == 1


def test_rows_with_problems_are_written_before_and_after_the_run(tmp_path: Path) -> None:
    """The file is new, private, and has the rows of a dry run as well as those of the run; no other file is overwritten."""
    (tmp_path / "people.csv").write_text(FILE)
    with serving(tmp_path):
        pass

    tried = herdbook("import", "people.csv", "--dry-run", "--problems", "tried.csv", folder=tmp_path)
    done = herdbook("import", "people.csv", "--problems", "bad.csv", folder=tmp_path)
    refused = herdbook("import", "people.csv", "--problems", "people.csv", folder=tmp_path)

    assert [tried.status, done.status, refused.status] == [3, 3, 1]
    assert "`people.csv` exists" in refused.complained
    assert (tmp_path / "people.csv").read_text() == FILE
    assert (tmp_path / "tried.csv").read_bytes() == (tmp_path / "bad.csv").read_bytes()
    assert stat.S_IMODE((tmp_path / "bad.csv").stat().st_mode) == 0o600


def test_a_sheet_is_chosen(tmp_path: Path) -> None:
    """The rows are those of the sheet that is named; one that is not there, or of a file without sheets, is refused."""
    people = [["First name", "E-mail"], ["Ada", "ada@engine.test"]]
    (tmp_path / "book.xlsx").write_bytes(workbook(tmp_path, People=people, More=[people[0], ["Grace", "grace@navy.test"]]))
    (tmp_path / "people.csv").write_text("First name\nAda\n")
    with serving(tmp_path) as server:
        at_server = {"HERDBOOK_SERVER": server.url, "HERDBOOK_API_KEY": server.key}
        done = herdbook("import", "book.xlsx", "--sheet=More", folder=tmp_path, **at_server)
        refused = [
            herdbook("import", *arguments, folder=tmp_path, **at_server)
            for arguments in (
                ["book.xlsx", "--sheet=Fewer"],
                ["people.csv", "--sheet=People"],
                ["--undo=imp_1", "--sheet=People"],
            )
        ]
        listed = server.get("/api/v2/contacts").json()["data"]

    assert done.status == 0, done.complained
    assert [each["first_name"] for each in listed] == ["Grace"]
    assert [each.status for each in refused] == [1, 1, 1]
    words = ["Fewer", "`sheet` is for workbooks", "--sheet is for a file"]
    assert [word in each.complained for word, each in zip(words, refused, strict=True)] == [True, True, True], refused


def test_an_import_is_taken_back(tmp_path: Path) -> None:
    """An undo tells what it would do, does it, and lists what somebody has changed since; another id is refused."""
    (tmp_path / "people.csv").write_text("First name,E-mail\nAda,ada@engine.test\nGrace,grace@navy.test\n")
    with serving(tmp_path) as server:
        at_server = {"HERDBOOK_SERVER": server.url, "HERDBOOK_API_KEY": server.key}
        done = herdbook("import", "people.csv", folder=tmp_path)
        import_id = done.said.split()[-1]
        (ada,) = server.get("/api/v2/contacts?search=ada").json()["data"]
        headers = {"Authorization": server.key}
        requests.patch(f"{server.url}/api/v2/contacts/{ada['id']}", json={"description": "x"}, headers=headers, timeout=90)

        tried = herdbook("import", "--undo", import_id, "--dry-run", folder=tmp_path, **at_server)
        still_there = len(server.get("/api/v2/contacts").json()["data"])
        undone = herdbook("import", "--undo", import_id, folder=tmp_path, **at_server)
        again = herdbook("import", "--undo", import_id, "--json", folder=tmp_path)

        assert "To take it back: herdbook import --undo imp_" in done.said
        assert (tried.status, undone.status, again.status, still_there) == (3, 3, 1, 2)
        assert "taken back: 1, kept: 1." in tried.said
        assert "taken back: 1, kept: 1." in undone.said
        assert f"Kept contact {ada['id']}: It was changed since." in tried.complained
        assert f"Kept contact {ada['id']}: It was changed since." in undone.complained
        assert "The import is `undone`." in again.complained
        assert [each["id"] for each in server.get("/api/v2/contacts").json()["data"]] == [ada["id"]]


def test_a_corrected_file_ends_well(tmp_path: Path) -> None:
    """The exit status is zero if all rows are done, and a member is overwritten if that is asked for."""
    with serving(tmp_path):
        pass
    (tmp_path / "one.csv").write_text("First name,E-mail\nAda,ada@engine.test\n")
    (tmp_path / "two.csv").write_text("First name,E-mail\nAugusta,ada@engine.test\n")

    first = herdbook("import", "one.csv", folder=tmp_path)
    filled = herdbook("import", "two.csv", folder=tmp_path)
    written = herdbook("import", "two.csv", "--existing", "overwrite", folder=tmp_path)

    assert [first.status, filled.status, written.status] == [0, 0, 0]
    assert "unchanged: 1." in filled.said
    assert "changed: 1." in written.said


def test_what_cannot_be_imported_is_refused(tmp_path: Path) -> None:
    """A file that is not there or not text, a server without a key, and one that is not there end with a sentence."""
    with serving(tmp_path):
        pass
    (tmp_path / "book.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "people.csv").write_text(FILE)

    missing = herdbook("import", "nothing.csv", folder=tmp_path)
    binary = herdbook("import", "book.xlsx", folder=tmp_path)
    without_key = herdbook("import", "people.csv", "--server", "http://127.0.0.1:1", folder=tmp_path)
    nowhere = herdbook("import", "people.csv", "--server", "http://127.0.0.1:1", "--api-key", "x", folder=tmp_path)

    neither = herdbook("import", folder=tmp_path)

    assert (neither.status, "Give the file to import" in neither.complained) == (1, True)
    assert [missing.status, binary.status, without_key.status, nowhere.status] == [1, 1, 1, 1]
    assert "There is no file `nothing.csv`." in missing.complained
    assert "cannot be read as one" in binary.complained
    assert "HERDBOOK_API_KEY" in without_key.complained
    assert "cannot be reached" in nowhere.complained


def test_a_saved_mapping_is_named(tmp_path: Path) -> None:
    """The command says that it uses a mapping which somebody has saved, and what that sets; an option comes before it."""
    (tmp_path / "people.csv").write_text(FILE)
    with serving(tmp_path) as server:
        headers = {"Authorization": server.key}
        job = requests.post(f"{server.url}/api/herdbook/imports", FILE.encode(), headers=headers, timeout=PATIENCE).json()
        mapping = {**job["mapping"], "existing": "overwrite", "tags": ["Fair"]}
        body = {"mapping": mapping, "save_as": "Fair list"}
        requests.patch(f"{server.url}/api/herdbook/imports/{job['id']}", json=body, headers=headers, timeout=PATIENCE)

    used = herdbook("import", "people.csv", "--dry-run", folder=tmp_path)
    chosen = herdbook("import", "people.csv", "--dry-run", "--existing", "fill", folder=tmp_path)

    told = 'The saved mapping "Fair list" fits, and is used: match by email; existing: {}; tags for all rows: "Fair".'
    assert told.format("overwrite") in " ".join(used.said.split())
    assert told.format("fill") in " ".join(chosen.said.split())


def test_columns_are_chosen(tmp_path: Path) -> None:
    """An option says what a column fills, in place of the guess, and a wrong one is refused by what it may be."""
    (tmp_path / "people.csv").write_text("Full Name,E-mail,Rank,Other\nAda Lovelace,ada@engine.test,Countess,Ada\n")
    with serving(tmp_path):
        pass
    chosen = ("--column", "Rank=description", "--column", "Other=first_name", "--column", "Full Name=last_name")

    done = herdbook("import", "people.csv", *chosen, "--json", folder=tmp_path)
    refused = [
        herdbook("import", "people.csv", "--column", each, folder=tmp_path)
        for each in ("Rank=rank", "Grade=description", "Rank", "Rank=field:rang")
    ]

    assert done.status == 0, done.complained
    mapped = json.loads(done.said)["mapping"]["columns"]
    assert [each["to"] for each in mapped] == ["last_name", "email", "description", "first_name"]
    assert [each.status for each in refused] == [1] * 4
    assert "--column Rank=rank names no field. Choose one of first_name, " in refused[0].complained
    assert 'names "Grade", and the file has no such column. It has "Full Name", "E-mail", ' in refused[1].complained
    assert 'Write it as in `--column "Mobile=phone"`' in refused[2].complained
    assert '"Rank" names no field of the workspace.' in refused[3].complained


def test_a_key_for_contacts_alone_is_told_how_to_leave_companies_out(tmp_path: Path) -> None:
    """A missing scope is named before any row is imported, with the option that does without it; nothing is left behind."""
    (tmp_path / "people.csv").write_text("First name,Company\nAda,Engines\n")
    with serving(tmp_path) as server:
        scopes = ("--scope=contacts:read", "--scope=contacts:write")
        key = herdbook("keys", "create", "Contacts", *scopes, folder=tmp_path).said.strip()
        at_server = {"HERDBOOK_SERVER": server.url, "HERDBOOK_API_KEY": key}
        refused = herdbook("import", "people.csv", folder=tmp_path, **at_server)
        listed = server.get("/api/herdbook/imports").json()["data"]
        done = herdbook("import", "people.csv", "--column", "Company=ignore", folder=tmp_path, **at_server)
        exported = herdbook("export", "all.csv", folder=tmp_path, **at_server)
        empty = herdbook("export", "more.csv", folder=tmp_path, HERDBOOK_SERVER=server.url, HERDBOOK_API_KEY="")
        broken = herdbook("export", "more.csv", folder=tmp_path, HERDBOOK_SERVER=server.url, HERDBOOK_API_KEY="sk\n-")

    assert (refused.status, listed) == (1, [])
    assert "lacks the scope `companies:read`" in refused.complained
    assert "To leave these columns out: --column Company=ignore" in refused.complained
    assert (done.status, "new: 1." in done.said) == (0, True), done.complained
    assert exported.status == 0
    assert "lacks the scope `companies:read`, so the file will have no names of companies." in exported.complained
    assert "`tags:read`" in exported.complained
    assert (empty.status, "The key is empty. Set HERDBOOK_API_KEY" in empty.complained) == (1, True), empty.complained
    assert (broken.status, "a character that no key has" in broken.complained) == (1, True), broken.complained


def test_one_row_is_told_as_one(tmp_path: Path) -> None:
    """A number of things has the noun that goes with it, and a card is called a card."""
    with serving(tmp_path):
        pass
    (tmp_path / "one.vcf").write_text("BEGIN:VCARD\nVERSION:4.0\nFN:Ada\nEMAIL:ada@engine.test\nEND:VCARD\n" * 2)
    (tmp_path / "one.csv").write_text("First name,E-mail\nGrace,no address\n")

    of_table = herdbook("import", "one.csv", folder=tmp_path)
    of_card = herdbook("import", "one.vcf", "--dry-run", "--column", "email_1=phone", folder=tmp_path)

    assert "1 row has a problem. Correct it, and import the file again." in of_table.complained
    assert "Card 1, email_1: " in of_card.complained
    assert "2 rows have problems. Correct them" in of_card.complained
