"""The rate limit that several processes and machines share."""

import shutil
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from herdbook import ids
from herdbook.http.shared_ratelimit import SharedWindows

SERVER = shutil.which("valkey-server") or shutil.which("redis-server")
needs_store = pytest.mark.skipif(SERVER is None, reason="neither valkey-server nor redis-server is installed")


@pytest.fixture
def store(tmp_path: Path) -> Generator[str]:
    """A Valkey or Redis of the test, behind a socket."""
    assert SERVER is not None
    socket = tmp_path / "store.sock"
    command = [SERVER, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        next(line for line in server.stdout if "ready to accept" in line.lower())
        yield f"unix://{socket}"
        server.terminate()


@asynccontextmanager
async def windows(rate: int, store: str) -> AsyncGenerator[SharedWindows]:
    """A process's view of the store."""
    limit = SharedWindows(rate, rate, store)
    yield limit
    await limit.close()


@needs_store
async def test_two_processes_count_together(store: str) -> None:
    """Two processes share one count."""
    credential_id = ids.new_id()
    async with windows(2, store) as one, windows(2, store) as other:
        await one.take(credential_id)
        await other.take(credential_id)
        third = await one.take(credential_id)

    assert third.retry_after >= 1
    assert third.remaining == 0


@needs_store
async def test_credentials_are_counted_apart(store: str) -> None:
    """Each credential has its own count."""
    async with windows(1, store) as limit:
        await limit.take(ids.new_id())
        other = await limit.take(ids.new_id())

    assert other.retry_after == 0


async def test_without_the_store_each_counts_alone() -> None:
    """Without the store each process counts alone: the limit neither blocks the service nor disappears."""
    credential_id = ids.new_id()
    async with windows(1, "valkey://127.0.0.1:1") as limit:
        first, second = await limit.take(credential_id), await limit.take(credential_id)

    assert first.retry_after == 0
    assert second.retry_after == 1
