"""Imports under fire: the server and PostgreSQL are killed while one runs, and while it is undone, and then all is counted.

`python -m evidence.imports ROWS KILLS` does so once, and prints what was found.
"""

import asyncio
import collections
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx

from evidence.kill import database_url, environment
from evidence.rows import differing
from evidence.server import Herdbook, tell, until
from herdbook import ids
from herdbook.db.pool import connect

_COMPANIES: Final = 211
_LOOK_SECONDS: Final = 0.005
# A kill comes up to so many seconds after the progress that it waits for.
_LATER_SECONDS: Final = 0.1
_PATIENCE: Final = 120.0


@dataclass
class Found:
    """The faults that were found, how often each was killed, and the seconds that the work took with all restarts."""

    faults: list[str] = field(default_factory=list)
    kills: collections.Counter[str] = field(default_factory=collections.Counter)
    seconds: dict[str, float] = field(default_factory=dict)

    def expect(self, what: str, found: object, expected: object) -> None:
        """Note a fault unless both are equal."""
        if found != expected:
            self.faults.append(f"{what}: {found!r}, not {expected!r}")


class _Herd:
    """A server that is killed now and then, and its client."""

    def __init__(self, server: Herdbook, found: Found) -> None:
        self.server = server
        self.found = found
        self._client = httpx.AsyncClient(timeout=30)

    async def ask(self, method: str, path: str, **options: Any) -> Any:
        """Make a request, again until it is answered."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                headers = {"Authorization": self.server.key}
                with contextlib.suppress(httpx.TransportError):
                    answer = await self._client.request(
                        method, f"{self.server.url}/api/herdbook{path}", headers=headers, **options
                    )
                    if answer.status_code not in (500, 503):
                        answer.raise_for_status()
                        return answer.json()
                await asyncio.sleep(_LOOK_SECONDS)

    async def worked(self, path: str, name: str, kills: int, progress_of: Callable[[Any], Any]) -> Any:
        """Begin some work on an import, and kill at random moments; return the import after its end."""
        began = time.monotonic()
        shown = await self.ask("POST", f"{path}/{name}")
        total = progress_of(shown)["total"]
        for at in sorted(random.randrange(total) for _ in range(kills)):
            shown = await self.until(path, lambda now, at=at: progress_of(now)["done"] >= at or not _is_at_work(now))
            if not _is_at_work(shown):
                break
            await asyncio.sleep(random.uniform(0, _LATER_SECONDS))
            await self._kill()
        shown = await self.until(path, lambda now: not _is_at_work(now))
        self.found.seconds[name] = time.monotonic() - began
        return shown

    async def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        """Return the import once something holds."""
        async with asyncio.timeout(_PATIENCE):
            while not holds(shown := await self.ask("GET", path)):
                await asyncio.sleep(_LOOK_SECONDS)
        return shown

    async def _kill(self) -> None:
        name = random.choice([*_WAYS])
        self.found.kills[name] += 1
        await _WAYS[name](self.server)
        if not self.server.is_running:
            await self.server.start()

    async def close(self) -> None:
        await self._client.aclose()


def _is_at_work(shown: Any) -> bool:
    return shown["state"] in ("running", "undoing")


async def _kill_server(server: Herdbook) -> None:
    tell(server.process, signal.SIGKILL)
    await until(lambda: not server.is_running)


async def _kill_database(server: Herdbook) -> None:
    with contextlib.suppress(OSError, ValueError):
        tell(server.postmaster(), signal.SIGKILL)


async def _kill_backend(server: Herdbook) -> None:
    if backends := server.backends():
        tell(random.choice(backends), signal.SIGKILL)


async def _kill_all(server: Herdbook) -> None:
    family = server.family()
    for each in family:
        tell(each, signal.SIGKILL)
    await until(lambda: not server.is_running)


_WAYS: Final[dict[str, Callable[[Herdbook], Awaitable[None]]]] = {
    "server": _kill_server,
    "PostgreSQL": _kill_database,
    "one process of PostgreSQL": _kill_backend,
    "all processes": _kill_all,
}


async def break_import(folder: Path, rows: int, kills: int) -> Found:
    """Import rows and undo that, killed so often in each; return what was found."""
    found = Found()
    herd = _Herd(Herdbook(folder, environment=environment()), found)
    await herd.server.start()
    try:
        file = "".join(f"First{n},Last{n},p{n}@kill.test,+4930{n:08d},Company {n % _COMPANIES}\n" for n in range(rows))
        file = "First name,Last name,E-mail,Phone,Company\n" + file
        path = f"/imports/{(await herd.ask('POST', '/imports', content=file))['id']}"
        ran = await herd.worked(path, "run", kills, lambda shown: shown["progress"])
        found.expect("state", ran["state"], "finished")
        found.expect("rows created", ran["result"]["create"], rows)
        await _check_rows(herd, path, rows)
        entries = await _check_ledger(herd, {("contact", "created"): rows, ("company", "created"): min(rows, _COMPANIES)})

        again = f"/imports/{(await herd.ask('POST', '/imports', content=file))['id']}"
        repeated = await herd.worked(again, "run", 0, lambda shown: shown["progress"])
        found.expect("rows unchanged", repeated["result"]["unchanged"], rows)
        found.expect("entries after the same file", await _entries(herd), entries)

        undone = await herd.worked(path, "undo", kills, lambda shown: shown["undo"]["progress"])
        companies = min(rows, _COMPANIES)
        found.expect("state after the undo", undone["state"], "undone")
        found.expect("objects undone, kept", (undone["undo"]["reverted"], undone["undo"]["kept"]), (rows + companies, 0))
        both = {("contact", "created"): rows, ("company", "created"): companies}
        await _check_ledger(herd, both | {(name, "deleted"): many for (name, _), many in both.items()})
    finally:
        await herd.close()
        await herd.server.stop()
    return found


async def _check_rows(herd: _Herd, path: str, rows: int) -> None:
    """Check that each row has one outcome."""
    outcomes: list[Any] = []
    has_more = True
    while has_more:
        after = outcomes[-1]["row"] if outcomes else 0
        page = await herd.ask("GET", f"{path}/rows", params={"limit": 500, "after": after})
        outcomes += page["data"]
        has_more = page["has_more"]
    herd.found.expect("numbers of rows", [each["row"] for each in outcomes] == list(range(2, rows + 2)), expected=True)
    herd.found.expect("verdicts", {each["verdict"] for each in outcomes}, {"create"})
    herd.found.expect("objects of rows", len({each["id"] for each in outcomes}), rows)


async def _check_ledger(herd: _Herd, expected: dict[tuple[str, str], int]) -> int:
    """Check the entries by type and action, that their numbers have no gap, and that rows follow from them."""
    counted: collections.Counter[tuple[str, str]] = collections.Counter()
    positions: list[int] = []
    position, has_more = 0, True
    while has_more:
        page = await herd.ask("GET", "/changes", params={"limit": 1000, "after": position})
        for change in page["data"]:
            name, _, action = change["type"].partition(".")
            counted[name, action] += 1
            positions.append(change["position"])
        position, has_more = page["position"], page["has_more"]
    objects = {place: many for place, many in counted.items() if place[0] in ("contact", "company")}
    herd.found.expect("changes", objects, expected)
    connection = await connect(database_url(herd.server))
    try:
        head = await connection.fetchval("select seq from workspace where id = $1", _workspace(herd))
        herd.found.expect("numbers of entries", positions == list(range(1, head + 1)), expected=True)
        herd.found.faults += (await differing(connection, _workspace(herd)))[:5]
    finally:
        await connection.close()
    return len(positions)


async def _entries(herd: _Herd) -> int:
    connection = await connect(database_url(herd.server))
    try:
        return await connection.fetchval("select count(*) from change where workspace_id = $1", _workspace(herd))
    finally:
        await connection.close()


def _workspace(herd: _Herd) -> UUID:
    (workspace_id,) = ids.decoded_all(ids.WORKSPACE, [herd.server.workspace_id])
    return workspace_id


def main() -> None:
    """Break one import, and print what was found."""
    rows, kills = map(int, sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="herdbook-imports-") as scratch:
        found = asyncio.run(break_import(Path(scratch), rows, kills))
    print(f"kills: {dict(found.kills)}; seconds: { {name: round(each, 1) for name, each in found.seconds.items()} }")
    if found.faults:
        sys.exit("\n".join(["Faults were found:", *found.faults]))
    print(f"{rows:,} rows: each is there once, and gone once after the undo.")


if __name__ == "__main__":
    main()
