"""Faults, as real clients see them, and the promises of the ledger after each."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final, cast

import pytest
import requests

from herdbook.lab.faults import MEMBERS
from tests.lab.clients import CLIENTS, PATIENCE, LiveDesk

CONTACTS = "/api/v2/contacts"
ADA = json.dumps({"first_name": "Ada"})


@pytest.fixture
def desk(lab: tuple[str, str]) -> LiveDesk:
    """A workspace without contacts."""
    return LiveDesk(*lab, clock="2026-01-01T00:00:00Z", random_seed=1)


@pytest.mark.parametrize(
    ("rule", "seen", "contacts"),
    [
        ({"fault": "status", "status": 500}, "500 json", 0),
        ({"fault": "status", "status": 503, "retry_after": 3}, "503 json, again after 3", 0),
        ({"fault": "rate_limited", "retry_after": 7}, "429 json, again after 7", 0),
        ({"fault": "read_only", "retry_after": 5}, "503 json, again after 5", 0),
        ({"fault": "close", "when": "before"}, "closed", 0),
        ({"fault": "close", "when": "after"}, "closed", 1),
        ({"fault": "close", "when": "body"}, "closed", 1),
        ({"fault": "truncate"}, "201 not json", 1),
        ({"fault": "not_json"}, "201 not json", 1),
        ({"fault": "drip", "seconds": 0.2}, "201 json", 1),
        ({"fault": "delay", "when": "before", "seconds": 0.2}, "201 json", 1),
        ({"fault": "delay", "when": "within", "seconds": 0.2}, "201 json", 1),
        ({"fault": "delay", "when": "after", "seconds": 0.2}, "201 json", 1),
        ({"fault": "expire_credential"}, "401 json", 0),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", CLIENTS)
def test_a_fault_is_seen_as_what_it_is(desk: LiveDesk, name: str, rule: dict[str, object], seen: str, contacts: int) -> None:
    """Each client sees it, and the write is committed exactly once, or not at all. The next request, of any, has no fault."""
    client = CLIENTS[name]
    fault_id = desk.fault(**rule, operation="create-contact", times=1)
    began = time.monotonic()

    outcome = client("POST", desk.url + CONTACTS, desk.key, ADA)
    took = time.monotonic() - began

    assert outcome == seen
    assert took >= cast("float", rule.get("seconds", 0.0))
    # One may have expired.
    key = desk.command("POST", "/keys", json={})["api_key"]
    assert len(desk.ask("GET", CONTACTS, headers={"Authorization": key}).json()["data"]) == contacts
    assert CLIENTS["requests"]("POST", desk.url + CONTACTS, key, ADA) == "201 json"
    assert desk.command("DELETE", f"/faults/{fault_id}")["fired"] == 1


@pytest.mark.parametrize("name", CLIENTS)
def test_an_edit_of_somebody_else_and_an_invalid_cursor_are_seen(desk: LiveDesk, name: str) -> None:
    """Each client gets the refusals that a conflict and a cursor of former times have, once."""
    client = CLIENTS[name]
    _, contact = (desk.ask("POST", CONTACTS, json={"first_name": "Ada"}) for _ in range(2))
    path, etag = f"{desk.url}{CONTACTS}/{contact.json()['id']}", contact.headers["ETag"]
    page = f"{desk.url}{CONTACTS}?limit=1"
    page += f"&cursor={requests.get(page, headers={'Authorization': desk.key}, timeout=PATIENCE).json()['next_cursor']}"
    desk.fault(fault="edit", operation="update-contact", body={"last_name": "King"}, times=1)
    desk.fault(fault="invalid_cursor", operation="list-contacts", times=1)

    written = [client("PATCH", path, desk.key, ADA, **{"If-Match": etag}), client("PATCH", path, desk.key, ADA)]
    read = [client("GET", page, desk.key) for _ in range(2)]

    assert written == ["412 json", "200 json"]
    assert read == ["400 json", "200 json"]
    assert desk.ask("GET", path.removeprefix(desk.url)).json()["last_name"] == "King"


def test_a_chosen_retry_after(desk: LiveDesk) -> None:
    """A 429 has the seconds of its rule, and a problem with a request id."""
    desk.fault(fault="rate_limited", retry_after=7)

    response = desk.ask("GET", CONTACTS)

    assert response.headers["Retry-After"] == "7"
    assert response.json()["request_id"] == response.headers["X-Request-Id"]
    assert response.json()["title"] == "Too Many Requests"


@pytest.mark.parametrize("when", ["before", "within", "after"])
def test_a_delay_takes_its_time(desk: LiveDesk, when: str) -> None:
    """The answer comes later."""
    desk.fault(fault="delay", when=when, seconds=0.3)
    began = time.monotonic()

    response = desk.ask("POST", CONTACTS, json={"first_name": "Ada"})

    assert response.status_code == 201
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize(("when", "order"), [("within", ["slow", "meanwhile"]), ("before", ["meanwhile", "slow"])])
def test_locks_are_held_within_a_slow_transaction(desk: LiveDesk, when: str, order: list[str]) -> None:
    """Another change of the contact waits for the transaction, but not for one that only begins late."""
    path = f"{CONTACTS}/{desk.ask('POST', CONTACTS, json={'first_name': 'Ada'}).json()['id']}"
    desk.fault(fault="delay", when=when, seconds=1, times=1, operation="update-contact")

    with ThreadPoolExecutor() as beside:
        slow = beside.submit(desk.ask, "PATCH", path, json={"first_name": "slow"})
        # The rule has chosen the first one.
        while not desk.command("GET", "/faults")["faults"][0]["fired"]:
            pass
        during = desk.ask("GET", path).json()["first_name"]
        desk.ask("PATCH", path, json={"first_name": "meanwhile"})

    assert slow.result().status_code == 200
    # The journal has them in the order in which they ended.
    entries = desk.command("GET", "/journal", params={"operation": "update-contact"})["entries"]
    assert [json.loads(each["request"]["body"])["first_name"] for each in entries] == order
    assert [each["fault_kind"] for each in entries if "slow" in each["request"]["body"]] == ["delay"]
    assert during == "Ada"
    assert desk.ask("GET", path).json()["first_name"] == order[-1]


def test_an_edit_comes_between_read_and_write(desk: LiveDesk) -> None:
    """Somebody else changes the contact first, so If-Match refuses the client's change."""
    read = desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    path = f"{CONTACTS}/{read.json()['id']}"
    desk.fault(fault="edit", operation="update-contact", body={"last_name": "King"}, times=1)

    refused = desk.ask("PATCH", path, json={"first_name": "Augusta"}, headers={"If-Match": read.headers["ETag"]})
    taken = desk.ask("PATCH", path, json={"first_name": "Augusta"}, headers={"If-Match": refused.headers["ETag"]})

    assert refused.status_code == 412
    assert taken.json()["last_name"] == "King"


def test_a_cursor_becomes_invalid(desk: LiveDesk) -> None:
    """The next page is refused as the product refuses a cursor that it does not know."""
    for _ in range(2):
        desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    cursor = desk.ask("GET", f"{CONTACTS}?limit=1").json()["next_cursor"]
    desk.fault(fault="invalid_cursor", times=1)

    refused = desk.ask("GET", CONTACTS, params={"limit": 1, "cursor": cursor})

    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "invalid_cursor"
    assert desk.ask("GET", CONTACTS, params={"limit": 1, "cursor": cursor}).status_code == 200


@pytest.mark.parametrize(
    ("rule", "requests_of_it"),
    [
        ({"fault": "read_only"}, [("GET", CONTACTS), ("POST", CONTACTS)]),
        ({"fault": "invalid_cursor"}, [("GET", CONTACTS), ("GET", f"{CONTACTS}?cursor=x")]),
        ({"fault": "invalid_cursor"}, [("GET", f"{CONTACTS}/cnt_nobody?cursor=x"), ("GET", f"{CONTACTS}?cursor=x")]),
        ({"fault": "delay", "when": "within", "seconds": 0}, [("GET", CONTACTS), ("POST", CONTACTS)]),
        ({"fault": "delay", "when": "within", "seconds": 0}, [("PATCH", f"{CONTACTS}/cnt_nobody"), ("POST", CONTACTS)]),
    ],
    ids=str,
)
def test_a_fault_that_changes_nothing_has_not_happened(
    desk: LiveDesk, rule: dict[str, object], requests_of_it: list[tuple[str, str]]
) -> None:
    """A request on which the fault has no effect does not use the rule up, and the journal shows none at it."""
    desk.fault(**rule, times=1)
    seen: list[tuple[int, str]] = []
    for method, path in requests_of_it:
        desk.ask(method, path, json=None if method == "GET" else {"first_name": "Ada"})
        (entry,) = desk.command("GET", "/journal", params={"after": len(seen)})["entries"]
        seen.append((desk.command("GET", "/faults")["faults"][0]["fired"], entry["fault_kind"]))

    assert seen == [(0, ""), (1, rule["fault"])]


def test_a_credential_is_expired_where_there_is_one(desk: LiveDesk) -> None:
    """A request for a token has none, and does not use the rule up."""
    client = desk.command("POST", "/clients", json={"name": "App", "scopes": ["contacts:read"]})
    desk.fault(fault="expire_credential", times=1)
    grant = {"grant_type": "client_credentials", **client}

    token = requests.post(f"{desk.url}/api/v1/oauth/token", data=grant, timeout=PATIENCE)

    assert token.status_code == 200
    assert desk.command("GET", "/faults")["faults"][0]["fired"] == 0
    assert desk.ask("GET", CONTACTS).status_code == 401


def test_an_edit_counts_once_it_is_done(desk: LiveDesk) -> None:
    """An edit that the API refuses has not happened: the rule says why, and the next request gets another try."""
    path = f"{CONTACTS}/{desk.ask('POST', CONTACTS, json={'first_name': 'Ada'}).json()['id']}"
    desk.fault(fault="edit", path="/v2/contacts/*", body={"last_name": "King"}, times=1)
    fired: list[int] = []
    for each in (f"{CONTACTS}/cnt_nobody", path):
        desk.ask("GET", each)
        fired.append(desk.command("GET", "/faults")["faults"][0]["fired"])

    assert fired == [0, 1]
    assert "PATCH /v2/contacts/cnt_nobody was refused with 404" in desk.command("GET", "/faults")["faults"][0]["refusal"]
    assert desk.ask("GET", path).json()["last_name"] == "King"


def test_half_of_no_body_is_no_fault(desk: LiveDesk) -> None:
    """An answer without a body is not truncated, and the rule waits for one that has a body."""
    read = desk.ask("POST", CONTACTS, json={"first_name": "Ada"})
    path = f"{CONTACTS}/{read.json()['id']}"
    desk.fault(fault="truncate", times=1)

    unchanged = desk.ask("GET", path, headers={"If-None-Match": read.headers["ETag"]})
    fired = desk.command("GET", "/faults")["faults"][0]["fired"]

    assert (unchanged.status_code, fired) == (304, 0)
    assert not desk.ask("GET", path).text.endswith("}")


def test_a_credential_expires_now(desk: LiveDesk) -> None:
    """The request and all later ones with the key are refused; another key works."""
    other = desk.command("POST", "/keys", json={})["api_key"]
    desk.ask("GET", CONTACTS)
    desk.fault(fault="expire_credential", nth=1)

    statuses = [desk.ask("GET", CONTACTS).status_code for _ in range(2)]

    assert statuses == [401, 401]
    assert desk.ask("GET", CONTACTS, headers={"Authorization": other}).status_code == 200


def test_read_only_lets_reads_through(desk: LiveDesk) -> None:
    """Reads are answered, also those by POST, and writes are not done."""
    desk.fault(fault="read_only")

    assert desk.ask("GET", CONTACTS).status_code == 200
    for kind in ("contacts", "companies"):
        assert desk.ask("POST", f"/api/herdbook/{kind}/query", json={}).status_code == 200
    assert desk.ask("POST", "/api/herdbook/exports", json={"object_type": "contact", "format": "csv"}).status_code == 200
    assert desk.ask("POST", CONTACTS, json={"first_name": "Ada"}).status_code == 503


@pytest.mark.parametrize(
    ("choice", "statuses"),
    [
        ({"nth": 2}, [200, 500, 200, 200]),
        ({"every": 2}, [200, 500, 200, 500]),
        ({"times": 1}, [500, 200, 200, 200]),
        ({"probability": 0}, [200, 200, 200, 200]),
        ({"probability": 0.5, "random_seed": 2}, [200, 200, 500, 500]),
        ({"path": "/v2/contacts/*"}, [200, 200, 200, 200]),
        ({"path": "/api/v2/contact*", "method": "get"}, [500, 500, 500, 500]),
        ({"operation": "list-tags"}, [200, 200, 200, 200]),
    ],
    ids=str,
)
def test_a_rule_chooses_requests(desk: LiveDesk, choice: dict[str, object], statuses: list[int]) -> None:
    """The n-th, every n-th, some by chance, until a count, by operation and by path."""
    desk.fault(fault="status", status=500, **choice)

    assert [desk.ask("GET", CONTACTS).status_code for _ in statuses] == statuses


def test_a_rule_may_be_for_one_key(desk: LiveDesk) -> None:
    """Requests with another key of the workspace have no fault."""
    other = desk.command("POST", "/keys", json={})["api_key"]
    desk.fault(fault="status", status=500, api_key=other)

    statuses = [desk.ask("GET", CONTACTS, headers={"Authorization": each}).status_code for each in (desk.key, other)]

    assert statuses == [200, 500]


def test_the_faults_of_a_workspace_are_its_own(lab: tuple[str, str], desk: LiveDesk) -> None:
    """Another workspace goes on as before."""
    other = LiveDesk(*lab)
    desk.fault(fault="status", status=500)

    assert other.ask("GET", CONTACTS).status_code == 200
    assert desk.ask("GET", CONTACTS).status_code == 500


def test_every_answer_says_that_it_is_of_a_lab(desk: LiveDesk) -> None:
    """The header is on answers, refusals, faults, and answers to what is no HTTP."""
    desk.fault(fault="status", status=500, times=1)
    responses = [desk.ask("GET", path) for path in (CONTACTS, CONTACTS, "/nowhere", "/healthz")]

    assert [response.headers["X-Herdbook-Lab"] for response in responses] == ["1"] * 4
    assert desk.ask("GET", "/").json()["mode"] == "lab"


def test_the_journal_has_what_the_client_did(desk: LiveDesk) -> None:
    """A request whose answer was lost is there with both, and what happened to the answer."""
    fault_id = desk.fault(fault="close", when="after", operation="create-contact", times=1)
    CLIENTS["curl"]("POST", desk.url + CONTACTS, desk.key, ADA)

    (entry,) = desk.command("GET", "/journal", params={"operation": "create-contact"})["entries"]

    assert entry["outcome"] == "closed"
    assert entry["fault"] == fault_id
    assert json.loads(entry["request"]["body"]) == {"first_name": "Ada"}
    assert "answer" not in entry
    assert entry["api_key"] == "apik_" + desk.key.removeprefix("sk-apik_").partition(".")[0]


def test_the_inbox_takes_messages_of_others(desk: LiveDesk) -> None:
    """Anybody who posts to its address gets the answer that it was told to give, and the journal has the message."""
    desk.command("PUT", "/inbox", json={"statuses": [503]})

    # No webhook is a GET, and this one takes no answer of another.
    looked = requests.get(desk.made["inbox_url"], timeout=PATIENCE)
    statuses = [requests.post(desk.made["inbox_url"], data=b"hello", timeout=PATIENCE).status_code for _ in range(2)]

    assert (looked.status_code, looked.headers["Allow"]) == (405, "POST")
    assert statuses == [503, 200]
    entries = desk.command("GET", "/journal", params={"kind": "inbox"})["entries"]
    assert [each["request"]["body"] for each in entries] == ["hello", "hello"]


NO_RULES: Final[list[tuple[dict[str, object], str, str]]] = [
    ({"fault": "edit"}, "body", "needs `body`"),
    ({"fault": "edit", "body": {}, "method_of_edit": "FOO"}, "method_of_edit", "There are DELETE"),
    ({"fault": "edit", "body": {}, "path_of_edit": "v2/contacts"}, "path_of_edit", "`/`"),
    ({"fault": "delay", "when": "body"}, "when", "use `drip`"),
    ({"fault": "close", "when": "within"}, "when", "`close` closes"),
    ({"fault": "delay", "when": "within", "seconds": 30}, "seconds", "at most 7 seconds"),
    ({"fault": "drip", "seconds": 61}, "seconds", "at most 60 seconds"),
    ({"fault": "nothing"}, "fault", '"webhook_lost"'),
    # Names that nothing has.
    ({"fault": "status", "operation": "craete-contact"}, "operation", "Did you mean `create-contact`?"),
    ({"fault": "status", "operation": "xyz"}, "operation", "`operationId`"),
    ({"fault": "status", "method": "PTCH"}, "method", "Did you mean `PATCH`?"),
    ({"fault": "status", "path": "v2/contacts"}, "path", "begins with `/`"),
    ({"fault": "status", "path": "/v2/contacts?limit=1"}, "path", "no query"),
    ({"fault": "status", "api_key": "blah"}, "api_key", "`apik_`"),
    ({"fault": "webhook_lost", "event_type": "v1.contct.created"}, "event_type", "Did you mean `v1.contact.created`?"),
    # Members that do not belong to the fault.
    ({"fault": "webhook_lost", "operation": "list-tags"}, "operation", "The fault takes `event_type`"),
    ({"fault": "status", "event_type": "v1.contact.created"}, "event_type", "`status`"),
    ({"fault": "status", "when": "within"}, "when", "Leave it out"),
    ({"fault": "status", "seconds": 2}, "seconds", "Leave it out"),
    ({"fault": "rate_limited", "status": 500}, "status", "The fault takes `operation`"),
    ({"fault": "webhook_late", "when": "within", "seconds": 100}, "when", "Leave it out"),
    ({"fault": "truncate", "body": {}}, "body", "Leave it out"),
    # Choices that no request is among.
    ({"fault": "status", "nth": 2, "every": 3}, "every", "do not go together"),
    ({"fault": "status", "random_seed": 3}, "random_seed", "`probability`"),
    ({"fault": "status", "operation": "create-contact", "method": "GET"}, "method", "`POST`"),
    ({"fault": "read_only", "operation": "list-contacts"}, "operation", "writes alone"),
    ({"fault": "read_only", "method": "HEAD"}, "method", "writes alone"),
    ({"fault": "invalid_cursor", "operation": "create-contact"}, "operation", "`cursor`"),
    ({"fault": "delay", "when": "within", "operation": "oauth-token"}, "operation", "of the ledger"),
    ({"fault": "expire_credential", "operation": "oauth-token"}, "operation", "API key"),
]


@pytest.mark.parametrize(("rule", "field", "remedy"), NO_RULES, ids=str)
def test_a_rule_that_cannot_work_is_refused(
    lab: tuple[str, str], desk: LiveDesk, rule: dict[str, object], field: str, remedy: str
) -> None:
    """The refusal names the field, alone, and the remedy."""
    url, token = lab
    where = f"{url}/api/herdbook/lab/workspaces/{desk.made['id']}/faults"
    response = desk.ask("POST", where.removeprefix(url), json=rule, headers={"Authorization": f"Bearer {token}"})

    assert response.status_code == 422
    assert [each["field"] for each in response.json()["errors"]] == [field]
    assert remedy in response.json()["detail"]


def test_every_fault_takes_its_members(desk: LiveDesk) -> None:
    """The members in the table of a fault are accepted, and its rule shows them."""
    said: dict[str, object] = {
        "api_key": desk.key,
        "body": {},
        "event_type": "v1.contact.created",
        "method": "PATCH",
        "method_of_edit": "PUT",
    }
    said |= {"operation": "update-contact", "path": "/v2/*", "path_of_edit": "/v2/tags", "retry_after": 3, "seconds": 2.0}
    said |= {"status": 418, "when": "after"}
    of_lists = {"operation": "list-contacts", "method": "GET"}

    for fault, members in MEMBERS.items():
        rule = {name: said[name] for name in members} | (of_lists if fault == "invalid_cursor" else {})
        made = desk.command("POST", "/faults", json={"fault": fault, **rule, "every": 2, "times": 1})
        assert made["rule"].items() >= rule.items()
