"""HTTP clients as people use them, and what each makes of an answer."""

import asyncio
import json
import subprocess
from collections.abc import Mapping
from typing import Any, Final, Protocol

import aiohttp
import httpx
import requests

PATIENCE: Final = 30
_NODE: Final = """
const [method, url, given, body] = process.argv.slice(1);
try {
    const response = await fetch(url, { method, headers: JSON.parse(given), body: body || undefined });
    const text = await response.text();
    let kind = 'json';
    try { JSON.parse(text); } catch { kind = 'not json'; }
    const after = response.headers.get('retry-after');
    console.log(`${response.status} ${kind}` + (after === null ? '' : `, again after ${after}`));
} catch (error) { console.log('closed'); }
"""


class Client(Protocol):
    """A client that makes a request and says what it saw: a status with or without JSON, or a closed connection."""

    def __call__(self, method: str, url: str, key: str, body: str = "", **headers: str) -> str: ...


def _of(status: int, text: str, retry_after: str | None) -> str:
    kind = "json"
    try:
        json.loads(text)
    except ValueError:
        kind = "not json"
    return f"{status} {kind}" + (f", again after {retry_after}" if retry_after else "")


def _sent(key: str, headers: Mapping[str, str]) -> dict[str, str]:
    return {"Authorization": key, "Content-Type": "application/json", **headers}


def by_requests(method: str, url: str, key: str, body: str = "", **headers: str) -> str:
    try:
        response = requests.request(method, url, headers=_sent(key, headers), data=body or None, timeout=PATIENCE)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return "closed"
    return _of(response.status_code, response.text, response.headers.get("Retry-After"))


def by_httpx(method: str, url: str, key: str, body: str = "", **headers: str) -> str:
    try:
        response = httpx.request(
            method, url, headers=_sent(key, headers), content=body or None, timeout=PATIENCE, trust_env=False
        )
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return "closed"
    return _of(response.status_code, response.text, response.headers.get("Retry-After"))


def by_aiohttp(method: str, url: str, key: str, body: str = "", **headers: str) -> str:
    async def ask() -> str:
        timeout = aiohttp.ClientTimeout(PATIENCE)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=_sent(key, headers), data=body or None) as response,
        ):
            return _of(response.status, await response.text(), response.headers.get("Retry-After"))

    try:
        return asyncio.run(ask())
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
        return "closed"


def by_node(method: str, url: str, key: str, body: str = "", **headers: str) -> str:
    command = ["node", "--input-type=module", "-e", _NODE, method, url, json.dumps(_sent(key, headers)), body]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout.strip()


def by_curl(method: str, url: str, key: str, body: str = "", **headers: str) -> str:
    command = ["curl", "--silent", "--request", method, "--write-out", "\n%{http_code}\n%header{retry-after}"]
    command += [part for name, value in _sent(key, headers).items() for part in ("--header", f"{name}: {value}")]
    command += ["--data", body] if body else []
    done = subprocess.run([*command, url], capture_output=True, text=True, timeout=PATIENCE, check=False)
    if done.returncode:
        # An empty reply, a partial file, or a failure to receive.
        assert done.returncode in (18, 52, 56), done
        return "closed"
    text, status, retry_after = done.stdout.rsplit("\n", 2)
    return _of(int(status), text, retry_after)


CLIENTS: Final[Mapping[str, Client]] = {
    "requests": by_requests,
    "httpx": by_httpx,
    "aiohttp": by_aiohttp,
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
