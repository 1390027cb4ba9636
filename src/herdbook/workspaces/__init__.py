"""Workspaces: the settings of a tenant."""
