"""The values that rows of a file have had so far, to tell rows that mean the same."""

import hashlib
from collections.abc import Sequence

from herdbook.importing.preparing import PreparedRow


class Seen:
    """The keys of the rows so far, on disk, so that memory stays bounded: hashes alone."""

    def __init__(self) -> None:
        import sqlite3  # noqa: PLC0415  # few servers import files

        # Without a name, SQLite keeps it in a file that it has unlinked already.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("pragma journal_mode = off")
        self._database.execute("create table seen (key integer primary key, number integer)")

    def duplicates(self, rows: Sequence[PreparedRow]) -> dict[int, int]:
        """Add rows. Return those that mean the same as an earlier row, each with the first of these."""
        found: dict[int, int] = {}
        self._database.execute("begin")
        for row in rows:
            keys = [int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), signed=True) for key in row.keys]
            for key in keys:
                record = self._database.execute("select number from seen where key = ?", (key,)).fetchone()
                if record is not None:
                    found[row.number] = min(found.get(row.number, row.number), record[0])
            self._database.executemany("insert or ignore into seen values (?, ?)", [(key, row.number) for key in keys])
        self._database.execute("commit")
        return found
