"""Expectations of what a client did: which hold, and what is said of those that do not."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, Final

import pytest
import pytest_asyncio

from herdbook.lab import journal
from tests.lab.conftest import NEW_YEAR, Bench, Desk

CONTACTS = "/api/v2/contacts"
CREATED, UPDATED = {"operation": "create-contact"}, {"operation": "update-contact"}


@pytest_asyncio.fixture
async def desk(bench: Bench) -> AsyncGenerator[Desk]:
    """A workspace in which a client created two contacts, 1 and 2, changed one with its ETag, 3, and read it, 4."""
    desk = await _used(bench)
    yield desk
    await desk.command("DELETE")


@pytest_asyncio.fixture(scope="module")
async def seen(bench: Bench) -> Desk:
    """One more of these, for the tests that only ask for verdicts."""
    return await _used(bench)


async def _used(bench: Bench) -> Desk:
    desk = await bench.workspace(clock=NEW_YEAR, random_seed=1)
    headers = {"Idempotency-Key": "order-17"}
    made = await desk.ask("POST", CONTACTS, json={"first_name": "Ada"}, headers=headers)
    await desk.ask("POST", CONTACTS, json={"first_name": "Grace"})
    path = f"{CONTACTS}/{made.json()['id']}"
    await desk.ask("PATCH", path, json={"last_name": "King"}, headers={"If-Match": made.headers["ETag"]})
    await desk.ask("GET", path)
    return desk


async def verdict(desk: Desk, *expectations: dict[str, Any], **members: Any) -> Any:
    """Return the verdict on expectations."""
    return await desk.command("POST", "/verify", json={"expectations": expectations, **members})


async def test_only_the_lab_token_verifies(desk: Desk) -> None:
    """Neither nobody nor a key of the workspace may."""
    headers = [{}, {"Authorization": desk.made["api_key"]}]

    statuses = [(await desk.lab.client.post(f"{desk.path}/verify", json={}, headers=each)).status_code for each in headers]

    assert statuses == [401, 401]


async def test_a_workspace_that_is_not_there_has_no_verdict(bench: Bench) -> None:
    """Its id is not found."""
    gone = await bench.workspace()
    await gone.command("DELETE")

    assert (await bench.ask("POST", f"{gone.path}/verify", json={})).status_code == 404


@pytest.mark.parametrize(
    "expectation",
    [
        {**CREATED, "times": 2},
        {**CREATED, "at_least": 2},
        {**CREATED, "at_most": 2},
        {**CREATED, "at_least": 1, "at_most": 3},
        {"operation": "delete-contact", "never": True},
        {"operation": "delete-contact", "times": 0},
        {"kind": "delivery", "never": True},
        {"kind": "request", "times": 4},
        {"method": "patch", "times": 1},
        {"path": "/api/v2/contacts/*", "times": 2},
        {"status": 201, "times": 2},
        {"status": 404, "never": True},
        {"body": "Grace", "times": 1},
        {**UPDATED, "headers": {"If-Match": True}, "times": 1},
        {**UPDATED, "headers": {"if-match": False}, "never": True},
        {**CREATED, "headers": {"Idempotency-Key": "order-17"}, "times": 1},
        {**CREATED, "headers": {"Idempotency-Key": "order-18"}, "never": True},
        {**CREATED, "headers": {"Idempotency-Key": False}, "times": 1},
        {"in_order": [CREATED, CREATED, UPDATED]},
        {"in_order": [{"body": "Ada"}, {"operation": "get-contact-by-id", "status": 200}]},
    ],
    ids=str,
)
async def test_what_holds(seen: Desk, expectation: dict[str, Any]) -> None:
    """A verdict without failures."""
    found = await verdict(seen, expectation)

    assert found == {"holds": True, "failures": [], "habits": [], "last": 4, "dropped": 0}


@pytest.mark.parametrize(
    ("expectation", "message", "numbers"),
    [
        ({**CREATED, "times": 1}, "operation `create-contact` was expected once, and is there twice: 1, 2.", [1, 2]),
        ({**CREATED, "at_least": 3}, "was expected at least 3 times, and is there twice: 1, 2.", [1, 2]),
        ({**CREATED, "at_most": 1}, "was expected at most once, and is there twice: 1, 2.", [1, 2]),
        (
            {**UPDATED, "at_least": 2, "at_most": 3},
            "was expected at least twice and at most 3 times, and is there once: 3.",
            [3],
        ),
        ({**UPDATED, "never": True}, "was expected not at all, and is there once: 3.", [3]),
        ({"operation": "delete-contact", "times": 1}, "was expected once, and is there not at all.", []),
        (
            {**CREATED, "headers": {"Idempotency-Key": True}, "times": 2},
            "a header `Idempotency-Key` was expected twice, and is there once: 1.",
            [1],
        ),
        (
            {**CREATED, "headers": {"Idempotency-Key": False}, "never": True},
            "no header `Idempotency-Key` was expected not at all, and is there once: 2.",
            [2],
        ),
        ({**UPDATED, "headers": {"If-Match": '"0"'}, "times": 1}, 'header `If-Match` `"0"` was expected once', []),
    ],
    ids=str,
)
async def test_what_does_not_hold(seen: Desk, expectation: dict[str, Any], message: str, numbers: list[int]) -> None:
    """The failure says what was expected and what is there, and has the numbers of the entries."""
    found = await verdict(seen, {**CREATED, "times": 2}, expectation)

    (failure,) = found["failures"]
    assert not found["holds"]
    assert failure["expectation"] == "expectations[1]"
    assert message in failure["message"]
    assert failure["numbers"] == numbers


async def test_a_wrong_order(seen: Desk) -> None:
    """The failure names the first condition that is not met, and what was before it."""
    found = await verdict(seen, {"in_order": [UPDATED, CREATED]})

    assert found["failures"] == [
        {
            "expectation": "expectations[0].in_order[1]",
            "message": "An entry with operation `create-contact` was expected after entry 3, and is not there.",
            "numbers": [3],
        }
    ]


async def test_a_part_of_the_journal(seen: Desk) -> None:
    """Only entries after a number count."""
    assert (await verdict(seen, {**CREATED, "times": 1}, after=1))["holds"]
    assert not (await verdict(seen, {"in_order": [CREATED, UPDATED]}, after=2))["holds"]


async def test_deliveries_and_faults(desk: Desk) -> None:
    """An event is expected by its type, and a request by the rule that it met or by the kind of its fault."""
    await desk.ask("POST", "/api/herdbook/webhooks", json={"url": desk.inbox_url})
    rule = await desk.command("POST", "/faults", json={"fault": "status", "times": 1})
    for _ in range(2):
        await desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    await desk.command("GET", "/journal", params={"kind": "inbox", "wait": 10})

    found = await verdict(
        desk,
        {"event_type": "v1.contact.created", "status": 200, "times": 1},
        {"fault": rule["id"], "times": 1},
        {"fault": "status", "status": 503, "times": 1},
        {"fault": "close", "never": True},
        {"in_order": [{"fault": "status"}, {**CREATED, "status": 201}, {"kind": "delivery"}, {"kind": "inbox"}]},
    )

    assert found["failures"] == []


async def test_dropped_entries_do_not_hold(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whether a dropped entry met `never`, unless only later ones count."""
    monkeypatch.setattr(journal, "MOST_ENTRIES", 2)
    desk = await bench.workspace()
    for _ in range(3):
        await desk.ask("GET", CONTACTS)

    whole, rest = await verdict(desk, {**CREATED, "never": True}), await verdict(desk, {**CREATED, "never": True}, after=1)

    assert [each["expectation"] for each in whole["failures"]] == ["after"]
    assert "send 1 or more as `after`" in whole["failures"][0]["message"]
    assert rest["holds"]


async def test_the_order_of_requests_is_that_of_their_beginnings(bench: Bench) -> None:
    """A request that took longer ended after the next one, and is before it all the same."""
    desk = await bench.workspace()
    await desk.command("POST", "/faults", json={"fault": "delay", "seconds": 0.3, "operation": "create-contact"})
    await desk.ask("GET", "/api/v2/tags")

    await asyncio.gather(desk.ask("POST", CONTACTS, json={"first_name": "Ada"}), desk.ask("GET", CONTACTS))
    found = await verdict(desk, {"in_order": [CREATED, {"operation": "list-contacts"}]})

    assert found["holds"]


IMPOSSIBLE: Final[list[tuple[dict[str, Any], str, str]]] = [
    ({"operation": "update-contcat"}, "operation", "Did you mean `update-contact`?"),
    ({"method": "PTCH"}, "method", "Did you mean `PATCH`?"),
    ({"operation": "update-contact", "method": "GET"}, "method", "`PATCH`"),
    ({"path": "v2/contacts"}, "path", "begins with `/`"),
    ({"event_type": "v1.contact.craeted"}, "event_type", "Did you mean `v1.contact.created`?"),
    ({"fault": "clsoe"}, "fault", "Did you mean `close`?"),
    ({"fault": "fault_01M8NS8YZTCNHE1EHJG0MXSK94"}, "fault", "`GET .../faults`"),
    ({"status": 99}, "status", "100 or more"),
    ({"kind": "delivery", "operation": "list-contacts"}, "kind", "`request`"),
    ({"kind": "inbox", "event_type": "v1.contact.created"}, "kind", "`delivery`"),
    ({"operation": "list-contacts", "event_type": "v1.contact.created"}, "event_type", "Leave out one"),
]


@pytest.mark.parametrize(("condition", "field", "remedy"), IMPOSSIBLE, ids=str)
async def test_a_condition_that_nothing_meets_is_refused(
    seen: Desk, condition: dict[str, Any], field: str, remedy: str
) -> None:
    """`never` would hold whatever the client did, and a list be empty: both name the field and the remedy."""
    asked = {"expectations": [{**condition, "never": True}, {"in_order": [condition]}]}

    verify = await seen.lab.ask("POST", f"{seen.path}/verify", json=asked)
    journal = await seen.lab.ask("GET", f"{seen.path}/journal", params=condition)

    assert (verify.status_code, journal.status_code) == (422, 400)
    fields = [f"expectations[0].{field}", f"expectations[1].in_order[0].{field}"]
    assert [each["field"] for each in verify.json()["errors"]] == fields
    assert [each["field"] for each in journal.json()["errors"]] == [field]
    assert remedy in verify.json()["detail"]
    assert remedy in journal.json()["detail"]


async def test_a_rule_is_known_as_long_as_the_journal_has_it(desk: Desk) -> None:
    """A rule that has not fired yet is expected, and one that was removed afterwards."""
    rule = await desk.command("POST", "/faults", json={"fault": "status", "times": 1})
    before = await verdict(desk, {"fault": rule["id"], "never": True})
    await desk.ask("GET", CONTACTS)
    await desk.command("DELETE", f"/faults/{rule['id']}")

    assert before["holds"]
    assert (await verdict(desk, {"fault": rule["id"], "times": 1}))["holds"]


async def test_the_path_of_a_delivery_is_an_address(seen: Desk) -> None:
    """It is no path of the API."""
    assert (await verdict(seen, {"path": "https://app.example/*", "never": True}))["holds"]


@pytest.mark.parametrize(
    ("members", "is_failure"),
    [
        ({}, False),
        ({"no_habits": True}, True),
        ({"allowed_habits": ["retries_401"]}, False),
        ({"allowed_habits": ["ignores_retry_after"]}, True),
        ({"allowed_habits": []}, True),
        ({"no_habits": True, "allowed_habits": ["retries_401"]}, False),
    ],
    ids=str,
)
async def test_habits_are_failures_if_the_test_says_so(desk: Desk, members: dict[str, Any], *, is_failure: bool) -> None:
    """A habit is always told, with a remedy; as a failure only when it is not allowed."""
    await desk.command("POST", "/faults", json={"fault": "status", "status": 401})
    for _ in range(2):
        await desk.ask("GET", CONTACTS)

    found = await verdict(desk, **members)

    assert [each["habit"] for each in found["habits"]] == ["retries_401"]
    assert [each["expectation"] for each in found["failures"]] == ["no_habits"] * is_failure
    assert found["holds"] is not is_failure


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"expectations": [{**CREATED}]}, "expectations[0]"),
    ({"expectations": [{**CREATED, "times": 1, "at_least": 1}]}, "expectations[0].at_least"),
    ({"expectations": [{**CREATED, "times": 1, "never": True}]}, "expectations[0].never"),
    ({"expectations": [{**CREATED, "at_least": 2, "at_most": 1}]}, "expectations[0].at_most"),
    ({"expectations": [{**CREATED, "in_order": [UPDATED]}]}, "expectations[0].in_order"),
    ({"expectations": [{"in_order": []}]}, "expectations[0].in_order"),
    (
        {"expectations": [{**CREATED, "times": 1}, {"operation": "create-contacts", "never": True}]},
        "expectations[1].operation",
    ),
    ({"expectations": [{"in_order": [CREATED, {"operation": "x"}]}]}, "expectations[0].in_order[1].operation"),
    ({"expectations": [{"event_type": "contact.created", "never": True}]}, "expectations[0].event_type"),
    ({"expectations": [{"kind": "requests", "never": True}]}, "expectations[0].kind"),
    ({"expectations": [{"header": {}, "never": True}]}, "expectations[0].header"),
    ({"allowed_habits": ["retries_402"]}, "allowed_habits[0]"),
]


@pytest.mark.parametrize(
    ("body", "field"),
    REFUSED,
    ids=str,
)
async def test_what_cannot_be_meant_is_refused(seen: Desk, body: dict[str, Any], field: str) -> None:
    """A name that is not there would hold for ever as `never`, and is refused, like what contradicts itself."""
    response = await seen.lab.ask("POST", f"{seen.path}/verify", json=body)

    assert response.status_code == 422
    assert [each["field"] for each in response.json()["errors"]] == [field]
