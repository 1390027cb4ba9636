"""`herdbook backup` and `herdbook restore`: all data in one file, and back."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from rich.filesize import decimal

from herdbook.backups.archive import BackupManifest
from herdbook.backups.backup import Taken, take
from herdbook.backups.restoration import (
    checked,
    require_place,
    restore_external,
    restore_folder,
    verify,
)
from herdbook.cli.database import database as open_database
from herdbook.cli.environment import CommandFailed, CommandIncomplete, environment
from herdbook.cli.progress import step
from herdbook.cli.whole_files import UNCHANGED, ending_whole, refusals, require_new
from herdbook.counts import number_of
from herdbook.erasure_list import NAME
from herdbook.parts_file import new_file, to_disk, writing
from herdbook.settings import DatabaseSettings

_CHANGED_OUTSIDE: Final = f"{UNCHANGED} The database may hold restored data: empty it before another try."


def backup(
    file: Path,
    *,
    force: bool = False,
    verify: bool = False,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Write the database and the recordings into one file, while servers go on writing. Status 3: recordings are missing.

    Parameters
    ----------
    file
        The file to write. It holds secrets, and only its owner may read it.
    force
        Whether to replace a file of this name.
    verify
        Whether to restore the database into a scratch folder, too, and to compare every row, before the file gets its name.

    """
    require_new(file, "backup", replaces=force)
    with ending_whole(), refusals(f"The backup `{file}` was not written"):
        with new_file(file) as (draft, opened), open_database(database) as url:
            with writing(opened) as writer:
                taken = asyncio.run(take(writer, url, database.data_dir / "media", step))
            to_disk(opened)
            if verify:
                _verify(draft)
            require_new(file, "backup", replaces=force)
        _tell(file, taken)


def restore(
    file: Path,
    *,
    replace: bool = False,
    verify: bool = False,
    database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings(),
) -> None:
    """Restore a backup into a new data folder, or into an empty external database.

    Parameters
    ----------
    file
        A file that `herdbook backup` wrote.
    replace
        Whether to restore into a data folder that holds data. Its database and recordings move to `replaced-TIME` in it.
    verify
        Whether only to try it: restore the database into a scratch folder, compare every row, and remove it again.

    """
    if not file.is_file():
        raise CommandFailed(f"There is no file `{file}`. Name one that `herdbook backup` wrote.")
    if replace and database.database_url is not None:
        raise CommandFailed("--replace is for data folders. Name an empty database with --database-url.")
    is_external = database.database_url is not None and not verify
    with ending_whole(_CHANGED_OUTSIDE if is_external else UNCHANGED), refusals(f"The backup `{file}` was not restored"):
        if verify:
            _verify(file)
            environment.say(f"The backup `{file}` is whole: restored, it has the same rows and heads as when it was made.")
            return
        data_dir = database.data_dir.resolve()
        if database.database_url is None:
            require_place(data_dir, replaces=replace)
        with checked(file, step) as whole:
            if database.database_url is not None:
                restore_external(database.database_url, data_dir, whole, step)
                environment.say(f"Restored into the external database. {_summary(whole.manifest)}")
                _tell_of_erased(data_dir, f"--database-url URL --data-dir {data_dir}")
                if whole.manifest.recordings:
                    environment.say(f"The recordings are in {data_dir}; serve with `--data-dir {data_dir}`.")
                return
            former = restore_folder(data_dir, whole, step, replaces=replace)
            environment.say(f"Restored into {data_dir}. {_summary(whole.manifest)}")
            if former is None or (data_dir / NAME).exists():
                _tell_of_erased(data_dir, f"--data-dir {data_dir}")
            if former is not None:
                environment.say(f"The former data are in {former}. Remove that folder once you do not need them.")


def _verify(file: Path) -> None:
    with checked(file, step) as whole:
        verify(whole, step)


def _tell(file: Path, taken: Taken) -> None:
    environment.say(f"Wrote {file} ({decimal(file.stat().st_size)}). {_summary(taken.manifest)}")
    environment.say("The file holds personal data, and secrets of webhooks and credentials: keep it closed, or encrypt it.")
    if taken.missing:
        raise CommandIncomplete(
            f"{number_of(taken.missing, 'recording of an engagement is', 'recordings of engagements are')} not in the backup, "
            "because the data folder does not have such a file. All else is. With an external database, name the folder of the "
            "server that fetched them with --data-dir."
        )


def _tell_of_erased(data_dir: Path, place: str) -> None:
    """Say how whoever was erased since the backup is kept from being served. `place` are the options of the restored data."""
    if (data_dir / NAME).exists():
        environment.say(f"The next start erases again whom {data_dir / NAME} lists.")
    else:
        environment.say(
            "Whoever was erased since the backup is back. Before you serve it, erase them again by the list of the folder that "
            f"was backed up: herdbook erasures apply FOLDER/{NAME} {place}"
        )


def _summary(manifest: BackupManifest) -> str:
    held = manifest.content
    return f"Workspaces: {len(held.heads)}, changes: {held.changes}, recordings: {len(manifest.recordings)}."
