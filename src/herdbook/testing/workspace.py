"""A workspace of a lab, as a test commands it."""

import difflib
import urllib.parse
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from herdbook.testing.client import LabGone, LabRefused, LabServer, is_seed_file

# A failure shows the line of the test, and none of ours.
__tracebackhide__: Final = True

_MOST_ENTRIES: Final = 2000
_MOST_SHOWN: Final = 50
_MOST_NAMES: Final = 20
_MOST_SECONDS: Final = 30
_BODY_SHOWN: Final = 300


def created(
    server: LabServer,
    folder: Path,
    *,
    seed: str | Path = "empty",
    clock: str | datetime | None = None,
    clock_runs: bool = False,
    random_seed: int | None = None,
) -> "Workspace":
    """Create a workspace from a seed: its name, or its file in a folder. Refusals: LabRefused, LabGone."""
    name = server.seed(folder / seed) if is_seed_file(seed) else seed
    asked = {"seed": name, "clock": clock, "clock_runs": clock_runs or None, "random_seed": random_seed}
    members = {name: value for name, value in asked.items() if value is not None}
    return Workspace(server, server.command("POST", "/workspaces", members))


class Workspace:
    """A workspace with a key, and what a test does to it.

    `url` is the address of the server, `api_key` the key, `id` the workspace's id, `users` its users, and `objects` the ids of
    the seed's objects by their names.

    The lab refuses a command with LabRefused, in its own words; LabGone says that it does not answer.
    """

    def __init__(self, server: LabServer, made: Mapping[str, Any]) -> None:
        self.url = server.url
        self.id: str = made["id"]
        self.api_key: str = made["api_key"]
        self._take(made)
        self.clock = Clock(self)
        self.journal = Journal(self)
        self.inbox = Inbox(self, made["inbox_url"])
        self._server = server
        self._faults: list[Fault] = []
        # The names of the test's own snapshots in the lab, by those that the test gives them.
        self._snapshots: dict[str, str] = {}

    def _take(self, made: Mapping[str, Any]) -> None:
        """Take what the state of the workspace has by name."""
        self.users: list[dict[str, Any]] = made["users"]
        self.objects: dict[str, str] = _Objects(made["objects"])

    def fault(self, fault: str, **rule: Any) -> "Fault":
        """Add a rule for faults, such as `fault("close", when="after", operation="update-contact", times=1)`.

        The members are those of `POST .../faults` of the lab. The test fails if the rule never applies.
        """
        added = Fault(self, self.command("POST", "/faults", {"fault": fault, **rule}), rule)
        self._faults.append(added)
        return added

    def unused_faults(self) -> list[str]:
        """Return the faults of rules that never applied, in words."""
        if not self._faults:
            return []
        unused = {each["id"]: each for each in self.command("GET", "/faults")["faults"] if not each["fired"]}
        return [each.told(unused[each.id]) for each in self._faults if each.id in unused]

    def key(self, *scopes: str, name: str = "test", expires_at: str | datetime | None = None) -> str:
        """Return another key, with all scopes if none are named."""
        asked = {"name": name, "scopes": scopes or None, "expires_at": expires_at}
        members = {name: value for name, value in asked.items() if value is not None}
        return self.command("POST", "/keys", members)["api_key"]

    def verify(self, *expectations: Mapping[str, Any], **members: Any) -> None:
        """Raise AssertionError if an expectation does not hold, with those that do not.

        They are those of `POST .../verify` of the lab, and so are the other members. Without any it could not fail, which is
        refused with LabRefused.
        """
        if not expectations and not members.get("no_habits") and members.get("allowed_habits") is None:
            raise LabRefused("`verify` has nothing that could fail. Give it an expectation, or `no_habits=True`.")
        found = self.command("POST", "/verify", {"expectations": expectations, **members})
        assert found["holds"], "\n".join(each["message"] for each in found["failures"])

    def snapshot(self, name: str) -> None:
        """Keep the state under a name, to return to it. It is the test's own, and goes with the workspace."""
        # A lab has one list of names, and tests that run at once, or again, may use the same.
        own = f"{name}-{self.id.rpartition('_')[2].lower()}"
        self.command("POST", "/snapshot", {"name": own})
        self._snapshots[name] = own

    def restore(self, seed: str) -> None:
        """Return to the state of a snapshot of this test, or of a seed. The clock goes on."""
        self._take(self.command("POST", "/restore", {"seed": self._snapshots.get(seed, seed)}))

    def reset(self) -> None:
        """Return to the state and the time of the beginning. Faults and journal go."""
        self._take(self.command("POST", "/reset"))
        self._faults.clear()

    def delete(self) -> None:
        """Delete the workspace and its snapshots. Without any, do not wait for it."""
        self._faults.clear()
        if not self._snapshots:
            self._server.tell("DELETE", f"/workspaces/{self.id}")
            return
        # A seed stays as long as a workspace is of it.
        self._server.command("DELETE", f"/workspaces/{self.id}")
        for name in self._snapshots.values():
            self._server.command("DELETE", f"/seeds?name={name}")

    def told(self) -> str:
        """Return the end of the journal for the report of a failure, or why it cannot be read."""
        try:
            return f"{self.journal.told()}\nThe log of the server is {self._server.log}."
        except (LabRefused, LabGone) as refused:
            return str(refused)

    def command(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a command to the lab about this workspace, and return the answer."""
        return self._server.command(method, f"/workspaces/{self.id}{path}", body)


class _Objects(dict[str, str]):
    """The ids of the objects of a seed by their names."""

    def __missing__(self, name: str) -> str:
        raise UnknownObject(name, self)


class UnknownObject(KeyError):
    """A seed has no object of a name. The text names those that it has."""

    def __init__(self, name: str, known: Collection[str]) -> None:
        super().__init__(name)
        near = difflib.get_close_matches(str(name), known, n=1)
        shown = ", ".join([*known][:_MOST_NAMES]) + (", ..." if len(known) > _MOST_NAMES else "")
        said = f"Did you mean `{near[0]}`? " if near else ""
        self._text = f"The seed has no object `{name}`. {said}It has {shown or 'none with a name'}."

    def __str__(self) -> str:
        return self._text


class Fault:
    """A rule for faults."""

    def __init__(self, workspace: Workspace, made: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        self.id: str = made["id"]
        self._name: str = made["rule"]["fault"]
        self._asked = asked
        self._workspace = workspace

    def told(self, shown: Mapping[str, Any]) -> str:
        """Return the rule in words, with how many requests or deliveries met its conditions, and why an edit was refused."""
        asked = ", ".join([repr(self._name), *(f"{name}={value!r}" for name, value in self._asked.items())])
        refusal = f" ({shown['refusal']})" if shown.get("refusal") else ""
        return f"fault({asked}), whose conditions were met {shown['matched']} times{refusal}"

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
        return self._workspace.command("GET", "")["clock"]["now"]

    def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0, days: float = 0) -> int:
        """Move the clock ahead; return how many deliveries fell due and were attempted."""
        return self._moved({"advance_seconds": seconds + 60 * minutes + 3600 * hours + 86_400 * days})["deliveries"]

    def move_to(self, time: str | datetime) -> int:
        """Move the clock to a later time; return how many deliveries fell due and were attempted."""
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
        """Return the entries that meet conditions: the parameters of `GET .../journal`. No `limit` means all that are kept."""
        return self._found({"limit": _MOST_ENTRIES, **conditions})["entries"]

    def count(self, **conditions: Any) -> int:
        """Return how many entries meet conditions."""
        return self._found({"limit": 1, **conditions})["count"]

    def wait(self, *, count: int = 1, seconds: int = 10, **conditions: Any) -> list[dict[str, Any]]:
        """Return the entries once there are so many. Raise AssertionError after the seconds."""
        left, found = seconds, None
        while found is None or (found["count"] < count and left > 0):
            # The lab waits only so long for one answer.
            found = self._found({"limit": _MOST_ENTRIES, "wait": min(left, _MOST_SECONDS), "count": count, **conditions})
            left -= _MOST_SECONDS
        asked = ", ".join(f"{name}={value!r}" for name, value in conditions.items()) or "anything"
        assert found["count"] >= count, f"{found['count']} of {count} entries came within {seconds} s: {asked}."
        return found["entries"]

    def told(self) -> str:
        """Return the latest entries as a text, a line or two for each."""
        left_out = max(0, self._found({"limit": 1})["last"] - _MOST_SHOWN)
        found = self._found({"after": left_out})["entries"]
        lines = [f"({left_out} earlier ones are left out)"] if left_out else []
        return "\n".join([*lines, *map(_told, found)]) or "Nothing has come from the client."

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
        return self._workspace.journal.entries(kind="inbox")

    def wait(self, count: int = 1, *, seconds: int = 10) -> list[dict[str, Any]]:
        """Return the messages once there are so many. Raise AssertionError after the seconds."""
        return self._workspace.journal.wait(count=count, seconds=seconds, kind="inbox")

    def answer(self, *statuses: int, retry_after: int | None = None) -> None:
        """Answer the next messages with these statuses, and then with 200."""
        members: dict[str, Any] = {"statuses": list[int](statuses)}
        self._workspace.command("PUT", "/inbox", members | ({} if retry_after is None else {"retry_after": retry_after}))
