"""Webhooks: the ledger's changes, sent to other programs."""
