"""The database of a command: without a server, beside one, external, or missing."""

import asyncio
import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import asyncpg
import pytest

from herdbook.cli.environment import ExitStatus
from herdbook.cli.main import main
from herdbook.embedded import EmbeddedPostgres, running
from tests.cli.programs import PATIENCE, PROGRAM, Running, environment, herdbook, serving


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run commands in, without herdbook's variables in the environment."""
    for variable in [variable for variable in os.environ if variable.startswith("HERDBOOK_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of a stopped server."""
    with serving(tmp_path_factory.mktemp("stopped")) as server:
        pass
    return server.folder


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The address of a PostgreSQL that herdbook has never used."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("elsewhere"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def empty(elsewhere: str) -> str:
    """The address of a new, empty database there."""
    execute(elsewhere, "drop database if exists fresh with (force)", "create database fresh")
    return elsewhere.replace("/herdbook?", "/fresh?", 1)


def test_keys_without_a_server(stopped: Path) -> None:
    """Keys are created, listed and revoked without a server: each command starts the database and stops it."""
    key = herdbook(
        "keys", "create", "Night shift", "--scope=contacts:read", "--expires=2999-12-31", folder=stopped
    ).said.strip()
    before = herdbook("keys", "list", folder=stopped).said
    revoked = herdbook("keys", "revoke", key, folder=stopped)
    after = herdbook("keys", "list", folder=stopped).said

    assert line_with("Night shift", before).endswith("expires 2999-12-31 00:00")
    assert revoked.status == 0
    assert " revoked 2" in line_with("Night shift", after)
    assert running(stopped / "herdbook-data") is None
    assert not (stopped / "herdbook-data/postgres/postmaster.pid").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["keys", "list"],
        ["keys", "create", "Any", "--scope", "contacts:read"],
        ["keys", "revoke", "sk-apik_any"],
        ["workspaces", "list"],
        ["workspaces", "create", "Any"],
        ["migrate"],
    ],
    ids=" ".join,
)
def test_a_folder_without_data(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command says where it looked and what to do, and creates nothing."""
    status = main([*arguments, "--data-dir", "nowhere"])
    complained = capsys.readouterr().err

    assert status is ExitStatus.FAILED
    assert "`nowhere`" in complained
    assert "--data-dir" in complained
    assert "`herdbook serve` creates a new one" in complained
    assert list(folder.iterdir()) == []


def test_a_server_whose_sessions_have_the_settings_of_their_role(empty: str, tmp_path: Path) -> None:
    """With a direct address, a start is refused until `migrate --set-role` ran; then all kinds of connections work."""
    options = (f"--database-url={empty}", f"--database-direct-url={empty}")
    refused = herdbook("serve", "--port=0", *options, folder=tmp_path)
    migrated = herdbook("migrate", "--set-role", *options, folder=tmp_path)
    with serving(tmp_path, *options) as server:
        created, listed = server.post("/api/v2/contacts", {}), server.get("/api/v2/contacts")

    assert refused.status == 1
    assert "Run `herdbook migrate --set-role`" in refused.complained
    assert migrated.said.endswith("\nThe role `postgres` has the settings of herdbook in this database.\n")
    assert (created.status_code, len(listed.json()["data"])) == (201, 1)


def test_a_database_that_is_not_migrated(
    empty: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands name the remedy. The remedy lists what it applied, and a second run has nothing to do."""
    monkeypatch.setenv("HERDBOOK_DATABASE_URL", empty)
    refused = main(["workspaces", "list"])
    complained = capsys.readouterr().err
    migrated = main(["migrate"])
    applied = capsys.readouterr().out
    again = main(["migrate"])
    nothing = capsys.readouterr().out
    listed = main(["workspaces", "list"])

    assert (refused, migrated, again, listed) == (ExitStatus.FAILED, ExitStatus.OK, ExitStatus.OK, ExitStatus.OK)
    assert "Run `herdbook migrate` first" in complained
    assert applied == "Created the schema.\n"
    assert nothing == "The schema is up to date.\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("arguments", [["serve", "--port=0"], ["migrate"], ["keys", "list"]], ids=" ".join)
def test_an_address_that_is_none(arguments: list[str], folder: Path) -> None:
    """The message says in one line what is wrong with the address."""
    refused = herdbook(*arguments, "--database-url=nonsense", folder=folder)

    assert refused.status == ExitStatus.FAILED
    assert refused.complained.startswith("herdbook: ")
    assert "postgresql" in refused.complained
    assert "Traceback" not in refused.complained


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hush@host:port/db",
        "postgresql://u:hu/sh@host/db",
        "postgresql://u:hu#sh@host/db",
        "postgresql://h:99999/db",
    ],
)
@pytest.mark.parametrize("command", [["serve", "--port=0"], ["keys", "list"]], ids=" ".join)
def test_an_address_that_cannot_be_read(command: list[str], url: str, folder: Path) -> None:
    """The refusal is one line that shows a valid address, without any password."""
    refused = herdbook(*command, f"--database-url={url}", folder=folder)

    assert refused.status == ExitStatus.FAILED
    assert refused.complained.startswith("herdbook: ")
    assert "Traceback" not in refused.complained
    assert "hu" not in refused.complained.replace("'hu'", "")


def test_a_schema_of_a_newer_herdbook(
    empty: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A start and a migration refuse a newer schema and name it. An option allows it, to go back by one release."""
    monkeypatch.setenv("HERDBOOK_DATABASE_URL", empty)
    assert main(["migrate"]) is ExitStatus.OK
    execute(empty, "insert into migration (name) values ('9999_of_the_next_release')")
    refused = [main(["serve", "--port=0"]), main(["migrate"])]
    complained = capsys.readouterr().err
    monkeypatch.delenv("HERDBOOK_DATABASE_URL")
    with serving(folder, f"--database-url={empty}", "--allow-newer-schema") as server:
        status = server.get("/readyz").status_code

    assert refused == [ExitStatus.FAILED, ExitStatus.FAILED]
    assert complained.count("`9999_of_the_next_release`") == 2
    assert "--allow-newer-schema" in complained
    assert status == 200


def test_a_command_waits_for_another(stopped: Path) -> None:
    """Commands and a server that use a folder at the same moment take turns."""
    commands = [
        subprocess.Popen([str(PROGRAM), "keys", "list"], cwd=stopped, env=environment({}), stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    with serving(stopped) as server:
        statuses = [command.wait(PATIENCE) for command in commands]

    assert statuses == [0, 0, 0]
    assert not server.first


def test_each_workspace_lists_its_own_keys(
    empty: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list shows all keys, or those of one `--workspace`. An unknown workspace is refused."""

    def said(*arguments: str) -> str:
        assert main(arguments) is ExitStatus.OK
        return capsys.readouterr().out

    monkeypatch.setenv("HERDBOOK_DATABASE_URL", empty)
    said("migrate")
    sales, support = (said("workspaces", "create", name).strip() for name in ("Sales", "Support"))
    for workspace, name in ((sales, "Seller"), (support, "Helper")):
        said("keys", "create", name, "--scope", "contacts:read", "--scope", "companies:read", "--workspace", workspace)
    of_all, of_sales = said("keys", "list"), said("keys", "list", "--workspace", sales)
    refused = main(["keys", "list", "--workspace", "wrks_nobody"])

    assert "companies:read contacts:read" in line_with("Helper", of_all)
    assert sales in line_with("Seller", of_all)
    assert sales in line_with("Seller", of_sales)
    assert "Helper" not in of_sales
    assert refused is ExitStatus.FAILED
    assert "`wrks_nobody`" in capsys.readouterr().err


def test_a_server_and_its_commands_on_an_external_database(empty: str, folder: Path) -> None:
    """The first start shows a key once, changes by commands take effect at once, and a restart keeps everything."""
    option = f"--database-url={empty}"
    with serving(folder, option) as server:
        key = herdbook("keys", "create", "Beside", "--scope=contacts:read", option, folder=folder).said.strip()
        created = server.post("/api/v2/contacts", {"first_name": "Ada"}).json()
        beside = Running(server.process, folder, server.url, key, first=False)
        seen = beside.get(f"/api/v2/contacts/{created['id']}")
    with serving(folder, option) as again:
        kept = again.get(f"/api/v2/contacts/{created['id']}")

    assert (server.first, again.first) == (True, False)
    assert (seen.status_code, seen.json()) == (200, created)
    assert kept.json() == created
    assert not (folder / "herdbook-data").exists()


def test_the_demo_keeps_out_of_other_data(stopped: Path) -> None:
    """The demo adds neither sample data nor an admin key to a real folder that a variable names."""
    refused = herdbook("demo", "--port=0", folder=stopped, HERDBOOK_DATA_DIR="herdbook-data")
    keys = herdbook("keys", "list", folder=stopped).said
    workspaces = herdbook("workspaces", "list", folder=stopped).said

    assert refused.status == 1
    assert "HERDBOOK_DATA_DIR" in refused.complained
    assert "Demo" not in keys
    # One user, and the usual fields.
    assert line_with("First workspace", workspaces).split()[-1] == "9"


def execute(url: str, *statements: str) -> None:
    """Run statements on a database without herdbook."""

    async def carry_out() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(carry_out())


def line_with(text: str, said: str) -> str:
    """Return the line that contains the text."""
    (line,) = [line.rstrip() for line in said.splitlines() if text in line]
    return line
