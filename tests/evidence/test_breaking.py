"""A short form of `make kill`: each kind of server is broken once in each way that is particular to it."""

import asyncio
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from evidence import breaking
from evidence.breaking import kill_one
from evidence.kill import KINDS, Kind, Plan, break_one, can_mount
from evidence.results import Results
from evidence.server import Herdbook

FOREVER = 3600.0


async def broken_once(folder: Path, kind: Kind) -> Results:
    """Break a server once in each way; return the results."""
    results = Results("Short", "")
    each_once = replace(kind, ways={name: (way, 1) for name, (way, _) in kind.ways.items()}, cycles=len(kind.ways))
    await break_one(each_once, Plan(len(kind.ways), time.monotonic() + FOREVER), folder, results)
    return results


@pytest.mark.parametrize("name", KINDS)
async def test_nothing_is_lost(tmp_path: Path, name: str) -> None:
    """Nothing that was acknowledged is lost, doubled or torn, whatever breaks."""
    kind = KINDS[name]
    if name == "small disk" and not can_mount(tmp_path):
        pytest.skip("not allowed to mount a disk")
    if name == "two workers":
        # One worker is broken in all other ways, and starts faster.
        kind = replace(kind, ways={way: kind.ways[way] for way in kind.ways if "workers" in way})
    results = await broken_once(tmp_path, kind)

    assert results.findings == []
    assert results.tried.total() == len(kind.ways)
    assert results.acknowledged["PATCH"] > 0


async def test_a_kill_waits_for_a_process() -> None:
    """A kill waits until there is a process, and seeks another one if that has ended by then."""
    with started("pass") as ended, started("input()") as waits:
        ended.wait()
        found = deque([[], [ended], [ended], [], [waits]])
        killed = await kill_one(lambda: found.popleft() if len(found) > 1 else found[0])
        code = waits.wait()

    assert killed is waits
    assert code == -signal.SIGKILL


def started(statement: str) -> psutil.Popen:
    """Start a process that waits for its input, or ends."""
    return psutil.Popen([sys.executable, "-c", statement], stdin=subprocess.PIPE)


async def test_a_fault_that_met_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk counts only if a write was refused because of it."""
    monkeypatch.setattr(breaking, "FULL_SECONDS", 0)
    broken = breaking.Broken(Herdbook(tmp_path, environment={}), "")
    refusing = asyncio.create_task(breaking.meet_a_write(broken))
    await asyncio.sleep(0)
    broken.refused["The server's disk is almost full."] += 1
    await refusing
    broken.refused["The server is stopping."] += 1

    monkeypatch.setattr(breaking, "NOTICED_SECONDS", 0.01)
    with pytest.raises(breaking.NotTried):
        await breaking.meet_a_write(broken)
