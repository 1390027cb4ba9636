"""PostgreSQL's own programs for dumps, fed and read in chunks."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Generator, Iterable, Iterator
from typing import IO, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from herdbook.embedded import binary
from herdbook.parts_file import CHUNK

_DUMP: Final = ("--format=custom", "--compress=gzip:1", "--no-password")
# pg_restore restores all or nothing. Owners and privileges are those of the account that restores.
_RESTORE: Final = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", "--no-password")
# asyncpg obeys these, too. The others, such as PGHOSTADDR, could lead a program to another database.
_VARIABLES: Final = (
    *("PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGPASSWORD", "PGPASSFILE"),
    *("PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLCRL", "PGTARGETSESSIONATTRS"),
)
# A program says first what is wrong, and may then quote a statement with the names of all tables.
_MAX_COMPLAINT: Final = 2000
# On a distributed database, tables that are parts of others are no tables of their own in a dump, whatever the role sets.
_OF_SESSION: Final = {"PGOPTIONS": "-c citus.override_table_visibility=on"}


class ProgramFailed(Exception):
    """One of PostgreSQL's programs failed. The message has its name and its own words."""


def dump(url: str, snapshot: str) -> Iterator[bytes]:
    """Yield a dump of the database at the moment of a snapshot. Refusal: ProgramFailed."""
    with _running("pg_dump", url, *_DUMP, f"--snapshot={snapshot}") as program:
        assert program.stdout is not None
        while chunk := program.stdout.read(CHUNK):
            yield chunk


def restore(url: str, chunks: Iterable[bytes]) -> None:
    """Restore a dump into an empty database, completely or not at all. Refusal: ProgramFailed."""
    with _running("pg_restore", url, *_RESTORE) as program:
        assert program.stdin is not None
        # If the program ends early, its own words say why.
        with contextlib.suppress(BrokenPipeError), program.stdin as pipe:
            for chunk in chunks:
                pipe.write(chunk)


@contextlib.contextmanager
def _running(name: str, url: str, *options: str) -> Generator["subprocess.Popen[bytes]"]:
    address, variables = without_password(url)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG") or key in _VARIABLES}
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(
            [binary(name), *options, f"--dbname={address}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=kept | variables | _OF_SESSION | {"LC_ALL": "C"},
        ) as program:
            try:
                yield program
            except BaseException:
                program.kill()
                raise
        if program.returncode != 0:
            raise ProgramFailed(f"{name} failed: {_beginning(complaints)}")


def _beginning(complaints: IO[bytes]) -> str:
    complaints.seek(0)
    return complaints.read(_MAX_COMPLAINT).decode(errors="replace").strip() or "it said nothing"


def without_password(url: str) -> tuple[str, dict[str, str]]:
    """Return the address without its password, which other accounts could read on a command line, and variables for it."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query)
    passwords = [value for key, value in query if key == "password"]
    user, separator, host = parts.netloc.rpartition("@")
    user, colon, password = user.partition(":")
    if colon:
        passwords.append(unquote(password))
    left = urlencode([(key, value) for key, value in query if key != "password"], quote_via=quote)
    # The standard library drops the slashes of an empty host for schemes that it does not know.
    address = f"{parts.scheme}://{user}{separator}{host}{urlunsplit(('', '', parts.path, left, ''))}"
    return address, {"PGPASSWORD": passwords[-1]} if passwords else {}
