"""Comparing two servers: scenarios run against both, and the differences between their answers."""
