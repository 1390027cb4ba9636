"""Users: the people of the team."""
