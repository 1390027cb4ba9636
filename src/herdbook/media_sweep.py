"""The sweep of the folders of recordings and uploads: it removes files that crashes and undone engagements leave, in slices.

A file is locked while it is fetched and its engagement is created. Once the sweep gets the lock, the outcome is decided, and
the database has it. A backup locks the folder, so that files which its snapshot of the database needs stay until it has them.
A lock ends with its process, so no restart needs to wait for it.
"""

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import re
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

SLICE: Final = 500
# A file is written under a name with such an ending: a recording that is fetched, or the table of a workbook or of cards.
_UNFINISHED: Final = (".part", ".table")
# The table of one of a workbook's sheets is beside the workbook, and needed like it.
_SHEET: Final = re.compile(r"\.sheet\d+").fullmatch

_log: Final = logging.getLogger("herdbook.media")


class Kept(NamedTuple):
    """A file in the folder: its workspace and its engagement, and whether it is complete."""

    path: Path
    workspace_id: UUID
    engagement_id: UUID
    is_whole: bool


# Returns those engagements that need their recording, because they exist or can be restored.
Needed = Callable[[Sequence[UUID], Sequence[UUID]], Awaitable[set[tuple[UUID, UUID]]]]


@contextlib.contextmanager
def no_sweeps(folder: Path) -> Generator[None]:
    """Keep sweeps, of all processes, from removing anything in the folder until the end of the block."""
    with contextlib.ExitStack() as locks:
        if folder.is_dir():
            _lock(folder, locks, fcntl.LOCK_SH)
        yield


async def sweep(folder: Path, needed: Needed, files: Iterator[Kept] | None = None) -> None:
    """Remove files that nobody writes and no engagement needs or can need. Keep files that are not named like recordings.

    `files` limits it to some of the folder. While a backup reads the folder, nothing is removed.
    """
    files = files_in(folder) if files is None else files
    removed = 0
    while some := await asyncio.to_thread(_next, files):
        suspects = await _not_needed(some, needed)
        with contextlib.ExitStack() as locks:
            free = await asyncio.to_thread(_lock_free, folder, suspects, locks)
            # Check again under the lock: an engagement may have been created, and its file unlocked, since the first check.
            removed += await asyncio.to_thread(_remove, await _not_needed(free, needed))
    if removed:
        _log.info("files that nothing needs were removed", extra={"folder": folder.name, "files": removed})


async def _not_needed(files: Sequence[Kept], needed: Needed) -> list[Kept]:
    if not files:
        return []
    are_needed = await needed([file.workspace_id for file in files], [file.engagement_id for file in files])
    return [file for file in files if not file.is_whole or (file.workspace_id, file.engagement_id) not in are_needed]


def _next(files: Iterator[Kept]) -> list[Kept]:
    return list(itertools.islice(files, SLICE))


def files_in(folder: Path) -> Iterator[Kept]:
    """Yield the recordings in the folder, complete or not."""
    for workspace_id, _ in _named(folder):
        yield from files_of_workspace(folder, workspace_id)


def files_of_workspace(folder: Path, workspace_id: UUID) -> Iterator[Kept]:
    """Yield the recordings of a workspace, complete or not."""
    for engagement_id, path in _named(folder / workspace_id.hex):
        yield Kept(path, workspace_id, engagement_id, path.suffix not in _UNFINISHED)


def files_of(folder: Path, workspace_id: UUID, engagement_ids: Iterable[UUID]) -> Iterator[Kept]:
    """Yield the recordings of some engagements, complete or not."""
    for engagement_id in engagement_ids:
        for suffix in ("", ".part"):
            path = folder / workspace_id.hex / (engagement_id.hex + suffix)
            if path.exists():
                yield Kept(path, workspace_id, engagement_id, not suffix)


def _named(folder: Path) -> Generator[tuple[UUID, Path]]:
    """Yield the entries of a folder that are named by an id, finished or not."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.name)
                name = path.stem if path.suffix in _UNFINISHED or _SHEET(path.suffix) else entry.name
                with contextlib.suppress(ValueError):
                    if (found := UUID(name)).hex == name:
                        yield found, Path(entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return


def _lock_free(folder: Path, files: Sequence[Kept], locks: contextlib.ExitStack) -> list[Kept]:
    """Lock the files that nobody else has locked, until `locks` is closed; return them. If a backup runs, there are none."""
    if not files or not _is_locked(folder, locks):
        return []
    return [file for file in files if _is_locked(file.path, locks)]


def _is_locked(path: Path, locks: contextlib.ExitStack) -> bool:
    """Lock a file or folder until `locks` is closed, if that is possible at once; return whether it was."""
    try:
        _lock(path, locks, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # The path is gone, locked, or not a file.
        return False
    return True


def _lock(path: Path, locks: contextlib.ExitStack, operation: int) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    locks.callback(os.close, descriptor)
    fcntl.flock(descriptor, operation)


def _remove(files: Sequence[Kept]) -> int:
    for file in files:
        file.path.unlink(missing_ok=True)
    return len(files)
