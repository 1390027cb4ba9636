"""herdbook as its users run it, on its embedded PostgreSQL, with enough contacts to be worth measuring."""

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bench import seeding
from bench.load import write_paths
from bench.processes import Server, running, wait_until_answers
from herdbook import ids

PROGRAM = Path(sys.executable).with_name("herdbook")
CONTACTS = "/api/v2/contacts"

# The bare statements have a workspace of their own: they skip the ledger's sequence, and would corrupt it.
BARE_WORKSPACE = UUID(int=1)

# The writes of PATCH to two tables in one statement, without lock, gapless sequence, search or rules.
BARE_PATCH = f"""
\\set number random(1, :contacts)
with updated as (
    update contact set version = nextval('bare_seq'), updated_at = clock_timestamp(), search = search,
        first_name_word = 'ada000001', last_name_word = 'byron000001', object = object
    where workspace_id = '{BARE_WORKSPACE}' and id = (
        lpad(to_hex({seeding.FIRST_MILLISECOND} + (:number)::bigint), 12, '0') || substr(md5((:number)::text), 1, 20)
    )::uuid
    returning *
)
insert into change (workspace_id, seq, at, object_id, request_id, credential_id, kind, action, previous, object)
select workspace_id, version, updated_at, id, id, id, 'c', 'u',
    '{{"first_name":"Ada000001","last_name":"Byron000001"}}', object from updated;
"""


@dataclass(frozen=True)
class Herd:
    """The files of paths for the load."""

    contacts: Path
    first_page: Path
    searches: Path


@contextlib.contextmanager
def serving(folder: Path, environment: Mapping[str, str] | None = None) -> Generator[tuple[Server, float]]:
    """Serve the folder while the block runs; also yield the seconds from start to the first 200."""
    folder.mkdir(exist_ok=True)
    ready, key = folder / "ready.json", folder / "api-key.txt"
    ready.unlink(missing_ok=True)
    command = [str(PROGRAM), "serve", f"--data-dir={folder / 'data'}", "--port=0", f"--ready-file={ready}"]
    started = time.monotonic()
    with running(command, folder, {"HERDBOOK_RATE_LIMIT": "0", **(environment or {})}) as process:
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > started + 60:
                raise RuntimeError(f"herdbook did not start: {(folder / 'log.txt').read_text()[-2000:]}")
            time.sleep(0.002)
        said = json.loads(ready.read_text())
        if "api_key" in said:
            key.write_text(said["api_key"])
        server = Server(said["url"], folder, process, key.read_text())
        wait_until_answers(f"{server.url}{CONTACTS}?limit=1", process, server.token)
        yield server, time.monotonic() - started


def prepare(folder: Path, size: int) -> Herd:
    """Fill a new folder with the contacts of one workspace, the one of its first key."""
    with serving(folder):
        workspace_id = ids.decoded(ids.WORKSPACE, json.loads((folder / "ready.json").read_text())["workspace_id"])
        assert workspace_id is not None
        asyncio.run(seeding.fill(folder, [workspace_id], size))
    numbers = range(1, size + 1)
    return Herd(
        contacts=write_paths(folder / "contacts.paths", map(seeding.contact_path, numbers)),
        first_page=write_paths(folder / "page.paths", [f"{CONTACTS}?limit=25"]),
        searches=write_paths(folder / "searches.paths", (f"{CONTACTS}?search=Byron{number:06d}" for number in numbers)),
    )


def prepare_bare(folder: Path, size: int) -> None:
    """Add the workspace of the bare statements."""
    with serving(folder):
        asyncio.run(seeding.fill(folder, [BARE_WORKSPACE], size))
        asyncio.run(seeding.execute(folder, f"create sequence bare_seq start {size + 2} cache 100"))


def prepare_many(folder: Path, workspaces: int, size: int) -> Path:
    """Add workspaces, each with its own key and contacts; return the file with the paths of all of them."""
    added = [UUID(int=1_000_000 + number) for number in range(workspaces)]
    with serving(folder):
        asyncio.run(seeding.fill(folder, added, size))
        keys = asyncio.run(seeding.make_keys(folder, added))
    contacts = [seeding.contact_path(number) for number in range(1, size + 1)]
    return write_paths(folder / "spread.paths", (f"{contact} {key}" for key in keys for contact in contacts))
