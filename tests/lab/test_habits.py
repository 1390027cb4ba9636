"""Habits that cost clients in production: a client that has each, and one that does not."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from standardwebhooks import Webhook, WebhookVerificationError
from urllib3 import Retry

from herdbook.fields import parsed_time
from herdbook.lab import exchange
from herdbook.lab.habits import habits_of
from herdbook.lab.journal import JournalEntry, Message
from tests.lab.clients import PATIENCE, LiveDesk
from tests.lab.conftest import NEW_YEAR, Bench
from tests.webhooks.receiver import Request, answer, receiving

CONTACTS = "/api/v2/contacts"
ADA = {"first_name": "Ada"}
HOUR = 3600
SINCE = "filter[updated_at]"


@pytest.fixture
def desk(lab: tuple[str, str]) -> LiveDesk:
    """A workspace without contacts, whose clock stands still."""
    return LiveDesk(*lab, clock=NEW_YEAR, random_seed=1)


def read_until_answered(desk: LiveDesk, renewed: Callable[[], str]) -> None:
    """Read contacts with the key of the workspace, and after a refusal with another one."""
    key = desk.key
    while desk.ask("GET", CONTACTS, headers={"Authorization": key}).status_code != 200:
        key = renewed()


def test_a_401_is_retried(desk: LiveDesk) -> None:
    """The client sends the same key again."""
    desk.fault(fault="status", status=401, times=2)

    read_until_answered(desk, lambda: desk.key)

    assert desk.habits() == [("retries_401", [1, 2]), ("retries_401", [2, 3])]


def test_a_401_leads_to_another_key(desk: LiveDesk) -> None:
    """The client renews its key first."""
    desk.fault(fault="expire_credential", times=1)

    read_until_answered(desk, lambda: desk.command("POST", "/keys", json={})["api_key"])

    assert desk.habits() == []
    assert desk.command("GET", "/journal", params={"status": 401})["count"] == 1


def test_other_requests_after_a_401_are_no_retry(desk: LiveDesk) -> None:
    """Requests that were perhaps on their way are not the same one again."""
    desk.fault(fault="status", status=401, times=1)

    for path in (CONTACTS, f"{CONTACTS}?limit=1", "/api/v2/tags"):
        desk.ask("GET", path)

    assert desk.habits() == []


def read_patiently(desk: LiveDesk, retries: Retry) -> None:
    """Read contacts as a widespread library does, which retries by itself."""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=retries))
        response = session.get(desk.url + CONTACTS, headers={"Authorization": desk.key}, timeout=PATIENCE)
    assert response.status_code == 200


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_ignored(desk: LiveDesk, status: int) -> None:
    """The client comes again at once."""
    desk.fault(fault="status", status=status, retry_after=2, times=1)

    read_patiently(desk, Retry(1, status_forcelist=[status], respect_retry_after_header=False))

    assert desk.habits() == [("ignores_retry_after", [1, 2])]


@pytest.mark.parametrize("clock", [{}, {"clock": NEW_YEAR}], ids=str)
def test_retry_after_is_heeded(lab: tuple[str, str], clock: dict[str, str]) -> None:
    """The client waits by its own clock, also while that of the workspace stands still."""
    desk = LiveDesk(*lab, **clock)
    desk.fault(fault="rate_limited", retry_after=1, times=1)

    read_patiently(desk, Retry(1, status_forcelist=[429]))

    assert desk.habits() == []
    assert desk.command("GET", "/journal")["count"] == 2


@pytest.mark.parametrize(("seconds", "seen"), [(59, [("ignores_retry_after", [1, 2])]), (60, [])])
def test_retry_after_by_the_clock_of_the_workspace(desk: LiveDesk, seconds: int, seen: list[Any]) -> None:
    """A client whose waiting is a move of the clock is measured by that."""
    desk.fault(fault="rate_limited", retry_after=60, times=1)

    desk.ask("GET", CONTACTS)
    desk.command("PATCH", "/clock", json={"advance_seconds": seconds})
    desk.ask("GET", CONTACTS)

    assert desk.habits() == seen


LOST: list[dict[str, Any]] = [
    {"fault": "close", "when": "before"},
    {"fault": "close", "when": "after"},
    {"fault": "close", "when": "body"},
    {"fault": "truncate"},
    {"fault": "not_json"},
    {"fault": "delay", "when": "before", "seconds": 1},
    {"fault": "delay", "when": "after", "seconds": 1},
    {"fault": "drip", "seconds": 2},
]


def write_until_answered(desk: LiveDesk, method: str, path: str, *headers: dict[str, str], body: Any = None) -> None:
    """Write, and once more if no whole answer comes soon: each attempt has its own headers."""
    for attempt, each in enumerate(headers):
        timeout = (PATIENCE, PATIENCE if attempt else 0.1)
        try:
            sent = {"Authorization": desk.key, **each}
            with requests.request(method, desk.url + path, json=body, headers=sent, timeout=timeout, stream=True) as response:
                json.loads(response.raw.read(decode_content=True))
                return
        except (requests.RequestException, OSError, ValueError):
            continue
        except Exception as error:
            # The library under `requests` has errors of its own for a body that ends too early or comes too slowly.
            if not type(error).__module__.startswith("urllib3"):
                raise


def settled(desk: LiveDesk, count: int) -> None:
    """Wait until the journal has all requests, the slow ones, too."""
    assert desk.command("GET", "/journal", params={"wait": 10, "count": count})["count"] == count


@pytest.mark.parametrize("rule", LOST, ids=str)
def test_a_write_is_repeated_without_a_key(desk: LiveDesk, rule: dict[str, Any]) -> None:
    """The answer was lost, and the client cannot know whether the write was done."""
    desk.fault(**rule, operation="create-contact", times=1)

    write_until_answered(desk, "POST", CONTACTS, {}, {}, body=ADA)
    settled(desk, 2)

    assert [(name, sorted(numbers)) for name, numbers in desk.habits()] == [("writes_again_without_key", [1, 2])]


@pytest.mark.parametrize("rule", LOST, ids=str)
def test_a_write_is_repeated_with_its_key(desk: LiveDesk, rule: dict[str, Any]) -> None:
    """The same `Idempotency-Key` makes one contact of both attempts."""
    desk.fault(**rule, operation="create-contact", times=1)
    headers = {"Idempotency-Key": "order-17"}

    write_until_answered(desk, "POST", CONTACTS, headers, headers, body=ADA)
    settled(desk, 2)

    assert desk.habits() == []
    assert desk.contacts == 1


def test_a_new_key_for_each_attempt_is_none(desk: LiveDesk) -> None:
    """A key that names the attempt, not the write, makes two contacts."""
    desk.fault(fault="close", when="after", times=1)

    write_until_answered(desk, "POST", CONTACTS, {"Idempotency-Key": "1"}, {"Idempotency-Key": "2"}, body=ADA)
    (found,) = desk.command("POST", "/verify", json={})["habits"]

    assert found["numbers"] == [1, 2]
    assert "with another `Idempotency-Key`" in found["message"]


@pytest.mark.parametrize("has_version", [False, True])
def test_a_change_is_repeated(desk: LiveDesk, *, has_version: bool) -> None:
    """With the ETag that was read, the second attempt cannot undo what somebody else did in between."""
    made = desk.ask("POST", CONTACTS, json=ADA)
    desk.fault(fault="close", when="after", times=1)
    headers = {"If-Match": made.headers["ETag"]} if has_version else {}

    write_until_answered(desk, "PATCH", f"{CONTACTS}/{made.json()['id']}", headers, headers, body={"last_name": "King"})

    assert desk.habits() == ([] if has_version else [("writes_again_without_key", [2, 3])])


def test_repetitions_that_do_no_harm(desk: LiveDesk) -> None:
    """Reads, a deletion, another body, and a write whose answer came may be sent again without a key."""
    contact = f"{CONTACTS}/{desk.ask('POST', CONTACTS, json=ADA).json()['id']}"
    for operation in ("get-contact-by-id", "query-contacts", "delete-contact", "create-contact"):
        desk.fault(fault="close", when="after", operation=operation, times=1)

    write_until_answered(desk, "GET", contact, {}, {})
    write_until_answered(desk, "POST", "/api/herdbook/contacts/query", {}, {}, body={})
    write_until_answered(desk, "DELETE", contact, {}, {})
    write_until_answered(desk, "POST", CONTACTS, {}, body=ADA)
    for _ in range(2):
        desk.ask("POST", CONTACTS, json={"first_name": "Grace"})

    assert desk.command("GET", "/journal", params={"fault": "close"})["count"] == 4
    assert desk.habits() == []


def test_a_request_that_was_on_its_way_is_no_reaction() -> None:
    """The second of two same requests began before the first was answered, so it reacts to nothing."""

    def entry(number: int, began: float) -> JournalEntry:
        return JournalEntry(
            number=number,
            kind="request",
            at=NEW_YEAR,
            began_seconds=began,
            method="GET",
            request=Message(headers={}, body=""),
            answer=Message(headers={}, body=""),
            status=401,
            seconds=0.5,
        )

    assert habits_of([entry(1, 10.0), entry(2, 10.4)], []) == []
    assert [each.numbers for each in habits_of([entry(1, 10.0), entry(2, 10.6)], [])] == [(1, 2)]


class Copy:
    """A client that copies contacts, at first all of them, and then those that have changed since a time."""

    def __init__(self, desk: LiveDesk, **parameters: str) -> None:
        self._desk = desk
        self._parameters = {"order_by": "updated_at:asc", **parameters}
        self.newest = self.began = timedelta()
        self.sync()

    def sync(self, bound: str = "gte", since: timedelta | None = None) -> None:
        """Read all pages of what has changed since a time, as its distance from the new year."""
        self.began = self._now()
        parameters = self._parameters if since is None else {**self._parameters, f"{SINCE}[{bound}]": _shown(since)}
        while True:
            page = self._desk.ask("GET", CONTACTS, params={"limit": "1", **parameters}).json()
            self.newest = max(self.newest, *(_ahead(each["updated_at"]) for each in page["data"]), timedelta())
            if page["next_cursor"] is None:
                return
            parameters = {"cursor": page["next_cursor"]}

    def _now(self) -> timedelta:
        return _ahead(self._desk.command("GET", "")["clock"]["now"])


def _ahead(time: str) -> timedelta:
    at, begin = parsed_time(time), parsed_time(NEW_YEAR)
    assert at is not None
    assert begin is not None
    return at - begin


def _shown(ahead: timedelta) -> str:
    begin = parsed_time(NEW_YEAR)
    assert begin is not None
    return (begin + ahead).isoformat().replace("+00:00", "Z")


@pytest.fixture
def copied(desk: LiveDesk) -> Copy:
    """A copy of two contacts, of which the newer is an hour old."""
    for name in ("Ada", "Grace"):
        desk.ask("POST", CONTACTS, json={"first_name": name, "last_name": "King"})
        desk.command("PATCH", "/clock", json={"advance_seconds": HOUR})
    return Copy(desk)


@pytest.mark.parametrize(
    ("bound", "base", "seconds"),
    [("gt", "newest", 0), ("gte", "newest", 0.001), ("gt", "began", 0), ("gte", "began", 0)],
)
def test_a_sync_begins_after_the_newest(desk: LiveDesk, copied: Copy, bound: str, base: str, seconds: float) -> None:
    """The entries are the page with the newest contact, the second, and the list that begins after it."""
    first, second, *_ = (each["number"] for each in pages(desk))

    copied.sync(bound, getattr(copied, base) + timedelta(seconds=seconds))
    last = pages(desk)[-1]["number"]

    assert first < second < last
    assert desk.habits() == [("sync_without_overlap", [second, last])]


@pytest.mark.parametrize(("bound", "base", "seconds"), [("gte", "newest", 0), ("gt", "newest", -300), ("gte", "began", -300)])
def test_a_sync_overlaps(desk: LiveDesk, copied: Copy, bound: str, base: str, seconds: float) -> None:
    """Syncs from the newest contact, from minutes before it, or from minutes before the last sync have nothing to tell."""
    for _ in range(3):
        copied.sync(bound, getattr(copied, base) + timedelta(seconds=seconds))
    copied.sync()

    assert len(pages(desk)) > 5
    assert desk.habits() == []


def test_pages_of_a_search_belong_to_it(desk: LiveDesk) -> None:
    """A cursor is sent without the search, and leads on in it."""
    for name in ("Ada", "Grace"):
        desk.ask("POST", CONTACTS, json={"first_name": name, "last_name": "King"})
    found = Copy(desk, search="King")

    found.sync("gt", found.newest)

    _, second, last = (each["number"] for each in pages(desk))
    assert desk.habits() == [("sync_without_overlap", [second, last])]


async def test_a_page_that_the_journal_has_cut_proves_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest contact is perhaps in the part that the journal does not have."""
    desk = await bench.workspace(clock=NEW_YEAR)
    for name in ("Ada", "Grace"):
        await desk.ask("POST", CONTACTS, json={"first_name": name})
    first = (await desk.ask("GET", CONTACTS, params={"order_by": "updated_at:asc", "limit": 1})).json()
    with monkeypatch.context() as cutting:
        cutting.setattr(exchange, "MOST_BODY", 100)
        second = (await desk.ask("GET", CONTACTS, params={"cursor": first["next_cursor"], "limit": 1})).json()
    newest = second["data"][0]["updated_at"]

    await desk.ask("GET", CONTACTS, params={"order_by": "updated_at:asc", f"{SINCE}[gte]": newest})

    assert newest > first["data"][0]["updated_at"]
    assert (await desk.command("POST", "/verify", json={}))["habits"] == []
    await desk.command("DELETE")


def test_an_empty_sync_is_no_new_checkpoint(desk: LiveDesk, copied: Copy) -> None:
    """The newest contact stays that of an earlier sync, if the last one got none."""
    copied.sync("gte", copied.began - timedelta(minutes=5))
    copied.sync("gt", copied.newest)

    assert [name for name, _ in desk.habits()] == ["sync_without_overlap"]


def test_lists_of_other_objects_are_other_syncs(desk: LiveDesk, copied: Copy) -> None:
    """A search has got older contacts than the whole list, and neither is measured by the other."""
    found = Copy(desk, search="Ada")
    found.sync("gte", found.newest)
    copied.sync("gte", copied.newest)
    whole = desk.habits()
    found.sync("gt", found.newest)

    assert whole == []
    assert [name for name, _ in desk.habits()] == ["sync_without_overlap"]


def test_a_window_of_time_is_followed_by_the_next(desk: LiveDesk, copied: Copy) -> None:
    """Lists with an end, each from the end of the one before, miss nothing."""
    for begin, end in ((0, 2), (2, 3)):
        bounds = {f"{SINCE}[gte]": _shown(timedelta(hours=begin)), f"{SINCE}[lt]": _shown(timedelta(hours=end))}
        Copy(desk, **bounds)

    assert copied.newest > timedelta()
    assert desk.habits() == []


def pages(desk: LiveDesk) -> list[Any]:
    """Return the lists in the journal."""
    return desk.command("GET", "/journal", params={"operation": "list-contacts"})["entries"]


@pytest.mark.parametrize("fault", ["webhook_wrong_signature", "webhook_wrong_time"])
@pytest.mark.parametrize("verifies", [False, True])
async def test_a_receiver_answers(bench: Bench, fault: str, *, verifies: bool) -> None:
    """A receiver that takes each message takes one that was forged; one that verifies refuses it."""
    desk = await bench.workspace()
    async with receiving() as receiver:
        secret = (await desk.ask("POST", "/api/herdbook/webhooks", json={"url": receiver.url})).json()["secret"]

        def verified(request: Request) -> bytes:
            try:
                Webhook(secret).verify(request.body.decode(), request.headers)
            except WebhookVerificationError:
                return answer(400)
            return answer(204)

        if verifies:
            receiver.answering = verified
        await desk.command("POST", "/faults", json={"fault": fault, "times": 1})
        for name in ("Ada", "Grace"):
            await desk.ask("POST", CONTACTS, json={"first_name": name})
        params = {"kind": "delivery", "count": 2, "wait": 10}
        (forged, *_) = (await desk.command("GET", "/journal", params=params))["entries"]

        habits = (await desk.command("POST", "/verify", json={}))["habits"]

    assert forged["status"] == (400 if verifies else 204)
    assert [(each["habit"], each["numbers"]) for each in habits] == (
        [] if verifies else [("answers_before_signature", [forged["number"]])]
    )
    await desk.command("DELETE")


async def test_the_inbox_is_no_receiver_of_the_client(bench: Bench) -> None:
    """It takes everything, so that a test can look at it."""
    desk = await bench.workspace(clock=NEW_YEAR)
    await desk.ask("POST", "/api/herdbook/webhooks", json={"url": desk.inbox_url})
    await desk.command("POST", "/faults", json={"fault": "webhook_wrong_signature"})
    await desk.ask("POST", CONTACTS, json=ADA)
    await desk.command("GET", "/journal", params={"kind": "inbox", "wait": 10})

    found = await desk.command("POST", "/verify", json={"expectations": [{"fault": "webhook_wrong_signature", "times": 1}]})

    assert found["holds"]
    assert found["habits"] == []
    await desk.command("DELETE")
