"""A server with data of every kind to back up, and the bytes of all that it keeps."""

import asyncio
import contextlib
import http.server
import io
import ssl
import subprocess
import threading
import zipfile
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from herdbook.embedded import EmbeddedPostgres
from tests.cli.programs import Running, herdbook
from tests.engagements.labs import recorded
from tests.engagements.media_server import sound

OPTIONS = ("--allowed-targets=127.0.0.1", "--log-level=warning")


class _Sounds(http.server.BaseHTTPRequestHandler):
    """Answers `/NUMBER` with a recording of its own."""

    def do_GET(self) -> None:
        body = sound_of(int(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Type", "audio/wav")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the overridden parameter
        pass


def sound_of(number: int) -> bytes:
    """Return the recording of this number."""
    return sound() + str(number).encode()


@contextlib.contextmanager
def sounds(certificate: ssl.SSLContext) -> Generator[str]:
    """Serve recordings by HTTPS; yield the address of the server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Sounds) as server:
        server.socket = certificate.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def add_recording(server: Running, media: str, number: int) -> str:
    """Create an engagement with a recording; return its id."""
    return _create(server, "/api/v2/engagements", recorded(f"{media}/{number}", f"call-{number}"))


def fill(server: Running, media: str) -> None:
    """Write objects of every kind into two workspaces."""
    sales = herdbook("workspaces", "create", "Sales", folder=server.folder).said.strip()
    key = herdbook("keys", "create", "Sales", "--scope=workspace:admin", f"--workspace={sales}", folder=server.folder).said
    for number, owner in enumerate((server, replace(server, key=key.strip()))):
        company = _create(owner, "/api/v2/companies", {"name": "Engine", "domains": [{"domain": f"engine{number}.test"}]})
        _create(owner, "/api/v2/tags", {"name": "Renewal", "description": "Ends this year.", "hex_color": "#1F6FEB"})
        # Nothing listens there, and the failed deliveries are data, too.
        _create(owner, "/api/herdbook/webhooks", {"url": "http://localhost:59999/hook"})
        for each in range(20):
            contact = {"first_name": f"Zoë{each}", "emails": [{"email": f"z{each}@x.test"}], "company_id": company}
            _create(owner, "/api/v2/contacts", contact)
        for each in range(2):
            add_recording(owner, media, 10 * number + each)


def _create(owner: Running, path: str, body: object) -> str:
    response = owner.post(path, body)
    assert response.status_code == 201, response.text
    return response.json()["id"]


def copied(farm: Path, folder: Path) -> Path:
    """Copy the data of a stopped server, owners included; return the new folder."""
    subprocess.run(["cp", "-a", str(farm), str(folder)], check=True)
    return folder


@contextlib.contextmanager
def served(data_dir: Path) -> Generator[str]:
    """Run the database of a data folder; yield its address."""
    server = EmbeddedPostgres(data_dir)
    try:
        yield server.start()
    finally:
        server.stop()


def rows(url: str, query: str) -> list[bytes]:
    """Return the rows of a query as PostgreSQL spells them, sorted."""

    async def asked() -> bytes:
        connection = await asyncpg.connect(url)
        try:
            output = io.BytesIO()
            await connection.copy_from_query(query, output=output)
            return output.getvalue()
        finally:
            await connection.close()

    return sorted(asyncio.run(asked()).splitlines())


def tables(url: str) -> dict[str, list[bytes]]:
    """Return the rows of each table."""
    names = rows(url, "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace")
    return {name.decode(): rows(url, f"select * from {name.decode()}") for name in names}


def recordings(data_dir: Path) -> dict[str, bytes]:
    """Return the files below `media`."""
    media = data_dir / "media"
    return {str(path.relative_to(media)): path.read_bytes() for path in media.rglob("*") if path.is_file()}


def rewritten(
    backup: Path, target: Path, *, files: Mapping[str, bytes] | None = None, manifest: Iterable[tuple[str, Any]] = ()
) -> Path:
    """Write a backup anew with other files, or with other values in the manifest, each under a path such as `a.b`."""
    with zipfile.ZipFile(backup) as old, zipfile.ZipFile(target, "w") as new:
        contents = {name: old.read(name) for name in old.namelist()} | dict(files or {})
        edited = msgspec.json.decode(contents.pop("backup.json"))
        for path, value in manifest:
            *parents, last = path.split("/")
            within = edited
            for parent in parents:
                within = within[parent]
            within[last] = value
        for name, content in contents.items():
            new.writestr(name, content)
        new.writestr("backup.json", msgspec.json.encode(edited))
    return target


def file_in(backup: Path, name: str) -> bytes:
    """Return a file of a backup."""
    with zipfile.ZipFile(backup) as archive:
        return archive.read(name)


def manifest_of(backup: Path) -> dict[str, Any]:
    """Return the manifest of a backup."""
    return msgspec.json.decode(file_in(backup, "backup.json"))
