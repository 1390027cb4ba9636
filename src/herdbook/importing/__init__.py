"""Imports: files of contacts and companies become changes of the ledger."""
