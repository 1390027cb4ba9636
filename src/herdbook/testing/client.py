"""The lab of a server, as a test commands it over HTTP."""

import hashlib
import json
import re
import select
import threading
import urllib.parse
from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

# A failure shows the line of the test, and none of ours.
__tracebackhide__: Final = True

_LAB: Final = "/api/herdbook/lab"
_SEED_FORMATS: Final = {".yaml": "yaml", ".yml": "yaml", ".ndjson": "ndjson"}
_TIMEOUT_SECONDS: Final = 60.0
# Connections whose answers nobody waits for.
_MOST_UNREAD: Final = 4


class LabRefused(Exception):
    """The lab refuses a command. The text is its own, and names the field and the remedy; `codes` are those of the errors."""

    def __init__(self, text: str, codes: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.codes = codes


class LabGone(Exception):
    """The lab does not answer. The text names its log."""


class LabServer:
    """A running server: `url` is its address, `token` commands its lab, and `log` is the file that it writes.

    Connections are kept, because a new one takes longer than a command. Threads may share it.
    """

    def __init__(self, url: str, token: str, log: Path) -> None:
        self.url = url
        self.token = token
        self.log = log
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        self._unread: list[HTTPConnection] = []

    def command(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a command to the lab, and return its answer. Refusals: LabRefused, LabGone."""
        content = None if body is None else json.dumps(body, default=_shown)
        connection = self._connection()
        try:
            self._send(connection, method, path, content)
            answer = connection.getresponse()
            status, content = answer.status, answer.read()
        except (OSError, HTTPException) as error:
            raise self._gone(connection, error) from None
        self._idle.append(connection)
        found = json.loads(content)
        if status >= 400:
            raise _refusal(found)
        return found

    def tell(self, method: str, path: str) -> None:
        """Send a command whose answer nobody needs, and do not wait for it. Refusal: LabGone."""
        connection = self._connection()
        try:
            self._send(connection, method, path, None)
        except (OSError, HTTPException) as error:
            raise self._gone(connection, error) from None
        self._unread.append(connection)

    def seed(self, file: Path) -> str:
        """Build the seed of a file, unless somebody has, and return its name. Refusals: LabRefused, LabGone."""
        try:
            content = file.read_bytes()
        except OSError as error:
            raise LabRefused(f"The seed `{file}` cannot be read: {error.strerror}.") from None
        # Another content is another seed, whoever changes the file while the server runs.
        stem = re.sub(r"[^A-Za-z0-9]+", "-", file.stem).strip("-")[:50]
        name = f"file-{stem}-{hashlib.sha256(content).hexdigest()[:16]}"
        try:
            text = content.decode()
            self.command("POST", "/seeds", {"name": name, _SEED_FORMATS[file.suffix]: text})
        except UnicodeDecodeError:
            raise LabRefused(f"The seed `{file}` is not in UTF-8.") from None
        except LabRefused as refused:
            if "already_in_use" not in refused.codes:
                raise LabRefused(f"The seed `{file}` cannot be built. {refused}") from None
        return name

    def close(self) -> None:
        """Close the connections."""
        for connection in (*self._idle, *self._unread):
            connection.close()

    def _connection(self) -> HTTPConnection:
        """Return a connection that nobody uses, perhaps a new one."""
        while (connection := self._taken(self._idle, least=1)) is not None:
            if not _is_closed(connection):
                return connection
            connection.close()
        if (connection := self._taken(self._unread, least=_MOST_UNREAD)) is not None:
            try:
                connection.getresponse().read()
            except (OSError, HTTPException) as error:
                raise self._gone(connection, error) from None
            return connection
        address = urllib.parse.urlsplit(self.url)
        return HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_SECONDS)

    def _taken(self, connections: list[HTTPConnection], least: int) -> HTTPConnection | None:
        """Return the oldest of some connections, which is nobody else's from now on, if there are so many."""
        with self._lock:
            return connections.pop(0) if len(connections) >= least else None

    def _send(self, connection: HTTPConnection, method: str, path: str, content: str | None) -> None:
        headers = {"Authorization": f"Bearer {self.token}"}
        headers |= {} if content is None else {"Content-Type": "application/json"}
        connection.request(method, _LAB + path, content, headers)

    def _gone(self, connection: HTTPConnection, error: Exception) -> LabGone:
        connection.close()
        said = str(error) or type(error).__name__
        return LabGone(f"The lab at {self.url} does not answer: {said}. Its log is in {self.log}.")


def is_seed_file(seed: str | Path) -> bool:
    """Whether a seed is named by its file."""
    return Path(seed).suffix in _SEED_FORMATS


def _is_closed(connection: HTTPConnection) -> bool:
    """Whether the server has closed a connection on which nothing was asked."""
    if connection.sock is None:
        return True
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


def _refusal(problem: Mapping[str, Any]) -> LabRefused:
    errors: list[dict[str, str]] = problem.get("errors", [])
    told = [each["message"] for each in errors if each["message"] not in problem["detail"]]
    return LabRefused(" ".join([problem["detail"], *told]), tuple(each["code"] for each in errors))


def _shown(value: object) -> str:
    """Return a time as the lab takes it. Refusal: LabRefused, for one without a zone, and for what JSON does not have."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise LabRefused(f"The time {value!r} has no zone. Give it one, as in `datetime(2026, 1, 1, tzinfo=timezone.utc)`.")
        return value.isoformat()
    raise LabRefused(f"{value!r} cannot be sent to the lab. Use texts, numbers, lists, dicts, or times with a zone.")
