"""Backups: the database and the recordings of one moment, in one file."""
