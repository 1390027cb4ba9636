"""The database: the pool, reads that share a statement, migrations."""
