"""A server without a lab: it has no path of it, no header, no database, and none of its code."""

import subprocess
import sys
from collections.abc import Generator

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
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[programs.Running]:
    """A server without a lab."""
    with programs.serving(tmp_path_factory.mktemp("without")) as server:
        yield server


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


def test_no_answer_has_the_header(server: programs.Running) -> None:
    """Every operation answers without it, and so do the pages. There is no inbox."""
    paths = [(each.method, path_of(each)) for each in OPERATIONS]
    paths += [("GET", path) for path in ("/", "/docs", "/healthz", "/console/sign-in", "/nowhere")]
    paths.append(("POST", f"/api/herdbook/lab/inboxes/{ids.WORKSPACE}{ID}"))

    with requests.Session() as session:
        answers = [
            session.request(method, server.url + path, timeout=_PATIENCE, allow_redirects=False) for method, path in paths
        ]

    assert [each.url for each in answers if HEADER in each.headers] == []
    assert answers[-1].status_code == 404


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
