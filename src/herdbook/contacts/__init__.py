"""Contacts: the people a team deals with."""
