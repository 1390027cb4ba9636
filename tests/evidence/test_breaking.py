"""A short form of `make kill`: each kind of server is broken once in each way that is particular to it."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from evidence.kill import KINDS, Kind, Plan, break_one, can_mount
from evidence.results import Results

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
        kind = replace(kind, ways={way: kind.ways[way] for way in kind.ways if "workers" in way})
    results = await broken_once(tmp_path, kind)

    assert results.findings == []
    assert results.tried.total() == len(kind.ways)
    assert results.acknowledged["PATCH"] > 0
