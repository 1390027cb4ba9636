"""Saved views: what a list of contacts or companies has, and how it is shown, under a name."""
