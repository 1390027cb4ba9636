"""Alice's workspace with engagements, as their own tests have it."""

from tests.engagements.conftest import alice, bob, dave, keys, owner, secret, workspace_id

__all__ = ["alice", "bob", "dave", "keys", "owner", "secret", "workspace_id"]
