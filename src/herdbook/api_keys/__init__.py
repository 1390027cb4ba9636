"""API keys: their rules, and their pages in the console."""
