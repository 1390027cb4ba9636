"""Exports: contacts and companies as files that other programs read."""
