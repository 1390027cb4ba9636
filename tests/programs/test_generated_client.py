"""A client that a third-party tool generates from the document, and a program that uses it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import requests

from tests.cli.programs import serving

BIN = Path(sys.executable).parent


def test_a_client_made_from_the_document_works(tmp_path: Path) -> None:
    """openapi-python-client generates a client without warnings, and a program reads and writes with it."""
    with serving(tmp_path) as server:
        document = tmp_path / "openapi.json"
        document.write_text(json.dumps(requests.get(server.url + "/openapi.json", timeout=90).json()))
        command = [BIN / "openapi-python-client", "generate", "--path", document, "--meta", "none", "--output-path", "client"]
        # The generator formats its output with ruff, which is in the same folder.
        environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        made = subprocess.run(
            [*command, "--fail-on-warning"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert made.returncode == 0, made.stdout + made.stderr
        program = tmp_path / "program.py"
        program.write_text(Path(__file__).with_name("python_generated_client.txt").read_text())
        done = subprocess.run(
            [sys.executable, program, server.url, server.key], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert done.stdout == "done\n", done.stderr
