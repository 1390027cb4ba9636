"""The courier process: `python -m herdbook.webhooks.process`. Its configuration is the first line of its standard input.

It ends when its standard input does, which happens whenever the server that started it ends, even in a crash.
"""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from typing import Any, Final, cast
from uuid import UUID

import asyncpg
import msgspec
import uvloop

from herdbook import ids
from herdbook.db.pool import CONNECTION_ERRORS, connect, open_pool
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.notifier import CHANNEL
from herdbook.logs import configure_logs
from herdbook.outgoing import Targets
from herdbook.settings import COURIER_CONNECTIONS
from herdbook.webhooks.courier import Courier
from herdbook.webhooks.delivery import DeliveryContext
from herdbook.webhooks.sender import Sender
from herdbook.webhooks.supervisor import WorkerConfig

_log: Final = logging.getLogger("herdbook.webhooks")
_LISTEN_AGAIN_SECONDS: Final = 1.0
_NICE: Final = 10


async def deliver(config: WorkerConfig, is_over: asyncio.Event) -> None:
    """Deliver until `is_over` is set."""
    pool = await open_pool(config.database_url, COURIER_CONNECTIONS - 1, is_pooled=config.direct_url is not None)
    ledger = Ledger(pool, queue_limit=1000)
    ledger.open()
    rules = config.targets
    targets = Targets(rules.allowed, allows_loopback=rules.allows_loopback, allows_private=rules.allows_private)
    courier = Courier(DeliveryContext(pool, ledger, Sender(targets), ids.new_id()))
    tasks = [
        asyncio.create_task(courier.run()),
        asyncio.create_task(_listen(config.direct_url or config.database_url, courier)),
    ]
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    await is_over.wait()
    await courier.stop()
    for task in tasks:
        task.cancel()
    await ledger.close()
    await pool.close()


async def _listen(database_url: str, courier: Courier) -> None:
    """Listen for ledgers with new entries. Single notifications that are missed are found within a second by looking."""

    def hear(_: Any, __: int, ___: str, payload: object) -> None:
        told = str(payload)
        courier.moved([UUID(hex=told[place : place + 32]) for place in range(0, len(told), 32)])

    while True:
        try:
            connection = cast("asyncpg.Connection[asyncpg.Record]", await connect(database_url))
            closed = asyncio.Event()
            connection.add_termination_listener(lambda _, closed=closed: closed.set())
            await connection.add_listener(CHANNEL, hear)
            # Nothing was heard before.
            courier.missed()
            await closed.wait()
        except (*CONNECTION_ERRORS, asyncpg.PostgresError) as error:
            _log.warning("cannot listen for new entries; will retry", extra={"error": repr(error)})
        await asyncio.sleep(_LISTEN_AGAIN_SECONDS)


async def _main(config: WorkerConfig) -> None:
    loop = asyncio.get_running_loop()
    is_over = asyncio.Event()

    def end_with_input() -> None:
        while os.read(sys.stdin.fileno(), 4096):
            pass
        loop.call_soon_threadsafe(is_over.set)

    loop.add_signal_handler(signal.SIGTERM, is_over.set)
    threading.Thread(target=end_with_input, daemon=True).start()
    await deliver(config, is_over)


if __name__ == "__main__":
    # Writes have priority: deliveries use the remaining processor time, which is enough for them.
    os.nice(_NICE)
    given = msgspec.json.decode(sys.stdin.buffer.raw.readline(), type=WorkerConfig)  # type: ignore[attr-defined]
    configure_logs(given.log_level)
    uvloop.run(_main(given))
