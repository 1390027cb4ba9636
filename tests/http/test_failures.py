"""Unexpected failures: the answer reveals nothing internal, and the log has the details."""

import errno
import json

import msgspec
import pytest

from herdbook.http.call import Call
from herdbook.http.operation import Answer, Handler, Operation
from herdbook.logs import JsonLines
from tests.cast import Person
from tests.serving import serving_operations


async def look_up(_: Call) -> Answer:
    """Fail in Python."""
    nothing: dict[str, bytes] = {}
    return Answer(nothing["the inside"])


async def ask(call: Call) -> Answer:
    """Fail in the database."""
    return Answer(await call.services.database.pool.fetchval("select the_inside from a_table_that_is_not_there"))


async def hang_up(call: Call) -> Answer:
    """Lose the connection to the database."""
    return Answer(await call.services.database.pool.fetchval("select pg_terminate_backend(pg_backend_pid())"))


async def answer(call: Call) -> Answer:
    """Succeed."""
    return Answer(await call.services.database.pool.fetchval("select '{}'::json"))


async def miss_a_file(_: Call) -> Answer:
    """Fail with a system error that is not the database's."""
    raise FileNotFoundError(errno.ENOENT, "the inside")


def answered_by(handler: Handler) -> Operation:
    """Return an operation with this handler."""
    name = handler.__name__
    return Operation(
        method="GET",
        path=f"/v2/{name}",
        id=name,
        summary=name,
        description=name,
        tag="failures",
        scopes=("contacts:read",),
        handler=handler,
        answer=msgspec.Struct,
        answer_description="None.",
    )


@pytest.mark.parametrize("handler", [look_up, ask, miss_a_file])
async def test_a_failure_says_nothing_of_the_inside(alice: Person, database_url: str, handler: Handler) -> None:
    """A 500 has a request id to quote, and no word about the cause."""
    async with serving_operations([answered_by(handler)], database_url) as (client, _):
        response = await client.get(f"/api/v2/{handler.__name__}", headers={"Authorization": str(alice.key)})

    problem = response.json()
    assert response.status_code == 500
    assert set(problem) == {"type", "title", "status", "detail", "request_id"}
    assert problem["type"].endswith("/internal_error")
    assert problem["request_id"] == response.headers["X-Request-Id"]
    assert "inside" not in response.text


@pytest.mark.parametrize("handler", [look_up, ask])
async def test_a_failure_is_logged(
    alice: Person, database_url: str, caplog: pytest.LogCaptureFixture, handler: Handler
) -> None:
    """The log has the request's id and the traceback."""
    async with serving_operations([answered_by(handler)], database_url) as (client, _):
        response = await client.get(f"/v2/{handler.__name__}", headers={"Authorization": str(alice.key)})
    (record,) = caplog.records
    line = json.loads(JsonLines().format(record))

    assert (line["level"], line["request_id"]) == ("error", response.json()["request_id"])
    assert "Traceback" in line["exception"]
    assert handler.__name__ in line["exception"]
    assert alice.key.secret not in line["exception"]


async def test_a_failure_is_only_its_own(alice: Person, database_url: str) -> None:
    """The next request after a failure succeeds."""
    async with serving_operations([answered_by(ask), answered_by(answer)], database_url) as (client, _):
        statuses = [
            (await client.get(path, headers={"Authorization": str(alice.key)})).status_code
            for path in ("/v2/ask", "/v2/answer", "/v2/ask", "/v2/answer")
        ]

    assert statuses == [500, 200, 500, 200]


async def test_a_lost_database_is_told_from_a_failure(alice: Person, database_url: str) -> None:
    """A lost database connection gets a 503 with `Retry-After`, and the next request uses a new connection."""
    async with serving_operations([answered_by(hang_up), answered_by(answer)], database_url) as (client, _):
        lost, again = [
            await client.get(path, headers={"Authorization": str(alice.key)}) for path in ("/v2/hang_up", "/v2/answer")
        ]

    assert (lost.status_code, again.status_code) == (503, 200)
    assert lost.headers["Retry-After"] == "1"
    assert lost.json()["type"].endswith("/unavailable")
