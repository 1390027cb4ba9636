"""`herdbook keys`, `workspaces`, `migrate`, `--version`, and the messages for wrong usage."""

import asyncio
import re
import subprocess
from collections.abc import Generator
from importlib.metadata import version
from pathlib import Path

import asyncpg
import pytest
import requests

from herdbook.auth.keys import read_key
from herdbook.cli.environment import ExitStatus
from herdbook.cli.main import main
from herdbook.embedded import running
from tests.cli.programs import PROGRAM, Running, environment, herdbook, serving, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server on a new folder."""
    with serving(tmp_path_factory.mktemp("admin")) as server:
        yield server


def status_with(server: Running, key: str) -> int:
    """Return the status of a list of contacts with this key."""
    return requests.get(server.url + "/api/v2/contacts", headers={"Authorization": key}, timeout=90).status_code


def test_a_key_works_at_once_and_within_its_scopes(server: Running) -> None:
    """The output is only the key, so that a script can read it. The key may do what its scopes allow."""
    created = herdbook("keys", "create", "Reader", "--scope=contacts:read", folder=server.folder)
    key = created.said.strip()

    assert read_key(key)
    assert status_with(server, key) == 200
    answer = requests.post(server.url + "/api/v2/contacts", json={}, headers={"Authorization": key}, timeout=90)
    assert answer.status_code == 403


def test_a_revoked_key_stops_within_five_seconds(server: Running) -> None:
    """A revoked key stops within five seconds even if it is in use."""
    key = herdbook("keys", "create", "Short", "--scope=contacts:read", folder=server.folder).said.strip()
    assert status_with(server, key) == 200
    revoked = herdbook("keys", "revoke", key.partition(".")[0], folder=server.folder)

    assert revoked.status == 0
    until(lambda: status_with(server, key) == 401, seconds=5)


def test_an_expired_key_is_refused(server: Running) -> None:
    """A key may have an expiry time, in UTC."""
    key = herdbook("keys", "create", "Old", "--scope=contacts:read", "--expires=2199-01-31", folder=server.folder).said.strip()
    url = running(server.folder / "herdbook-data")
    assert url is not None

    async def let_expire(url: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("update credential set expires_at = '2020-01-31' where name = 'Old'")
        await connection.close()

    assert "expires 2199-01-31" in herdbook("keys", "list", folder=server.folder).said
    asyncio.run(let_expire(url))
    assert status_with(server, key) == 401
    assert "expired 2020-01-31" in herdbook("keys", "list", folder=server.folder).said


def test_a_key_that_has_expired_before_it_exists_is_refused(server: Running) -> None:
    """The message names the option, and no key is created."""
    refused = herdbook("keys", "create", "Gone", "--scope=contacts:read", "--expires=2020-01-31", folder=server.folder)

    assert refused.status == 1
    assert "--expires is in the past" in refused.complained
    assert "Gone" not in herdbook("keys", "list", folder=server.folder).said


@pytest.mark.parametrize("kind", ["keys", "clients"])
def test_a_scope_is_needed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The message lists the scopes that exist."""
    status = main([kind, "create", "x"])
    complained = capsys.readouterr().err

    assert status is ExitStatus.USAGE
    assert "--scope contacts:read" in complained
    assert "companies:read" in complained


def test_the_list_shows_no_secret(server: Running) -> None:
    """The list shows names, scopes and states, and only the public part of each key."""
    said = herdbook("keys", "list", folder=server.folder).said

    assert "First key" in said
    assert server.key.partition(".")[0] in said
    assert server.key.partition(".")[2] not in said


def test_an_unknown_scope_is_refused(server: Running) -> None:
    """The message lists the scopes that exist."""
    refused = herdbook("keys", "create", "Wrong", "--scope=contact:read", folder=server.folder)

    assert refused.status == 1
    assert "contact:read" in refused.complained
    assert "contacts:read" in refused.complained


def test_revoking_what_is_not_there(server: Running) -> None:
    """The message names the command that lists the keys."""
    refused = herdbook("keys", "revoke", "sk-apik_nobody", folder=server.folder)

    assert refused.status == 1
    assert "keys list" in refused.complained


def test_a_second_workspace_has_keys_of_its_own(tmp_path: Path) -> None:
    """The commands also work without a running server: each starts the database while it runs."""
    with serving(tmp_path):
        pass
    workspace = herdbook("workspaces", "create", "Sales", folder=tmp_path).said.strip()
    ambiguous = herdbook("keys", "create", "Any", "--scope=contacts:read", folder=tmp_path)
    key = herdbook("keys", "create", "Sales", f"--workspace={workspace}", "--scope=contacts:read", folder=tmp_path).said.strip()

    assert re.fullmatch("wrks_[0-9A-Z]{26}", workspace)
    assert ambiguous.status == 1
    assert "--workspace" in ambiguous.complained
    unknown = herdbook("workspaces", "set", workspace, "--region=UK", folder=tmp_path)
    assert (unknown.status, herdbook("workspaces", "set", "wrks_1", "--region=GB", folder=tmp_path).status) == (1, 1)
    assert "GB" in unknown.complained
    assert herdbook("workspaces", "set", workspace, "--region=gb", folder=tmp_path).status == 0
    listed = herdbook("workspaces", "list", folder=tmp_path).said
    assert re.search(r"Sales.* GB", listed)
    assert "First workspace" in listed
    with serving(tmp_path) as server:
        server.post("/api/v2/contacts", {"first_name": "Ada"})
        theirs = requests.get(server.url + "/api/v2/contacts", headers={"Authorization": key}, timeout=90).json()
        assert theirs["data"] == []


def test_workspaces_of_one_node_have_no_place(server: Running) -> None:
    """A database that keeps all workspaces on one node says so, and what it takes to have several."""
    where = herdbook("workspaces", "where", folder=server.folder)
    workspace = re.findall(r"wrks_\w+", herdbook("workspaces", "list", folder=server.folder).said)[0]
    move = herdbook("workspaces", "move", workspace, "db1:5432", folder=server.folder)

    assert (where.status, move.status) == (1, 1)
    assert "Citus" in where.complained
    assert "Citus" in move.complained


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 256], ids=["empty", "blank", "line", "long"])
@pytest.mark.parametrize(
    "command",
    [
        ["workspaces", "create"],
        ["keys", "create", "--scope=contacts:read"],
        ["clients", "create", "--scope=contacts:read"],
        ["users", "create"],
        ["users", "create", "Ada"],
    ],
    ids=" ".join,
)
def test_a_name_that_nobody_can_read(command: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad name is refused before any look-up, and the message says which names are valid."""
    status = main([*command, name])

    assert status is ExitStatus.FAILED
    assert "1 to 255 printable characters" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["keys", "clients"])
def test_what_cannot_be_shown_does_not_exist(server: Running, kind: str) -> None:
    """No key or client is created if standard output is full, and the status says so."""
    command = [str(PROGRAM), kind, "create", "Unseen", "--scope=contacts:read"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command, cwd=server.folder, env=environment({}), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Unseen" not in herdbook(kind, "list", folder=server.folder).said


def test_migrate(server: Running) -> None:
    """A second run has nothing to do."""
    done = herdbook("migrate", folder=server.folder)

    assert done.status == 0
    assert "up to date" in done.said


def test_a_folder_without_data(tmp_path: Path) -> None:
    """The message says how to name another folder, and nothing is created."""
    refused = herdbook("keys", "list", folder=tmp_path)

    assert refused.status == 1
    assert "--data-dir" in refused.complained
    assert list(tmp_path.iterdir()) == []


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The version is that of the installed package."""
    assert main(["--version"]) == ExitStatus.OK
    assert capsys.readouterr().out == f"herdbook {version('herdbook')}\n"


@pytest.mark.parametrize("command", ["keys", "clients", "workspaces", "users"])
def test_no_other_version_is_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command of a group does not print the version of the library that reads its arguments."""
    assert main([command, "list", "--version"]) == ExitStatus.USAGE
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("arguments", [["nothing"], ["serve", "--port", "many"], ["keys", "create"]])
def test_usage_errors(arguments: list[str], tmp_path: Path) -> None:
    """A command that is not understood ends with status 2."""
    assert herdbook(*arguments, folder=tmp_path).status == ExitStatus.USAGE
