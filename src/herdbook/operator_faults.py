"""Errors that an operator can mend, in plain sentences: those of the database, of files and of settings."""

import os
import re
from typing import Final

import asyncpg

from herdbook.db.pool import DatabaseAway, DatabaseUrlInvalid
from herdbook.erasure_list import ErasureListInvalid
from herdbook.settings import SettingOutOfRange

# The form of asyncio's messages.
_REFUSED: Final = re.compile(r"\[Errno (\d+)\] Connect call failed \('([^']+)', (\d+)")
_NUMBER: Final = re.compile(r"\[Errno -?\d+\] ")


def described(error: BaseException | None) -> str | None:
    """Return the sentence for an error that an operator can mend, or None for one that only its traceback explains."""
    if isinstance(error, ErasureListInvalid | SettingOutOfRange | DatabaseUrlInvalid):
        return str(error)
    return _of_surroundings(error) if isinstance(error, OSError | asyncpg.PostgresError | asyncpg.InterfaceError) else None


def _of_surroundings(error: OSError | asyncpg.PostgresError | asyncpg.InterfaceError) -> str:
    match error:
        case DatabaseAway() | TimeoutError():
            return f"The database cannot be reached: {_reason(error)}. Start it, or correct its address."
        case asyncpg.InvalidAuthorizationSpecificationError() | asyncpg.InvalidCatalogNameError():
            return f"The database refuses the connection: {error}. Correct --database-url."
        case asyncpg.TooManyConnectionsError():
            return f"The database has too few connections: {error}. Lower --database-connections, or raise `max_connections`."
        case asyncpg.ProtocolViolationError() if "startup parameter" in str(error):
            return "--database-url leads through a pooler. Give the database's own address, too: --database-direct-url."
        case OSError(filename=str(path), strerror=str(reason)):
            return f"`{path}` cannot be used: {reason}. Check the file, its folder, and who may read and write them."
        case _:
            return f"{type(error).__name__}: {error}"


def _reason(error: OSError) -> str:
    """Return the system's words about a connection, without the form of an exception."""
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    refused = _REFUSED.search(str(error))
    if refused is not None:
        return f"{os.strerror(int(refused[1]))} at {refused[2]}, port {refused[3]}"
    return _NUMBER.sub("", str(error))
