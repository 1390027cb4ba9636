"""After an erasure and a scrub, a marker that was planted everywhere is in no file, log, metric or dump."""

import asyncio
import subprocess
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import requests

from herdbook import ids
from herdbook.embedded import binary, running
from tests.cli.programs import Running, herdbook, serving
from tests.engagements.calls import timed
from tests.waiting import until

MARKER: Final = "Zyxomma"
ADDRESS: Final = "zyxomma@marker.test"
NUMBER: Final = "4930765432198"
_SPELLINGS: Final = [text.encode() for text in (MARKER, MARKER.lower(), NUMBER, NUMBER[::-1][:9])]


class Echo(BaseHTTPRequestHandler):
    """A receiver that refuses every event, and repeats it in its answer."""

    def do_POST(self) -> None:  # the library's name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500)
        self.send_header("X-Echo", MARKER)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the library's name
        """Say nothing."""


@pytest.fixture
def echo() -> Generator[str]:
    """The URL of a receiver that repeats what it is sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()
        thread.join()


def files_with_marker(folder: Path) -> list[str]:
    """Return the files of a folder that have the marker."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and _has(path.read_bytes()))


def _has(content: bytes) -> bool:
    return any(spelling in content for spelling in _SPELLINGS)


def plant(server: Running, echo: str) -> str:
    """Write the marker everywhere, delete and change it, and return the id of the contact."""
    assert server.post("/api/herdbook/webhooks", {"url": echo}).status_code == 201
    person = {
        "first_name": MARKER,
        "last_name": f"{MARKER} the Second",
        "description": f"{MARKER} likes tea. " * 50,
        "emails": [{"email": ADDRESS}],
        "phone_numbers": [{"phone_number": f"+{NUMBER}"}],
    }
    created = server.post("/api/v2/contacts", person)
    assert created.status_code == 201, created.text
    path = f"/api/v2/contacts/{created.json()['id']}"
    for number in range(30):
        headers = {"Authorization": server.key, "Idempotency-Key": f"k{number}"}
        changed = requests.patch(server.url + path, json={"last_name": f"{MARKER} {number}"}, headers=headers, timeout=30)
        assert changed.status_code == 200, changed.text
    call = timed(title=MARKER, participants=[{"email": ADDRESS, "name": MARKER}], transcript=f"{MARKER} spoke. " * 1000)
    engagement = server.post("/api/v2/engagements", call)
    assert engagement.status_code == 201, engagement.text
    engagement_id = engagement.json()["id"]
    comment = server.post(f"/api/v2/engagements/{engagement_id}/transcript_comments", {"body": MARKER})
    assert comment.status_code == 201, comment.text
    workspace = ids.decoded(ids.WORKSPACE, server.get("/api/herdbook/workspace").json()["id"])
    recording = ids.decoded(ids.ENGAGEMENT, engagement_id)
    assert workspace is not None
    assert recording is not None
    folder = server.folder / "herdbook-data" / "media" / workspace.hex
    folder.mkdir(parents=True)
    (folder / recording.hex).write_bytes(MARKER.encode() * 1000)
    return created.json()["id"]


def test_no_byte_is_left(tmp_path: Path, echo: str) -> None:
    """The marker is in many files before, and in none after: not in the log, the metrics or a dump either."""
    data = tmp_path / "herdbook-data"
    with serving(tmp_path) as server:
        plant(server, echo)
        endpoint = server.get("/api/herdbook/webhooks").json()["data"][0]["id"]
        deliveries = f"/api/herdbook/webhooks/{endpoint}/deliveries"
        asyncio.run(until(lambda: any(each["attempts"] for each in server.get(deliveries).json()["data"])))
        url = running(data)
        assert url is not None
        subprocess.run([binary("psql"), url, "-qc", "analyze; checkpoint"], check=True)
        before = files_with_marker(data)

        erased = herdbook("erase", ADDRESS, "--with-engagements", folder=tmp_path)
        scrubbed = herdbook("erasures", "scrub", folder=tmp_path)

        assert erased.status == 0, erased.complained
        assert scrubbed.status == 0, scrubbed.complained
        certificate = msgspec.json.decode(erased.said)[0]
        assert certificate["rows"].keys() >= {
            "contact",
            "change",
            "webhook_delivery",
            "idempotency_record",
        }
        assert any("base" in name for name in before)
        assert any("pg_wal" in name for name in before)
        assert any("media" in name for name in before)
        assert files_with_marker(data) == []
        assert not _has(server.get("/metrics").content)
        assert not _has((tmp_path / "err.txt").read_bytes())
        dump = subprocess.run([binary("pg_dump"), url], capture_output=True, check=True).stdout
        assert b"create" in dump.lower()
        assert not _has(dump)
