"""Each command as a program of its own: most other tests start forks, which have imported everything already."""

import subprocess
from pathlib import Path

import pytest

from herdbook.cli.main import app
from tests.cli.programs import PATIENCE, PROGRAM, environment


@pytest.mark.parametrize("command", [name for name in app if not name.startswith("-")])
def test_a_command_imports_what_it_needs(command: str, tmp_path: Path) -> None:
    """A new interpreter finds the command, and shows its help."""
    asked = [str(PROGRAM), command, "--help"]
    done = subprocess.run(
        asked, cwd=tmp_path, env=environment({}), capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert f"herdbook {command}" in done.stdout
