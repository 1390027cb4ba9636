"""The ledger: the only way to write in a workspace."""
