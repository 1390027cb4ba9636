"""Archives of a workspace."""
