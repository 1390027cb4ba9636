"""Commands that are requests to a running server."""

from pathlib import Path

import httpx
import pytest

from herdbook.cli.compare import compare
from herdbook.cli.environment import CommandFailed
from herdbook.cli.requests import at_server

# Nothing listens there.
NOBODY = "://127.0.0.1:2"


async def ask(client: httpx.AsyncClient) -> httpx.Response:
    return await client.get("/readyz")


@pytest.fixture(autouse=True)
def _without_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))


def test_certificates_are_read_for_tls_alone() -> None:
    """To read them takes longer than most requests, so an address without TLS needs none."""
    with pytest.raises(CommandFailed, match="cannot be reached"):
        at_server(f"http{NOBODY}", "key", ask)
    with pytest.raises(FileNotFoundError):
        at_server(f"https{NOBODY}", "key", ask)


def test_a_comparison_reads_them_for_tls_alone() -> None:
    """The same holds for the two servers of a comparison."""
    with pytest.raises(CommandFailed, match="cannot be reached"):
        compare(left=f"http{NOBODY}", left_key="key", right=f"http{NOBODY}", right_key="key")
    with pytest.raises(FileNotFoundError):
        compare(left=f"https{NOBODY}", left_key="key", right=f"http{NOBODY}", right_key="key")
