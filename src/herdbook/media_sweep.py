"""What crashes and undone engagements leave in the folder of recordings is removed: a slice of the folder at a time.

A file is locked as long as somebody fetches it, or creates the engagement that it is for. Whoever gets the lock knows that the
outcome is decided, and the database tells what it was. The lock goes with its process, and no restart needs to wait for it.
"""

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

SLICE: Final = 500

_log: Final = logging.getLogger("herdbook.media")


class Kept(NamedTuple):
    """A file in the folder, by its workspace and its engagement; one that is not whole is no recording yet."""

    path: Path
    workspace_id: UUID
    engagement_id: UUID
    is_whole: bool


# Returns which of these engagements need a recording, as they are there or may come back.
Needed = Callable[[Sequence[UUID], Sequence[UUID]], Awaitable[set[tuple[UUID, UUID]]]]


async def sweep(folder: Path, needed: Needed) -> None:
    """Remove the files that nobody writes, and no engagement needs or will need. What is no recording's name stays."""
    files = _files(folder)
    removed = 0
    while some := await asyncio.to_thread(_next, files):
        suspects = await _not_needed(some, needed)
        with contextlib.ExitStack() as locks:
            free = await asyncio.to_thread(_lock_free, suspects, locks)
            # Between the two looks, an engagement may have been created, and its file been let go of.
            removed += await asyncio.to_thread(_remove, await _not_needed(free, needed))
    if removed:
        _log.info("recordings that nobody needs were removed", extra={"files": removed})


async def _not_needed(files: Sequence[Kept], needed: Needed) -> list[Kept]:
    if not files:
        return []
    are_needed = await needed([file.workspace_id for file in files], [file.engagement_id for file in files])
    return [file for file in files if not file.is_whole or (file.workspace_id, file.engagement_id) not in are_needed]


def _next(files: Iterator[Kept]) -> list[Kept]:
    return list(itertools.islice(files, SLICE))


def _files(folder: Path) -> Iterator[Kept]:
    for workspace_id, workspace in _named(folder):
        for engagement_id, path in _named(workspace):
            yield Kept(path, workspace_id, engagement_id, not path.suffix)


def _named(folder: Path) -> Generator[tuple[UUID, Path]]:
    """Return what lies in a folder under an id, be it a part."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix(".part")
                with contextlib.suppress(ValueError):
                    if (found := UUID(name)).hex == name:
                        yield found, Path(entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return


def _lock_free(files: Sequence[Kept], locks: contextlib.ExitStack) -> list[Kept]:
    """Lock the files that nobody else has locked, until `locks` are closed; return which these are."""
    return [file for file in files if _lock(file.path, locks)]


def _lock(path: Path, locks: contextlib.ExitStack) -> bool:
    try:
        file = locks.enter_context(path.open("rb"))
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # It is gone or locked, or is no file.
        return False
    return True


def _remove(files: Sequence[Kept]) -> int:
    for file in files:
        file.path.unlink(missing_ok=True)
    return len(files)
