"""A PostgreSQL with a replica, from the programs of the embedded one."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg

from herdbook.embedded import SETTINGS, EmbeddedPostgres, as_owner, binary
from tests.waiting import until_so

PATIENCE: Final = 60.0


class Node:
    """A server whose cluster is in `folder/postgres`."""

    def __init__(self, folder: Path) -> None:
        self._cluster = folder / "postgres"
        # Nobody else gets into the folder, and the replica runs as another account than the tests.
        self._hba = folder / "trust.conf"
        self._settings = SETTINGS | {"hba_file": str(self._hba)}
        self.host = quote(str(self._cluster), safe="/")
        self.url = f"postgresql://postgres@/herdbook?host={self.host}&port=5432"
        self._process: subprocess.Popen[bytes] | None = None
        self._replicas: list[Node] = []

    async def start(self) -> None:
        """Start the server, and return once it answers."""
        self._run()
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await self.ask("select 1")
                except (OSError, asyncpg.CannotConnectNowError):
                    assert self._process is None or self._process.poll() is None, "the log in its folder says why"
                    await asyncio.sleep(0.01)
                else:
                    return

    async def ask(self, sql: str) -> object:
        """Return what a statement selects."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(sql)
        finally:
            await connection.close()

    def end(self) -> None:
        """End the server at once, as a crash does, and cut its connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(PATIENCE)
            self._process = None

    def end_all(self) -> None:
        """End the server and its replicas."""
        for node in (*self._replicas, self):
            node.end()

    async def copy(self, folder: Path) -> "Node":
        """Start a replica, and return it once no commit is acknowledged that it does not have."""
        replica = await asyncio.to_thread(self._copied, folder)
        self._replicas.append(replica)
        await replica.start()
        await self.ask("alter system set synchronous_standby_names = '*'")
        await self.ask("select pg_reload_conf()")

        async def is_waited_for() -> bool:
            return bool(await self.ask("select exists (select from pg_stat_replication where sync_state = 'sync')"))

        await until_so(is_waited_for)
        return replica

    def _run(self) -> None:
        self._hba.write_text("local all all trust\nlocal replication all trust\n")
        settings = [word for name, value in self._settings.items() for word in ("-c", f"{name}={value}")]
        command = [*as_owner(self._cluster), binary("postgres"), "-D", str(self._cluster), *settings]
        with (self._cluster.parent / "log").open("a") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _copied(self, folder: Path) -> "Node":
        folder.mkdir(mode=0o700)
        cluster = folder / "postgres"
        copying = [binary("pg_basebackup"), "-h", str(self._cluster), "-U", "postgres", "-D", str(cluster), "-R", "-c", "fast"]
        subprocess.run(copying, check=True)
        # It names the process of the original.
        (cluster / ".s.PGSQL.5432.lock").unlink()
        owner = self._cluster.stat()
        for path in (cluster, *cluster.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid)
        return Node(folder)


@asynccontextmanager
async def primary_in(folder: Path) -> AsyncGenerator[Node]:
    """Run a server while the block lasts, and the replicas that are made of it."""
    # It makes the cluster.
    made = EmbeddedPostgres(folder)
    made.start()
    made.stop()
    node = Node(folder)
    try:
        await node.start()
        yield node
    finally:
        node.end_all()
