"""The example programs of the vendor's page about updating a contact, unchanged but for address, id and key.

The page's text has lost all between angle brackets, which is added: the beginning of the program in PHP, and a type in the one
in Java. Nothing here runs C# or Swift. For these there is the request that the page's libraries send: RestSharp on .NET
Framework, which waits for the server before it sends the body, and NSURLSession.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.cli.programs import PATIENCE, Running, serving

HERE: Final = Path(__file__).parent
# The libraries of the programs in Java and PHP, as Debian has them: libunirest-java-java, php-guzzlehttp-guzzle.
JARS: Final = Path("/usr/share/java")
GUZZLE: Final = Path("/usr/share/php/GuzzleHttp/autoload.php")


class Language(NamedTuple):
    """How programs of a language run: the file with our copy, its required name, the command, and what that needs."""

    program: str
    name: str
    command: tuple[str, ...]
    library: Path | None = None
    adapted: Callable[[str], str] = str


def in_a_class(program: str) -> str:
    """Return a program in Java with a class around its statement, as Java requires, that prints the answer."""
    imports, _, statement = program.partition("\n\n")
    body = f"{statement}\nSystem.out.println(response.getBody());"
    return f"{imports}\nclass Program {{ public static void main(String[] a) throws Exception {{\n{body}\n}} }}"


def without_tls(program: str) -> str:
    """Return a program in Ruby, which sets https separately from the address, without it."""
    return program.replace("use_ssl = true", "use_ssl = false")


LANGUAGES = (
    Language("python_requests.txt", "program.py", (sys.executable,)),
    Language("javascript_fetch.txt", "program.mjs", ("node",)),
    Language("go_net_http.txt", "program.go", ("go", "run")),
    Language("ruby_net_http.txt", "program.rb", ("ruby",), None, without_tls),
    Language("java_unirest.txt", "Program.java", ("java", "-cp", f"{JARS}/*"), JARS / "unirest-java.jar", in_a_class),
    Language("php_guzzle.txt", "program.php", ("php",), GUZZLE),
)
REQUESTS = ("csharp_restsharp.txt", "swift_nsurlsession.txt")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server on a new folder."""
    with serving(tmp_path_factory.mktemp("programs")) as server:
        yield server


def printed(program: str, server: Running, contact_id: str) -> str:
    """Return a program or request of the page, with the address, id and key of ours."""
    text = (HERE / program).read_text()
    return text.replace("contact_id", contact_id).replace("Bearer ", f"Bearer {server.key}")


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.program)
def test_the_program_updates_a_contact(language: Language, server: Running, tmp_path: Path) -> None:
    """The program sends `{}`, which changes nothing, and prints the contact."""
    if shutil.which(language.command[0]) is None:
        pytest.skip(f"{language.command[0]} is not installed")
    if language.library is not None and not language.library.exists():
        pytest.skip(f"{language.library} is not installed")
    contact = server.post("/api/v2/contacts", {"first_name": "Ada", "last_name": "Lovelace"}).json()
    program = printed(language.program, server, contact["id"]).replace("https://app.askelephant.ai", server.url)
    (tmp_path / language.name).write_text(language.adapted(program))
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor/autoload.php").symlink_to(GUZZLE)
    environment = {**os.environ, "GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOCACHE": str(tmp_path / "go")}
    command = [*language.command, language.name]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert contact["id"] in done.stdout
    assert "Lovelace" in done.stdout


@pytest.mark.parametrize("program", REQUESTS)
@pytest.mark.parametrize("waits", [True, False], ids=["waits before the body", "sends all at once"])
def test_the_request_updates_a_contact(program: str, server: Running, *, waits: bool) -> None:
    """The answer is the contact, and a request that expects it hears `100 Continue` before it sends the body."""
    contact = server.post("/api/v2/contacts", {"first_name": "Ada", "last_name": "Lovelace"}).json()
    address = urlsplit(server.url)
    text = printed(program, server, contact["id"]).replace("app.askelephant.ai", address.netloc)
    head, _, body = text.strip().replace("\n", "\r\n").partition("\r\n\r\n")
    with socket.create_connection((address.hostname, address.port), PATIENCE) as connection:
        answer = connection.makefile("rb")
        connection.sendall(f"{head}\r\n\r\n{'' if waits else body}".encode())
        if waits and "Expect: 100-continue" in head:
            assert [answer.readline(), answer.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        connection.sendall(body.encode() if waits else b"")
        lines = list(iter(answer.readline, b"\r\n"))
        if lines == [b"HTTP/1.1 100 Continue\r\n"]:
            lines = list(iter(answer.readline, b"\r\n"))
        [length] = [int(line.split()[1]) for line in lines if line.lower().startswith(b"content-length")]
        shown = json.loads(answer.read(length))

    assert lines[0] == b"HTTP/1.1 200 OK\r\n"
    assert shown == contact
