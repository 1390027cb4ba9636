"""Transcript comments: what the team says about what was said."""
