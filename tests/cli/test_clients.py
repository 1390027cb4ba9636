"""`herdbook clients`: OAuth clients."""

import re
from collections.abc import Generator
from pathlib import Path

import pytest
import requests

from tests.cli.programs import Running, herdbook, serving, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server on a new folder."""
    with serving(tmp_path_factory.mktemp("clients")) as server:
        yield server


def create(folder: Path, *options: str) -> dict[str, str]:
    """Create a client; return the printed values."""
    created = herdbook("clients", "create", "A program", "--scope=contacts:read", *options, folder=folder)
    assert created.status == 0, created.complained
    return dict(line.split("=", 1) for line in created.said.splitlines())


def ask(server: Running, client: dict[str, str]) -> requests.Response:
    """Request a token with the client's credentials."""
    return requests.post(server.url + "/api/v1/oauth/token", data={"grant_type": "client_credentials", **client}, timeout=90)


def status_with(server: Running, token: str) -> int:
    """Return the status of a list of contacts with this token."""
    headers = {"Authorization": f"Bearer {token}"}
    return requests.get(server.url + "/api/v2/contacts", headers=headers, timeout=90).status_code


def test_a_client_works_at_once(server: Running) -> None:
    """The output has the form of variables, so that a script can read it. The client may do what its scopes allow."""
    client = create(server.folder)
    answer = ask(server, client).json()

    assert re.fullmatch("ocl_[0-9A-Z]{26}", client["client_id"])
    assert re.fullmatch("ocs_[0-9A-Za-z]{38}", client["client_secret"])
    assert answer["scope"] == "contacts:read"
    assert status_with(server, answer["access_token"]) == 200


def test_a_revoked_client_stops_within_five_seconds(server: Running) -> None:
    """A revoked client gets no new tokens, and its current one stops working."""
    client = create(server.folder)
    token = ask(server, client).json()["access_token"]
    assert status_with(server, token) == 200
    revoked = herdbook("clients", "revoke", client["client_id"], folder=server.folder)

    assert revoked.status == 0
    assert ask(server, client).status_code == 401
    until(lambda: status_with(server, token) == 401, seconds=5)
    assert re.search(client["client_id"] + r".* revoked \d{4}-", herdbook("clients", "list", folder=server.folder).said)


def test_the_list_shows_no_secret(server: Running) -> None:
    """The list shows names, scopes, redirect URIs and states."""
    client = create(server.folder, "--redirect-uri=https://app.example/a", "--redirect-uri=http://localhost:4000/b")
    said = herdbook("clients", "list", folder=server.folder).said
    line = next(line for line in said.splitlines() if client["client_id"] in line)

    assert re.search("A program .* contacts:read .* https://app.example/a http://localhost:4000/b .* never .* works", line)
    assert client["client_secret"].removeprefix("ocs_") not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scope=workspace:admin"], "workspace:admin"),
        (["--scope=contact:read"], "contacts:read"),
        (["--scope=contacts:read", "--redirect-uri=http://app.example/"], "http://app.example/"),
        (["--scope=contacts:read", "--workspace=wrks_nobody"], "workspaces list"),
    ],
)
def test_what_can_be_no_client_is_refused(server: Running, options: list[str], words: str) -> None:
    """The message says what is wrong, and no client is created."""
    refused = herdbook("clients", "create", "Wrong", *options, folder=server.folder)

    assert refused.status == 1
    assert words in refused.complained
    assert "Wrong" not in herdbook("clients", "list", folder=server.folder).said


@pytest.mark.parametrize("client", ["ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "nobody"])
def test_revoking_what_is_not_there(server: Running, client: str) -> None:
    """The message names the command that lists the clients."""
    refused = herdbook("clients", "revoke", client, folder=server.folder)

    assert refused.status == 1
    assert "clients list" in refused.complained
