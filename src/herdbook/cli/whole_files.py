"""Files that a command writes or reads whole: it does all of its work or none, and says what is in the way."""

import errno
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from herdbook.archives.archiving import ArchiveRefused
from herdbook.archives.unarchiving import UnarchiveRefused
from herdbook.backups.backup import NotPrepared
from herdbook.backups.programs import ProgramFailed
from herdbook.backups.restoration import RestoreRefused
from herdbook.cli.environment import CommandFailed
from herdbook.parts_file import FileRefused

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
UNCHANGED: Final = "No file and no data folder was changed."


def require_new(file: Path, noun: str, *, replaces: bool | None = None) -> None:
    """Refuse the name of a file that exists, unless it is replaced, or whose folder does not.

    If `replaces` is None, the command replaces none.
    """
    if not file.parent.is_dir():
        raise CommandFailed(f"There is no folder `{file.parent}`. Create it, or choose another place for the {noun}.")
    if file.exists() and not (replaces and file.is_file()):
        may_be = file.is_file() and replaces is not None
        raise CommandFailed(f"`{file}` exists. Choose another name{', or replace it with --force' if may_be else ''}.")


@contextmanager
def ending_whole(changed: str = UNCHANGED) -> Generator[None]:
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
def refusals(failure: str) -> Generator[None]:
    """Turn refusals and errors of the disk into messages. `failure` says that nothing was done."""
    try:
        yield
    except (ArchiveRefused, FileRefused, RestoreRefused, UnarchiveRefused) as refusal:
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
