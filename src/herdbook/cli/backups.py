"""`herdbook backup` and `herdbook restore`: all data in one file, and back."""

import asyncio
import errno
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NoReturn

from cyclopts import Parameter
from rich.filesize import decimal

from herdbook.backups.archive import BackupRefused, Manifest, new_file, writing
from herdbook.backups.backup import NotPrepared, Taken, take
from herdbook.backups.programs import ProgramFailed
from herdbook.backups.restoration import (
    RestoreRefused,
    checked,
    require_place,
    restore_external,
    restore_folder,
    verify,
)
from herdbook.cli.database import database as open_database
from herdbook.cli.environment import CommandFailed, CommandIncomplete, environment
from herdbook.cli.progress import step
from herdbook.settings import DatabaseSettings

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_UNCHANGED: Final = "No file and no data folder was changed."
_CHANGED_OUTSIDE: Final = f"{_UNCHANGED} The database may hold restored data: empty it before another try."


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
    _require_name(file, replaces=force)
    with _ending_whole(), _refusals(f"The backup `{file}` was not written"):
        with new_file(file) as (draft, opened), open_database(database) as url:
            with writing(opened) as writer:
                taken = asyncio.run(take(writer, url, database.data_dir / "media", step))
            if verify:
                _verify(draft)
            _require_name(file, replaces=force)
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
    with _ending_whole(_CHANGED_OUTSIDE if is_external else _UNCHANGED), _refusals(f"The backup `{file}` was not restored"):
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
                if whole.manifest.recordings:
                    environment.say(f"The recordings are in {data_dir}; serve with `--data-dir {data_dir}`.")
                return
            former = restore_folder(data_dir, whole, step, replaces=replace)
            environment.say(f"Restored into {data_dir}. {_summary(whole.manifest)}")
            if former is not None:
                environment.say(f"The former data are in {former}. Remove that folder once you do not need them.")


def _require_name(file: Path, *, replaces: bool) -> None:
    if not file.parent.is_dir():
        raise CommandFailed(f"There is no folder `{file.parent}`. Create it, or choose another place for the backup.")
    if file.exists() and not (replaces and file.is_file()):
        remedy = "Choose another name, or replace it with --force." if file.is_file() else "Choose another name."
        raise CommandFailed(f"`{file}` exists. {remedy}")


def _verify(file: Path) -> None:
    with checked(file, step) as whole:
        verify(whole, step)


def _tell(file: Path, taken: Taken) -> None:
    environment.say(f"Wrote {file} ({decimal(file.stat().st_size)}). {_summary(taken.manifest)}")
    environment.say("The file holds personal data, and secrets of webhooks and credentials: keep it closed, or encrypt it.")
    if taken.missing:
        raise CommandIncomplete(
            f"{taken.missing} recordings of engagements are not in the backup, because they are not in the data folder. All "
            "else is. With an external database, name the folder of the server that fetched them with --data-dir."
        )


def _summary(manifest: Manifest) -> str:
    held = manifest.content
    return f"Workspaces: {len(held.heads)}, changes: {held.changes}, recordings: {len(manifest.recordings)}."


@contextmanager
def _ending_whole(changed: str = _UNCHANGED) -> Generator[None]:
    """Let a signal end the command like a failure, so that no half-made file is left. The message says what has `changed`."""

    def end(*_: object) -> NoReturn:
        raise CommandFailed(f"Stopped by a signal, before it was complete. {changed}")

    former = {
        number: signal.signal(number, end)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _refusals(failure: str) -> Generator[None]:
    """Turn refusals and errors of the disk into messages. `failure` says that nothing was done."""
    try:
        yield
    except (BackupRefused, RestoreRefused) as refusal:
        raise CommandFailed(str(refusal)) from None
    except NotPrepared:
        raise CommandFailed(f"{failure}, because the database has no data of herdbook. Name another.") from None
    except ProgramFailed as failed:
        raise CommandFailed(f"{failure}. {failed}") from None
    except OSError as error:
        if error.errno in _FULL:
            raise CommandFailed(f"{failure}, because the disk is full. Free some space, or choose another disk.") from None
        if error.filename is None:
            raise
        raise CommandFailed(f"{failure}: `{error.filename}`: {error.strerror}.") from None
