"""The programs behind `make bench`: herdbook, PocketBase and bare PostgreSQL side by side, on this machine, in one run."""
