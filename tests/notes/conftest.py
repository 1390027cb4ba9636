"""Alice's workspace with users, as in the tests of engagements, and with a note on Ada and one on her company."""

import pytest_asyncio

from tests.cast import Person, Thing
from tests.engagements.conftest import alice, keys, owner, workspace_id
from tests.notes.notes import noted

__all__ = ["alice", "keys", "owner", "workspace_id"]


@pytest_asyncio.fixture
async def habit(alice: Person, ada: Thing) -> Thing:
    """A note of Alice's on Ada."""
    return await noted(alice, ada, "Prefers to be called **before** nine.")


@pytest_asyncio.fixture
async def budget(alice: Person, engine: Thing) -> Thing:
    """A note of Alice's on a company."""
    return await noted(alice, engine, "The budget is decided in *March*.")
