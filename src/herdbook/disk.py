"""The watch over the disk of the embedded database: writes are refused before PostgreSQL runs out of space and stops."""

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from herdbook.embedded import restarts
from herdbook.errors import DISK_IS_FULL

_log: Final = logging.getLogger("herdbook.disk")

# PostgreSQL stops if it cannot extend its write-ahead log, which consists of files of 16 MiB. The reserve is one file that it
# writes, one that it prepares, and two for work that is still running when writes are refused, checkpoints included.
RESERVED_BYTES: Final = 64 * 2**20
RESERVED_INODES: Final = 100


class Room(NamedTuple):
    """The free space of a disk; `free_inodes` is None if the file system does not count inodes."""

    free_bytes: int
    free_inodes: int | None

    def is_short(self, share: float = 1.0) -> bool:
        """Whether less is free than the reserve times `share`."""
        inodes = RESERVED_INODES * share
        return self.free_bytes < RESERVED_BYTES * share or (self.free_inodes is not None and self.free_inodes < inodes)


class DiskWatch:
    """Knows whether the disk of a data folder is almost full; without a folder, it never is."""

    refusal = DISK_IS_FULL

    def __init__(self, data_dir: Path | None) -> None:
        self.is_full = False
        self._folders: Sequence[Path] = () if data_dir is None else _folders(data_dir)

    async def room(self) -> Room | None:
        """Return the least free space, or None without a folder that can be read."""
        # Use a thread: a disk that hangs must not block the event loop.
        return await asyncio.to_thread(free_room, self._folders)

    async def look(self) -> None:
        """Check the disk. A folder that cannot be read is skipped, for example if the database is elsewhere."""
        room = await self.room()
        if room is None:
            return
        was_full, self.is_full = self.is_full, room.is_short(1.25 if self.is_full else 1.0)
        if self.is_full == was_full:
            return
        facts = {"folder": str(self._folders[0]), **room._asdict()}
        facts |= {"reserved_bytes": RESERVED_BYTES, "reserved_inodes": RESERVED_INODES}
        if self.is_full:
            _log.error("the disk is almost full: writes are refused until there is more room", extra=facts)
        else:
            _log.warning("the disk has room again: writes are accepted", extra=facts)


def _folders(data_dir: Path) -> Sequence[Path]:
    cluster = data_dir.resolve() / "postgres"
    return cluster, cluster / "pg_wal"  # which may be a link to another disk


def free_room(folders: Sequence[Path]) -> Room | None:
    """Return the least free space of these folders' disks, or None if no folder can be read."""
    found: list[Room] = []
    for folder in folders:
        try:
            disk = os.statvfs(folder)
        except OSError:
            continue
        found.append(Room(disk.f_bavail * disk.f_frsize, disk.f_favail if disk.f_files else None))
    if not found:
        return None
    inodes = [room.free_inodes for room in found if room.free_inodes is not None]
    return Room(min(room.free_bytes for room in found), min(inodes, default=None))


class FolderCollector(Collector):
    """Metrics of a data folder and its database, the same from every worker: free space, and restarts."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def collect(self) -> Iterator[Metric]:
        """Return the metrics."""
        text = "How often the embedded database ended by itself and was restarted."
        yield CounterMetricFamily("herdbook_database_restarts", text, value=restarts(self._data_dir))
        room = free_room(_folders(self._data_dir))
        if room is None:
            return
        text = "Free bytes on the disk of the embedded database; below the reserve, writes are refused."
        yield GaugeMetricFamily("herdbook_disk_free_bytes", text, value=room.free_bytes)
        yield GaugeMetricFamily("herdbook_disk_reserved_bytes", "Free bytes below which writes are refused.", RESERVED_BYTES)
        if room.free_inodes is not None:
            text = "Free inodes on the disk of the embedded database; below the reserve, writes are refused."
            yield GaugeMetricFamily("herdbook_disk_free_inodes", text, value=room.free_inodes)
            text = "Free inodes below which writes are refused."
            yield GaugeMetricFamily("herdbook_disk_reserved_inodes", text, value=RESERVED_INODES)
