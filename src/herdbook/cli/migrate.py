"""`herdbook migrate`."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from herdbook.cli.database import database as open_database
from herdbook.cli.environment import environment
from herdbook.db.migrate import available
from herdbook.db.migrate import migrate as apply_migrations
from herdbook.db.pooler import require_same
from herdbook.db.pooler import set_role as give_settings
from herdbook.settings import DatabaseSettings


def migrate(*, set_role: bool = False, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """Bring the database's schema up to date. `serve` also does this; use the command to migrate beforehand.

    Parameters
    ----------
    set_role
        Give the settings of herdbook's sessions to the role of `--database-url`, in this database: for PgBouncer, whose
        sessions take none from their clients.

    """
    with open_database(database) as url:
        if database.database_url is not None and database.database_direct_url is not None:
            asyncio.run(require_same(database.database_url, url))
        applied = asyncio.run(apply_migrations(url))
        if len(applied) == len(available()):
            environment.say("Created the schema.")
        else:
            environment.say(f"Applied {', '.join(applied)}." if applied else "The schema is up to date.")
        if set_role:
            role = asyncio.run(give_settings(database.database_url or url, url))
            environment.say(f"The role `{role}` has the settings of herdbook in this database.")
