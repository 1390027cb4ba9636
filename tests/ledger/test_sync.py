"""The vendor's recipe for a copy: export everything once, then ask for updates since the last checkpoint.

A system that stamps rows before it commits them loses some by this recipe: a row that was stamped earlier and committed later
is already behind the checkpoint when it becomes visible.
"""

import asyncio
import logging
from uuid import UUID

import asyncpg
import pytest

from herdbook.ledger.ledger import Ledger
from tests.cast import Json, Person
from tests.ledger.concurrent_callers import Said, call_all, crowd_elsewhere

COMMANDS = 3000
URL = "/api/v2/contacts"


class Copy:
    """A copy of a workspace's contacts, kept by the recipe."""

    def __init__(self, person: Person) -> None:
        self.contacts: dict[str, Json] = {}
        self.checkpoint: str | None = None
        self.runs = 0
        self._person = person

    async def update(self) -> None:
        """Run the recipe once: read all pages, then take a new checkpoint."""
        params = {"order_by": "updated_at:asc", "limit": "100"}
        if self.checkpoint is not None:
            params["filter[updated_at][gte]"] = self.checkpoint
        last = self.checkpoint
        while True:
            page = (await self._person.get(URL, params=params)).json()
            for contact in page["data"]:
                self.contacts[contact["id"]] = contact
                last = contact["updated_at"]
            if not page["has_more"]:
                break
            params = {"cursor": page["next_cursor"], "limit": "100"}
        self.checkpoint = last
        self.runs += 1


async def test_the_recipe_loses_nothing(
    alice: Person,
    workspace_id: UUID,
    ledger: Ledger,
    pool: "asyncpg.Pool[asyncpg.Record]",
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A copy that follows a workspace in which two processes write equals it at the end."""
    caplog.set_level(logging.ERROR, "herdbook")
    said: list[Said] = []
    copy = Copy(alice)
    writing = asyncio.Event()

    async def follow() -> None:
        while not writing.is_set():
            await copy.update()

    following = asyncio.create_task(follow())
    async with crowd_elsewhere(database_url, 1, COMMANDS, [workspace_id]) as (process, lines):
        ours = asyncio.create_task(call_all(ledger, pool, [workspace_id], 2, COMMANDS, said.append))
        theirs = [line async for line in lines]
        await ours
        assert await process.wait() == 0
    writing.set()
    await following
    runs_meanwhile = copy.runs
    await copy.update()

    assert len(theirs) >= COMMANDS
    assert runs_meanwhile > 10, "the copy followed"
    whole = Copy(alice)
    await whole.update()
    assert whole.contacts
    assert {contact_id: copy.contacts[contact_id] for contact_id in whole.contacts} == whole.contacts
