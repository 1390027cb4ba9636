"""Engagements: calls, meetings and what else a team has had with people, with what was said there."""
