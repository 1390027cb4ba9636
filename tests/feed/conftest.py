"""Fixtures: Alice's workspace with engagements and comments, and a server that others reach it by."""

from collections.abc import Generator

import pytest

from tests.cli.programs import Running, serving
from tests.transcript_comments.conftest import (
    alice,
    bob,
    dave,
    erin,
    hush,
    keys,
    owner,
    promise,
    secret,
    step,
    talk,
    whisper,
    workspace_id,
)

__all__ = [
    "alice",
    "bob",
    "dave",
    "erin",
    "hush",
    "keys",
    "owner",
    "promise",
    "secret",
    "step",
    "talk",
    "whisper",
    "workspace_id",
]


@pytest.fixture(scope="package")
def server(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server on the application's database. It is another process, so the application's writes are foreign to it.

    It ends with these tests, because its courier would also send the events of others.
    """
    with serving(tmp_path_factory.mktemp("server"), f"--database-url={database_url}", "--log-level=warning") as server:
        yield server
