"""History, and the way back: what became of an object, restoring, undo."""
