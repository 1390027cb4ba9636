"""`herdbook serve --ready-file`: how it is written, and where it cannot be."""

import json
import stat
import subprocess
from pathlib import Path

from tests.cli.programs import PATIENCE, PROGRAM, environment, herdbook, until


def test_it_takes_the_place_of_an_older_one_in_one_step(tmp_path: Path) -> None:
    """Whoever has the old file open goes on reading it whole, and the new one is the owner's alone."""
    file, still_open = tmp_path / "ready.json", tmp_path / "still-open.json"
    file.write_text("old")
    file.chmod(0o644)
    still_open.hardlink_to(file)
    command = [str(PROGRAM), "serve"]
    variables = environment({"HERDBOOK_PORT": "0", "HERDBOOK_READY_FILE": "ready.json"})
    with subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: process.poll() is not None or file.read_text() != "old")
        finally:
            process.terminate()
            said, _ = process.communicate(timeout=PATIENCE)
    content = json.loads(file.read_text())

    assert still_open.read_text() == "old"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["herdbook-data", "ready.json", "still-open.json"]
    assert content["api_key"] in said
    assert content["workspace_id"] in said


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Nothing is started, as the first key would be shown to nobody."""
    refused = herdbook("serve", "--port=0", "--ready-file=nowhere/ready.json", folder=tmp_path)

    assert refused.status == 1
    assert "nowhere/ready.json" in refused.complained
    assert "Traceback" not in refused.complained
    assert list(tmp_path.iterdir()) == []
