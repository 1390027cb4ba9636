"""The example programs of the vendor's page about updating a contact, unchanged but for address, id and key.

Those for PHP, Java, C# and Swift are left out: they need Guzzle, Unirest, RestSharp and Apple's Foundation.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.programs import Running, serving


class Language(NamedTuple):
    """How programs of a language run: the file with our copy, its required name, and the command."""

    program: str
    name: str
    command: tuple[str, ...]


LANGUAGES = (
    Language("python_requests.txt", "program.py", (sys.executable,)),
    Language("javascript_fetch.txt", "program.mjs", ("node",)),
    Language("go_net_http.txt", "program.go", ("go", "run")),
    Language("ruby_net_http.txt", "program.rb", ("ruby",)),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server on a new folder."""
    with serving(tmp_path_factory.mktemp("programs")) as server:
        yield server


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.program)
def test_the_program_updates_a_contact(language: Language, server: Running, tmp_path: Path) -> None:
    """The program sends `{}`, which changes nothing, and prints the contact."""
    if shutil.which(language.command[0]) is None:
        pytest.skip(f"{language.command[0]} is not installed")
    contact = server.post("/api/v2/contacts", {"first_name": "Ada", "last_name": "Lovelace"}).json()
    printed = Path(__file__).with_name(language.program).read_text()
    program = (
        printed.replace("https://app.askelephant.ai", server.url)
        .replace("contact_id", contact["id"])
        .replace("Bearer ", f"Bearer {server.key}")
        # Ruby sets https separately from the address.
        .replace("use_ssl = true", "use_ssl = false")
    )
    file = tmp_path / language.name
    file.write_text(program)
    environment = {**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOCACHE": str(tmp_path / "go")}
    done = subprocess.run([*language.command, str(file)], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert contact["id"] in done.stdout
    assert "Lovelace" in done.stdout
