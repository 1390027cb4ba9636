"""Requests that outlast the patience of a server that stops are cancelled, and are answered with a problem all the same."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.types import Message

from herdbook.app import Herdbook
from herdbook.settings import Settings
from tests.cast import Person, Thing
from tests.ledger.proxy import proxy_to


@pytest.mark.parametrize(
    ("method", "statement", "status", "problem"),
    [("PATCH", "held as (", 500, "outcome_unknown"), ("GET", "join contact", 503, "unavailable")],
)
async def test_a_cancelled_request(  # noqa: PLR0917
    ada: Thing, alice: Person, database_url: str, tmp_path: Path, method: str, statement: str, status: int, problem: str
) -> None:
    """The outcome of a write is unknown; a read is asked to be repeated."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b'{"first_name": "Augusta"}', "more_body": False}

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": ada.url,
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"authorization", str(alice.key).encode()), (b"content-type", b"application/json")],
    }
    async with proxy_to(database_url, tmp_path) as proxy:
        app = Herdbook(Settings(rate_limit=0, data_dir=tmp_path), proxy.url)
        async with app.running():
            trap = proxy.trap(lambda sql: statement in sql)
            request = asyncio.create_task(app(scope, receive, send))
            caught = await trap
            request.cancel()
            await asyncio.wait([request])
            caught.let_go()

    assert sent[0]["status"] == status
    assert msgspec.json.decode(sent[1]["body"])["type"].endswith(problem)
