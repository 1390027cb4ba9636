"""Archives: one workspace in one file, and back into a server."""
