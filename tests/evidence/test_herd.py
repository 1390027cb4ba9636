"""The checks of a whole server find what is planted there, and nothing else."""

import signal
from pathlib import Path

import asyncpg
import pytest

from evidence.breaking import is_left, verify_backups
from evidence.checks import FaultFound
from evidence.clients import Person
from evidence.herd import Herd
from evidence.kill import embedded
from evidence.receiver import receiving
from evidence.server import until
from herdbook import ids

PLANTED = {
    "row": "update note set object = replace(object::text, ':', ': ')::json",
    "key": "delete from contact_email",
    "gap": "delete from change where seq = (select max(seq) from change) - 1",
}
"""Statements that do harm, and the check that must find it."""
PATIENCE = 120.0
"""Seconds that a busy machine may take for the first writes of all kinds."""


async def found(herd: Herd) -> set[str]:
    """Check everything, and return the names of the checks that found a fault."""
    herd.faults.clear()
    with herd.noting():
        await herd.check_all()
    return {fault.check for fault in herd.faults}


async def test_what_is_planted_is_found(tmp_path: Path) -> None:
    """A server without a fault has none. Changed rows, keys and entries, lost objects and persons who stay are found."""
    async with receiving() as receiver, embedded(tmp_path) as broken:
        herd = Herd(broken.server, broken.database_url, receiver, None)
        await herd.prepare()
        herd.clients.start()
        done = herd.clients.acknowledged
        await until(lambda: herd.clients.is_broken or (herd.clients.erased and done["note changed"]), PATIENCE)
        await herd.clients.stop()
        await herd.check()
        assert herd.faults == []
        assert await found(herd) == set()

        nobody = ids.encoded(ids.ENGAGEMENT, ids.new_id())
        herd.clients.recordings["nobody"] = nobody
        assert await found(herd) == {"lost"}
        herd.clients.recordings.clear()

        body = {"first_name": "erase-0", "emails": [{"email": "erase-0@herd.test"}]}
        contact_id = await herd.create(body, "key")
        herd.clients.erased["erase-0"] = Person(contact_id, body, "key")
        assert await found(herd) == {"erased"}
        told = {fault.finding.partition(" is in ")[2].partition(" ")[0] for fault in herd.faults}
        assert told >= {"the", "contact", "change", "contact_email", "idempotency_record"}
        herd.clients.erased.clear()

        connection = await asyncpg.connect(broken.database_url)
        for check, statement in PLANTED.items():
            await connection.execute(statement)
            assert check in await found(herd)
        await connection.close()

        broken.backups.append(tmp_path / "damaged")
        broken.backups[0].write_bytes(b"PK")
        with pytest.raises(FaultFound, match="restore --verify"):
            await verify_backups(broken)


@pytest.mark.parametrize(("code", "is_there"), [(0, False), (1, True)])
def test_a_file_that_a_backup_left(tmp_path: Path, code: int, *, is_there: bool) -> None:
    """A failed backup that left its file is found, as is one without a file that says that it succeeded."""
    file = tmp_path / "backup"
    if is_there:
        file.touch()

    with pytest.raises(FaultFound, match="backup"):
        is_left(file, code)


def test_a_backup_killed_after_its_end(tmp_path: Path) -> None:
    """A killed backup may have left its file, which is then compared like any other, or not."""
    file = tmp_path / "backup"
    assert not is_left(file, -signal.SIGKILL)

    file.touch()

    assert is_left(file, -signal.SIGKILL)
