"""`herdbook export`, from a running server and a data folder."""

import csv
import json
import stat
from pathlib import Path

from tests.cli.programs import herdbook, serving
from tests.engagements.calls import call


def test_people_are_exported_from_a_server_and_from_its_folder(tmp_path: Path) -> None:
    """Both have the same people, in the format that the name of the file tells, and only its owner may read the file."""
    with serving(tmp_path) as server:
        at_server = {"HERDBOOK_SERVER": server.url, "HERDBOOK_API_KEY": server.key}
        for name in ("Ada", "Grace"):
            assert server.post("/api/v2/contacts", {"first_name": name}).status_code == 201
        where = json.dumps({"field": "first_name", "op": "eq", "value": "Ada"})
        first = herdbook("export", "all.csv", folder=tmp_path, **at_server)
        some = herdbook("export", "some.ndjson", f"--where={where}", folder=tmp_path, **at_server)
    again = herdbook("export", "again.csv", folder=tmp_path)

    assert [first.status, some.status, again.status] == [0, 0, 0], first.complained + some.complained + again.complained
    with (tmp_path / "all.csv").open(newline="") as file:
        assert sorted(row["first_name"] for row in csv.DictReader(file)) == ["Ada", "Grace"]
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "all.csv").read_bytes()
    assert [json.loads(line)["first_name"] for line in (tmp_path / "some.ndjson").read_text().splitlines()] == ["Ada"]
    assert stat.S_IMODE((tmp_path / "all.csv").stat().st_mode) == 0o600


def test_engagements_and_changes_are_exported_from_a_server_and_from_its_folder(tmp_path: Path) -> None:
    """Both have the same engagements, private ones too, and the same changes."""
    with serving(tmp_path) as server:
        at_server = {"HERDBOOK_SERVER": server.url, "HERDBOOK_API_KEY": server.key}
        for is_private in (True, False):
            body = call(f"call-{is_private}", is_private=is_private)
            assert server.post("/api/v2/engagements", body).status_code == 201
        done = [
            herdbook("export", f"{place}-{objects}.ndjson", f"--objects={objects}", folder=tmp_path, **variables)
            for place, variables in (("there", at_server), ("here", {}))
            for objects in ("engagements", "changes")
        ]
        chosen = ("--objects=engagements", '--filter={"engagement_type": ["CALL"]}')
        some = [
            herdbook("export", f"{place}-{count}.ndjson", *chosen[:count], f"--search={search}", folder=tmp_path, **variables)
            for place, variables in (("there", at_server), ("here", {}))
            for count, search in ((2, "next"), (1, "nothing"))
        ]
        feed = server.get("/api/herdbook/changes?limit=1000").json()["data"]

    assert [each.status for each in (*done, *some)] == [0] * 8, done + some
    texts = {objects: (tmp_path / f"there-{objects}.ndjson").read_text() for objects in ("engagements", "changes")}
    assert {objects: (tmp_path / f"here-{objects}.ndjson").read_text() for objects in texts} == texts
    assert [json.loads(line)["is_private"] for line in texts["engagements"].splitlines()] == [True, False]
    assert [json.loads(line) for line in texts["changes"].splitlines()] == feed
    for place in ("there", "here"):
        assert (tmp_path / f"{place}-2.ndjson").read_text() == texts["engagements"]
        assert (tmp_path / f"{place}-1.ndjson").read_text() == ""


def test_what_cannot_be_exported_is_refused(tmp_path: Path) -> None:
    """A refusal says what is wrong, and leaves no file."""
    with serving(tmp_path):
        pass
    (tmp_path / "there.csv").touch()
    refused = [
        herdbook("export", *arguments, folder=tmp_path)
        for arguments in (
            ["there.csv"],
            ["people.pdf"],
            ["companies.vcf", "--objects=companies"],
            ["people.csv", "--where={"],
            ["people.csv", '--where={"field": "nothing", "op": "eq", "value": 1}'],
            ["people.csv", "--server=http://127.0.0.1:9"],
            ["calls.csv", "--objects=engagements", '--filter={"engagement_type": ["CAR"]}'],
            ["calls.csv", "--objects=engagements", '--filter={"start_at": {"gt": "now"}}'],
            ["people.csv", "--search=Ada"],
        )
    ]
    words = [
        "exists",
        "no format",
        "no person",
        "no JSON",
        "`where.field`",
        "needs a key",
        "--filter is not",
        "start_at",
        "`search`",
    ]

    assert [word in each.complained for word, each in zip(words, refused, strict=True)] == [True] * 9, refused
    assert {each.name for each in tmp_path.iterdir() if each.suffix in (".csv", ".vcf", ".pdf")} == {"there.csv"}


def test_the_help_names_all_that_is_exported(tmp_path: Path) -> None:
    """The list of commands says the same as the command."""
    for arguments in (["--help"], ["export", "--help"]):
        assert "Export contacts, companies, engagements or changes" in " ".join(
            herdbook(*arguments, folder=tmp_path).said.replace("│", " ").split()
        )
