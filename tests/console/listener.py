"""A program on this computer that people let in: it waits at an address for its answer, and gets its tokens for it."""

import asyncio
import queue
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Listener(NamedTuple):
    """A program on this computer, which waits for its answer."""

    address: str
    answers: "queue.Queue[str]"


@contextmanager
def listening() -> Generator[Listener]:
    """Listen at a free port of the loopback address. `/callback` takes answers; `/frame?ADDRESS` shows a page in a frame."""
    answers: queue.Queue[str] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = b"<h1>Done</h1>"
            if self.path.startswith("/frame?"):
                page = b'<iframe title="framed" src="%s"></iframe>' % self.path[7:].replace("&", "&amp;").encode()
            elif self.path.startswith("/callback"):
                answers.put(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Listener(f"http://127.0.0.1:{server.server_address[1]}", answers)
    server.shutdown()
    thread.join()
    server.server_close()


async def token_of(session: Any, url: str, listener: Listener, secret: str) -> dict[str, Any]:
    """Return the token that a session of `requests_oauthlib` gets for the answer that the listener has taken."""
    answer = await asyncio.to_thread(listener.answers.get, timeout=90)
    assert parse_qs(urlsplit(answer).query)["iss"] == [url]
    return await asyncio.to_thread(
        session.fetch_token,
        f"{url}/api/v1/oauth/token",
        authorization_response=listener.address + answer,
        client_secret=secret or None,
        include_client_id=True,
    )
