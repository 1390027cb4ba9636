"""Each command in a process of its own: most other tests start forks of one that has imported everything already."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from herdbook.cli.main import app
from tests.cli.programs import PATIENCE, PROGRAM, environment

COMMANDS: Final = tuple(name for name in app if not name.startswith("-"))
# It has imported what the program imports before it knows its command, and the libraries that write the help, which takes more
# time than the rest. It goes on in a fork for each command.
_FORKING: Final = """
import os, sys
import rich.console, rich.markdown
from herdbook.cli.main import run

program, *commands = sys.argv
for command in commands:
    if (fork := os.fork()) == 0:
        for number, name in ((1, "said"), (2, "complained")):
            os.dup2(os.open(f"{command}.{name}", os.O_WRONLY | os.O_CREAT), number)
        sys.argv = ["herdbook", command, "--help"]
        run()
    with open(f"{command}.status", "w") as file:
        file.write(str(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])))
"""


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what each command has said when it was asked for its help."""
    folder = tmp_path_factory.mktemp("commands")
    asked = [sys.executable, "-P", "-c", _FORKING, *COMMANDS]
    subprocess.run(asked, cwd=folder, env=environment({}), timeout=PATIENCE, check=True)
    return folder


def test_the_program_runs_a_command(tmp_path: Path) -> None:
    """A new interpreter finds a command by the program, and shows its help."""
    done = subprocess.run(
        [str(PROGRAM), COMMANDS[0], "--help"],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert f"herdbook {COMMANDS[0]}" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_what_it_needs(helped: Path, command: str) -> None:
    """An interpreter that has imported no other command finds it, and shows its help."""
    status, said, complained = [(helped / f"{command}.{name}").read_text() for name in ("status", "said", "complained")]

    assert (status, complained) == ("0", "")
    assert f"herdbook {command}" in said
