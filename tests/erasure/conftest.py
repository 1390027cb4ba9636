"""Fixtures: Alice's workspace with engagements, and an administrator."""

import pytest_asyncio

from herdbook.auth.scopes import ADMIN
from tests.cast import Person
from tests.engagements.conftest import Keys, alice, bob, charlie_keys, keys, workspace_id

__all__ = ["alice", "bob", "charlie_keys", "keys", "workspace_id"]


@pytest_asyncio.fixture
async def admin(keys: Keys) -> Person:
    """An administrator of Alice's workspace."""
    return await keys.holder(ADMIN)
