"""A person who is planted in every place, by a running server and beside it."""

import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

import pytest
import requests

from herdbook import ids
from tests.cli.programs import Running, until
from tests.engagements.calls import TIMELINE, timed

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
    # It takes a while, in which a receiver that refuses events would be given pauses.
    plant_import(server)
    assert server.post("/api/herdbook/webhooks", {"url": echo}).status_code == 201
    for number in range(30):
        headers = {"Authorization": server.key, "Idempotency-Key": f"k{number}"}
        changed = requests.patch(server.url + path, json={"last_name": f"{MARKER} {number}"}, headers=headers, timeout=90)
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


def plant_import(server: Running) -> None:
    """Import a file that has the person, and keep its mapping."""
    headers = {"Authorization": server.key}
    file = f"First name,E-mail,Card\n{MARKER},{ADDRESS},X-SKYPE:{MARKER}\n"
    uploaded = requests.post(f"{server.url}/api/herdbook/imports", data=file, headers=headers, timeout=90)
    assert uploaded.status_code == 201, uploaded.text
    path = f"/api/herdbook/imports/{uploaded.json()['id']}"
    mapping = uploaded.json()["mapping"] | {
        "columns": [{"to": "first_name"}, {"to": "email"}, {"to": "card"}],
        "fixed": [{"to": "description", "value": f"Like {MARKER}, {ADDRESS}."}],
    }
    kept = requests.patch(server.url + path, json={"mapping": mapping, "save_as": MARKER}, headers=headers, timeout=90)
    assert kept.status_code == 200, kept.text
    assert server.post(f"{path}/run", {}).status_code == 200
    until(lambda: server.get(path).json()["state"] == "finished")


def plant_among_others(server: Running, contact_id: str) -> None:
    """Let fields of companies and of another contact name the person, in rows, indexes, histories and kept answers."""
    for object_type in ("contact", "company"):
        for key, kind in (("mail", "email"), ("line", "phone"), ("said", "text"), ("knows", "contact")):
            field = {"object_type": object_type, "key": key, "label": key, "kind": kind, "unique": kind in ("email", "phone")}
            assert server.post("/api/herdbook/fields", field).status_code == 201
    values = {"mail": ADDRESS.upper(), "said": ADDRESS, "knows": contact_id}
    other = server.post("/api/v2/contacts", {"first_name": "Grace"}).json()["id"]
    for number, path in enumerate((f"contacts/{other}", *(f"companies/{_company(server)}" for _ in range(2)))):
        url = f"{server.url}/api/herdbook/{path}/record"
        # The answer to the second has no address, and no id of the contact.
        for part, fields in enumerate((values, dict.fromkeys(values) | {"line": f"+{NUMBER}"}, values)):
            headers = {"Authorization": server.key, "Idempotency-Key": f"others {number}.{part}"}
            set_ = requests.patch(url, json={"fields": fields}, headers=headers, timeout=90)
            assert set_.status_code == 200, set_.text
        if number == 1:
            # A deleted company keeps its values, and another one may have those that are unique.
            deleted = requests.delete(f"{server.url}/api/v2/{path}", headers={"Authorization": server.key}, timeout=90)
            assert deleted.status_code == 200, deleted.text
        else:
            body = {"fields": {"mail": None, "line": None}}
            cleared = requests.patch(url, json=body, headers={"Authorization": server.key}, timeout=90)
            assert cleared.status_code == 200, cleared.text


def plant_in_calls(server: Running) -> None:
    """Let structured members of calls, defaults of fields and saved views name the person."""
    speakers = [{"name": ADDRESS}, {"email": ADDRESS}]
    by_address: dict[str, Any] = {
        "external_id": ADDRESS,
        "external_url": f"mailto:{ADDRESS}",
        "transcript_timeline": {**TIMELINE, "speakers": speakers},
    }
    by_number: dict[str, Any] = {"external_id": f"+{NUMBER}", "external_url": f"tel:+{NUMBER}"}
    for number, call in enumerate((by_address, by_number)):
        headers = {"Authorization": server.key, "Idempotency-Key": f"call {number}"}
        made = requests.post(f"{server.url}/api/v2/engagements", json=timed(**call), headers=headers, timeout=90)
        assert made.status_code == 201, made.text
    for kind, default in (("email", ADDRESS), ("phone", f"+{NUMBER}")):
        field = {"object_type": "contact", "key": f"by_{kind}", "label": kind, "kind": kind, "default": default}
        assert server.post("/api/herdbook/fields", field).status_code == 201
    condition = {"field": "phone_numbers", "op": "eq", "value": f"+{NUMBER}"}
    view = {"object_type": "contact", "name": "A number", "shared": True, "where": {"or": [condition]}}
    assert server.post("/api/herdbook/views", view).status_code == 201


def _company(server: Running) -> str:
    company = server.post("/api/v2/companies", {"name": "Engines", "domains": []})
    assert company.status_code == 201, company.text
    return company.json()["id"]
