"""The lab of the compose file: it starts with its command and its variables, and its health check tells whether it serves."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
import yaml

from herdbook.settings import Settings
from tests.cli.programs import PATIENCE, serving

ROOT: Final = Path(__file__).parents[2]
SERVICE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["lab"]
IMAGE: Final = dict(re.findall(r"(HERDBOOK_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))
TOKEN: Final = "only-for-tests"  # noqa: S105  # of a server that lives as long as the test


def _is_healthy(port: int | None) -> bool:
    kind, program, *arguments = SERVICE["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    command = [sys.executable, *(each.replace("8080", str(port)) for each in arguments)]
    return subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode == 0


def test_the_service_starts_and_tells_its_health(tmp_path: Path) -> None:
    """The lab starts as in a container whose file system cannot be written to, takes the token, and stops being healthy."""
    command, *options = SERVICE["command"]
    assert SERVICE["environment"] == {"HERDBOOK_LAB_TOKEN": f"${{HERDBOOK_LAB_TOKEN:-{TOKEN}}}"}

    # All that the image and the file say, but for the address: a test listens on this machine alone.
    with serving(
        tmp_path,
        *options,
        command=command,
        HERDBOOK_LAB_TOKEN=TOKEN,
        HERDBOOK_DATA_DIR=IMAGE["HERDBOOK_DATA_DIR"],
        HERDBOOK_HOST="127.0.0.1",
        HOME="/proc/nowhere",
    ) as server:
        port = urlsplit(server.url).port
        headers = {"Authorization": f"Bearer {TOKEN}"}
        made = requests.post(f"{server.url}/api/herdbook/lab/workspaces", json={}, headers=headers, timeout=PATIENCE)

        assert made.status_code == 201, made.text
        assert _is_healthy(port)
    assert not _is_healthy(port)
    assert not Path(IMAGE["HERDBOOK_DATA_DIR"]).exists()


def test_the_service_may_listen_for_other_containers() -> None:
    """The address of the image is refused without the option that the command has."""
    assert SERVICE["command"] == ["lab", "--lab-anywhere"]
    Settings(lab=True, lab_anywhere=True, lab_token=TOKEN, host=IMAGE["HERDBOOK_HOST"])
    assert SERVICE["ports"] == ["127.0.0.1:8090:8080"]
