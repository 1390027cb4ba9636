"""A person who is planted in every place, by a running server and beside it."""

import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
import requests

from herdbook import ids
from tests.cli.programs import Running
from tests.engagements.calls import timed

MARKER: Final = "Zyxomma"
ADDRESS: Final = "zyxomma@marker.test"
NUMBER: Final = "4930765432198"


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


@pytest.fixture(scope="module")
def echo() -> Generator[str]:
    """The URL of a receiver that repeats what it is sent."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook"
        server.shutdown()
        thread.join()


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
    condition = {"field": "emails", "op": "eq", "value": ADDRESS.upper()}
    view = {"object_type": "contact", "name": MARKER, "shared": True, "where": {"or": [condition]}}
    assert server.post("/api/herdbook/views", view).status_code == 201
    call = timed(title=MARKER, participants=[{"email": ADDRESS, "name": MARKER}], transcript=f"{MARKER} spoke. " * 1000)
    engagement = server.post("/api/v2/engagements", call)
    assert engagement.status_code == 201, engagement.text
    engagement_id = engagement.json()["id"]
    comment = server.post(f"/api/v2/engagements/{engagement_id}/transcript_comments", {"body": MARKER})
    assert comment.status_code == 201, comment.text
    # Each request is in the request log.
    for read in (f"/api/v2/contacts?search={MARKER}", f"/api/v2/contacts/{ADDRESS}", f"/api/v2/contacts?{MARKER.lower()}=1"):
        assert server.get(read).status_code in (200, 400, 404)
    workspace = ids.decoded(ids.WORKSPACE, server.get("/api/herdbook/workspace").json()["id"])
    recording = ids.decoded(ids.ENGAGEMENT, engagement_id)
    assert workspace is not None
    assert recording is not None
    folder = server.folder / "herdbook-data" / "media" / workspace.hex
    folder.mkdir(parents=True)
    (folder / recording.hex).write_bytes(MARKER.encode() * 1000)
    return created.json()["id"]
