"""Copies of a whole list by programs of others, while writers change it."""

import random
import re
from collections.abc import Iterator
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


def program(name: str) -> str:
    """Return a Python program as the documentation prints it."""
    (printed,) = re.findall(rf"```py\n(# {re.escape(name)}: .*?)```", DOCS.read_text(), re.DOTALL)
    return printed


def bulk(server: Running, operations: list[Json]) -> list[Json]:
    """Carry out a bulk in which everything succeeds; return the contacts."""
    response = server.post("/api/herdbook/contacts/bulk", {"atomic": True, "operations": operations})
    assert response.status_code == 200, response.text
    return [result["contact"] for result in response.json()["results"]]


def written_between(rows: Iterator[Json], server: Running, known: list[str]) -> Iterator[Json]:
    """Yield rows, and let a writer change ten contacts of any place in the list after each page, a tenth of all together."""
    changing = random.Random(1842).sample(known, CHANGED)  # noqa: S311  # any choice will do
    for number, row in enumerate(rows, start=1):
        yield row
        if number % PAGE == 0 and changing:
            now = [changing.pop() for _ in range(10)]
            bulk(server, [{"action": "update", "id": each, "contact": {"last_name": f"After {number}"}} for each in now])


# The library warns of its own use of what is deprecated.
@pytest.mark.filterwarnings("ignore")
def test_dlt_copies_every_contact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """dlt, set up as in the documentation, copies 10,000 contacts in their last state, while a tenth of them changes."""
    with serving(tmp_path, "--rate-limit", "0") as server:
        known = [
            contact["id"]
            for start in range(0, CONTACTS, 1000)
            for contact in bulk(
                server,
                [{"action": "create", "contact": {"first_name": f"Ada {start + each}"}} for each in range(1000)],
            )
        ]
        monkeypatch.setenv("HERDBOOK", server.url)
        monkeypatch.setenv("HERDBOOK_API_KEY", server.key)
        # Otherwise the library reports its use to its makers.
        monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
        names: dict[str, Any] = {}
        exec(program("copy_contacts.py"), names)  # noqa: S102  # the documentation's own program
        rows: Iterator[Json] = iter(names["source"].resources["contacts"])
        copied = {row["id"]: row for row in written_between(rows, server, known)}
        now = [server.get(f"/api/v2/contacts/{each}").json() for each in known[::500]]

    assert copied.keys() == set(known)
    assert sum("last_name" in row and row["last_name"] is not None for row in copied.values()) == CHANGED
    assert [copied[each["id"]] for each in now] == now


def test_the_default_order_would_miss_some(tmp_path: Path) -> None:
    """In the default order, contacts that are updated behind the reader are missed; in the ascending one, none is."""
    seen: dict[str, set[str]] = {}
    with serving(tmp_path, "--rate-limit", "0") as server:
        for order in ("updated_at:desc", "updated_at:asc"):
            known = [contact["id"] for contact in bulk(server, [{"action": "create", "contact": {}}] * 30)]
            url, headers = f"{server.url}/api/v2/contacts", {"Authorization": server.key}
            params: dict[str, str | int] = {"limit": 10, "order_by": order}
            page = requests.get(url, params=params, headers=headers, timeout=10).json()
            unread = [each for each in known if each not in {row["id"] for row in page["data"]}][:3]
            bulk(server, [{"action": "update", "id": each, "contact": {"first_name": "Ada"}} for each in unread])
            seen[order] = {row["id"] for row in page["data"]}
            while page["has_more"]:
                params = {"cursor": page["next_cursor"]}
                page = requests.get(url, params=params, headers=headers, timeout=10).json()
                seen[order] |= {row["id"] for row in page["data"]}
            seen[order] &= set(known)

    assert len(seen["updated_at:desc"]) == 27
    assert len(seen["updated_at:asc"]) == 30
