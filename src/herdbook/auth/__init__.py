"""Credentials: who asks, and what they may."""
