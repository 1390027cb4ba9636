"""Credentials: authentication of callers, and their scopes."""
