"""`herdbook upgrade-database`: from one major version of PostgreSQL to the next."""

import signal
from pathlib import Path
from typing import NoReturn

from herdbook.cli.environment import CommandFailed, environment
from herdbook.database_upgrade import remove_old as remove_old_databases
from herdbook.database_upgrade import upgrade


def upgrade_database(
    *, data_dir: Path = Path("herdbook-data"), old_binaries: Path | None = None, remove_old: bool = False
) -> None:
    """Upgrade a data folder that an earlier PostgreSQL has written. No server may run on it.

    The data are checked and copied. The old ones are kept, unchanged, as `postgres.17`, for example. However the command ends,
    the folder is either the old or the new one, and the command may be run again.

    Parameters
    ----------
    data_dir
        The folder of the embedded database.
    old_binaries
        A folder with the programs of the PostgreSQL that wrote the data; without it, the command says how to get them.
    remove_old
        Remove what an earlier upgrade has kept, instead of upgrading.

    """
    # Otherwise the servers that the upgrade runs would outlive it.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    if remove_old:
        remove_old_databases(data_dir, environment.say)
    else:
        upgrade(data_dir, old_binaries, environment.say)


def _interrupt(*_: object) -> NoReturn:
    raise CommandFailed("The upgrade was interrupted. The data are whole. Run the command again.")
