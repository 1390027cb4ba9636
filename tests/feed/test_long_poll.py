"""GET /herdbook/changes?wait=: a change is returned as soon as it happens."""

import asyncio
import time
from typing import Any, Self
from uuid import UUID

import pytest

from herdbook.auth.authenticate import Authenticator, Caller
from herdbook.http import event_stream
from herdbook.ledger.ledger import Ledger
from tests.cast import Json, Person, Thing
from tests.feed.feed import URL, now, read, told
from tests.ledger.ledger_client import LedgerClient


class Timed:
    """A timer for a block."""

    seconds = 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began


def waiting(person: Person, **params: Any) -> asyncio.Task[Json]:
    """Poll for changes in the background."""
    return asyncio.create_task(read(person, **params))


async def test_what_is_there_is_told_at_once(alice: Person, ada: Thing) -> None:
    """A poll returns at once if there are changes already."""
    with Timed() as timed:
        types = await told(alice, after=int(ada.etag.strip('"')) - 1, wait=30)

    assert types == ["contact.created"]
    assert timed.seconds < 10


async def test_a_write_wakes_who_waits(alice: Person, ada: Thing) -> None:
    """A commit wakes the polls of its own process at once; a periodic look would cost a second each time."""
    position = await now(alice)
    with Timed() as timed:
        for number in range(20):
            coming = waiting(alice, after=position, wait=30)
            await alice.patch(ada.url, json={"first_name": f"Ada {number}"})
            page = await coming
            assert [change["data"]["object"]["first_name"] for change in page["data"]] == [f"Ada {number}"]
            position = page["position"]

    assert timed.seconds < 10


async def test_a_write_of_another_process_wakes_who_waits(alice: Person, workspace_id: UUID, ledger: Ledger) -> None:
    """A write of another process is found within a second or so."""
    coming = waiting(alice, after=await now(alice), wait=30)
    with Timed() as timed:
        await LedgerClient(ledger, workspace_id).create(first_name="Ada")
        page = await coming

    assert [change["type"] for change in page["data"]] == ["contact.created"]
    assert timed.seconds < 10


async def test_who_comes_where_very_many_wait_is_refused(
    alice: Person, charlie: Person, ada: Thing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A workspace may have a limited number of polls; the next one must retry later, and other workspaces are unaffected."""
    position = await now(alice)
    coming = [waiting(alice, after=position, wait=30) for _ in range(2)]
    # A poll that has ended came after those that began before it, so these follow by now.
    await read(alice, after=position, wait=1)
    monkeypatch.setattr(event_stream, "MAX_FOLLOWERS", 2)
    refused = await alice.get(URL, params={"after": position, "wait": 1})
    other = await charlie.get(URL, params={"after": "now", "wait": 1})
    await alice.patch(ada.url, json={"first_name": "Augusta"})
    pages = await asyncio.gather(*coming)

    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
    assert refused.json()["type"].endswith("/too_many_followers")
    assert other.status_code == 200
    assert [len(page["data"]) for page in pages] == [1, 1]
    assert (await alice.get(URL, params={"after": "now", "wait": 1})).status_code == 200


async def test_nothing_is_told_in_the_end(alice: Person) -> None:
    """A poll without changes returns an empty page when its time is over."""
    position = await now(alice)
    with Timed() as timed:
        page = await read(alice, after="now", wait=1)

    assert page == {"object": "list", "data": [], "has_more": False, "position": position, "head": position}
    assert timed.seconds >= 1


async def test_only_what_was_asked_for_ends_the_wait(alice: Person, ada: Thing) -> None:
    """Changes of other kinds do not end a poll; they only move its position."""
    coming = waiting(alice, after="now", types="tag", wait=30)
    updated = [await alice.patch(ada.url, json={"first_name": f"Ada {number}"}) for number in range(3)]
    created = await alice.post("/api/v2/tags", json={"name": "Renewal"})
    page = await coming

    assert all(response.status_code == 200 for response in updated)
    assert [change["data"]["object"] for change in page["data"]] == [created.json()]


async def test_a_position_moves_on_in_vain(alice: Person, ada: Thing) -> None:
    """A poll that found nothing returns a later position, so that nothing is scanned twice."""
    coming = waiting(alice, after=await now(alice), types="tag", wait=1)
    updated = await alice.patch(ada.url, json={"first_name": "Augusta"})
    page = await coming

    assert page["data"] == []
    assert page["position"] == int(updated.headers["ETag"].strip('"'))


async def test_many_wait_at_once(alice: Person, ada: Thing) -> None:
    """Polls with the same parameters return the same page."""
    position = await now(alice)
    coming = [waiting(alice, after=position, wait=30) for _ in range(50)]
    await alice.delete(ada.url)
    pages = await asyncio.gather(*coming)

    assert all(page == pages[0] for page in pages)
    assert [change["type"] for change in pages[0]["data"]] == ["contact.deleted"]


async def test_the_credential_is_looked_at_again_from_where_it_came(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waits counts as its address when its credential is looked at again, and not as all that wait."""
    addresses: list[str] = []
    caller = Authenticator.caller

    async def noted(self: Authenticator, authorization: bytes | None, address: str = "") -> Caller:
        addresses.append(address)
        return await caller(self, authorization, address)

    monkeypatch.setattr(Authenticator, "caller", noted)
    response = await alice.get(URL, params={"after": "now", "wait": 1})

    assert response.status_code == 200
    assert len(addresses) > 1
    assert set(addresses) == {"127.0.0.1"}
