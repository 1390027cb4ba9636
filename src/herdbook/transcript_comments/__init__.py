"""Transcript comments: the team's remarks on transcripts."""
