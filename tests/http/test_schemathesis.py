"""The server against its own document, and against what the vendor has published: Schemathesis makes the requests.

A run is the same each time, and short. `pytest --hypothesis-profile=deep tests/http/test_schemathesis.py` makes new requests,
and many more of them.
"""

import re
import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest_asyncio
import schemathesis
import uvicorn
import yaml
from schemathesis.checks import CheckContext
from schemathesis.specs.openapi.checks import positive_data_acceptance

from herdbook.app import OPERATIONS, create_app
from herdbook.auth.store import create_key, create_workspace
from herdbook.db.pool import connect
from herdbook.first_start import prepare
from herdbook.http.openapi import document
from herdbook.settings import Settings

SEED: Final = yaml.safe_load((Path(__file__).parents[1] / "contract" / "update-contact.openapi.yaml").read_text("utf-8"))

# Why a request may be refused although it is as the document says: what is stored decides, or two of its parts together, or
# a rule that no schema can tell.
BEYOND_ANY_SCHEMA: Final = {
    "already_in_use",
    "duplicate",
    "idempotency_key_reused",
    "invalid_cursor",
    "invalid_format",
    "multiple_primary",
    "not_found",
    "not_with_cursor",
    "unknown_time_zone",
}
# The vendor's document says neither how long a text may be nor which fields there are; the vendor's page says the lengths.
BEYOND_THE_SEED: Final = BEYOND_ANY_SCHEMA | {"blank", "invalid_characters", "too_long", "too_short", "unknown_field"}

Check = Callable[[CheckContext, schemathesis.Response, schemathesis.Case], bool | None]


class Served(NamedTuple):
    """A server, and a key for it."""

    url: str
    headers: dict[str, str]
    contact_id: str


def accepted_or_refused_for(codes: Collection[str]) -> Check:
    """Return a check that data as the document says are accepted, or refused for these reasons alone."""

    def acceptance(context: CheckContext, response: schemathesis.Response, case: schemathesis.Case) -> bool | None:
        # 412 is right whenever If-Match does not name the version of the moment, which nobody can tell beforehand.
        if response.status_code == 412:
            return None
        if response.status_code in (400, 422) and {error["code"] for error in response.json()["errors"]} <= set(codes):
            return None
        return positive_data_acceptance(context, response, case)

    return acceptance


@pytest_asyncio.fixture(scope="session")
async def served(database_url: str) -> AsyncIterator[Served]:
    """The application behind a socket, in a thread of its own: Schemathesis is not asynchronous."""
    await prepare(database_url)
    connection = await connect(database_url)
    try:
        workspace_id = await create_workspace(connection, "Schemathesis's workspace")
        scopes = ["contacts:read", "contacts:write", "companies:read", "companies:write"]
        key = await create_key(connection, workspace_id, "Schemathesis", scopes)
    finally:
        await connection.close()
    server = uvicorn.Server(uvicorn.Config(create_app(Settings(rate_limit=0, log_level="error"), database_url), log_config=None))
    # Clients that come before the server is ready wait in the socket's queue.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}/api", {"Authorization": str(key)}, "")
        server.should_exit = True
        thread.join()


ours = schemathesis.openapi.from_dict(document(OPERATIONS, Settings().problem_type_base))


@ours.parametrize()
def test_ours(case: schemathesis.Case, served: Served) -> None:
    case.call_and_validate(
        base_url=served.url,
        headers=served.headers,
        excluded_checks=[positive_data_acceptance],
        additional_checks=[accepted_or_refused_for(BEYOND_ANY_SCHEMA)],
    )
