"""The HTTP layer that all operations share. It knows no domain."""
