"""`herdbook serve`."""

import contextlib
import dataclasses
import json
import os
import re
import resource
import signal
import socket
import stat
import struct
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from herdbook.cli.environment import ExitStatus
from herdbook.cli.main import main
from herdbook.cli.workers import console_url
from herdbook.settings import Settings
from tests.cli.programs import PATIENCE, Running, accepts, herdbook, serving, until
from tests.cli.test_outage import keep_down
from tests.repeats import DEEP

# The addresses of `localhost`; some machines have no IPv6.
LOOPBACK = {"127.0.0.1", "::1"} & {each.address for of_one in psutil.net_if_addrs().values() for each in of_one}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running]:
    """A server on a new folder."""
    with serving(tmp_path_factory.mktemp("server")) as server:
        yield server


def postgres_of(folder: Path) -> list[psutil.Process]:
    """Return the PostgreSQL processes whose cluster is in the folder."""
    cluster = str((folder / "herdbook-data/postgres").resolve())
    return [
        process
        for process in psutil.process_iter(["name", "cmdline"])
        if process.info["name"] == "postgres" and cluster in (process.info["cmdline"] or [])
    ]


def test_the_ready_file_says_where_and_with_which_key(server: Running) -> None:
    """The ready file is JSON, readable only by its owner, with the address, the workspace and, this once, an admin key."""
    file = server.folder / "ready.json"
    content = json.loads(file.read_text())

    assert set(content) == {"url", "workspace_id", "api_key"}
    assert content["workspace_id"].startswith("wrks_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert server.post("/api/v2/contacts", {"first_name": "Ada"}).status_code == 201


def test_it_says_so_to_people_too(server: Running) -> None:
    """The server prints the address, the folder, the workspace and the key."""
    until(lambda: "API key" in (server.folder / "out.txt").read_text())
    said = (server.folder / "out.txt").read_text()

    assert server.url in said
    assert str((server.folder / "herdbook-data").resolve()) in said
    assert server.key in said


def test_it_listens_on_this_machine_alone(server: Running) -> None:
    """By default the server listens on the two loopback addresses, and its database on no address at all."""
    family = {process.pid for process in server.family()}
    listening = {
        connection.laddr.ip
        for connection in psutil.net_connections("inet")
        if connection.laddr and connection.status == psutil.CONN_LISTEN and connection.pid in family
    }

    assert listening == LOOPBACK


def test_it_prints_a_name_for_browsers(server: Running) -> None:
    """The console's address has a name, because passkeys need one, and the name leads to this server by either address."""
    until(lambda: "API key" in (server.folder / "out.txt").read_text())
    port = server.url.rpartition(":")[2]

    assert f"http://localhost:{port}/console/link/" in (server.folder / "out.txt").read_text()
    for host in LOOPBACK:
        shown = f"[{host}]" if ":" in host else host
        assert requests.get(f"http://{shown}:{port}/readyz", timeout=90).status_code == 200


def test_a_second_start_says_who_has_the_folder(server: Running) -> None:
    """A second server on the same folder is refused."""
    second = herdbook("serve", "--port=0", folder=server.folder)

    assert second.status == 1
    assert str(server.process.pid) in second.complained
    assert server.url in second.complained


def test_a_port_that_is_taken_is_refused(server: Running, tmp_path: Path) -> None:
    """The message names address and port, and no database was started in vain."""
    port = server.url.rpartition(":")[2]
    refused = herdbook("serve", f"--port={port}", folder=tmp_path)

    assert refused.status == 1
    assert f"127.0.0.1, port {port}" in refused.complained
    assert "HERDBOOK_PORT" in refused.complained
    assert list(tmp_path.iterdir()) == []


def test_health(server: Running) -> None:
    """The process and the database have separate checks."""
    health, readiness = requests.get(server.url + "/healthz", timeout=90), requests.get(server.url + "/readyz", timeout=90)

    assert (health.status_code, health.json()) == (200, {"alive": True})
    assert (readiness.status_code, readiness.json()) == (200, {"ready": True, "missing_migrations": []})


def test_metrics(server: Running) -> None:
    """The metrics count requests, the ledger and the pool."""
    server.get("/api/v2/contacts/cnt_nobody")
    metrics = requests.get(server.url + "/metrics", timeout=90).text

    assert 'herdbook_requests_total{operation="get-contact-by-id",status="404"}' in metrics
    for name in ("request_duration_seconds", "ledger_batch_commands", "ledger_wait_seconds", "ledger_commit_seconds"):
        assert f"herdbook_{name}_bucket" in metrics
    for name in ("ledger_queue_length", "pool_connections"):
        assert f"\nherdbook_{name}" in metrics


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    """A signal ends the server and its database with status 0. The next start has the data and shows no key."""
    with serving(tmp_path) as server:
        contact = server.post("/api/v2/contacts", {"first_name": "Ada"}).json()
        status = server.end(number)

    assert status == 0
    assert postgres_of(tmp_path) == []
    with serving(tmp_path) as again:
        assert not again.first
        assert again.get(f"/api/v2/contacts/{contact['id']}").json() == contact


def test_it_recovers_from_kill_9(tmp_path: Path) -> None:
    """All acknowledged writes survive when every process is killed at once."""
    with serving(tmp_path) as server:
        contact = server.post("/api/v2/contacts", {"first_name": "Ada"}).json()
        server.kill_all()

    with serving(tmp_path) as again:
        assert again.get(f"/api/v2/contacts/{contact['id']}").json() == contact


def test_the_database_ends_with_the_server(tmp_path: Path) -> None:
    """A killed server leaves no PostgreSQL behind."""
    with serving(tmp_path) as server:
        assert postgres_of(tmp_path) != []
        server.process.kill()
        server.process.wait()

    until(lambda: postgres_of(tmp_path) == [])


def test_readyz_tells_that_the_database_is_away(tmp_path: Path) -> None:
    """A server without its database is alive but not ready, and asks clients to retry."""
    with serving(tmp_path) as server:
        keep_down(tmp_path)
        until(lambda: requests.get(server.url + "/readyz", timeout=90).status_code == 503)
        assert server.get("/readyz").json() == {"ready": False, "database": "It cannot be reached."}
        answer = server.get("/api/v2/contacts")

        assert requests.get(server.url + "/healthz", timeout=90).status_code == 200
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"


def test_every_setting_is_a_variable_too(tmp_path: Path) -> None:
    """Each option can also be set by an environment variable."""
    variables: dict[str, Any] = {"HERDBOOK_DATA_DIR": "elsewhere", "HERDBOOK_RATE_LIMIT": "0", "HERDBOOK_BODY_LIMIT": "2000"}
    with serving(tmp_path, **variables) as server:
        answer = server.post("/api/v2/contacts", {"description": "x" * 2000})

    assert (tmp_path / "elsewhere/postgres").is_dir()
    assert answer.status_code == 413
    assert "RateLimit" not in answer.headers


def test_help_explains_every_setting(tmp_path: Path) -> None:
    """The help lists each option with its variable."""
    said = herdbook("serve", "--help", folder=tmp_path, COLUMNS="300").said

    for field in dataclasses.fields(Settings):
        assert f"--{field.name.replace('_', '-')}" in said
        assert f"HERDBOOK_{field.name.upper()}" in said


def test_a_setting_that_cannot_work_is_a_usage_error(tmp_path: Path) -> None:
    """The message names the option and its range."""
    refused = herdbook("serve", folder=tmp_path, HERDBOOK_WORKERS="0")

    assert refused.status == 2
    assert "--workers must be from 1" in refused.complained


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--public-url", value) for value in ("foo", "ftp://x.test", "https://", "https://x.test/?a=b", "https://x.test:y")),
        *(("--allowed-targets", value) for value in ("10.0.0.0/99", "media.lab,10.0.0.1/8", "media.lab/x")),
        *(("--rate-limit-store", value) for value in ("foo", "http://x.test", "valkey://", "valkey://x:secret")),
    ],
)
def test_an_address_that_cannot_work_is_a_usage_error(
    option: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message names the option and the form, no store's address, which may hold a password; nothing is started."""
    monkeypatch.chdir(tmp_path)
    status = main(["serve", "--port=0", option, value])
    complained = capsys.readouterr().err

    assert status is ExitStatus.USAGE
    assert complained.startswith(f"herdbook: {option} must be ")
    assert "secret" not in complained
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["https://herdbook.example.com/team/", "http://127.0.0.1:8080", "http://[::1]:8080"])
def test_a_public_url(url: str) -> None:
    """A public URL may have a port and a path."""
    assert Settings(public_url=url).public_url == url.rstrip("/")


@pytest.mark.parametrize("scheme", ["valkey", "valkeys", "redis", "rediss", "unix"])
def test_a_store_of_the_rate_limit(scheme: str) -> None:
    """All schemes of the library are taken."""
    store = f"{scheme}://:secret@host:6379/0"
    assert Settings(rate_limit_store=store).rate_limit_store == store


def test_requests_under_way_are_answered(tmp_path: Path) -> None:
    """A request whose body arrives after the signal is still answered, and its write is kept."""
    with serving(tmp_path) as server:
        head = (
            f"POST /api/v2/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: {server.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n"
        )
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(head.encode())
            # The server says this once it waits for the body.
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            server.process.send_signal(signal.SIGTERM)
            until(lambda: not accepts(server.url))
            client.sendall(b'{"first_name":"Ada"}')
            answer = client.recv(1000)
        status = server.process.wait()

    assert answer.startswith(b"HTTP/1.1 201")
    assert status == 0
    with serving(tmp_path) as again:
        assert again.get("/api/v2/contacts").json()["data"][0]["first_name"] == "Ada"


def test_an_external_database(tmp_path: Path, database_url: str) -> None:
    """The server uses an external database by its address, and then keeps nothing in its folder but a list of erasures."""
    with serving(tmp_path, f"--database-url={database_url}") as server:
        assert requests.get(server.url + "/readyz", timeout=90).status_code == 200
        assert {path.name for path in tmp_path.glob("herdbook-data/*")} <= {"erasures.jsonl"}


def test_a_proxy_for_the_world_is_not_asked(tmp_path: Path) -> None:
    """The server's check of its own address ignores any proxy in the environment."""
    with serving(tmp_path, http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9") as server:
        assert server.first


def a_bad_line(folder: Path) -> dict[str, str]:
    """Break a line of the list of erasures."""
    (folder / "herdbook-data/erasures.jsonl").write_text("hello\n")
    return {}


def a_folder_for_the_list(folder: Path) -> dict[str, str]:
    """Put a folder where the list of erasures belongs."""
    (folder / "herdbook-data/erasures.jsonl").mkdir()
    return {}


def no_client_of_valkey(folder: Path) -> dict[str, str]:
    """Ask for a store of rate limits whose library is missing."""
    (folder / "limits.py").write_text("raise ModuleNotFoundError(name='limits')")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    return {"HERDBOOK_RATE_LIMIT_STORE": "valkey://127.0.0.1:1", "PYTHONPATH": path}


def few_connections(_: Path) -> dict[str, str]:
    """Ask for more connections than the database has."""
    return {"HERDBOOK_DATABASE_CONNECTIONS": "100"}


# One fault is met by several workers as well, and all of them if the tests are deep: each ends its server in the same way.
@pytest.mark.parametrize(
    ("broken", "why", "workers"),
    [
        (broken, why, workers)
        for broken, why in (
            (a_bad_line, "Line 1 of `herdbook-data/erasures.jsonl` is no erasure. Replace the file by a copy"),
            (a_folder_for_the_list, "`herdbook-data/erasures.jsonl` cannot be used: Is a directory. Check the file"),
            (no_client_of_valkey, '--rate-limit-store needs the package `limits`: pip install "herdbook[valkey]"'),
            (
                few_connections,
                "The database has too few connections: sorry, too many clients already. Lower --database-connections",
            ),
        )
        for workers in ((1, 2) if DEEP or broken is few_connections else (1,))
    ],
)
def test_a_start_that_an_operator_can_mend(
    tmp_path: Path, embedded_url: str, broken: Callable[[Path], dict[str, str]], why: str, workers: int
) -> None:
    """The log has one sentence with the remedy instead of a traceback."""
    (tmp_path / "herdbook-data").mkdir()
    variables = broken(tmp_path)
    options = (f"--workers={workers}", f"--database-url={embedded_url}")
    refused = herdbook("serve", "--port=0", *options, folder=tmp_path, **variables)

    assert refused.status == 1
    assert "Traceback" not in refused.complained
    lines = [json.loads(line)["event"] for line in refused.complained.splitlines() if line.startswith("{")]
    assert any(line.startswith(why) for line in lines), lines
    assert refused.complained.endswith("herdbook: The server could not start. The log above says why.\n")


def test_a_database_that_is_not_there(tmp_path: Path) -> None:
    """The message says in plain words which address could not be reached and names the option, but shows no password."""
    refused = herdbook("serve", "--port=0", "--database-url=postgresql://herdbook:geheim@127.0.0.1:1/none", folder=tmp_path)

    assert refused.status == 1
    assert refused.complained == (
        "herdbook: The database cannot be reached: Connection refused at 127.0.0.1, port 1. Start it, or correct its address.\n"
    )


def test_a_database_whose_host_has_no_address(tmp_path: Path) -> None:
    """The message has no error number."""
    refused = herdbook("serve", "--port=0", "--database-url=postgresql://herdbook@nowhere.invalid/none", folder=tmp_path)

    assert refused.status == 1
    assert refused.complained.startswith("herdbook: The database cannot be reached: ")
    assert "Errno" not in refused.complained


def test_a_database_of_another_name(tmp_path: Path, database_url: str) -> None:
    """The message has PostgreSQL's words and names the option."""
    url = urlsplit(database_url)._replace(path="/not_there").geturl()
    refused = herdbook("keys", "list", f"--database-url={url}", folder=tmp_path)

    assert refused.status == 1
    assert 'database "not_there" does not exist' in refused.complained
    assert "--database-url" in refused.complained
    assert "Error" not in refused.complained


def test_as_many_files_as_there_may_be(tmp_path: Path) -> None:
    """The server raises its limit of open files to the hard limit, so it serves more connections than the soft one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with serving(tmp_path) as server:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            address = urlsplit(server.url)
            assert address.hostname is not None
            with contextlib.ExitStack() as silent:
                for _ in range(300):
                    silent.enter_context(socket.create_connection((address.hostname, address.port or 0), timeout=90))
                status = server.get("/readyz").status_code
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert status == 200


@pytest.mark.parametrize("when", ["head", "body"])
def test_a_client_that_leaves_makes_no_failure(tmp_path: Path, when: str) -> None:
    """A connection that is reset in the middle of a request is not an error of the server."""
    with serving(tmp_path) as server:
        address = urlsplit(server.url)
        assert address.hostname is not None
        begun = f"POST /api/v2/contacts HTTP/1.1\r\nHost: x\r\nAuthorization: {server.key}\r\nContent-Length: 900000\r\n"
        sent = begun.encode() if when == "head" else begun.encode() + b"\r\n" + b" " * 800_000
        for _ in range(30):
            with socket.create_connection((address.hostname, address.port or 0), timeout=90) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(sent)
        assert server.get("/healthz").status_code == 200
    log = (tmp_path / "err.txt").read_text()

    assert "Traceback" not in log
    assert '"level":"error"' not in log


def test_a_connection_stays_open_as_long_as_the_setting_says(tmp_path: Path) -> None:
    """An idle connection is closed after the setting's time. By default this is longer than the minute of common proxies."""
    with serving(tmp_path, HERDBOOK_KEEP_ALIVE="1") as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=4) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            parts = iter(lambda: connection.recv(1000), b"")
            assert b"".join(parts).startswith(b"HTTP/1.1 200")

    assert Settings().keep_alive > 60


def test_first_start_prints_a_link_to_the_console(tmp_path: Path) -> None:
    """The first start on a folder prints a link that opens the console; a later one says how to make another."""
    with serving(tmp_path) as server:
        until(lambda: "Console:" in (tmp_path / "out.txt").read_text())
        found = re.search(r"Console: +(\S+)", (tmp_path / "out.txt").read_text())
        assert found is not None
        with requests.Session() as browser:
            url = console_url(server.url)
            opened = browser.post(found[1], headers={"Origin": url}, timeout=PATIENCE)
    assert opened.url == f"{url}/console/contacts"

    with serving(tmp_path):
        until(lambda: "Console:" in (tmp_path / "out.txt").read_text())
        assert "/console/link/" not in (tmp_path / "out.txt").read_text()
        assert "herdbook users link" in (tmp_path / "out.txt").read_text()
