"""The line that is logged for each request."""

import json
from pathlib import Path

import httpx
import pytest

from herdbook import ids
from herdbook.logs import LINES
from herdbook.settings import Settings
from tests.cast import Json, Person, Thing
from tests.serving import serving

URL = "/api/v2/contacts"


async def lines_of(
    capsys: pytest.CaptureFixture[str], person: Person, method: str, path: str, **options: Json
) -> tuple[httpx.Response, list[Json]]:
    """Make a request; return its answer and its log lines."""
    # Lines of earlier requests may still be on their way.
    LINES.flush()
    capsys.readouterr()
    response = await person.request(method, path, **options)
    LINES.flush()
    return response, [json.loads(line) for line in capsys.readouterr().err.splitlines()]


async def test_a_request_is_one_line(capsys: pytest.CaptureFixture[str], alice: Person) -> None:
    """A request is one line with time, caller, operation, status and duration."""
    response, (line,) = await lines_of(capsys, alice, "POST", URL, json={"first_name": "Ada"})

    assert line.pop("timestamp").endswith("Z")
    assert 0 < line.pop("milliseconds") < 10_000
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": response.headers["X-Request-Id"],
        "operation": "create-contact",
        "method": "POST",
        "path": "/v2/contacts",
        "status": 201,
        "workspace_id": ids.encoded(ids.WORKSPACE, alice.workspace_id),
        "credential_id": ids.encoded(ids.CREDENTIAL, alice.key.id),
    }


async def test_a_refusal_is_one_line(capsys: pytest.CaptureFixture[str], charlie: Person, ada: Thing) -> None:
    """A refusal is logged like a success, and at the same level."""
    _, (line,) = await lines_of(capsys, charlie, "PATCH", ada.url, json={})

    assert (line["level"], line["status"], line["operation"]) == ("info", 404, "update-contact")


async def test_a_request_for_nothing_is_one_line(capsys: pytest.CaptureFixture[str], alice: Person) -> None:
    """A request for an unknown path is logged without operation and caller."""
    _, (line,) = await lines_of(capsys, alice, "GET", "/v2/%22%0A%7B%22forged%22:1%7D")

    assert (line["operation"], line["status"], line["workspace_id"]) == ("none", 404, None)
    assert line["path"] is None


async def test_a_path_is_logged_without_what_is_in_it(capsys: pytest.CaptureFixture[str], alice: Person) -> None:
    """The logged path is the operation's template, so an address in place of an id does not appear."""
    _, (line,) = await lines_of(capsys, alice, "GET", "/v2/contacts/someone@example.com")

    assert (line["path"], line["status"]) == ("/v2/contacts/{contact_id}", 404)
    assert "someone" not in json.dumps(line)


@pytest.mark.parametrize("spelling", ["{0}", "Bearer {0}", "{0}x", "Bearer xyzzy"])
async def test_nothing_secret_is_logged(capsys: pytest.CaptureFixture[str], alice: Person, spelling: str) -> None:
    """Credentials, valid or not, bodies and queries are not logged: they hold secrets or name people."""
    headers = {"Authorization": spelling.format(alice.key), "Idempotency-Key": "xyzzy", "X-Request-Id": "xyzzy"}
    contact = {"first_name": "xyzzy", "emails": [{"email": "xyzzy@x.test"}]}
    _, lines = await lines_of(capsys, alice, "POST", f"{URL}?search=xyzzy", json=contact, headers=headers)

    logged = json.dumps(lines)
    assert len(lines) == 1
    assert "xyzzy" not in logged
    assert alice.key.secret not in logged


async def test_conflicts_are_not_told_to_the_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, alice: Person, ada: Thing
) -> None:
    """An address in a refusal is not logged."""
    _, lines = await lines_of(capsys, alice, "POST", URL, json={"emails": ada.json["emails"]})

    assert "ada@" not in json.dumps(lines)
    assert caplog.records == []


async def test_requests_need_not_be_logged(
    capsys: pytest.CaptureFixture[str], alice: Person, database_url: str, tmp_path: Path
) -> None:
    """At level `warning`, successful requests are not logged."""
    LINES.flush()
    capsys.readouterr()
    async with serving(Settings(log_level="warning", data_dir=tmp_path), database_url) as client:
        for _ in range(2):
            await client.get(URL, headers={"Authorization": str(alice.key)})
    LINES.flush()

    assert capsys.readouterr().err == ""
