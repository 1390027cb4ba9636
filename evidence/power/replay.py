"""The state of a folder after a loss of power, from its state before and the log of the recorder.

A sync of a file covers its data, its size and its name; a sync of a folder covers the names in it. The other rules are those
of file systems that keep a journal of metadata, such as ext4, XFS and Btrfs.
"""

import os
import random
import shutil
import struct
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import NamedTuple

HEAD = struct.Struct("<II4Q")
SECTOR = 512
SECTORS_OF_A_PAGE = 8


class Op(Enum):
    WRITE = 1
    ZEROS = 2
    SIZE = 3
    SYNC = 4
    NAME = 5
    RENAME = 6
    REMOVE = 7


class Record(NamedTuple):
    """A record of the log, and its place there. The other fields are those of recorder.c."""

    at: int
    op: Op
    inode: int
    offset: int
    length: int
    paths: tuple[str, ...]
    data: bytes


class Loss(Enum):
    """The part of what was not synced that is lost.

    With SOME, each sector of 512 bytes is of any moment since the last sync, but the sectors of a page of 4 KiB are of two
    moments at most. A file may be longer than its data. The changes of names persist up to one of them.
    """

    NOTHING = "nothing"
    ALL = "all"
    SOME = "some"


def records_in(log: bytes) -> Iterator[Record]:
    """Yield the records of a log, without one at its end that is not whole."""
    at = 0
    while at + HEAD.size <= len(log):
        op, path_bytes, inode, offset, length, stored = HEAD.unpack_from(log, at)
        data_at = at + HEAD.size + path_bytes
        end = data_at + stored
        if end > len(log):
            return
        paths = tuple(os.fsdecode(path) for path in log[at + HEAD.size : data_at].split(b"\0")[:-1])
        yield Record(at, Op(op), inode, offset, length, paths, log[data_at:end])
        at = end


class Disk:
    """The disk of the folder `live`, on which programs work. `image` holds what a loss of power leaves of it."""

    def __init__(self, live: Path, image: Path) -> None:
        self.live = live
        self.image = image
        self._begun: dict[str, int] = {}
        self._folders: set[int] = set()

    def begin(self) -> None:
        """Make the live folder a copy of the image, which is then the state of the disk."""
        if self.live.exists():
            shutil.rmtree(self.live)
        subprocess.run(["cp", "-a", str(self.image), str(self.live)], check=True)
        paths = [path for path in self.live.rglob("*") if path.is_dir() or path.is_file()]
        self._begun = {str(path.relative_to(self.live)): path.stat().st_ino for path in paths}
        self._folders = {path.stat().st_ino for path in paths if path.is_dir()}
        self._top = self.live.stat().st_ino

    def lose_power(self, log: bytes, loss: Loss, dice: random.Random) -> None:
        """Bring the image to a state in which the disk may be after the log and a loss of power."""
        records = list(self._told_apart(records_in(log)))
        synced: dict[int, int] = defaultdict(int)
        for record in records:
            if record.op is Op.SYNC:
                synced[record.inode] = max(synced[record.inode], record.offset)
        survival = Survival(loss, len(log), synced, dice)
        names, latest_names = self._names(records, survival)
        folder = self.image.with_name("image.new")
        folder.mkdir()
        shutil.copystat(self.image, folder)
        by_inode = {inode: path for path, inode in self._begun.items()}
        changes: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            if record.op in (Op.WRITE, Op.ZEROS, Op.SIZE):
                changes[record.inode].append(record)
        latest = {inode: path for path, inode in latest_names.items()}
        for path in sorted(names):
            inode, to = names[path], folder / path
            to.parent.mkdir(parents=True, exist_ok=True)
            if inode in self._folders:
                to.mkdir(exist_ok=True)
            elif inode in by_inode:
                (self.image / by_inode[inode]).rename(to)
            else:
                to.touch(0o600)
            if inode not in self._folders:
                survival.apply(to, inode, changes[inode])
            self._own(to, latest.get(inode, path))
        shutil.rmtree(self.image)
        folder.rename(self.image)

    def _told_apart(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records with a number of its own for each file, because a new one may get the inode of a removed one."""
        latest, known = dict(self._begun), set(self._begun.values())
        numbers = {inode: inode for inode in known}
        for record in records:
            inode = record.inode
            paths = [str(Path(path).relative_to(self.live)) for path in record.paths]
            if record.op is Op.NAME and inode and latest.get(paths[0]) != numbers.get(inode, inode):
                # Inodes have 64 bits.
                numbers[inode] = inode if inode not in known else numbers.get(inode, inode) + 2**64
                known.add(inode)
            number = numbers.get(inode, inode)
            if record.op in (Op.RENAME, Op.REMOVE):
                number = latest.get(paths[0], number)
            if number and paths:
                _rename(latest, record.op, paths, number)
            yield record._replace(inode=number)

    def _own(self, to: Path, latest: str) -> None:
        """Give a file the owner and the mode that it last had, or those of its folder if it was removed."""
        model = self.live / latest
        if not model.exists():
            model = model.parent if model.parent.exists() else self.live
        status = model.stat()
        os.chown(to, status.st_uid, status.st_gid)
        to.chmod(status.st_mode & 0o777 if model.is_dir() == to.is_dir() else 0o600)

    def _names(self, records: Iterable[Record], survival: "Survival") -> tuple[dict[str, int], dict[str, int]]:
        """Return the inodes by their names on the disk, and by the names that the programs saw at the end."""
        names, latest = dict(self._begun), dict(self._begun)
        changes = [record for record in records if record.op in (Op.NAME, Op.RENAME, Op.REMOVE)]
        persisted_until = survival.names_until(change.at for change in changes)
        for change in changes:
            paths = [str(Path(path).relative_to(self.live)) for path in change.paths]
            if not (inode := change.inode):
                # A file that is gone before the recorder has seen it.
                continue
            if change.op is Op.NAME and change.offset:
                self._folders.add(inode)
            places = [inode] if change.op is not Op.REMOVE else []
            places += [latest.get(str(Path(path).parent), self._top) for path in paths]
            _rename(latest, change.op, paths, inode)
            if change.at < persisted_until or any(survival.is_synced(place, change.at) for place in places):
                _rename(names, change.op, paths, inode)
        return names, latest


def _rename(names: dict[str, int], op: Op, paths: list[str], inode: int) -> None:
    if op is not Op.NAME:
        names.pop(paths[0], None)
    if op is Op.RENAME:
        for path in [path for path in names if path.startswith(paths[0] + "/")]:
            names[paths[1] + path.removeprefix(paths[0])] = names.pop(path)
    if op is not Op.REMOVE:
        names[paths[-1]] = inode


class Survival:
    """Decides which changes are on the disk."""

    def __init__(self, loss: Loss, end: int, synced: dict[int, int], dice: random.Random) -> None:
        self._loss = loss
        self._end = end
        self._synced = synced
        self._dice = dice

    def is_synced(self, inode: int, at: int) -> bool:
        return at < self._synced[inode] or self._loss is Loss.NOTHING

    def names_until(self, moments: Iterable[int]) -> int:
        """Return the moment before which all changes of names are on the disk."""
        return self._dice.choice([0, *moments, self._end]) if self._loss is Loss.SOME else 0

    def apply(self, file: Path, inode: int, changes: Iterable[Record]) -> None:
        """Make a file's changes, as far as they are on the disk."""
        synced = self._end if self._loss is Loss.NOTHING else self._synced[inode]
        grown = self._moment(synced, self._end) if self._loss is Loss.SOME else synced
        sectors = _Sectors(synced, grown, self._moment)
        with file.open("r+b") as content:
            size = content.seek(0, os.SEEK_END)
            for change in changes:
                if change.at >= grown:
                    continue
                if change.op is Op.SIZE:
                    size = content.truncate(change.offset)
                    continue
                start, end = change.offset, change.offset + change.length
                if change.op is Op.ZEROS:
                    # The part beyond the end reads as zeros by itself.
                    end = min(end, size)
                whole = [(start, end)] if change.at < synced else sectors.of(start, end, change.at)
                for first, last in whole:
                    content.seek(first)
                    content.write(change.data[first - start : last - start] or bytes(last - first))
                if start + change.length > size:
                    size = content.truncate(start + change.length)

    def _moment(self, first: int, last: int) -> int:
        return self._dice.choice((first, last, self._dice.randint(first, max(first, last))))


class _Sectors:
    """The moments of which the sectors of a file are, for changes after its last sync."""

    def __init__(self, synced: int, latest: int, moment: Callable[[int, int], int]) -> None:
        self._synced, self._latest = synced, latest
        self._moment = moment
        self._pages: dict[int, tuple[int, int]] = {}
        self._sectors: dict[int, int] = {}

    def of(self, start: int, end: int, at: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a range that are on the disk as they were made at a moment."""
        while start < end:
            stop = min(end, (start // SECTOR + 1) * SECTOR)
            if at < self._of(start // SECTOR):
                yield start, stop
            start = stop

    def _of(self, sector: int) -> int:
        if sector not in self._sectors:
            page = sector // SECTORS_OF_A_PAGE
            if page not in self._pages:
                self._pages[page] = self._moment(self._synced, self._latest), self._moment(self._synced, self._latest)
            self._sectors[sector] = self._pages[page][self._moment(0, 1) > 0]
        return self._sectors[sector]
