"""Webhooks: the ledger's changes, told to other programs."""
