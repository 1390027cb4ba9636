"""`herdbook compare` with what a client did in a lab, and what it leaves behind."""

import json
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest

from tests.cli.programs import PATIENCE, PROGRAM, Finished, Running, environment, herdbook, serving
from tests.compare.changing import Passed, changing
from tests.lab.clients import LiveDesk

WRITES: Final = "--allow-writes"
SEED: Final = {"seed": "crm-small", "clock": "2026-01-01T00:00:00Z", "clock_runs": True}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A lab, for the client and for one of the sides."""
    with serving(tmp_path_factory.mktemp("lab"), command="lab") as running:
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """Another lab, for the other side."""
    with serving(tmp_path_factory.mktemp("other"), command="lab") as running:
        yield running


def desk(running: Running) -> LiveDesk:
    """Return a new workspace of a lab."""
    token = json.loads((running.folder / "ready.json").read_text())["lab_token"]
    return LiveDesk(running.url, token, **SEED)


def writes(workspace: LiveDesk) -> list[str]:
    """Return the requests of the journal that may have changed something."""
    entries = workspace.command("GET", "/journal", params={"kind": "request", "limit": 2000})["entries"]
    return [each["path"] for each in entries if each["method"] != "GET"]


def state(workspace: LiveDesk) -> list[Any]:
    """Return what there is of each kind that a client creates here."""
    paths = ("v2/contacts?limit=100", "v2/tags?limit=100", "v2/companies?limit=100", "herdbook/webhooks", "herdbook/views")
    lists = [workspace.ask("GET", f"/api/{path}").json()["data"] for path in paths]
    return [*lists, workspace.ask("GET", f"/api/herdbook/contacts/{workspace.made['objects']['ada']}/notes").json()]


@pytest.fixture(scope="module")
def recorded(lab: Running, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of a client that pages, syncs, creates once, meets a conflict, and deletes some of it."""
    client = desk(lab)
    contacts, ada = "/api/v2/contacts", client.made["objects"]["ada"]
    page = client.ask("GET", contacts, params={"limit": 2}).json()
    client.ask("GET", contacts, params={"limit": 2, "cursor": page["next_cursor"]})
    client.ask("GET", contacts, params={"filter[updated_at][gte]": page["data"][-1]["updated_at"]})
    created = {"first_name": "Zoe", "emails": [{"email": "zoe@example.com"}]}
    zoe, _ = (client.ask("POST", contacts, json=created, headers={"Idempotency-Key": "order-17"}) for _ in range(2))
    path = f"{contacts}/{zoe.json()['id']}"
    etag = client.ask("GET", path).headers["ETag"]
    for name in ("Zoe", "Zora"):
        client.ask("PATCH", path, json={"last_name": name}, headers={"If-Match": etag})
    client.ask("POST", f"/api/herdbook/contacts/{ada}/notes", json={"text": "Met at the fair."})
    # The address of a server that is compared would be another text on each side.
    inbox = client.made["inbox_url"].replace("127.0.0.1", "localhost")
    client.ask("POST", "/api/herdbook/webhooks", json={"url": inbox})
    client.ask("POST", "/api/herdbook/views", json={"object_type": "contact", "name": "Mine", "shared": True})
    client.ask("POST", "/api/v2/tags", json={"name": "Gone"})
    tag = client.ask("POST", "/api/v2/tags", json={"name": "Kept ${not a reference}"}).json()["id"]
    client.ask("DELETE", f"/api/v2/tags/{tag}")
    client.ask("GET", f"/api/v2/tags/{tag}")
    file = tmp_path_factory.mktemp("journal") / "client.json"
    file.write_text(json.dumps(client.command("GET", "/journal", params={"kind": "request", "limit": 2000})))
    return file


def compare(left: LiveDesk, right: LiveDesk, *options: str, folder: Path) -> Finished:
    """Compare two workspaces."""
    keys = {"HERDBOOK_LEFT_KEY": left.key, "HERDBOOK_RIGHT_KEY": right.key}
    return herdbook("compare", f"--left={left.url}", f"--right={right.url}", *options, folder=folder, **keys)


def test_what_a_client_did_is_done_again_on_two_servers(lab: Running, other: Running, recorded: Path, tmp_path: Path) -> None:
    """Two servers answer alike, on each run, and keep nothing of it; what differs is found."""
    left, right = desk(lab), desk(other)
    before = [state(left), state(right)]

    runs = [compare(left, right, f"--scenarios={recorded}", WRITES, folder=tmp_path) for _ in range(2)]

    assert [(each.status, each.complained) for each in runs] == [(0, ""), (0, "")], runs[0].said + runs[1].said
    assert "No difference in 15 requests." in runs[0].said
    assert [state(left), state(right)] == before

    right.fault(fault="status", status=500, operation="delete-tag", times=1)
    changed = compare(left, right, f"--scenarios={recorded}", WRITES, "--format=junit", folder=tmp_path)
    failed = [each for each in ET.fromstring(changed.said).iter("testcase") if each.find("failure") is not None]  # noqa: S314

    assert changed.status == 1
    assert [str(each.get("name")).partition(" ")[2] for each in failed] == ["delete-tag", "get-tag-by-id"]
    assert [state(left), state(right)] == before


def test_the_answers_of_one_server_are_those_of_the_client(
    lab: Running, other: Running, recorded: Path, tmp_path: Path
) -> None:
    """Recorded answers have the statuses that the client saw, and take the place of a server."""
    left, right = desk(lab), desk(other)
    options = (f"--scenarios={recorded}", WRITES)
    # The answers of a second run are no repetitions of the first.
    for name in ("first.json", "kept.json"):
        kept = herdbook(
            *("compare", f"--left={left.url}", *options, f"--record={name}"), folder=tmp_path, HERDBOOK_LEFT_KEY=left.key
        )
        assert (kept.said, kept.complained) == (f"`{name}` has the answers to 1 scenario.\n", "")
    done = herdbook(
        *("compare", "--left=kept.json", f"--right={right.url}", *options), folder=tmp_path, HERDBOOK_RIGHT_KEY=right.key
    )
    answers = json.loads((tmp_path / "kept.json").read_text())["answers"]["client"]

    assert (done.status, done.said) == (0, "No difference in 15 requests.\n"), done.complained
    entries = json.loads(recorded.read_text())["entries"]
    assert [each["status"] for each in answers.values()] == [each["status"] for each in entries]
    assert {200, 201, 404, 412} == {each["status"] for each in entries}


def test_a_journal_with_writes_is_not_run_unless_it_is_allowed(
    lab: Running, other: Running, recorded: Path, tmp_path: Path
) -> None:
    """It is named, and no request arrives."""
    left, right = desk(lab), desk(other)

    done = compare(left, right, f"--scenarios={recorded}", folder=tmp_path)

    assert (done.status, done.said) == (1, "")
    assert "all scenarios write: `client`" in done.complained
    assert writes(left) + writes(right) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_comparison_removes_what_it_made(lab: Running, tmp_path: Path, number: signal.Signals) -> None:
    """The request at hand is finished, so that what it made is known, and all goes."""
    left, right = desk(lab), desk(lab)
    before = [state(left), state(right)]
    steps = [{"name": f"{n}", "method": "POST", "path": "/api/v2/tags", "body": {"name": f"{n} ${{unique}}"}} for n in range(9)]
    (tmp_path / "own.json").write_text(json.dumps([{"name": "own", "steps": steps}]))
    started: list[subprocess.Popen[str]] = []

    def interrupt(passed: Passed) -> None:
        # The tag is made, and its answer on the way.
        if passed.method == "POST" and passed.body["name"].startswith("2"):
            started[0].send_signal(number)

    with changing(right.url, [interrupt]) as copy:
        command = [str(PROGRAM), "compare", f"--left={left.url}", f"--right={copy}", WRITES, "--scenarios=own.json"]
        keys = {"HERDBOOK_LEFT_KEY": left.key, "HERDBOOK_RIGHT_KEY": right.key}
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment(keys), stdout=pipe, stderr=pipe, text=True))
        said, complained = started[0].communicate(timeout=PATIENCE)

    assert (started[0].returncode, said) == (1, "")
    assert complained == "herdbook: The comparison was interrupted, so it says nothing.\n"
    assert len([each for each in writes(right) if each == "/v2/tags"]) == 3
    assert [state(left), state(right)] == before


def test_what_cannot_be_removed_is_told(lab: Running, tmp_path: Path) -> None:
    """A field stays, because no operation deletes it, and so does what the server keeps."""
    left, right = desk(lab), desk(lab)
    right.fault(fault="status", operation="delete-tag")
    steps = [
        {"name": "tag", "method": "POST", "path": "/api/v2/tags", "body": {"name": "Mine"}},
        {
            "name": "field",
            "method": "POST",
            "path": "/api/herdbook/fields",
            "body": {"object_type": "contact", "key": "mine", "label": "Mine", "kind": "text"},
        },
    ]
    (tmp_path / "own.json").write_text(json.dumps([{"name": "own", "steps": steps}]))

    done = compare(left, right, "--scenarios=own.json", WRITES, folder=tmp_path)
    lines = [line for line in done.complained.splitlines() if "which it did not delete" in line]

    assert [line.count("tag_") for line in sorted(lines, key=len)] == [0, 1], done.complained
    assert all("fld_" in line for line in lines), done.complained


@pytest.mark.parametrize("operation", ["create-company", "create-contact", "create-tag"])
@pytest.mark.parametrize("is_left", [True, False])
def test_a_comparison_that_breaks_off_leaves_nothing(lab: Running, tmp_path: Path, operation: str, *, is_left: bool) -> None:
    """An object whose creation was not answered goes, and so do those of the other side. Side and request are named."""
    left, right = desk(lab), desk(lab)
    before = [state(left), state(right)]
    (left if is_left else right).fault(fault="close", when="after", operation=operation, times=1)

    done = compare(left, right, WRITES, folder=tmp_path)

    assert (done.status, done.said) == (1, "")
    assert [state(left), state(right)] == before
    collection = {"create-company": "companies", "create-contact": "contacts", "create-tag": "tags"}[operation]
    side = "left" if is_left else "right"
    assert f"herdbook: The {side} server gave no answer to POST /api/v2/{collection} (in " in done.complained
    assert "reached" not in done.complained


def test_an_answer_that_cannot_be_read_leaves_nothing(lab: Running, tmp_path: Path) -> None:
    """An object of which the answer says nothing is found by the word of the run."""
    left, right = desk(lab), desk(lab)
    before = [state(left), state(right)]
    right.fault(fault="not_json", operation="create-tag", times=1)

    done = compare(left, right, WRITES, "--only=a tag from its creation to its deletion", folder=tmp_path)

    assert done.status == 1
    assert [state(left), state(right)] == before


def test_what_may_be_left_is_named(lab: Running, tmp_path: Path) -> None:
    """An object without the word of the run cannot be told from others."""
    left, right = desk(lab), desk(lab)
    right.fault(fault="close", when="after", operation="create-tag", times=1)
    steps = [{"name": "tag", "method": "POST", "path": "/api/v2/tags", "body": {"name": "Mine"}}]
    (tmp_path / "own.json").write_text(json.dumps([{"name": "own", "steps": steps}]))

    done = compare(left, right, "--scenarios=own.json", WRITES, folder=tmp_path)

    assert f"{right.url} may still have an object of POST /api/v2/tags" in done.complained


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_key_that_is_refused_ends_the_comparison(lab: Running, tmp_path: Path, side: str) -> None:
    """Two servers that let nobody in would answer alike. The side is named, and so is a key with too few scopes."""
    left, right = desk(lab), desk(lab)
    wrong_one = left if side == "left" else right
    reader = wrong_one.command("POST", "/keys", json={"scopes": ["companies:read"]})["api_key"]
    steps = [{"name": "list", "path": "/api/v2/contacts"}]
    (tmp_path / "own.json").write_text(json.dumps([{"name": "own", "steps": steps}]))
    complained: list[str] = []
    for key in ("sk-apik_00000000000000000000000000.wrong", reader):
        wrong_one.key = key
        done = compare(left, right, "--scenarios=own.json", folder=tmp_path)
        assert (done.status, done.said) == (1, "")
        complained.append(done.complained)

    told = f"herdbook: The {side} key was refused: GET /api/v2/contacts (in own: list) was answered with"
    assert f"{told} 401." in complained[0]
    assert f"{told} 403. Use a key with all scopes." in complained[1]
