"""A workspace of a lab, as a test commands it."""

import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from herdbook.testing.server import LabServer

_LAB: Final = "/api/herdbook/lab"
_MOST_SHOWN: Final = 50
_BODY_SHOWN: Final = 300


class LabRefused(Exception):
    """The lab refuses a command. The text is its own, and names the field and the remedy."""


class _Connections(threading.local):
    """The connection of each thread, which is kept because a new one takes longer than a command."""

    def __init__(self) -> None:
        self.by_server: dict[LabServer, HTTPConnection] = {}

    def to(self, server: LabServer) -> HTTPConnection:
        if server not in self.by_server:
            address = urllib.parse.urlsplit(server.url)
            self.by_server[server] = HTTPConnection(address.hostname or "", address.port, timeout=60)
        return self.by_server[server]


_connections: Final = _Connections()


def _command(server: LabServer, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    content = None if body is None else json.dumps(body)
    headers = {"Authorization": f"Bearer {server.token}"} | ({} if body is None else {"Content-Type": "application/json"})
    connection = _connections.to(server)
    try:
        connection.request(method, _LAB + path, content, headers)
        answer = connection.getresponse()
        status, found = answer.status, json.loads(answer.read())
    except (OSError, HTTPException):
        connection.close()
        raise
    if status >= 400:
        faults = [f"{each.get('field')}: {each['message']}" for each in found.get("errors", [])]
        raise LabRefused(" ".join([found["detail"], *faults]))
    return found


def created(
    server: LabServer,
    *,
    seed: str = "empty",
    clock: str | None = None,
    clock_runs: bool = False,
    random_seed: int | None = None,
) -> "Workspace":
    """Create a workspace from a seed. Refusal: LabRefused."""
    asked = {"seed": seed, "clock": clock, "clock_runs": clock_runs or None, "random_seed": random_seed}
    members = {name: value for name, value in asked.items() if value is not None}
    return Workspace(server, _command(server, "POST", "/workspaces", members))


class Workspace:
    """A workspace with a key, and what a test does to it.

    `url` is the address of the server, `api_key` the key, `id` the workspace's id, `users` its users, and `objects` the ids of
    the seed's objects by their names.
    """

    def __init__(self, server: LabServer, made: Mapping[str, Any]) -> None:
        self.url = server.url
        self.id: str = made["id"]
        self.api_key: str = made["api_key"]
        self.users: list[dict[str, Any]] = made["users"]
        self.objects: dict[str, str] = made["objects"]
        self.clock = Clock(self)
        self.journal = Journal(self)
        self.inbox = Inbox(self, made["inbox_url"])
        self._server = server
        self._faults: list[Fault] = []

    def fault(self, fault: str, **rule: Any) -> "Fault":
        """Add a rule for faults, such as `fault("close", when="after", operation="update-contact", times=1)`.

        The members are those of `POST .../faults` of the lab. The test fails if the rule never applies. Refusal: LabRefused.
        """
        added = Fault(self, self.command("POST", "/faults", {"fault": fault, **rule}))
        self._faults.append(added)
        return added

    def unused_faults(self) -> list[str]:
        """Return the faults of rules that never applied, in words."""
        if not self._faults:
            return []
        fired = {each["id"]: each["fired"] for each in self.command("GET", "/faults")["faults"]}
        return [each.told for each in self._faults if fired.get(each.id) == 0]

    def key(self, *scopes: str, name: str = "test", expires_at: str | None = None) -> str:
        """Return another key with some scopes. Refusal: LabRefused."""
        members = {"name": name, "scopes": scopes} | ({} if expires_at is None else {"expires_at": expires_at})
        return self.command("POST", "/keys", members)["api_key"]

    def verify(self, *expectations: Mapping[str, Any], **members: Any) -> None:
        """Raise AssertionError if an expectation does not hold, with those that do not.

        They are those of `POST .../verify` of the lab, and so are the other members. Refusal: LabRefused.
        """
        found = self.command("POST", "/verify", {"expectations": expectations, **members})
        assert found["holds"], "\n".join(each["message"] for each in found["failures"])

    def snapshot(self, name: str) -> None:
        """Keep the state as a seed of this name. Refusal: LabRefused."""
        self.command("POST", "/snapshot", {"name": name})

    def reset(self) -> None:
        """Return to the state and the time of the beginning. Faults and journal go."""
        self.command("POST", "/reset")
        self._faults.clear()

    def delete(self) -> None:
        """Delete the workspace."""
        self.command("DELETE", "")

    def command(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a command to the lab about this workspace, and return the answer. Refusal: LabRefused."""
        return _command(self._server, method, f"/workspaces/{self.id}{path}", body)


class Fault:
    """A rule for faults."""

    def __init__(self, workspace: Workspace, made: Mapping[str, Any]) -> None:
        self.id: str = made["id"]
        self.told = str(made["rule"]["fault"])
        self._workspace = workspace

    @property
    def fired(self) -> int:
        """How often the rule has applied."""
        faults = self._workspace.command("GET", "/faults")["faults"]
        return next(each["fired"] for each in faults if each["id"] == self.id)


class Clock:
    """The clock of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    @property
    def now(self) -> str:
        """The time, in RFC 3339."""
        return self._moved({})["clock"]["now"]

    def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> int:
        """Move the clock ahead; return how many deliveries fell due and were attempted. Refusal: LabRefused."""
        return self._moved({"advance_seconds": seconds + 60 * minutes + 3600 * hours + 86_400 * days})["deliveries"]

    def move_to(self, time: str) -> int:
        """Move the clock to a later time; return how many deliveries fell due and were attempted. Refusal: LabRefused."""
        return self._moved({"to": time})["deliveries"]

    def _moved(self, members: Mapping[str, Any]) -> Any:
        return self._workspace.command("PATCH", "/clock", members)


class Journal:
    """The record of a workspace: requests, deliveries, and messages in the inbox."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.entries())

    def entries(self, **conditions: Any) -> list[dict[str, Any]]:
        """Return the entries that meet conditions: the parameters of `GET .../journal`. Refusal: LabRefused."""
        return self._found(conditions)["entries"]

    def count(self, **conditions: Any) -> int:
        """Return how many entries meet conditions. Refusal: LabRefused."""
        return self._found({"limit": 1, **conditions})["count"]

    def wait(self, *, count: int = 1, seconds: int = 10, **conditions: Any) -> list[dict[str, Any]]:
        """Return the entries once there are so many. Raise AssertionError after the seconds."""
        found = self._found({"wait": seconds, **conditions} | {"count": count})
        assert found["count"] >= count, f"{found['count']} of {count} entries came within {seconds} s: {conditions}"
        return found["entries"]

    def told(self) -> str:
        """Return the latest entries as a text, a line or two for each."""
        found = self._found({"limit": 2000})["entries"]
        left_out = len(found) - _MOST_SHOWN
        lines = [f"({left_out} earlier ones are left out)"] if left_out > 0 else []
        return "\n".join([*lines, *(_told(each) for each in found[-_MOST_SHOWN:])])

    def _found(self, conditions: Mapping[str, Any]) -> Any:
        query = urllib.parse.urlencode(conditions)
        return self._workspace.command("GET", f"/journal?{query}")


def _told(entry: Mapping[str, Any]) -> str:
    parts = [entry["kind"], entry.get("method"), entry.get("path"), entry.get("event_type"), entry.get("status")]
    line = " ".join(str(each) for each in parts if each)
    outcome = entry.get("outcome")
    line += f" ({outcome})" if outcome not in (None, "answered") else ""
    sides: list[dict[str, str]] = [entry.get(side) or {} for side in ("request", "answer")]
    bodies = [body for side in sides if (body := side.get("body"))]
    return "\n".join([f"{entry['number']}. {line}", *(f"     {_short(body)}" for body in bodies)])


def _short(text: str) -> str:
    return text if len(text) <= _BODY_SHOWN else f"{text[:_BODY_SHOWN]}..."


class Inbox:
    """An endpoint of webhooks that keeps what it gets. `url` is its address."""

    def __init__(self, workspace: Workspace, url: str) -> None:
        self.url = url
        self._workspace = workspace

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that have come, the oldest first, as entries of the journal."""
        return self._workspace.journal.entries(kind="inbox", limit=2000)

    def wait(self, count: int = 1, *, seconds: int = 10) -> list[dict[str, Any]]:
        """Return the messages once there are so many. Raise AssertionError after the seconds."""
        return self._workspace.journal.wait(count=count, seconds=seconds, kind="inbox")

    def answer(self, *statuses: int, retry_after: int | None = None) -> None:
        """Answer the next messages with these statuses, and then with 200. Refusal: LabRefused."""
        members: dict[str, Any] = {"statuses": list[int](statuses)}
        self._workspace.command("PUT", "/inbox", members | ({} if retry_after is None else {"retry_after": retry_after}))
