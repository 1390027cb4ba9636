"""Subject access: everything that is kept about a person, for the person."""
