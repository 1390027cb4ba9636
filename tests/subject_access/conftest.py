"""Fixtures: Alice's workspace with engagements, and the receiver that repeats what it is sent."""

from tests.erasure.conftest import admin, alice, keys, own_pool, workspace_id
from tests.erasure.planting import echo

__all__ = ["admin", "alice", "echo", "keys", "own_pool", "workspace_id"]
