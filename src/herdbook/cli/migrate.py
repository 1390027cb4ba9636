"""`herdbook migrate`."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from herdbook.cli.database import database as open_database
from herdbook.cli.environment import environment
from herdbook.db.migrate import migrate as apply_migrations
from herdbook.settings import DatabaseSettings


def migrate(*, database: Annotated[DatabaseSettings, Parameter(name="*")] = DatabaseSettings()) -> None:
    """Bring the database's schema up to date. `serve` also does this; use the command to migrate beforehand."""
    with open_database(database) as url:
        applied = asyncio.run(apply_migrations(url))
    environment.say(f"Applied {', '.join(applied)}." if applied else "The schema is up to date.")
