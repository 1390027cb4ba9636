"""The console: what all its pages share. The pages themselves are in `pages.py` of each domain."""
