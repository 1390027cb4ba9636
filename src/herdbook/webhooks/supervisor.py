"""Keeps a courier process running while there are endpoints to deliver to."""

import asyncio
import logging
import sys
from asyncio.subprocess import PIPE, Process
from typing import Final

import msgspec

from herdbook.db.pool import Pool
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.settings import TargetRules
from herdbook.webhooks.store import any_enabled

_log: Final = logging.getLogger("herdbook.webhooks")
_END_SECONDS: Final = 15.0


class WorkerConfig(msgspec.Struct, frozen=True):
    """Configuration of a courier process: the database, the allowed targets, and the log level."""

    database_url: str
    targets: TargetRules
    log_level: str
    # Set if the other URL leads through a pooler.
    direct_url: str | None = None


class WorkerSupervisor:
    """Starts the courier process when it is needed, and restarts it if it dies."""

    def __init__(self, pool: Pool, notifier: ChangeNotifier, config: WorkerConfig) -> None:
        self._pool = pool
        self._notifier = notifier
        self._config = msgspec.json.encode(config)
        self._courier: Process | None = None

    async def look(self) -> None:
        """Start a courier if an endpoint is enabled; stop it otherwise."""
        is_needed = await any_enabled(self._pool)
        self._notifier.publishes = is_needed
        courier = self._courier
        if courier is not None and courier.returncode is not None:
            _log.warning("the courier died", extra={"exit_code": courier.returncode})
            self._courier = courier = None
        if is_needed and courier is None:
            # Ctrl-C is for the server, which then closes the input of this process. In a session of its own, it gets none.
            command = (sys.executable, "-m", "herdbook.webhooks.process")
            self._courier = await asyncio.create_subprocess_exec(*command, stdin=PIPE, start_new_session=True)
            assert self._courier.stdin is not None, "it is a pipe"
            self._courier.stdin.write(self._config + b"\n")
        elif courier is not None and not is_needed:
            await self.close()

    async def close(self) -> None:
        """Let the courier finish its work, and wait for that."""
        courier, self._courier = self._courier, None
        if courier is None:
            return
        assert courier.stdin is not None, "it is a pipe"
        courier.stdin.close()
        try:
            async with asyncio.timeout(_END_SECONDS):
                await courier.wait()
        except TimeoutError:
            courier.kill()
            await courier.wait()
