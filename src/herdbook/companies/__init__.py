"""Companies: the organisations that contacts work for."""
