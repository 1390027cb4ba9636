"""Engagements: calls, meetings and other exchanges of a team with people, and their transcripts."""
