"""Refusals of the lab's operations: they name the field and the remedy, whatever is sent."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

import pytest

from herdbook.lab.api import operations
from herdbook.lab.lab import Lab
from herdbook.settings import Settings
from tests.lab.conftest import LAB, NEW_YEAR, Bench, Desk

VALUES: Final[tuple[Any, ...]] = (
    None,
    True,
    5,
    -1,
    1.5,
    10**30,
    1e300,
    "",
    "x",
    [],
    [5],
    [None],
    [{}],
    {},
    {"X": 5},
    [{"headers": {"X": 5}}],
)


def _bodies(struct: Any) -> Iterator[dict[str, Any]]:
    """Yield bodies in which each member has each value, alone and in the example, and those without a member."""
    example = getattr(struct, "example", {})
    for name in struct.__struct_fields__:
        yield {each: value for each, value in example.items() if each != name}
        for value in VALUES:
            yield {name: value}
            yield {**example, name: value}


async def test_no_operation_fails_at_what_is_missing_or_of_another_type(bench: Bench) -> None:
    """Each member and each parameter is left out, and has values of all types: there is an answer or a refusal each time."""
    desk = await bench.workspace(clock=NEW_YEAR)
    failed: list[Any] = []
    for operation in operations(Lab(Settings(), "")):
        path = "/api" + operation.path.replace("{lab_workspace_id}", desk.made["id"])
        path = path.replace("{fault_id}", "fault_01HQXVB4Y9Y0Q6P0QH5GX2CT7T")
        if operation.id in ("delete-lab-workspace", "restore-lab-workspace", "create-lab-workspace", "snapshot-lab-workspace"):
            bodies: list[dict[str, Any]] = [
                {},
                {"seed": 5},
                {"name": None},
                {"seed": ["x"]},
                {"clock": 5},
                {"random_seed": "x"},
            ]
            bodies = bodies if operation.body else []
        else:
            bodies = list(_bodies(operation.body)) if operation.body else []
        for body in bodies:
            response = await bench.ask(operation.method, path, json=body)
            if response.status_code >= 500:
                failed.append((operation.id, body))
        if operation.query:
            names = [name for name in operation.query.__struct_fields__ if name != "wait"]
            for query in [{}, *({name: value} for name, value in itertools.product(names, ("", "x", "-1", "1.5", "9" * 30)))]:
                response = await bench.ask(operation.method, path, params=query)
                if response.status_code >= 500:
                    failed.append((operation.id, query))

    assert failed == []


@pytest.mark.parametrize(
    ("method", "path", "sent", "told"),
    [
        ("DELETE", f"{LAB}/seeds", {}, "`name` is missing. Send it as a query parameter"),
        (
            "POST",
            "/verify",
            {"expectations": [{"headers": {"X": 5}, "never": True}]},
            "[0].headers.X` must be true or false or a",
        ),
        ("POST", "/keys", {"scopes": ["contact:read"]}, "There is no scope `contact:read`. Did you mean `contacts:read`?"),
        ("PATCH", "/clock", {}, "The body changes nothing. Send `advance_seconds`"),
        ("PATCH", "/clock", {"to": "2026-02-01T00:00:00Z", "advance_seconds": 5}, "`to` and `advance_seconds` do not go"),
        ("POST", "/faults", {"fault": "webhook_late", "seconds": 3e6}, "at most 2592000"),
        (
            "POST",
            "/approvals",
            {"url": "http://herdbook.test/oauth/authorise?client_id=x"},
            "http://herdbook.test/oauth/authorize",
        ),
        ("POST", "/approvals", {"url": "http://example.com/oauth/authorize?client_id=x"}, "is not the page"),
        ("POST", "/approvals", {"url": "/oauth/authorize?client_id=x"}, "is not the page"),
    ],
)
async def test_a_refusal_names_the_fault(bench: Bench, method: str, path: str, sent: dict[str, Any], told: str) -> None:
    """The message has the field and the remedy."""
    desk = await bench.workspace(clock=NEW_YEAR)
    response = await bench.ask(method, path if path.startswith(LAB) else desk.path + path, json=sent or None)

    assert response.status_code in (400, 422), response.text
    assert told in response.text.replace("\\", "")
    await desk.command("DELETE")


async def test_a_number_that_is_out_of_range_is_a_number(bench: Bench) -> None:
    """A negative number is told to be too small."""
    desk = await bench.workspace()
    response = await bench.ask("GET", f"{desk.path}/journal", params={"after": "-1"})

    assert "`after` must be at least 0" in response.text


async def _status(desk: Desk) -> int:
    return (await desk.ask("GET", "/api/v2/tags")).status_code


@pytest.mark.parametrize(("command", "sent"), [("/reset", None), ("/restore", {"seed": "crm-small"})])
async def test_a_key_that_a_fault_has_ended_works_in_a_workspace_that_begins_anew(
    bench: Bench, command: str, sent: dict[str, str] | None
) -> None:
    """A test that follows in the same workspace is not shut out. A key that has a time to end keeps that."""
    desk = await bench.workspace(clock=NEW_YEAR)
    expiring = {"expires_at": "2026-01-01T01:00:00Z"}
    other = Desk(bench, {**desk.made, **await desk.command("POST", "/keys", json=expiring)})
    for each in (desk, other):
        await desk.command("POST", "/faults", json={"fault": "expire_credential", "times": 1})
        assert [await _status(each), await _status(each)] == [401, 401]

    await desk.command("POST", command, json=sent)

    assert [await _status(desk), await _status(other)] == [200, 200]
    await desk.command("PATCH", "/clock", json={"advance_seconds": 3600})
    assert [await _status(desk), await _status(other)] == [200, 401]


async def test_a_server_error_of_a_fault_does_not_leave_open_what_was_done(bench: Bench) -> None:
    """Its type is not that of an outcome that nobody knows."""
    desk = await bench.workspace()
    await desk.command("POST", "/faults", json={"fault": "status", "status": 500})

    problem = (await desk.ask("GET", "/api/v2/tags")).json()

    assert problem["type"].endswith("internal_error")
    assert problem["detail"].endswith("Nothing was done.")
