"""Workspaces: labels by which a team sorts its engagements."""
