"""The files that people bring and take away, format by format. Nothing here knows the ledger, or any kind of object."""
