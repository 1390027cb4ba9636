"""Two processes write at once: a long random run, and how they share a workspace."""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from typing import Final
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from herdbook.auth.store import create_workspace
from herdbook.ledger.ledger import Ledger
from tests.ledger.concurrent_callers import Said, assert_kept, call_all, crowd_elsewhere, heard
from tests.ledger.ledger_client import LedgerClient
from tests.ledger.promises import Pool, kept_promises

COMMANDS: Final = 6000


async def follow(pool: Pool, workspace_id: UUID, stop: asyncio.Event) -> int:
    """Read a workspace's changes as they come, check that no number is skipped, and return their count."""
    last = await pool.fetchrow("select seq, last_at as at from workspace where id = $1", workspace_id)
    assert last is not None
    while True:
        is_last_look = stop.is_set()
        for change in await pool.fetch(
            "select seq, at from change where workspace_id = $1 and seq > $2 order by seq", workspace_id, last["seq"]
        ):
            assert change["seq"] == last["seq"] + 1, "a later commit never becomes visible first"
            assert change["at"] >= last["at"]
            last = change
        if is_last_look:
            return last["seq"]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.01)


async def test_promises_are_kept_by_two_processes(
    ledger: Ledger, database_url: str, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """All invariants hold, and all answers are true, after two crowds write in the same workspaces at once."""
    # Halving logs warnings, and this test provokes it.
    caplog.set_level(logging.ERROR, "herdbook")
    workspace_ids = [await create_workspace(pool, f"Workspace {number}") for number in range(6)]
    said: list[Said] = []
    await call_all(ledger, pool, workspace_ids, 0, 60, said.append)
    late_before = late_batches()
    stop = asyncio.Event()
    following = [asyncio.create_task(follow(pool, one, stop)) for one in workspace_ids]
    async with crowd_elsewhere(database_url, 1, COMMANDS, workspace_ids) as (process, lines):
        theirs = [heard(await lines.readline())]
        ours = asyncio.create_task(call_all(ledger, pool, workspace_ids, 2, COMMANDS, said.append))
        theirs += [heard(line) async for line in lines]
        await ours
        assert await process.wait() == 0
    stop.set()
    followed = await asyncio.gather(*following)

    assert len(theirs) >= COMMANDS
    for workspace_id, seen in zip(workspace_ids, followed, strict=True):
        changes = await kept_promises(pool, workspace_id)
        assert seen == len(changes)
        assert_kept(changes, [one for one in [*said, *theirs] if one.workspace_id == workspace_id])
    outcomes = Counter(one.refusal for one in [*said, *theirs])
    expected = {None, "Taken", "Stale", "NotFound", "UntranslatableCharacterError", "ChangedMind", "UniqueViolationError"}
    assert outcomes.keys() == expected
    assert any(one.replayed for one in theirs)
    assert late_batches() > late_before, "the two processes collided"


async def test_workspace_is_shared_fairly(
    ledger: Ledger, database_url: str, pool: Pool, workspace_id: UUID, caplog: pytest.LogCaptureFixture
) -> None:
    """Two processes that write in one workspace as fast as they can get at least a third of it each."""
    caplog.set_level(logging.ERROR, "herdbook")
    ours: list[Said] = []
    await call_all(ledger, pool, [workspace_id], 0, 60, ours.append)
    async with crowd_elsewhere(database_url, 1, 1_000_000, [workspace_id]) as (_, lines):
        await lines.readline()
        ours.clear()
        theirs = 0
        calling = asyncio.create_task(call_all(ledger, pool, [workspace_id], 2, 1_000_000, ours.append))
        while len(ours) + theirs < 4000:
            await lines.readline()
            theirs += 1
    calling.cancel()

    assert min(len(ours), theirs) > 4000 / 3


async def test_batches_over_the_same_workspaces_do_not_deadlock(
    ledger: Ledger, other_ledger: Ledger, pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """Two ledgers whose batches share many workspaces never deadlock."""
    workspace_ids = [await create_workspace(pool, f"Workspace {number}") for number in range(40)]
    dice = random.Random(1)  # noqa: S311  # repeatable on purpose

    async def write_everywhere(one: Ledger) -> None:
        for _ in range(25):
            await asyncio.gather(*(LedgerClient(one, id_).create() for id_ in dice.sample(workspace_ids, len(workspace_ids))))

    late_before = late_batches()
    await asyncio.gather(*(write_everywhere(one) for one in (ledger, other_ledger) for _ in range(2)))

    assert [record.message for record in caplog.records] == []
    assert late_batches() > late_before, "the two processes collided"
    for workspace_id in workspace_ids:
        assert len(await kept_promises(pool, workspace_id)) == 100


def late_batches() -> float:
    """Return how many batches were late so far."""
    value = REGISTRY.get_sample_value("herdbook_ledger_late_batches_total")
    assert value is not None
    return value
