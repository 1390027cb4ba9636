"""Finding: pages, actions and records by their names, for the command menu."""
