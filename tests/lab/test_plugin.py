"""The plug-in for pytest, installed from the wheel into a project of its own."""

import ast
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

import psutil
import pytest

from tests.cli.programs import until

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 120.0
# Other plug-ins of our tests, which a project would not have, take most of the time that pytest needs to start.
_WITHOUT: Final = "-p no:cacheprovider -p no:schemathesis -p no:hypothesispytest -p no:typeguard"

FIRST_TEST: Final = """
    import urllib.request

    def test_contacts_can_be_listed(herdbook):
        request = urllib.request.Request(herdbook.url + "/api/v2/contacts", headers={"Authorization": herdbook.api_key})
        assert urllib.request.urlopen(request).status == 200
"""
HELPERS: Final = """
    import json, urllib.error, urllib.request
    import pytest

    def ask(herdbook, method, path, body=None, **headers):
        content = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": herdbook.api_key, "Content-Type": "application/json", **headers}
        request = urllib.request.Request(herdbook.url + path, content, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
"""


# The files of one project: tests that use their workspaces, and some whose failures and errors are told.
PROJECT: Final = {
    "test_coroutines__py": HELPERS
    + """
    import asyncio

    @pytest.mark.asyncio
    async def test_inbox(herdbook):
        endpoint = {"url": herdbook.inbox.url, "event_types": ["v1.contact.created"]}
        ask(herdbook, "POST", "/api/herdbook/webhooks", endpoint)
        ask(herdbook, "POST", "/api/v2/contacts", {"first_name": "Grace"})
        (message,) = await asyncio.to_thread(herdbook.inbox.wait)
        assert herdbook.journal.count(kind="inbox") == 1
    """,
    "test_commands__py": HELPERS
    + """
    @pytest.mark.herdbook(seed="crm-small", clock="2026-01-01T00:00:00Z", random_seed=7)
    def test_all(herdbook):
        assert herdbook.clock.now.startswith("2026-01-01T00:00:00")
        name, contact = next((name, each) for name, each in herdbook.objects.items() if each.startswith("cnt_"))
        fault = herdbook.fault("status", status=503, operation="update-contact", times=1)
        statuses = [ask(herdbook, "PATCH", f"/api/v2/contacts/{contact}", {"first_name": "Zoe"})[0] for _ in range(2)]
        assert (statuses, fault.fired) == ([503, 200], 1)
        assert herdbook.journal.count(operation="update-contact") == 2
        assert [each["status"] for each in herdbook.journal.entries(operation="update-contact")] == [503, 200]
        herdbook.verify({"operation": "update-contact", "times": 2}, no_habits=False)
        with pytest.raises(AssertionError, match="update-contact"):
            herdbook.verify({"operation": "update-contact", "headers": {"If-Match": True}, "times": 1})
        herdbook.clock.advance(hours=10)
        assert herdbook.clock.now.startswith("2026-01-01T10:00:00")
        reader = herdbook.key("contacts:read")
        assert ask(herdbook, "DELETE", f"/api/v2/contacts/{contact}", Authorization=reader)[0] == 403
        herdbook.reset()
        assert ask(herdbook, "GET", f"/api/v2/contacts/{contact}")[1].get("first_name") != "Zoe"

    def test_inbox(herdbook):
        endpoint = {"url": herdbook.inbox.url, "event_types": ["v1.contact.created"]}
        assert ask(herdbook, "POST", "/api/herdbook/webhooks", endpoint)[0] == 201
        ask(herdbook, "POST", "/api/v2/contacts", {"first_name": "Grace"})
        (message,) = herdbook.inbox.wait()
        assert json.loads(message["request"]["body"])["data"]["object"]["first_name"] == "Grace"
    """,
    "test_marks__py": HELPERS
    + """
    from datetime import datetime, timezone

    pytestmark = pytest.mark.herdbook(seed="one.yaml", clock="2026-01-01T00:00:00Z")

    @pytest.mark.herdbook(clock=datetime(2026, 2, 1, tzinfo=timezone.utc))
    def test_mine(herdbook):
        assert herdbook.clock.now.startswith("2026-02-01")
        assert ask(herdbook, "GET", f"/api/v2/contacts/{herdbook.objects['ada']}")[1]["first_name"] == "Ada"

    @pytest.mark.herdbook(seed="many.ndjson")
    def test_other(herdbook):
        assert set(herdbook.objects) >= {"bob", "eve"}
        herdbook.snapshot("before")
        ask(herdbook, "DELETE", f"/api/v2/contacts/{herdbook.objects['bob']}")
        herdbook.restore("before")
        assert ask(herdbook, "GET", f"/api/v2/contacts/{herdbook.objects['bob']}")[0] == 200
        herdbook.restore("crm-small")
        assert ask(herdbook, "GET", f"/api/v2/contacts/{herdbook.objects['ada']}")[0] == 200
        herdbook.reset()
        assert "ada" not in herdbook.objects

    @pytest.mark.parametrize("number", range(3))
    def test_again(herdbook, number):
        assert "ada" in herdbook.objects
    """,
    "one__yaml": """
    objects:
      - contact: ada
        body: {first_name: Ada}
    """,
    "many__ndjson": """
    {"contact": "bob", "body": {"first_name": "Bob"}}
    {"contact": "eve", "body": {"first_name": "Eve"}}
    """,
    "test_refusals__py": HELPERS
    + """
    from datetime import datetime

    @pytest.mark.herdbook(seed="crm-small", clock="2026-01-01T00:00:00Z")
    def test_all(herdbook):
        from herdbook.testing.client import LabRefused
        with pytest.raises(KeyError, match="no object `adda`. Did you mean `ada`?"):
            herdbook.objects["adda"]
        with pytest.raises(LabRefused, match="has no zone. Give it one"):
            herdbook.clock.move_to(datetime(2026, 2, 1))
        with pytest.raises(LabRefused, match="nothing that could fail"):
            herdbook.verify()
        with pytest.raises(LabRefused, match="There is no scope `contact:read`"):
            herdbook.key("contact:read")
        assert herdbook.clock.now.startswith("2026-01-01T00:00:00")
        ask(herdbook, "GET", "/api/v2/tags")
        assert len(herdbook.journal.wait(seconds=60)) == 1

    @pytest.mark.herdbook(clock=datetime(2026, 2, 1))
    def test_no_zone(herdbook): pass

    @pytest.mark.herdbook(seed=7)
    def test_number(herdbook): pass

    @pytest.mark.herdbook(seed=["empty"])
    def test_list(herdbook): pass
    """,
    "test_failures__py": HELPERS
    + """
    def test_forgotten(herdbook):
        herdbook.fault("rate_limited", retry_after=1, operation="list-tags", nth=3)
        ask(herdbook, "GET", "/api/v2/tags")

    def test_failing(herdbook):
        ask(herdbook, "POST", "/api/v2/contacts", {"first_name": "Grace"})
        assert False

    @pytest.fixture
    def tag(herdbook):
        raise ValueError(ask(herdbook, "POST", "/api/v2/tags", {"name": "Mine"})[0])

    def test_of_a_fixture(tag):
        pass

    def test_misspelt(herdbook):
        herdbook.fault("clos")

    def test_late(herdbook):
        herdbook.inbox.wait(seconds=0)
    """,
    "test_beginnings__py": """
    import pytest

    @pytest.mark.herdbook(sede="crm-small")
    def test_misspelt(herdbook): pass

    @pytest.mark.herdbook("crm-small")
    def test_unnamed(herdbook): pass

    @pytest.mark.herdbook(seed="crm-huge")
    def test_unknown(herdbook): pass

    @pytest.mark.herdbook(clock="yesterday")
    def test_no_time(herdbook): pass

    @pytest.mark.herdbook(seed="nowhere.yaml")
    def test_no_file(herdbook): pass

    @pytest.mark.herdbook(seed="wrong.yaml")
    def test_wrong_file(herdbook): pass
    """,
    "wrong__yaml": """
    objects:
      - contact: ada
        body: {first_name: Ada, emails: [{email: nonsense}]}
    """,
}


# The files of another project, whose tests run at once in two workers.
OF_WORKERS: Final = {
    "test_own__py": HELPERS
    + """
    @pytest.mark.parametrize("number", range(24))
    def test_own(herdbook, number, tmp_path_factory):
        status, made = ask(herdbook, "POST", "/api/v2/contacts", {"emails": [{"email": "ada@example.com"}]})
        assert status == 201
        (tmp_path_factory.getbasetemp().parent / f"seen-{number}").write_text(herdbook.url)
    """,
    "test_snapshots__py": HELPERS
    + """
    @pytest.mark.herdbook(random_seed=3)
    @pytest.mark.parametrize("number", range(20))
    def test_each(herdbook, number):
        ask(herdbook, "POST", "/api/v2/tags", {"name": f"Tag {number}"})
        herdbook.snapshot("before")
        ask(herdbook, "POST", "/api/v2/tags", {"name": "Other"})
        herdbook.restore("before")
        names = [each["name"] for each in ask(herdbook, "GET", "/api/v2/tags")[1]["data"]]
        assert names == [f"Tag {number}"]

    def test_of_a_seed(herdbook):
        herdbook.restore("crm-small")
        assert ask(herdbook, "GET", "/api/v2/tags")[1]["data"]
        herdbook.reset()
    """,
}


class Project(NamedTuple):
    """A project whose tests were run at once, and what pytest said."""

    folder: Path
    said: str

    def outcomes(self, name: str) -> Counter[str]:
        """Count the outcomes of the tests in a file."""
        return Counter(re.findall(rf"^(PASSED|FAILED|ERROR) test_{name}\.py", self.said, re.MULTILINE))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the wheel is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder), cwd=ROOT)
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    options = ("--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--target", str(site))
    _run(sys.executable, "-m", "pip", "install", *options, str(wheel), cwd=folder)
    return site


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=PATIENCE)


def start_tests(installed: Path, folder: Path, text: str, *options: str, **files: str) -> "subprocess.Popen[str]":
    """Begin the tests of a project with the plug-in. Files are named with `__` in place of the point."""
    for name, content in {
        "test_mine__py": text,
        "pytest__ini": f"[pytest]\naddopts = {_WITHOUT}\nasyncio_default_fixture_loop_scope = function\n",
        **files,
    }.items():
        lines = (line.removeprefix("    ") for line in content.splitlines())
        (folder / name.replace("__", ".")).write_text("\n".join(lines))
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "HERDBOOK_"))}
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-m", "pytest", "-W", "error", f"--basetemp={folder / 'base'}", *options],
        cwd=folder,
        env=ours | {"PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run_tests(installed: Path, folder: Path, text: str, *options: str, **files: str) -> str:
    """Run the tests of a project with the plug-in; return what pytest says."""
    return start_tests(installed, folder, text, *options, **files).communicate(timeout=PATIENCE)[0]


@pytest.fixture(scope="module")
def project(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project, after its tests."""
    folder = tmp_path_factory.mktemp("project")
    return Project(folder, run_tests(installed, folder, FIRST_TEST, "-rpfE", **PROJECT))


@pytest.fixture(scope="module")
def of_workers(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project whose tests run in two workers, after its tests."""
    folder = tmp_path_factory.mktemp("workers")
    return Project(folder, run_tests(installed, folder, FIRST_TEST, "-rp", "-n", "2", **OF_WORKERS))


def labs_of(folder: Path) -> list[int]:
    """Return the servers that still run for the tests of a folder."""
    running = [(each.pid, str(each.info["cmdline"])) for each in psutil.process_iter(["cmdline"])]
    return [pid for pid, words in running if str(folder) in words]


def test_a_test_of_five_lines_passes(project: Project) -> None:
    """A fixture is all that a project needs, and no server is left."""
    assert project.outcomes("mine") == {"PASSED": 1}, project.said
    until(lambda: labs_of(project.folder) == [])


def test_nothing_is_imported_or_started_before_a_fixture_is_used(installed: Path, tmp_path: Path) -> None:
    """Tests are collected with three modules more than without the plug-in, none of them another library's."""
    conftest = """
    import sys

    def pytest_unconfigure():
        print("modules", sorted(sys.modules))
    """

    def modules(*options: str) -> set[str]:
        said = run_tests(installed, tmp_path, FIRST_TEST, "--co", *options, conftest__py=conftest)
        assert "1 test collected" in said, said
        return set(ast.literal_eval(said.partition("modules ")[2].strip()))

    assert modules() - modules("-p", "no:herdbook") == {"herdbook", "herdbook.testing", "herdbook.testing.plugin"}
    assert not (tmp_path / "base" / "herdbook-lab").exists()


def test_a_project_may_turn_the_plug_in_off(installed: Path, tmp_path: Path) -> None:
    """`-p no:herdbook` leaves nothing of it."""
    said = run_tests(installed, tmp_path, FIRST_TEST, "-p", "no:herdbook")

    assert "fixture 'herdbook' not found" in said, said


def test_coroutines_use_it(project: Project, side_by_side: dict[str, str]) -> None:
    """A test that is a coroutine has the fixture in both modes of pytest-asyncio, and waits in a thread."""
    assert project.outcomes("coroutines") == {"PASSED": 1}, project.said
    assert "1 passed" in side_by_side["auto"], side_by_side


@pytest.fixture(scope="module")
def side_by_side(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what pytest says of two runs at once. The second has coroutines, in the mode that needs no marks."""
    first, auto = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("auto")
    with ThreadPoolExecutor() as threads:
        runs = {
            "first": threads.submit(run_tests, installed, first, FIRST_TEST),
            "auto": threads.submit(run_tests, installed, auto, PROJECT["test_coroutines__py"], "-o", "asyncio_mode=auto"),
        }
        return {name: each.result() for name, each in runs.items()}


def test_runs_side_by_side_have_a_server_each(side_by_side: dict[str, str]) -> None:
    """Two runs on one machine do not disturb each other."""
    assert ["1 passed" in each for each in side_by_side.values()] == [True, True], side_by_side


def test_a_killed_run_leaves_no_server(installed: Path, tmp_path: Path) -> None:
    """The server ends after pytest, however that ends."""
    text = """
    import signal

    def test_for_ever(herdbook):
        signal.pause()
    """
    process = start_tests(installed, tmp_path, text)
    until((tmp_path / "base/herdbook-lab/ready.json").exists)
    assert labs_of(tmp_path) != []

    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=PATIENCE)

    until(lambda: labs_of(tmp_path) == [])


def test_workers_share_one_server(of_workers: Project) -> None:
    """The workers of pytest-xdist use one server with a workspace for each test, and the last one stops it."""
    assert of_workers.outcomes("own") == {"PASSED": 24}, of_workers.said
    assert len({each.read_text() for each in (of_workers.folder / "base").glob("seen-*")}) == 1
    until(lambda: labs_of(of_workers.folder) == [])


def test_a_test_commands_its_workspace(project: Project) -> None:
    """Seed, clock, faults, journal and inbox do what their names say."""
    assert project.outcomes("commands") == {"PASSED": 2}, project.said


def test_a_workspace_begins_as_its_marks_say(project: Project) -> None:
    """A test's own mark goes before that of its module; a seed may be a file beside the test, in which names are found."""
    assert project.outcomes("marks") == {"PASSED": 5}, project.said


def test_snapshots_are_of_one_test_and_go_with_it(of_workers: Project) -> None:
    """Tests that run at once, or after each other, may use one name, and leave nothing of it."""
    assert of_workers.outcomes("snapshots") == {"PASSED": 21}, of_workers.said


def test_what_cannot_be_meant_is_refused_in_words(project: Project) -> None:
    """A misspelt name, a time without a zone, an expectation of nothing, an unknown scope: each refusal has the remedy."""
    assert project.outcomes("refusals") == {"PASSED": 1, "ERROR": 3}, project.said
    assert "has no zone. Give it one, as in" in project.said
    assert "The mark `herdbook` has `seed=7`. Name a seed, or the file of one." in project.said
    assert "The mark `herdbook` has `seed=['empty']`." in project.said


def test_failures_are_told(project: Project) -> None:
    """A test fails without the fault that it asked for; a failure shows what the client did, wherever it is."""
    assert project.outcomes("failures") == {"FAILED": 4, "ERROR": 1}, project.said
    forgotten = "fault('rate_limited', retry_after=1, operation='list-tags', nth=3), whose conditions were met 1 times."
    assert f"These faults never happened: {forgotten}" in project.said
    assert "1. request POST /v2/contacts 201" in project.said
    assert '{"first_name": "Grace"}' in project.said
    assert "1. request POST /v2/tags 201" in project.said
    assert "Nothing has come from the client." in project.said
    assert "0 of 1 entries came within 0 s: kind='inbox'." in project.said
    assert "`fault`" in project.said
    # The lines of the plug-in help nobody.
    assert "herdbook/testing" not in project.said


def test_a_workspace_that_cannot_begin_is_refused_in_words(project: Project) -> None:
    """The refusal names what the mark or the seed has wrong, without a trace of the plug-in."""
    assert project.outcomes("beginnings") == {"ERROR": 6}, project.said
    for told in (
        "The mark `herdbook` has no `sede`. It has seed, clock, clock_runs, random_seed.",
        "The mark `herdbook` takes its members by name, as in `seed='crm-small'`.",
        "There is no seed `crm-huge`. There are empty, crm-small, crm-large",
        "`clock`",
        "nowhere.yaml` cannot be read: No such file or directory.",
        "wrong.yaml` cannot be built.",
        "`emails[0].email`",
    ):
        assert told in project.said
    assert "Traceback" not in project.said
    assert "testing/" not in project.said


def test_a_server_that_cannot_start_says_why(installed: Path, tmp_path: Path) -> None:
    """Each worker shows what the server said, and only one tries."""
    conftest = """
    import resource

    # As on a disk that is full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
    """
    text = FIRST_TEST.replace("(herdbook)", "(herdbook, number)").replace(
        "    def test", "    import pytest\n\n    @pytest.mark.parametrize('number', range(4))\n    def test"
    )
    said = run_tests(installed, tmp_path, text, "-n", "2", conftest__py=conftest)

    assert "4 errors" in said, said
    assert "The lab did not start and ended with status 1. It said:" in said
    assert "File too large" in said
    assert "Traceback" not in said


def test_a_server_that_has_ended_does_not_end_pytest(installed: Path, tmp_path: Path) -> None:
    """Tests after it fail in plain words, and so does the report of a failure."""
    text = """
    import json, os, pathlib, signal, psutil

    def test_kills(herdbook, herdbook_server):
        for each in psutil.process_iter(["cmdline"]):
            if str(herdbook_server.log.parent) in str(each.info["cmdline"]):
                each.kill()
        assert False

    def test_next(herdbook):
        pass
    """
    said = run_tests(installed, tmp_path, text)

    assert "1 failed, 1 error" in said, said
    assert "does not answer" in said
    assert "INTERNALERROR" not in said
