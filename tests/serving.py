"""Servers for a single test, with settings or operations that the shared one does not have."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from starlette.types import ASGIApp

from herdbook.app import Herdbook
from herdbook.auth.authenticate import Authenticator
from herdbook.db.database import Database
from herdbook.db.pool import PagePool, open_pool
from herdbook.erasure_list import ErasureList
from herdbook.http.api_app import ApiApp, ApiOptions
from herdbook.http.call import Services
from herdbook.http.operation import Operation
from herdbook.http.page import CursorSigner
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.notifier import ChangeNotifier
from herdbook.ledger.object_types import ObjectTypes
from herdbook.media import Recordings
from herdbook.object_types import OBJECT_TYPES
from herdbook.settings import Settings
from tests.nodes import recorded


class Watched(NamedTuple):
    """A client, and the statements that its requests have run since the list was cleared."""

    client: httpx.AsyncClient
    statements: list[str]


@asynccontextmanager
async def serving(settings: Settings, database_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    """Run an application with these settings; yield its client."""
    app = Herdbook(settings, database_url)
    async with app.running(), client_of(app) as client:
        yield client


@asynccontextmanager
async def serving_operations(
    operations: Iterable[Operation], database_url: str, document: bytes = b""
) -> AsyncGenerator[Watched]:
    """Serve reads of these operations over one connection, and record its statements."""
    pool = await open_pool(database_url, 1)
    statements = await recorded(pool)
    async with client_of(answering(operations, pool, document=document)) as client:
        client.event_hooks["response"].append(_when_logged)
        yield Watched(client, statements)
    await pool.close()


async def _when_logged(_: httpx.Response) -> None:
    """Let the event loop go on once: only then does asyncpg tell its loggers of the last statement."""
    await asyncio.sleep(0)


def answering(
    operations: Iterable[Operation],
    pool: PagePool,
    ledger: Ledger | None = None,
    object_types: ObjectTypes = OBJECT_TYPES,
    document: bytes = b"",
) -> ApiApp:
    """Return the application that serves these operations: reads only, unless there is an open ledger.

    `document` is the OpenAPI document, for operations that use it.
    """
    return ApiApp(
        operations=operations,
        services=Services(
            ledger or Ledger(pool, 1),
            Database(pool, pool),
            CursorSigner("secret"),
            Recordings(Path(), "secret", (), 0),
            ChangeNotifier(pool),
            object_types,
            ErasureList(Path("erasures.jsonl")),
            document=lambda: document,
        ),
        authenticator=Authenticator(pool),
        rate_limit=None,
        options=ApiOptions(1000, "https://herdbook.test/errors/", "application/json"),
        logs_requests=True,
    )


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    """Return a client of an application."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://herdbook.test")
