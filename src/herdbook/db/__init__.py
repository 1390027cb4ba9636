"""The database: the pool, shared reads, migrations."""
