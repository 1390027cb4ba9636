"""What all operations share; it knows no domain."""
