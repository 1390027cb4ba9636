"""Copies of a whole list by programs of others, while writers change it."""

import itertools
import random
import re
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from tests.cast import Json
from tests.cli.programs import Running, serving

DOCS: Final = Path(__file__).parents[2] / "docs/api.md"
CONTACTS: Final = 10_000
CHANGED: Final = CONTACTS // 10
PAGE: Final = 100
ASCENDING: Final = {"order_by": "updated_at:asc"}


def program(name: str) -> str:
    """Return a Python program as the documentation prints it."""
    (printed,) = re.findall(rf"```py\n(# {re.escape(name)}: .*?)```", DOCS.read_text(), re.DOTALL)
    return printed


def bulk(server: Running, operations: list[Json]) -> list[Json]:
    """Carry out a bulk in which everything succeeds; return the contacts."""
    response = server.post("/api/herdbook/contacts/bulk", {"atomic": True, "operations": operations})
    assert response.status_code == 200, response.text
    return [result["contact"] for result in response.json()["results"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server with 10,000 contacts."""
    with serving(tmp_path_factory.mktemp("herdbook"), "--rate-limit", "0") as running:
        for start in range(0, CONTACTS, 1000):
            names = [f"Ada {start + each}" for each in range(1000)]
            bulk(running, [{"action": "create", "contact": {"first_name": name}} for name in names])
        yield running


def read_by_dlt(server: Running) -> Iterator[Json]:
    """Yield the contacts that dlt reads, set up as in the documentation."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HERDBOOK", server.url)
        patch.setenv("HERDBOOK_API_KEY", server.key)
        # Otherwise the library reports its use to its makers.
        patch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
        exec(program("copy_contacts.py"), names)  # noqa: S102  # the documentation's own program
        yield from names["source"].resources["contacts"]


def singer_messages(server: Running, state: Json) -> Iterator[Json]:
    """Yield the messages of a Singer tap, whose stream is sorted by its replication key, from the bookmark in a state on.

    The bookmark is inclusive (https://github.com/singer-io/getting-started/blob/master/docs/SPEC.md).
    """
    properties = {"id": {"type": "string"}, "updated_at": {"type": "string", "format": "date-time"}}
    stream: Json = {"stream": "contacts", "schema": {"type": "object", "properties": properties}}
    yield {"type": "SCHEMA", **stream, "key_properties": ["id"], "bookmark_properties": ["updated_at"]}
    bookmark: Json = state.get("bookmarks", {}).get("contacts", {})
    since = {"filter[updated_at][gte]": bookmark["updated_at"]} if bookmark else {}
    for page in pages(server, {"limit": PAGE, **ASCENDING, **since}):
        for row in page:
            yield {"type": "RECORD", "stream": "contacts", "record": row}
            bookmark = {"updated_at": row["updated_at"]}
        yield {"type": "STATE", "value": {"bookmarks": {"contacts": bookmark}}}


def read_by_a_singer_tap(server: Running) -> Iterator[Json]:
    """Yield the contacts of a tap that is stopped in the middle of a page, and started again from its last state."""
    state: Json = {}
    for most in (CONTACTS // 4, None):
        for message in itertools.islice(singer_messages(server, state), most):
            if message["type"] == "RECORD":
                yield message["record"]
            state = message.get("value", state)


def read_by_an_airbyte_source(server: Running) -> Iterator[Json]:
    """Yield the contacts of two syncs by the rules of Airbyte's `DatetimeBasedCursor` and `CursorPagination`.

    Each sync reads slices of time up to its own beginning. The second one goes on from the greatest time that the first one
    saw, less a lookback window.
    """
    step, lookback, granularity = timedelta(seconds=5), timedelta(seconds=1), timedelta(microseconds=1)
    [oldest] = next(pages(server, {"limit": 1, **ASCENDING}))
    first = cursor = datetime.fromisoformat(oldest["updated_at"])
    for _ in range(2):
        begin, now = max(first, cursor - lookback), datetime.now(UTC)
        while begin <= now:
            end = min(begin + step - granularity, now)
            bounds = {"filter[updated_at][gte]": begin.isoformat(), "filter[updated_at][lte]": end.isoformat()}
            for row in itertools.chain.from_iterable(pages(server, {"limit": PAGE, **ASCENDING, **bounds})):
                yield row
                cursor = max(cursor, datetime.fromisoformat(row["updated_at"]))
            begin = end + granularity


def pages(server: Running, params: dict[str, Any]) -> Iterator[list[Json]]:
    """Yield the pages of a list of contacts."""
    page: Json = {"has_more": True}
    while page["has_more"]:
        response = server.get("/api/v2/contacts", params=params)
        assert response.status_code == 200, response.text
        page = response.json()
        yield page["data"]
        params = {"cursor": page["next_cursor"]}


def written_between(rows: Iterator[Json], server: Running, changing: list[str], last_name: str) -> Iterator[Json]:
    """Yield rows, and let a writer change some contacts of any place in the list after each page, before half of it is read."""
    for number, row in enumerate(rows, start=1):
        yield row
        if number % PAGE == 0 and changing:
            now = [changing.pop() for _ in range(20)]
            bulk(server, [{"action": "update", "id": each, "contact": {"last_name": last_name}} for each in now])


# The library warns of its own use of what is deprecated.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("read", [read_by_dlt, read_by_a_singer_tap, read_by_an_airbyte_source])
def test_every_contact_is_copied(server: Running, read: Callable[[Running], Iterator[Json]]) -> None:
    """A copy has 10,000 contacts in their last state, although a tenth of them changed while it was made."""
    known = [row["id"] for page in pages(server, {"limit": 100, **ASCENDING}) for row in page]
    changing = random.Random(1842).sample(known, CHANGED)  # noqa: S311  # any choice will do
    copied = {row["id"]: row for row in written_between(read(server), server, changing[:], read.__name__)}
    now = [server.get(f"/api/v2/contacts/{each}").json() for each in known[::500]]

    assert len(known) == CONTACTS
    assert copied.keys() == set(known)
    assert {each for each, row in copied.items() if row.get("last_name") == read.__name__} == set(changing)
    assert [copied[each["id"]] for each in now] == now


def test_the_default_order_would_miss_some(tmp_path: Path) -> None:
    """In the default order, contacts that are updated behind the reader are missed; in the ascending one, none is."""
    seen: dict[str, set[str]] = {}
    with serving(tmp_path, "--rate-limit", "0") as server:
        for order in ("updated_at:desc", "updated_at:asc"):
            known = [contact["id"] for contact in bulk(server, [{"action": "create", "contact": {}}] * 30)]
            url, headers = f"{server.url}/api/v2/contacts", {"Authorization": server.key}
            params: dict[str, str | int] = {"limit": 10, "order_by": order}
            page = requests.get(url, params=params, headers=headers, timeout=90).json()
            unread = [each for each in known if each not in {row["id"] for row in page["data"]}][:3]
            bulk(server, [{"action": "update", "id": each, "contact": {"first_name": "Ada"}} for each in unread])
            seen[order] = {row["id"] for row in page["data"]}
            while page["has_more"]:
                params = {"cursor": page["next_cursor"]}
                page = requests.get(url, params=params, headers=headers, timeout=90).json()
                seen[order] |= {row["id"] for row in page["data"]}
            seen[order] &= set(known)

    assert len(seen["updated_at:desc"]) == 27
    assert len(seen["updated_at:asc"]) == 30
