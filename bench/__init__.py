"""What `make bench` runs: herdbook, PocketBase and bare PostgreSQL side by side, on this machine, in one run."""
