"""The server against its own document, and against what the vendor has published: Schemathesis makes the requests.

Each run makes the same requests, and not many. `SCHEMATHESIS_EXAMPLES=1000 pytest tests/http/test_schemathesis.py` makes new
ones, and so many of them for each operation.
"""

import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import httpx
import hypothesis
import pytest_asyncio
import schemathesis
import uvicorn
import yaml
from schemathesis.checks import CheckContext
from schemathesis.config._checks import POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES
from schemathesis.specs.openapi.checks import positive_data_acceptance
from schemathesis.specs.openapi.schemas import OpenApiSchema

from herdbook.app import OPERATIONS, create_app
from herdbook.auth.store import create_key, create_workspace
from herdbook.db.pool import connect
from herdbook.first_start import prepare
from herdbook.http.openapi import document
from herdbook.settings import Settings

Check = Callable[[CheckContext, schemathesis.Response, schemathesis.Case], bool | None]

SEED: Final = yaml.safe_load((Path(__file__).parents[1] / "contract" / "update-contact.openapi.yaml").read_text("utf-8"))
EXAMPLES: Final = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "0"))

# All checks are made that there are; what differs from their defaults has a reason here.
CHECKS: Final[dict[str, Any]] = {
    # Made in the form below, which knows why a request may be refused all the same. 412 is right whenever If-Match names
    # another version than that of the moment, which nobody can tell beforehand.
    "positive_data_acceptance": {
        "enabled": False,
        "expected-statuses": [*POSITIVE_DATA_ACCEPTANCE_EXPECTED_STATUSES, "412"],
    },
}
# The vendor's document has one of the methods of its path; there are others.
CHECKS_OF_THE_PUBLISHED: Final = CHECKS | {
    "allow_header_conformance": {"enabled": False},
    "unsupported_method": {"enabled": False},
}
# What no HTTP header can hold: the server refuses it before the application sees it.
CONTROL_CHARACTERS: Final = "".join(map(chr, (*range(9), *range(10, 32), 127)))

# Why a request may be refused although it is as the document says: what is stored decides, or two of its parts together, or
# a rule that no schema can tell.
BEYOND_ANY_SCHEMA: Final = {
    "duplicate",
    "idempotency_key_reused",
    "invalid_cursor",
    "invalid_format",
    "multiple_primary",
    "not_found",
    "not_with_cursor",
    "unknown_time_zone",
}
# The vendor's document says neither how long a text may be nor that there are no other fields; the vendor's page does.
BEYOND_THE_SEED: Final = BEYOND_ANY_SCHEMA | {"blank", "invalid_characters", "too_long", "too_short", "unknown_field"}


class Served(NamedTuple):
    """A server, a key for it, and a contact there."""

    url: str
    headers: dict[str, str]
    contact_id: str


def accepted_or_refused_for(codes: set[str]) -> Check:
    """Return a check that a request as the document says is accepted, or refused for these reasons alone."""

    def acceptance(context: CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> bool | None:
        if response.status_code in (400, 422) and {error["code"] for error in response.json()["errors"]} <= codes:
            return None
        return positive_data_acceptance(context, response, case)

    return acceptance


@pytest_asyncio.fixture(scope="session")
async def served(database_url: str) -> AsyncIterator[Served]:
    """The application behind a socket, in a thread of its own, since Schemathesis waits for its answers."""
    await prepare(database_url)
    connection = await connect(database_url)
    try:
        workspace_id = await create_workspace(connection, "Schemathesis's workspace")
        scopes = ["contacts:read", "contacts:write", "companies:read", "companies:write"]
        headers = {"Authorization": str(await create_key(connection, workspace_id, "Schemathesis", scopes))}
    finally:
        await connection.close()
    server = uvicorn.Server(
        uvicorn.Config(create_app(Settings(rate_limit=0, log_level="error"), database_url), log_config=None)
    )
    # Clients that come before the server is ready wait in the socket's queue.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
        async with httpx.AsyncClient(headers=headers) as client:
            contact = (await client.post(url + "/v2/contacts", json={"first_name": "Ada"})).json()
        yield Served(url, headers, contact["id"])
        server.should_exit = True
        thread.join()


def loaded(document: dict[str, Any], checks: dict[str, Any]) -> OpenApiSchema:
    """Return a document as Schemathesis has it."""
    generation = {
        "max-examples": EXAMPLES or 25,
        "database": "none",
        "exclude-header-characters": CONTROL_CHARACTERS,
    }
    config: dict[str, Any] = {"generation": generation, "checks": checks}
    if not EXAMPLES:
        config["seed"] = 1
    return schemathesis.openapi.from_dict(document, config=schemathesis.Config.from_dict(config))


ours = loaded(document(OPERATIONS, Settings().problem_type_base), CHECKS)
# Whatever happens, no request of a test may go to the vendor.
published = loaded(SEED | {"servers": [{"url": "/api"}]}, CHECKS_OF_THE_PUBLISHED)


@ours.parametrize()
def test_the_server_is_as_its_document_says(case: schemathesis.Case, served: Served) -> None:
    """Whatever is sent to an operation, the answer is one that our document tells of."""
    case.call_and_validate(
        base_url=served.url, headers=served.headers, additional_checks=[accepted_or_refused_for(BEYOND_ANY_SCHEMA)]
    )


@published.parametrize()
def test_the_server_is_as_the_vendor_says(case: schemathesis.Case, served: Served) -> None:
    """Whatever is sent to the operation that the vendor has published, the answer is one that the vendor tells of."""
    case.path_parameters["contact_id"] = served.contact_id
    case.call_and_validate(
        base_url=served.url, headers=served.headers, additional_checks=[accepted_or_refused_for(BEYOND_THE_SEED)]
    )


def test_stories(served: Served) -> None:
    """Whatever is done one after the other, each answer is one that our document tells of, and what is deleted is gone."""

    class Story(ours.as_state_machine()):
        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": served.url, "headers": served.headers}

        def validate_response(self, response: schemathesis.Response, case: schemathesis.Case, **options: Any) -> None:
            checks = [accepted_or_refused_for(BEYOND_ANY_SCHEMA)]
            super().validate_response(response, case, additional_checks=checks, **options)

    Story.run(
        settings=hypothesis.settings(
            max_examples=EXAMPLES or 25,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
