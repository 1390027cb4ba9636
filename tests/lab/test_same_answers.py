"""Whole answers are the same on each run of a lab, and so are the webhooks."""

import json
import re
from collections.abc import Callable, Generator, Mapping
from typing import Any, Final, TypeAlias

import httpx
import pytest

from herdbook.compare.model import Scenario
from herdbook.compare.reading import shipped
from herdbook.compare.running import ServerSide
from tests.cli import programs
from tests.lab.conftest import LAB, NEW_YEAR

CONTACTS: Final = "/api/v2/contacts"
IMPORTS: Final = "/api/herdbook/imports"
PATIENCE: Final = 30
SCENARIOS: Final = {each.name: each for each in shipped()}
PEOPLE: Final = "first name,email,company\n" + "".join(f"Person {n},p{n}@new.example,New {n % 7}\n" for n in range(250))
# A status, a body, and the headers, in which all is the same but the address of the server, and the date that HTTP asks for.
_Answer: TypeAlias = tuple[int, bytes, list[tuple[str, str]]]


class Run:
    """A workspace of a lab of its own, and all that it has answered."""

    def __init__(self, server: programs.Running) -> None:
        self._base = server.url
        self._token = json.loads((server.folder / "ready.json").read_text())["lab_token"]
        self.client = httpx.Client(base_url=server.url, timeout=PATIENCE, event_hooks={"response": [self._note]})
        self.answers: list[_Answer] = []
        asked = {"seed": "crm-small", "clock": NEW_YEAR, "random_seed": 7}
        self.made = self.command("POST", f"{LAB}/workspaces", asked)
        self.ask("POST", "/api/herdbook/webhooks", json={"url": self.made["inbox_url"]})

    def _note(self, response: httpx.Response) -> None:
        if response.request.url.path.startswith(LAB):
            return
        content = response.read().replace(self._base.encode(), b"base")
        headers = [(name, value.replace(self._base, "base")) for name, value in response.headers.items() if name != "date"]
        self.answers.append((response.status_code, content, sorted(headers)))

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Make a request with the key of the workspace."""
        response = self.client.request(method, path, headers={"Authorization": self.made["api_key"]}, **options)
        return response.json() if response.content and response.is_success else {}

    def command(self, method: str, path: str, body: object = None) -> Any:
        """Command the lab."""
        response = self.client.request(method, path, json=body, headers={"Authorization": f"Bearer {self._token}"})
        assert response.is_success, response.text
        return response.json()

    def webhooks(self) -> list[Mapping[str, Any]]:
        """Return all that the inbox got, once all is delivered: bodies, ids and signatures, in the order of the events.

        Only events of one object are sent one after the other.
        """
        where = f"{LAB}/workspaces/{self.made['id']}"
        self.command("PATCH", f"{where}/clock", {"advance_seconds": 3600})
        entries = self.command("GET", f"{where}/journal?kind=inbox&limit=2000")["entries"]
        for each in entries:
            # The port is the server's.
            del each["request"]["headers"]["host"]
        got = [{"at": each["at"], "event": each["event_id"], **each["request"]} for each in entries]
        return sorted(got, key=lambda each: each["event"])

    def close(self) -> None:
        """Delete the workspace, and close the connections."""
        self.command("DELETE", f"{LAB}/workspaces/{self.made['id']}")
        self.client.close()


def of_scenario(scenario: Scenario) -> Callable[[Run], None]:
    """Return what runs a scenario."""

    def run(run: Run) -> None:
        for _ in ServerSide("left", run.client, run.made["api_key"], "same", lambda: False).answers(scenario):
            pass

    return run


def import_people(run: Run) -> None:
    """Import a file, look at its rows, and undo it."""
    path = f"{IMPORTS}/{run.ask('POST', IMPORTS, params={'name': 'people.csv'}, content=PEOPLE)['id']}"
    for act, rows in (("check", "check"), ("run", "run"), ("undo", "run")):
        begun = run.ask("POST", f"{path}/{act}")
        run.ask("GET", path, params={"state": begun["state"], "wait": 20})
        run.ask("GET", f"{path}/rows", params={"of": rows, "limit": 100})
    run.ask("GET", "/api/herdbook/changes", params={"after": 0, "limit": 1000})


def change_much(run: Run) -> None:
    """Do what a client may do in a workspace."""
    ada, acme = (run.made["objects"][name] for name in ("ada", "analytical-engine"))
    run.ask("POST", CONTACTS, json={"first_name": "New", "emails": [{"email": "new@engine.example"}], "company_id": acme})
    run.ask("PATCH", f"{CONTACTS}/{ada}", json={"last_name": "King"})
    run.ask("GET", f"{CONTACTS}?limit=3")
    run.ask("GET", f"/api/herdbook/contacts/{ada}/history")
    run.ask("POST", "/api/v2/tags", json={"name": "New"})
    run.ask("DELETE", f"/api/v2/companies/{acme}")
    run.ask("GET", "/api/herdbook/changes?after=0&limit=1000")
    run.ask("GET", "/api/herdbook/workspace")
    run.ask("GET", f"{CONTACTS}/cnt_nobody")
    run.ask("POST", CONTACTS, json={"emails": [{"email": "new@engine.example"}]})


def meet_faults(run: Run) -> None:
    """Meet faults whose answers the lab makes itself, before and after a reset."""
    where = f"{LAB}/workspaces/{run.made['id']}"
    for _ in range(2):
        for rule in ({"fault": "status", "status": 418}, {"fault": "rate_limited"}, {"fault": "read_only"}):
            run.command("POST", f"{where}/faults", {**rule, "times": 1})
        run.command("POST", f"{where}/faults", {"fault": "edit", "operation": "update-contact", "body": {"last_name": "K"}})
        for _ in range(3):
            run.ask("POST", CONTACTS, json={"first_name": "New"})
        run.ask("PATCH", f"{CONTACTS}/{run.made['objects']['ada']}", json={"first_name": "Augusta"})
        run.command("POST", f"{where}/reset")


STORIES: Final = {name: of_scenario(each) for name, each in SCENARIOS.items()} | {
    "an import": import_people,
    "faults": meet_faults,
    "many changes": change_much,
}


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[programs.Running, programs.Running]]:
    """Two labs, each with a database of its own."""
    folders = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    with programs.serving(folders[0], command="lab") as one, programs.serving(folders[1], command="lab") as other:
        yield one, other


def test_a_reset_gives_rules_their_ids_again(labs: tuple[programs.Running, programs.Running]) -> None:
    """A problem of a fault is the same after a reset as before, and no two rules have one id."""
    run = Run(labs[0])
    meet_faults(run)
    bodies = [body for status, body, _ in run.answers if status in (418, 429, 503)]
    run.close()

    rules = [re.search(rb"fault_\w+", body) for body in bodies]
    assert len({found[0] for found in rules if found}) == 3
    assert [found and found[0] for found in rules[:3]] == [found and found[0] for found in rules[3:]]


@pytest.mark.parametrize("name", STORIES)
def test_two_labs_give_the_same_answers(labs: tuple[programs.Running, programs.Running], name: str) -> None:
    """A story has the same answers byte by byte: ids, times, cursors, secrets and headers. Its webhooks are the same."""
    runs = [Run(lab) for lab in labs]
    for run in runs:
        STORIES[name](run)
    webhooks = [run.webhooks() for run in runs]
    for run in runs:
        run.close()

    assert len(runs[0].answers) > 1
    assert runs[0].answers == runs[1].answers
    assert webhooks[0] == webhooks[1]
    assert name not in ("an import", "many changes") or webhooks[0]
