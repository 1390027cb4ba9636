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
    "lost": "from herdbook import embedded; embedded.SETTINGS['fsync'] = 'off'",
    "recording": "from herdbook import media_fetch; media_fetch._synced = lambda file: file.flush()",
}


async def test_nothing_is_lost(tmp_path: Path) -> None:
    """Nothing acknowledged is lost if all or some of what was not synced is."""
    results = await broken_once(tmp_path, POWER)

    assert results.findings == []
    assert results.acknowledged["recording"] > 0


@pytest.mark.parametrize("check", FORGETFUL)
async def test_a_loss_is_found(tmp_path: Path, check: str) -> None:
    """Acknowledged writes are found lost if PostgreSQL does not sync, and recordings if herdbook does not."""
    async with receiving() as receiver, powered(tmp_path, program=changed_by(FORGETFUL[check])) as broken:
        herd = Herd(broken.server, broken.database_url, receiver, broken.recording)
        await herd.prepare()
        herd.clients.start()
        await until(lambda: herd.clients.recordings)
        with herd.noting():
            await lose_power(Loss.ALL)(broken)
            await herd.await_service()
            await herd.clients.stop()
            await herd.check()
        herd.clients.cancel()

    assert check in {fault.check for fault in herd.faults}, herd.faults


async def test_the_recorder_sees_everything(tmp_path: Path) -> None:
    """The folder that follows from the log is the folder that the programs saw, byte for byte."""
    async with receiving() as receiver, powered(tmp_path) as broken:
        herd = Herd(broken.server, broken.database_url, receiver, broken.recording)
        await herd.prepare()
        herd.clients.start()
        await until(lambda: herd.clients.acknowledged.total() > 500)
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
