"""`herdbook serve --ready-file`: how it is written, and when it cannot be."""

import json
import stat
import subprocess
from pathlib import Path

from tests.cli.programs import PATIENCE, PROGRAM, environment, herdbook, serving, until


def test_it_takes_the_place_of_an_older_one_in_one_step(tmp_path: Path) -> None:
    """The new file replaces the old one atomically, and only its owner may read it."""
    file, still_open = tmp_path / "ready.json", tmp_path / "still-open.json"
    file.write_text("old")
    file.chmod(0o644)
    still_open.hardlink_to(file)
    command = [str(PROGRAM), "serve"]
    variables = environment({"HERDBOOK_PORT": "0", "HERDBOOK_READY_FILE": "ready.json"})
    with (tmp_path / "out.txt").open("w") as out:
        process = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=out)
    try:
        until(lambda: process.poll() is not None or (file.exists() and file.read_text() != "old"))
        content, mode = json.loads(file.read_text()), stat.S_IMODE(file.stat().st_mode)
        # The file is written before the output.
        until(lambda: content["api_key"] in (tmp_path / "out.txt").read_text())
    finally:
        process.terminate()
        process.wait(PATIENCE)

    assert still_open.read_text() == "old"
    assert mode == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["herdbook-data", "out.txt", "still-open.json"]
    assert content["workspace_id"] in (tmp_path / "out.txt").read_text()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Nothing is started, because nobody would see the first key."""
    refused = herdbook("serve", "--port=0", "--ready-file=nowhere/ready.json", folder=tmp_path)

    assert refused.status == 1
    assert "nowhere/ready.json" in refused.complained
    assert "Traceback" not in refused.complained
    assert list(tmp_path.iterdir()) == []


def test_that_of_an_earlier_run_is_gone_when_the_start_fails(tmp_path: Path) -> None:
    """A failed start removes the ready file of an earlier run, so that nobody uses its address."""
    (tmp_path / "ready.json").write_text("of an earlier run")
    (tmp_path / "herdbook-data" / "postgres").mkdir(parents=True)
    (tmp_path / "herdbook-data" / "postgres" / "PG_VERSION").write_text("9\n")
    refused = herdbook("serve", "--port=0", "--ready-file=ready.json", folder=tmp_path)

    assert refused.status == 1
    assert not (tmp_path / "ready.json").exists()


def test_that_of_a_running_server_stays_when_a_second_start_is_refused(tmp_path: Path) -> None:
    """A start that is refused the data folder leaves the file to the server that has it."""
    with serving(tmp_path) as server:
        before = (tmp_path / "ready.json").read_text()
        refused = herdbook("serve", "--port=0", "--ready-file=ready.json", folder=tmp_path)

        assert refused.status == 1
        assert f"in use by another herdbook (pid {server.process.pid}" in refused.complained
        assert (tmp_path / "ready.json").read_text() == before


def test_a_link_where_it_is_drafted_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link in place of the draft does not redirect the key."""
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "ready.json.new").symlink_to(tmp_path / "theirs")
    with serving(tmp_path) as server:
        assert server.first

    assert (tmp_path / "theirs").read_text() == "theirs"


def test_it_is_written_though_nothing_can_be_printed(tmp_path: Path) -> None:
    """The ready file and the exit are correct even if standard output is full."""
    ready = tmp_path / "ready.json"
    with Path("/dev/full").open("w") as full, (tmp_path / "err.txt").open("w") as err:
        command = [str(PROGRAM), "serve", "--port=0", f"--ready-file={ready}"]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment({}), stdout=full, stderr=err)
    try:
        until(ready.exists)
        content = json.loads(ready.read_text())
    finally:
        process.terminate()
        status = process.wait(PATIENCE)

    assert content["api_key"]
    assert status == 0


def test_a_first_key_that_nobody_saw_is_made_again(tmp_path: Path) -> None:
    """The next start shows a key if the first one was killed or could not show its own."""
    with Path("/dev/full").open("w") as full, (tmp_path / "err.txt").open("w") as err:
        process = subprocess.Popen(
            [str(PROGRAM), "serve", "--port=0"], cwd=tmp_path, env=environment({}), stdout=full, stderr=err
        )
    until(lambda: "could not announce that it is ready" in (tmp_path / "err.txt").read_text())
    process.kill()
    process.wait(PATIENCE)
    with serving(tmp_path) as server:
        worked = server.get("/api/v2/contacts").status_code
        listed = herdbook("keys", "list", folder=tmp_path).said
    with serving(tmp_path) as again:
        kept = again.get("/api/v2/contacts").status_code

    assert (server.first, worked) == (True, 200)
    assert listed.count("First key") == 2
    assert listed.count(" revoked ") == 1
    assert (again.first, kept) == (False, 200)
