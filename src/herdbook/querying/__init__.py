"""Queries: objects found by conditions over all their members, fields of a workspace's own included."""
