"""herdbook: an open, self-hosted system of record for the people and companies a team deals with."""
