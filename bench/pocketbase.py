"""The rival: PocketBase with records of the same shape and its default settings (they have no rate limit)."""

import contextlib
import json
import random
import sqlite3
import string
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

from bench.load import write_paths
from bench.processes import Server, call, free_port, running, wait_until_answers

PROGRAM = Path(sys.executable).with_name("pocketbase")
OWNER = {"identity": "owner@example.test", "password": "correct-horse-battery"}
USER = {"identity": "ada@example.test", "password": "correct-horse-battery"}

# An ordinary user's token and rules that require one, because herdbook checks a key and its scopes too. An owner's token would
# skip the rules; measured, it is no faster.
SIGNED_IN = '@request.auth.id != ""'
COLLECTION = {
    "name": "contacts",
    "type": "base",
    "listRule": SIGNED_IN,
    "viewRule": SIGNED_IN,
    "updateRule": SIGNED_IN,
    "fields": [
        {"name": "first_name", "type": "text", "max": 255},
        {"name": "last_name", "type": "text", "max": 255},
        {"name": "description", "type": "text", "max": 5000},
        {"name": "company_id", "type": "text"},
        {"name": "emails", "type": "json"},
        {"name": "phone_numbers", "type": "json"},
        {"name": "time_zone", "type": "text"},
        {"name": "created", "type": "autodate", "onCreate": True},
        {"name": "updated", "type": "autodate", "onCreate": True, "onUpdate": True},
    ],
    "indexes": ["create index idx_contacts_updated on contacts (updated)"],
}


@contextlib.contextmanager
def serving(folder: Path) -> Generator[tuple[Server, float]]:
    """Serve the folder while the block runs; also yield the seconds from start to the first 200."""
    folder.mkdir(exist_ok=True)
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(PROGRAM), "serve", f"--http=127.0.0.1:{port}", f"--dir={folder / 'data'}"]
    started = time.monotonic()
    with running(command, folder) as process:
        wait_until_answers(f"{url}/api/health", process)
        seconds = time.monotonic() - started
        token = signed_in(url, "users", USER) if (folder / "contacts.paths").exists() else ""
        yield Server(url, folder, process, token), seconds


def prepare(folder: Path, size: int) -> Path:
    """Fill a new folder with a user and his contacts; return the file with the contacts' paths."""
    with serving(folder) as (server, _):
        upsert = [str(PROGRAM), "superuser", "upsert", *OWNER.values(), f"--dir={folder / 'data'}"]
        subprocess.run(upsert, check=True, capture_output=True)
        user = {"email": USER["identity"], "password": USER["password"], "passwordConfirm": USER["password"]}
        call(f"{server.url}/api/collections/users/records", "POST", user)
        call(f"{server.url}/api/collections", "POST", COLLECTION, signed_in(server.url, "_superusers", OWNER))
    paths = (f"/api/collections/contacts/records/{contact}" for contact in insert_contacts(folder, size))
    return write_paths(folder / "contacts.paths", paths)


def signed_in(url: str, collection: str, who: dict[str, str]) -> str:
    token: str = call(f"{url}/api/collections/{collection}/auth-with-password", "POST", who)["token"]
    return token


def insert_contacts(folder: Path, size: int) -> list[str]:
    """Write directly into the database file, which takes seconds instead of the API's minutes."""
    chance = random.Random(size)
    ids = ["".join(chance.choices(string.ascii_lowercase + string.digits, k=15)) for _ in range(size)]
    with contextlib.closing(sqlite3.connect(folder / "data" / "data.db")) as database, database:
        database.executemany(
            """insert into contacts (id, first_name, last_name, description, company_id, emails, phone_numbers,
                                     time_zone, created, updated)
               values (?, ?, ?, 'Met at the fair; asked for a quote.', ?, ?, ?, 'Europe/Berlin',
                       strftime('%Y-%m-%d %H:%M:%fZ'), strftime('%Y-%m-%d %H:%M:%fZ'))""",
            (
                (
                    contact,
                    f"Ada{number:06d}",
                    f"Byron{number:06d}",
                    f"company{number % 1000:08d}",
                    json.dumps([{"email": f"person{number}@example.test", "is_primary": True}]),
                    json.dumps([{"phone_number": f"+4930{number:07d}", "is_primary": True}]),
                )
                for number, contact in enumerate(ids)
            ),
        )
    return ids
