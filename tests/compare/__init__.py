"""Comparing two servers."""
