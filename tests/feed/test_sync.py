"""Keeping a copy by the feed: export everything once, then apply all later changes, deletions included."""

import asyncio
import logging
from typing import Final

import asyncpg
import pytest

from herdbook.ledger.ledger import Ledger
from tests.cast import Json, Person
from tests.cli.programs import Running
from tests.feed.feed import read, walked
from tests.feed.streams import opened
from tests.ledger.concurrent_callers import Said, call_all, crowd_elsewhere

COMMANDS: Final = 1500
# The name of the contact that marks the last write.
THE_END: Final = "The End"


class Copy:
    """A copy of a workspace's contacts, and the positions of the changes applied to it."""

    def __init__(self) -> None:
        self.contacts: dict[str, Json] = {}
        self.positions: list[int] = []
        self.is_whole = False

    def apply(self, change: Json) -> None:
        """Apply a change."""
        contact, action = change["data"]["object"], change["type"]
        before = self.contacts.get(contact["id"])
        self.positions.append(change["position"])
        self.is_whole = contact["first_name"] == THE_END
        if action == "contact.created":
            assert before is None
            self.contacts[contact["id"]] = contact
        elif action == "contact.updated":
            assert before is not None
            for name, old in change["data"]["previous_attributes"].items():
                assert before.get(name) == old, "an update starts from the state that the last one left"
            self.contacts[contact["id"]] = contact
        else:
            assert self.contacts.pop(contact["id"]) == contact

    async def wait_for_changes(self, person: Person) -> None:
        """Follow by long polls until the end."""
        position = 0
        while not self.is_whole:
            page = await read(person, after=position, types="contact", limit=50, wait=30)
            position = page["position"]
            for change in page["data"]:
                self.apply(change)

    async def listen(self, server: Running, person: Person) -> None:
        """Follow a stream until the end, and reconnect now and then."""
        last_id: str | None = None
        while not self.is_whole:
            async with opened(server.url, person, last_id, after=0, types="contact") as stream:
                for _ in range(300):
                    event = await stream.next()
                    assert event is not None, "the stream goes on"
                    self.apply(event.data)
                    if self.is_whole:
                        break
                last_id = stream.last_id


async def test_a_copy_misses_nothing(
    alice: Person,
    ledger: Ledger,
    server: Running,
    pool: "asyncpg.Pool[asyncpg.Record]",
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two copies, each kept in its own way, equal the workspace after two processes have written in it."""
    caplog.set_level(logging.ERROR, "herdbook")
    said: list[Said] = []
    waiting, listening = Copy(), Copy()
    following = asyncio.gather(waiting.wait_for_changes(alice), listening.listen(server, alice))
    async with crowd_elsewhere(database_url, 1, COMMANDS, [alice.workspace_id]) as (process, lines):
        ours = asyncio.create_task(call_all(ledger, pool, [alice.workspace_id], 2, COMMANDS, said.append))
        theirs = [line async for line in lines]
        await ours
        assert await process.wait() == 0
    await alice.post("/api/v2/contacts", json={"first_name": THE_END})
    await following

    assert len(theirs) >= COMMANDS
    entered = await walked(alice, types="contact", limit=1000)
    assert waiting.positions == listening.positions == [change["position"] for change in entered]
    assert waiting.contacts == listening.contacts == await exported(alice)


async def exported(person: Person) -> dict[str, Json]:
    """Return all contacts of a workspace."""
    contacts: dict[str, Json] = {}
    cursor: str | None = None
    while True:
        params = {"limit": 100} | ({"cursor": cursor} if cursor else {})
        page = (await person.get("/api/v2/contacts", params=params)).json()
        contacts |= {contact["id"]: contact for contact in page["data"]}
        cursor = page["next_cursor"]
        if cursor is None:
            return contacts
