"""A short form of `make power`: a server loses power twice, and a loss that is planted is found."""

import random
import shutil
import signal
import sys
from pathlib import Path

import pytest

from evidence.herd import Herd
from evidence.power.losing import POWER, freeze, lose_power, powered
from evidence.power.replay import Loss
from evidence.receiver import receiving
from evidence.server import changed_by, tell, until
from tests.evidence.test_breaking import broken_once

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the recorder is made for Linux"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler was found for the recorder"),
]
# PostgreSQL writes these from buffers of stdio, which the recorder does not see. It never needs them after a crash.
NOT_SEEN = {"pg_internal.init", "postmaster.opts"}
FORGETFUL = {
    "recording": "from herdbook import media_fetch; media_fetch._synced = lambda file: file.flush()",
    "lost": "from herdbook import embedded; embedded.SETTINGS['fsync'] = 'off'",
}


async def test_nothing_is_lost(tmp_path: Path) -> None:
    """Nothing acknowledged is lost if all or some of what was not synced is."""
    results = await broken_once(tmp_path, POWER)

    assert results.findings == []
    assert results.acknowledged["recording"] > 0


async def test_a_loss_is_found(tmp_path: Path) -> None:
    """Recordings are found lost if herdbook does not sync them, and acknowledged writes if PostgreSQL does not sync."""
    programs = [changed_by(statement) for statement in FORGETFUL.values()]
    found: list[set[str]] = []
    async with receiving() as receiver, powered(tmp_path, program=programs[0]) as broken:
        herd = Herd(broken.server, broken.database_url, receiver, broken.recording)
        await herd.prepare()
        for next_program in (programs[1], programs[1]):
            fetched = len(herd.clients.recordings)
            herd.faults.clear()
            herd.clients.start()
            await until(lambda: len(herd.clients.recordings) > fetched)  # noqa: B023  # awaited in this round
            broken.server.program = next_program
            with herd.noting():
                await lose_power(Loss.ALL)(broken)
                await herd.await_service()
                await herd.clients.stop()
                await herd.check()
            herd.clients.cancel()
            found.append({fault.check for fault in herd.faults})

    assert [check in checks for check, checks in zip(FORGETFUL, found, strict=True)] == [True, True], found


async def test_the_recorder_sees_everything(tmp_path: Path) -> None:
    """The folder that follows from the log is the folder that the programs saw, byte for byte."""
    async with receiving() as receiver, powered(tmp_path) as broken:
        herd = Herd(broken.server, broken.database_url, receiver, broken.recording)
        await herd.prepare()
        herd.clients.start()
        await until(lambda: herd.clients.acknowledged.total() > 100)
        stopped = await freeze(broken.server)
        herd.clients.cancel()
        seen = contents(broken.disk.live)
        for each in stopped:
            tell(each, signal.SIGKILL)
        await broken.server.ended(stopped)
        broken.disk.lose_power(broken.log.read_bytes(), Loss.NOTHING, random.Random(1))  # noqa: S311  # repeatable on purpose

        assert contents(broken.disk.image) == seen


def contents(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files that the recorder sees."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_SEEN]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
