"""Duplicates: contacts and companies that may be there twice, why, and what people have said about it."""
