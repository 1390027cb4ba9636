"""A server that passes requests on to another, and changes some of its answers."""

import contextlib
import json
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx


@dataclass
class Passed:
    """An answer on its way, which a rule may change."""

    method: str
    path: str
    status: int
    headers: dict[str, str]
    body: Any = field(default=None)

    def is_of(self, method: str, collection: str) -> bool:
        """Whether this answers a method on a collection or on one of its objects."""
        return self.method == method and self.path.startswith(f"/api/v2/{collection}")


Rule = Callable[[Passed], None]


@contextlib.contextmanager
def changing(url: str, rules: Sequence[Rule]) -> Generator[str]:
    """Serve the answers of another server, changed by rules, while the block lasts; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            sent = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "accept-encoding")}
            answer = client.request(self.command, self.path, headers=sent, content=content)
            headers = {
                name: answer.headers[name] for name in answer.headers if name not in ("content-length", "date", "server")
            }
            passed = Passed(self.command, self.path, answer.status_code, headers, answer.json() if answer.content else None)
            for rule in rules:
                rule(passed)
            body = b"" if passed.body is None else json.dumps(passed.body).encode()
            self.send_response(passed.status)
            for name, value in (passed.headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = pass_on  # noqa: N815  # the names that the class looks for

        def log_message(self, format: str, *_: Any) -> None:  # noqa: A002  # the name of the base class
            """Write no log."""

    with httpx.Client(base_url=url, timeout=90.0) as client, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
