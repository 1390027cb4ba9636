"""A server without a lab: it has no path of it, no header, no database, and none of its code."""

import json
import subprocess
import sys
from collections.abc import Generator
from typing import NamedTuple

import asyncpg
import pytest
import requests

from herdbook import embedded, ids
from herdbook.app import OPERATIONS
from herdbook.http.operation import Operation
from herdbook.lab.api import operations
from herdbook.lab.lab import Lab
from herdbook.settings import Settings
from tests.cli import programs

ID = "01HQXVB4Y9Y0Q6P0QH5GX2CT7T"
HEADER = "X-Herdbook-Lab"
_PATIENCE = 30


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[programs.Running, programs.Running]]:
    """Two servers without a lab: one that never had one, and one whose data had a lab before."""
    never, before = tmp_path_factory.mktemp("never"), tmp_path_factory.mktemp("before")
    with programs.serving(before, "--lab") as had:
        token = json.loads((before / "ready.json").read_text())["lab_token"]
        made = requests.post(
            f"{had.url}/api/herdbook/lab/workspaces", json={}, headers={"Authorization": f"Bearer {token}"}, timeout=_PATIENCE
        )
        assert made.status_code == 201
    with programs.serving(never) as one, programs.serving(before) as other:
        yield one, other


@pytest.fixture(scope="module")
def server(servers: tuple[programs.Running, programs.Running]) -> programs.Running:
    """A server without a lab, whose data had one before."""
    return servers[1]


def path_of(operation: Operation) -> str:
    """Return the path of an operation, with ids in it."""
    path = operation.path
    for name in operation.path_parameters:
        path = path.replace(f"{{{name}_id}}", f"{ids.WORKSPACE}{ID}")
    return f"/api{path}"


@pytest.mark.parametrize("operation", operations(Lab(Settings(lab=True), "")), ids=lambda operation: operation.id)
def test_no_operation_of_a_lab_is_there(server: programs.Running, operation: Operation) -> None:
    """There is no such path, whoever asks."""
    answers = [
        requests.request(operation.method, server.url + path_of(operation), json={}, headers=headers, timeout=_PATIENCE)
        for headers in ({}, {"Authorization": server.key}, {"Authorization": "Bearer the-token-of-the-lab"})
    ]

    assert [each.status_code for each in answers] == [404] * 3
    assert [each for each in answers if HEADER in each.headers] == []


class Seen(NamedTuple):
    """An answer, without what differs from server to server."""

    asked: str
    status: int
    headers: list[str]
    title: str

    @classmethod
    def of(cls, response: requests.Response, asked: str) -> "Seen":
        """Return what is seen of an answer."""
        is_problem = response.headers.get("Content-Type", "").startswith("application/problem+json")
        title = response.json()["title"] if is_problem else ""
        return cls(asked, response.status_code, sorted(name.lower() for name in response.headers), title)


def seen(server: programs.Running) -> list[Seen]:
    """Return what all operations and some pages answer to the key of the server."""
    found: list[Seen] = []
    paths = [(each.method, path_of(each)) for each in OPERATIONS]
    paths += [("GET", path) for path in ("/", "/docs", "/healthz", "/console/sign-in", "/nowhere")]
    paths.append(("POST", f"/api/herdbook/lab/inboxes/{ids.WORKSPACE}{ID}"))
    with requests.Session() as session:
        for method, path in paths:
            with session.request(
                *(method, server.url + path),
                json=None if method == "GET" else {},
                headers={"Authorization": server.key},
                timeout=_PATIENCE,
                allow_redirects=False,
            ) as response:
                found.append(Seen.of(response, f"{method} {path}"))
    return found


def test_all_answers_are_those_of_a_server_that_never_had_a_lab(servers: tuple[programs.Running, programs.Running]) -> None:
    """Every operation that is asked with a key has the same status, headers and problem, and so have the pages."""
    never, before = map(seen, servers)

    assert before == never
    assert [each for each in before if HEADER.lower() in each.headers] == []
    assert before[-1].status == 404
    # The key is taken: these are the answers of operations, not of their guard.
    assert len([each for each in before if each.status == 401]) <= 2
    assert {200, 201, 404, 422} <= {each.status for each in before}


def test_the_document_has_nothing_of_it(server: programs.Running) -> None:
    """The OpenAPI document has no path of a lab, and the server says that it is none."""
    document = server.get("/api/openapi.json").json()

    assert [path for path in document["paths"] if "/lab" in path] == []
    assert server.get("/").json()["mode"] == "production"


async def test_no_database_is_made(server: programs.Running) -> None:
    """The database server has none of a lab."""
    url = embedded.running(server.folder / "herdbook-data")
    assert url is not None
    connection = await asyncpg.connect(url)
    names = [record["datname"] for record in await connection.fetch("select datname from pg_database")]
    await connection.close()

    assert "herdbook_lab" not in names


def test_none_of_its_code_is_loaded() -> None:
    """The application and what serves it import no module of the lab."""
    code = "import sys, herdbook.app, herdbook.cli.workers; print(*[name for name in sys.modules if 'herdbook.lab' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []
