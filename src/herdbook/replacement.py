"""Replacing the data of a folder by others: completely, whatever ends the process meanwhile.

The new data lie in a folder beside the old ones. Once that folder has its final name, the replacement will be completed: if the
process is killed, by whoever holds the data folder next.
"""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Final

SCRATCH: Final = "restore.new"
# The parts of a data folder, in the order in which they are moved: without a database, the folder has no data.
RECORDINGS: Final = "media"
DATABASE: Final = "postgres"
_PARTS: Final = (RECORDINGS, DATABASE)
_WHOLE: Final = f"{SCRATCH}/whole"
# It names the folder for the former data, until all of them are there.
_FORMER: Final = "former"


def replace_data(data_dir: Path, new: Path, former: str, back: ExitStack) -> Path | None:
    """Replace the data by those in the folder `new`, and keep the former ones in the folder `former` of the data folder.

    Return that folder, if there were former data. `back` gets calls that give all of them their old places again.
    """
    whole = data_dir / _WHOLE
    with (new / _FORMER).open("w") as file:
        file.write(former)
        file.flush()
        os.fsync(file.fileno())
    sync(new)
    _move(new, whole, back)
    sync(whole.parent)
    _complete(data_dir, back)
    return data_dir / former if (data_dir / former).exists() else None


def complete_replacement(data_dir: Path) -> None:
    """Complete a replacement that was killed. Do nothing if there is none."""
    with ExitStack() as back:
        _complete(data_dir, back)
        back.pop_all()
    if (data_dir / _WHOLE).exists():
        shutil.rmtree(data_dir / SCRATCH)


def is_replaced(data_dir: Path) -> bool:
    """Whether the folder gets a database as soon as it is held, because a replacement was killed."""
    return (data_dir / _WHOLE / DATABASE).exists()


def _complete(data_dir: Path, back: ExitStack) -> None:
    whole = data_dir / _WHOLE
    note = whole / _FORMER
    if note.exists():
        name = note.read_text()
        former = data_dir / name
        for part in _PARTS:
            if os.path.lexists(data_dir / part):
                if not former.exists():
                    former.mkdir(mode=0o700)
                    back.callback(former.rmdir)
                _move(data_dir / part, former / part, back)
        if former.exists():
            sync(former)
        sync(data_dir)
        note.unlink()
        back.callback(note.write_text, name)
        sync(whole)
    for part in _PARTS:
        if (whole / part).exists():
            _move(whole / part, data_dir / part, back)
            sync(data_dir)


def _move(source: Path, target: Path, back: ExitStack) -> None:
    source.rename(target)
    back.callback(target.rename, source)


def sync(folder: Path) -> None:
    """Sync a folder, so that the names in it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
