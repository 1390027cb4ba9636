"""The disk after a loss of power: what was synced is there, and the rest is not, or in parts."""

import os
import random
from pathlib import Path

import pytest

from evidence.power.replay import HEAD, SECTOR, Disk, Loss, Op

DICE = random.Random(1)  # noqa: S311  # repeatable on purpose


class Recorded:
    """A disk on which a test works by itself, and writes the log that the recorder would write."""

    def __init__(self, folder: Path) -> None:
        self.image, self.live = folder / "image", folder / "live"
        self.image.mkdir()
        (self.image / "old").write_bytes(b"old")
        self.log = b""
        self.disk = Disk(self.live, self.image)
        self.disk.begin()

    def write(self, name: str, data: bytes, offset: int = 0) -> None:
        path = self.live / name
        if not path.exists():
            path.touch()
            self.change(Op.NAME, name)
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        self._note(Op.WRITE, path.stat().st_ino, offset, data=data)

    def rename(self, name: str, other: str) -> None:
        (self.live / name).rename(self.live / other)
        self.change(Op.RENAME, name, other)

    def remove(self, name: str) -> None:
        (self.live / name).unlink()
        self.change(Op.REMOVE, name)

    def change(self, op: Op, *names: str) -> None:
        last = self.live / names[-1]
        paths = b"".join(os.fsencode(self.live / name) + b"\0" for name in names)
        self._note(op, last.stat().st_ino if last.exists() else 0, paths=paths)

    def sync(self, name: str = ".") -> None:
        self._note(Op.SYNC, (self.live / name).stat().st_ino, len(self.log))

    def after(self, loss: Loss, dice: random.Random = DICE) -> dict[str, bytes]:
        """Lose power; return the contents of all files by their names."""
        self.disk.lose_power(self.log, loss, dice)
        return {path.name: path.read_bytes() for path in self.image.iterdir()}

    def restart(self) -> None:
        """Go on with what is left."""
        self.disk.begin()
        self.log = b""

    def name(self, name: str, inode: int) -> None:
        """Note a new file of this inode."""
        self._note(Op.NAME, inode, paths=os.fsencode(self.live / name) + b"\0")

    def put(self, inode: int, data: bytes) -> None:
        """Note a write to the file of this inode."""
        self._note(Op.WRITE, inode, data=data)

    def sync_inode(self, inode: int) -> None:
        """Note a sync of the file of this inode."""
        self._note(Op.SYNC, inode, len(self.log))

    def _note(self, op: Op, inode: int, offset: int = 0, *, paths: bytes = b"", data: bytes = b"") -> None:
        self.log += HEAD.pack(op.value, len(paths), inode, offset, len(data), len(data)) + paths + data


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    """A disk with one file."""
    return Recorded(tmp_path)


def test_what_was_not_synced_is_lost(recorded: Recorded) -> None:
    """A write after the last sync of its file is lost, as is a new file that was never synced."""
    recorded.write("old", b"new")
    recorded.sync("old")
    recorded.write("old", b"newer")
    recorded.write("other", b"other")

    assert recorded.after(Loss.ALL) == {"old": b"new"}


def test_a_synced_file_has_its_name(recorded: Recorded) -> None:
    """A sync of a new file keeps its name, too."""
    recorded.write("other", b"other")
    recorded.sync("other")

    assert recorded.after(Loss.ALL) == {"old": b"old", "other": b"other"}


@pytest.mark.parametrize(("is_synced", "left"), [(False, {"old": b"old"}), (True, {"new": b"old"})])
def test_a_new_name(recorded: Recorded, left: dict[str, bytes], *, is_synced: bool) -> None:
    """A renamed file has its old name until its folder is synced."""
    recorded.rename("old", "new")
    if is_synced:
        recorded.sync()

    assert recorded.after(Loss.ALL) == left


@pytest.mark.parametrize(("is_synced", "left"), [(False, {"old": b"old"}), (True, {})])
def test_a_removed_file(recorded: Recorded, left: dict[str, bytes], *, is_synced: bool) -> None:
    """A removed file is there again until its folder is synced."""
    recorded.remove("old")
    if is_synced:
        recorded.sync()

    assert recorded.after(Loss.ALL) == left


def test_a_write_while_a_sync_is_under_way(recorded: Recorded) -> None:
    """A sync covers only what was written before it began."""
    recorded.write("old", b"one")
    began = len(recorded.log)
    recorded.write("old", b"two")
    recorded.disk.lose_power(recorded.log + sync_since(recorded, began), Loss.ALL, DICE)

    assert (recorded.image / "old").read_bytes() == b"one"


def sync_since(recorded: Recorded, began: int) -> bytes:
    return HEAD.pack(Op.SYNC.value, 0, (recorded.live / "old").stat().st_ino, began, 0, 0)


def test_some_sectors_are_new(recorded: Recorded) -> None:
    """Each sector that was not synced is as before or as after; among many losses there is a torn page."""
    found: set[bytes] = set()
    for seed in range(50):
        recorded.write("old", b"1" * 8 * SECTOR)
        recorded.sync("old")
        recorded.write("old", b"2" * 8 * SECTOR)
        dice = random.Random(seed)  # noqa: S311  # as above
        content = recorded.after(Loss.SOME, dice)["old"]
        sectors = [content[start : start + SECTOR] for start in range(0, len(content), SECTOR)]
        assert set(sectors) <= {b"1" * SECTOR, b"2" * SECTOR}
        found.add(b"".join(sector[:1] for sector in sectors))
        recorded.restart()

    assert {b"11111111", b"22222222"} < found


def test_an_inode_that_is_used_again(recorded: Recorded) -> None:
    """A removed file that comes back, and a new one that got its inode, are two files."""
    inode = (recorded.live / "old").stat().st_ino
    recorded.remove("old")
    recorded.name("other", inode)
    recorded.put(inode, b"other")
    recorded.sync_inode(inode)

    assert recorded.after(Loss.ALL) == {"old": b"old", "other": b"other"}


def test_nothing_is_lost_if_nothing_is_to_be(recorded: Recorded) -> None:
    """Without a loss, the image becomes what the programs saw."""
    recorded.write("old", b"newer")
    recorded.write("other", b"other")
    recorded.rename("other", "last")

    assert recorded.after(Loss.NOTHING) == {"old": b"newer", "last": b"other"}
