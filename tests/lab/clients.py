"""HTTP clients as people use them, and what each makes of an answer."""

import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any, Final

import httpx
import requests

PATIENCE: Final = 30
_NODE: Final = """
const [method, url, key, body] = process.argv.slice(1);
const headers = { authorization: key, 'content-type': 'application/json' };
try {
    const response = await fetch(url, { method, headers, body: body || undefined });
    const text = await response.text();
    try { JSON.parse(text); console.log(response.status + ' json'); } catch { console.log(response.status + ' not json'); }
} catch (error) { console.log('closed'); }
"""


def _of(status: int, text: str) -> str:
    try:
        json.loads(text)
    except ValueError:
        return f"{status} not json"
    return f"{status} json"


def by_requests(method: str, url: str, key: str, body: str) -> str:
    try:
        headers = {"Authorization": key, "Content-Type": "application/json"}
        response = requests.request(method, url, headers=headers, data=body or None, timeout=PATIENCE)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return "closed"
    return _of(response.status_code, response.text)


def by_httpx(method: str, url: str, key: str, body: str) -> str:
    try:
        headers = {"Authorization": key, "Content-Type": "application/json"}
        response = httpx.request(method, url, headers=headers, content=body or None, timeout=PATIENCE, trust_env=False)
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return "closed"
    return _of(response.status_code, response.text)


def by_node(method: str, url: str, key: str, body: str) -> str:
    command = ["node", "--input-type=module", "-e", _NODE, method, url, key, body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout.strip()


def by_curl(method: str, url: str, key: str, body: str) -> str:
    command = ["curl", "--silent", "--request", method, "--header", f"Authorization: {key}", "--write-out", "\n%{http_code}"]
    command += ["--json", body] if body else []
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        # An empty reply, a partial file, or a failure to receive.
        assert done.returncode in (18, 52, 56), done
        return "closed"
    text, _, status = done.stdout.rpartition("\n")
    return _of(int(status), text)


CLIENTS: Final[Mapping[str, Callable[[str, str, str, str], str]]] = {
    "requests": by_requests,
    "httpx": by_httpx,
    "node": by_node,
    "curl": by_curl,
}


class LiveDesk:
    """A workspace of a lab that listens on a port."""

    def __init__(self, url: str, token: str, **members: Any) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self.made = requests.post(
            f"{url}/api/herdbook/lab/workspaces", json=members, headers=self._headers, timeout=PATIENCE
        ).json()
        self.key: str = self.made["api_key"]

    def command(self, method: str, path: str, **options: Any) -> Any:
        """Command the workspace, and return the answer."""
        where = f"{self.url}/api/herdbook/lab/workspaces/{self.made['id']}{path}"
        response = requests.request(method, where, headers=self._headers, timeout=PATIENCE, **options)
        assert response.ok, response.text
        return response.json()

    def fault(self, **rule: Any) -> str:
        """Add a rule, and return its id."""
        return self.command("POST", "/faults", json=rule)["id"]

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """Make a request with the key of the workspace."""
        headers = {"Authorization": self.key, **options.pop("headers", {})}
        return requests.request(method, self.url + path, headers=headers, timeout=PATIENCE, **options)

    def habits(self, **expected: Any) -> list[tuple[str, list[int]]]:
        """Return the habits that the journal shows, and the numbers of their entries."""
        return [(each["habit"], each["numbers"]) for each in self.command("POST", "/verify", json=expected)["habits"]]

    @property
    def contacts(self) -> int:
        """The number of contacts."""
        return len(self.ask("GET", "/api/v2/contacts?limit=100").json()["data"])
