"""The shell blocks of the pages do what they show, in order, on a new demo or lab."""

import os
import re
import shutil
import sys
from pathlib import Path
from typing import Final

import pytest

from herdbook.cli.workers import console_url
from tests.cli.programs import PROGRAM, accepts, environment, serving, until
from tests.documented import blocks, files, shell
from tests.webhooks.test_documented_programs import free_port

ROOT: Final = Path(__file__).parents[1]
TOKEN: Final = "a-token-for-tests"  # noqa: S105  # of a server that lives as long as the test
# The commands that start the server of a page, with the arguments that the test gives to the program.
STARTS: Final = {"make demo": "demo", f"HERDBOOK_LAB_TOKEN={TOKEN} herdbook lab": "lab"}
LAST_WORDS: Final = {"demo": "Ctrl-C", "lab": "Lab token"}
# The pages with blocks that begin with a command behind a `$`.
PAGES: Final = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if "\n$ " in page.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_command_is_in_a_block(page: Path) -> None:
    """No command is left out of the test below, for example because its block names a language."""
    text = page.read_text()
    typed = "\n".join(block.commands for block in blocks(text)).splitlines()

    assert [command for command in re.findall(r"^\s*\$ (.*)", text, re.MULTILINE) if command not in typed] == []


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="curl or bash is not installed")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_block_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    """Each block prints what the page shows below it, but for ids, times, secrets and ports."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/herdbook").symlink_to(PROGRAM)
    # Commands without `--data-dir` find the demo.
    (tmp_path / "herdbook-data").symlink_to("herdbook-demo")
    receiver = str(free_port())
    text = page.read_text()
    command = next((STARTS[each.commands] for each in blocks(text) if each.commands in STARTS), "demo")
    with serving(tmp_path, command=command, HERDBOOK_LAB_TOKEN=TOKEN) as server:
        until(lambda: LAST_WORDS[command] in (tmp_path / "out.txt").read_text())
        text = text.replace("http://127.0.0.1:8080", server.url).replace("127.0.0.1:9000", f"127.0.0.1:{receiver}")
        text = text.replace("http://localhost:8080", console_url(server.url))
        for name, content in files(text):
            (tmp_path / name).write_text(content.replace("9000", receiver))
        with shell(tmp_path, _variables(server.key)) as typed:
            for block in blocks(text):
                if block.commands in STARTS:
                    typed.require(block, (tmp_path / "out.txt").read_text().strip())
                else:
                    typed.type(block)
                if block.commands.endswith("&"):
                    until(lambda: accepts(f"http://127.0.0.1:{receiver}"))


def _variables(key: str) -> dict[str, str]:
    """Return the variables of the shell. The pytest that runs this test is not the one that a page shows."""
    kept = {name: value for name, value in environment({}).items() if not name.startswith(("PYTEST_", "COLUMNS"))}
    return kept | {"HERDBOOK_API_KEY": key, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
