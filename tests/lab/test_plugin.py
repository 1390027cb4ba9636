"""The plug-in for pytest, installed from the wheel into a project of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import psutil
import pytest

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = 120.0

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


def run_tests(installed: Path, folder: Path, text: str, *options: str) -> str:
    """Run the tests of a project with the plug-in; return what pytest says."""
    (folder / "test_mine.py").write_text("\n".join(line.removeprefix("    ") for line in text.splitlines()))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "HERDBOOK_"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", f"--basetemp={folder / 'base'}", *options],
        cwd=folder,
        env=ours | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return done.stdout + done.stderr


def labs_of(folder: Path) -> list[int]:
    """Return the servers that still run for the tests of a folder."""
    running = [(each.pid, str(each.info["cmdline"])) for each in psutil.process_iter(["cmdline"])]
    return [pid for pid, words in running if str(folder) in words]


def test_a_test_of_five_lines_passes(installed: Path, tmp_path: Path) -> None:
    """A fixture is all that a project needs, and no server is left."""
    said = run_tests(installed, tmp_path, FIRST_TEST)

    assert "1 passed" in said, said
    assert labs_of(tmp_path) == []


def test_nothing_is_imported_or_started_without_a_fixture(installed: Path, tmp_path: Path) -> None:
    """A project that has herdbook installed for another reason pays nothing for the plug-in."""
    said = run_tests(
        installed,
        tmp_path,
        """
        import sys

        def test_nothing():
            names = {name for name in sys.modules if name.startswith("herdbook")}
            assert names == {"herdbook", "herdbook.testing", "herdbook.testing.plugin"}
        """.replace("\n    ", "\n"),
    )

    assert "1 passed" in said, said
    assert not (tmp_path / "base" / "herdbook-lab").exists()


def test_workers_share_one_server(installed: Path, tmp_path: Path) -> None:
    """The workers of pytest-xdist use one server with a workspace for each test, and the last one stops it."""
    text = (
        HELPERS
        + """
    @pytest.mark.parametrize("number", range(24))
    def test_own(herdbook, number, tmp_path_factory):
        status, made = ask(herdbook, "POST", "/api/v2/contacts", {"emails": [{"email": "ada@example.com"}]})
        assert status == 201
        (tmp_path_factory.getbasetemp().parent / f"seen-{number}").write_text(herdbook.url)
    """
    )
    said = run_tests(installed, tmp_path, text, "-n", "2")

    assert "24 passed" in said, said
    assert len({each.read_text() for each in (tmp_path / "base").glob("seen-*")}) == 1
    assert labs_of(tmp_path) == []


def test_a_test_commands_its_workspace(installed: Path, tmp_path: Path) -> None:
    """Seed, clock, faults, journal and inbox do what their names say."""
    text = (
        HELPERS
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
    """
    )
    said = run_tests(installed, tmp_path, text)

    assert "2 passed" in said, said


def test_failures_are_told(installed: Path, tmp_path: Path) -> None:
    """A test fails without the fault that it asked for; a failure shows what the client did; the lab's refusals are told."""
    text = (
        HELPERS
        + """
    def test_forgotten(herdbook):
        herdbook.fault("rate_limited", retry_after=1)

    def test_failing(herdbook):
        ask(herdbook, "POST", "/api/v2/contacts", {"first_name": "Grace"})
        assert False

    @pytest.mark.herdbook(seed="crm-huge")
    def test_refused(herdbook):
        pass
    """
    )
    said = run_tests(installed, tmp_path, text)

    assert "2 failed, 1 error" in said, said
    assert "These faults never happened: rate_limited." in said
    assert "1. request POST /v2/contacts 201" in said
    assert '{"first_name": "Grace"}' in said
    assert "LabRefused" in said
    assert "crm-huge" in said
