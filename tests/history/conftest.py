"""Fixtures: Alice's workspace with engagements, as the tests of engagements have it."""

from uuid import UUID

import asyncpg
import pytest

from tests.engagements.conftest import alice, bob, dave, erin, keys, owner, secret, step, waiting, workspace_id
from tests.history.requests import Register

__all__ = ["alice", "bob", "dave", "erin", "keys", "owner", "secret", "step", "waiting", "workspace_id"]


@pytest.fixture
def register(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Register:
    """The stored ledger of Alice's workspace."""
    return Register(pool, workspace_id)
