"""Engagements: calls, meetings and other contacts of a team with people, and their transcripts."""
