"""Companies: who the contacts work for."""
