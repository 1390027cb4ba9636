"""Settings from the environment: each is read, and an option overrides it."""

import dataclasses
import os
import re
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from herdbook.cli.environment import ExitStatus
from herdbook.cli.main import main
from herdbook.settings import Settings
from tests.cli.programs import Running, command_line, herdbook, serving, until

# Values that `serve` refuses before it starts anything: the refusal proves that the variable was read.
UNWORKABLE: Final = {
    "LAB_LIMIT": "0",
    "LAB_WORKSPACES": "0",
    "DATABASE_CONNECTIONS": "1",
    "PORT": "65536",
    "WORKERS": "0",
    "RATE_LIMIT": "-1",
    "RATE_LIMIT_BURST": "0",
    "QUEUE_LIMIT": "0",
    "BODY_LIMIT": "1",
    "KEEP_ALIVE": "0",
    "MEDIA_LIMIT": "-1",
    "HISTORY_DAYS": "-1",
    "DELETED_DAYS": "-1",
    "REQUEST_LOG_HOURS": "-1",
    "IMPORT_LIMIT": "-1",
    "IMPORT_DAYS": "0",
    "TRUSTED_PROXIES": "proxy.example",
    "PROBLEM_MEDIA_TYPE": "text/html",
    "CORS_ORIGINS": "app.example",
    "LOOPBACK_WEBHOOK_TARGETS": "perhaps",
    "LOG_LEVEL": "loud",
}
HEARD: Final = {
    "DATA_DIR": "elsewhere",
    "DATABASE_CONNECTIONS": "5",
    "HOST": "localhost",
    "RATE_LIMIT": "77",
    "RATE_LIMIT_BURST": "99",
    "PRIVATE_WEBHOOK_TARGETS": "true",
    "ALLOW_NEWER_SCHEMA": "true",
    "PROBLEM_TYPE_BASE": "https://problems.test/",
    "PROBLEM_MEDIA_TYPE": "application/problem+json",
    "LOG_LEVEL": "error",
}
# Settings with a test of their own: here, or in the tests of the ready file, the database, recordings, OpenID and the lab.
ELSEWHERE: Final = {
    *("DATABASE_URL", "DATABASE_DIRECT_URL", "READY_FILE", "RATE_LIMIT_STORE", "PUBLIC_URL", "ALLOWED_TARGETS"),
    *("OPENID_ISSUER", "OPENID_CLIENT_ID", "OPENID_CLIENT_SECRET_FILE", "LAB", "LAB_TOKEN", "LAB_ANYWHERE"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server that is configured by environment variables."""
    variables: dict[str, Any] = {f"HERDBOOK_{name}": value for name, value in HEARD.items()}
    with serving(tmp_path_factory.mktemp("variables"), **variables) as server:
        yield server


def test_no_setting_is_left_out() -> None:
    """A new setting must be tested here, too."""
    assert UNWORKABLE.keys() | HEARD.keys() | ELSEWHERE == {field.name.upper() for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("name", UNWORKABLE)
def test_what_cannot_work_is_a_usage_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable is checked like its option, and the message names the option."""
    for variable in [variable for variable in os.environ if variable.startswith("HERDBOOK_")]:
        monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"HERDBOOK_{name}", UNWORKABLE[name])

    status = main(["serve"])
    said = "".join(capsys.readouterr())

    assert status is ExitStatus.USAGE
    assert f"--{name.lower().replace('_', '-')}" in said or f"HERDBOOK_{name}" in said
    assert list(tmp_path.iterdir()) == []


def test_the_folder_and_the_address(server: Running) -> None:
    """The variables set the data folder and the server's address."""
    assert (server.folder / "elsewhere/postgres").is_dir()
    assert not (server.folder / "herdbook-data").exists()
    assert server.url.startswith("http://localhost:")


def test_the_rate_limit(server: Running) -> None:
    """The headers show the burst and the rate from the variables."""
    headers = server.get("/api/v2/contacts").headers

    # A burst of 99 refills in 99/77 seconds, rounded up.
    assert headers["RateLimit-Policy"] == '"credential";q=99;w=2'


def test_problems(server: Running) -> None:
    """The variables set the base address and the media type of problems."""
    answer = server.get("/api/v2/contacts/cnt_nobody")

    assert answer.status_code == 404
    assert answer.json()["type"].startswith("https://problems.test/")
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_the_connections_to_the_database(server: Running) -> None:
    """The variable sets the number of connections."""
    # Each connection has a PostgreSQL process that names its user, visible on Linux.
    # The one that prepared the database may be a moment from its end.
    until(lambda: sum("postgres herdbook" in command_line(process) for process in server.family()) == 5)


def test_the_log(tmp_path: Path) -> None:
    """Requests are not logged at level error."""
    with serving(tmp_path, HERDBOOK_LOG_LEVEL="error") as server:
        assert server.get("/api/v2/contacts").status_code == 200

    assert (tmp_path / "err.txt").read_text() == ""


def test_the_store_of_the_rate_limit(tmp_path: Path) -> None:
    """An invalid store is a usage error at the start, not a failure at the first request."""
    refused = herdbook("serve", "--port=0", folder=tmp_path, HERDBOOK_RATE_LIMIT_STORE="nonsense")

    assert refused.status == 2
    assert refused.complained.startswith("herdbook: --rate-limit-store must be an address")


def test_an_option_is_heard_over_a_variable(tmp_path: Path) -> None:
    """The option overrides the variable, which would have been refused."""
    with serving(tmp_path, HERDBOOK_PORT="65536", HERDBOOK_WORKERS="1") as server:
        assert requests.get(server.url + "/healthz", timeout=90).status_code == 200


@pytest.mark.parametrize(
    "command",
    [
        *("erase", "import", "export", "subject-access", "backup", "restore", "keys create", "users create", "duplicates"),
        *("workspaces create", "upgrade-database", "erasures apply", "migrate", "serve"),
    ],
)
def test_the_help_names_variables_of_settings_alone(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings have variables, and so have the server, its key and the workspace. A command's own orders have none."""
    main([*command.split(), "--help"])
    named = set(re.findall(r"HERDBOOK_([A-Z_]+)", capsys.readouterr().out))

    settings = {field.name.upper() for field in dataclasses.fields(Settings)}
    assert "DATA_DIR" in named
    assert named <= settings | {"API_KEY", "SERVER", "WORKSPACE"}


def test_a_variable_gives_no_consent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable with the name of an argument or a flag of a command is not read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERDBOOK_PERSON", "ada@x.test")
    monkeypatch.setenv("HERDBOOK_DATA_DIR", "nowhere")
    status = main(["erase"])

    assert status is ExitStatus.USAGE
    assert "--person" in capsys.readouterr().err


def test_where_webhooks_may_be(server: Running) -> None:
    """The variable allows private addresses."""
    assert server.post("/api/herdbook/webhooks", {"url": "http://10.0.0.1/"}).status_code == 201
