"""The receivers in the documentation run as printed, and verify signatures."""

import asyncio
import os
import re
import shutil
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from herdbook.webhook_endpoints.signing import new_secret
from tests.cast import Person
from tests.webhooks.endpoints import WEBHOOKS, Endpoint
from tests.webhooks.test_signatures import FOLDER

PAGE = (Path(__file__).parents[2] / "docs/api.md").read_text()


class Language(NamedTuple):
    """How a receiver runs: its fence in the page, its file name, and the command."""

    fence: str
    file: str
    command: str


PYTHON = Language("python", "receive.py", sys.executable)
JAVASCRIPT = Language("js", "receive.mjs", "node")
in_both_languages = pytest.mark.parametrize("language", [PYTHON, JAVASCRIPT], ids=["Python", "JavaScript"])


def program(language: Language, folder: Path, port: int) -> Path:
    """Write a receiver into a folder, as printed but for its port."""
    [printed] = re.findall(rf"```{language.fence}\n(.+?)```", PAGE, re.DOTALL)
    assert printed.count("9000") == 1
    file = folder / language.file
    file.write_text(printed.replace("9000", str(port)))
    if language is JAVASCRIPT:
        if shutil.which(language.command) is None:
            pytest.skip("node is not installed")
        if not (FOLDER / "node_modules").is_dir():
            pytest.skip(f"run `npm ci` in {FOLDER}: what verifies there is not installed")
        (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    return file


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@asynccontextmanager
async def running(language: Language, folder: Path, port: int, secret: str) -> AsyncGenerator[Process]:
    """Run a receiver while the block runs, once it accepts connections."""
    file = program(language, folder, port)
    environment = os.environ | {"WEBHOOK_SECRET": secret}
    process = await asyncio.create_subprocess_exec(language.command, str(file), stdout=PIPE, stderr=PIPE, env=environment)
    try:
        async with asyncio.timeout(90):
            while not await _listens(port):
                assert process.returncode is None, "the receiver runs"
                await asyncio.sleep(0.02)
        yield process
    finally:
        process.kill()
        await process.communicate()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def endpoint_at(alice: Person, port: int) -> Endpoint:
    """Create an endpoint at a local port."""
    return Endpoint(alice, await alice.post(WEBHOOKS, json={"url": f"http://127.0.0.1:{port}/webhooks"}))


@in_both_languages
async def test_it_takes_what_is_signed(alice: Person, tmp_path: Path, language: Language) -> None:
    """A receiver accepts a signed event and prints it."""
    port = free_port()
    endpoint = await endpoint_at(alice, port)
    async with running(language, tmp_path, port, endpoint.secret) as process:
        told = await endpoint.post("test", {"type": "v1.contact.created"})
        assert process.stdout is not None
        printed = await asyncio.wait_for(process.stdout.readline(), 60)

    assert told["status"] == 204
    assert printed.decode() == "v1.contact.created cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T\n"


@in_both_languages
async def test_it_refuses_what_somebody_else_has_signed(alice: Person, tmp_path: Path, language: Language) -> None:
    """A receiver refuses an event that was signed with another secret."""
    port = free_port()
    endpoint = await endpoint_at(alice, port)
    async with running(language, tmp_path, port, new_secret()):
        told = await endpoint.post("test")

    assert told["status"] == 400
