"""Fixtures: Alice's workspace with engagements, as the tests of engagements have it."""

from tests.engagements.conftest import alice, bob, dave, keys, owner, secret, workspace_id

__all__ = ["alice", "bob", "dave", "keys", "owner", "secret", "workspace_id"]
