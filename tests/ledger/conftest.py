"""Fixtures: ledgers of the tests' own, beside the application's."""

from collections.abc import AsyncGenerator
from uuid import UUID

import pytest_asyncio

from herdbook.ledger.ledger import Ledger
from tests.ledger.ledger_client import LedgerClient, ledger_on


@pytest_asyncio.fixture
async def ledger(database_url: str) -> AsyncGenerator[Ledger]:
    """A ledger."""
    async with ledger_on(database_url) as ledger:
        yield ledger


@pytest_asyncio.fixture
async def other_ledger(database_url: str) -> AsyncGenerator[Ledger]:
    """A second ledger on the same database, as another process would have it."""
    async with ledger_on(database_url) as ledger:
        yield ledger


@pytest_asyncio.fixture
async def ledger_client(ledger: Ledger, workspace_id: UUID) -> LedgerClient:
    """A writer in the test's workspace."""
    return LedgerClient(ledger, workspace_id)


@pytest_asyncio.fixture
async def other_ledger_client(other_ledger: Ledger, ledger_client: LedgerClient) -> LedgerClient:
    """The same writer in the same workspace, through the second ledger."""
    return LedgerClient(other_ledger, ledger_client.workspace_id, ledger_client.credential_id)
