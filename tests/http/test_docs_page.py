"""The documentation page."""

import asyncio
import json
import shlex
from html.parser import HTMLParser

import httpx
import pytest

from herdbook.app import OPERATIONS, Herdbook
from herdbook.http.docs_page import DocsPage
from herdbook.http.openapi import document
from herdbook.settings import Settings
from tests.cast import Person
from tests.serving import serving

# Attributes that make a browser load something, and elements without an end tag.
_LOADING = {"src", "srcset", "data", "poster", "background", "action"}
_VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """The parts of a page that tests check: open elements, loaded files, links, ids and commands."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.targets: list[str] = []
        self.ids: list[str] = []
        self.commands: list[str] = []
        self._in_command = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record an element."""
        if tag not in _VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in _LOADING or tag in ("script", "link"):
                self.loaded.append(f"{tag} {name}={value}")
            elif name == "href" and value is not None:
                self.targets.append(value)
            elif name == "id" and value is not None:
                self.ids.append(value)
        if tag == "pre" and ("class", "command") in attrs:
            self.commands.append("")
            self._in_command = True

    def handle_endtag(self, tag: str) -> None:
        """Record the end of an element."""
        assert self.open.pop() == tag, f"</{tag}> closes something else"
        if tag == "pre":
            self._in_command = False

    def handle_data(self, data: str) -> None:
        """Record the text of a command."""
        if self._in_command:
            self.commands[-1] += data


async def test_it_needs_no_network(client: httpx.AsyncClient) -> None:
    """The page loads nothing, and its Content-Security-Policy forbids loading."""
    response = await client.get("/docs")
    page = Page(response.text)

    assert page.loaded == []
    assert "url(" not in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_it_is_well_formed(client: httpx.AsyncClient) -> None:
    """Every element is closed, every id is unique, and every link within the page has a target."""
    page = Page((await client.get("/docs")).text)

    assert page.open == []
    assert len(set(page.ids)) == len(page.ids)
    assert {target.removeprefix("#") for target in page.targets if target.startswith("#")} <= set(page.ids)


async def test_it_shows_each_operation(client: httpx.AsyncClient) -> None:
    """Each operation has an anchor."""
    page = Page((await client.get("/docs")).text)

    assert {operation.id for operation in OPERATIONS} <= set(page.ids)


async def test_the_commands_go_to_this_server(client: httpx.AsyncClient) -> None:
    """Commands use the address that the connection reached, whatever the Host header says."""
    page = Page((await client.get("/docs", headers={"Host": "crm.example:8443"})).text)

    curls = [command for command in page.commands if command.startswith("curl")]
    assert len(curls) == len(OPERATIONS)
    assert all("http://herdbook.test/api/" in command for command in curls)
    assert sum("$HERDBOOK_API_KEY" in command for command in curls) == sum(each.scopes is not None for each in OPERATIONS)


async def test_others_have_their_turn_while_it_is_made(app: Herdbook) -> None:
    """The page takes long to make, so it is made beside the event loop."""
    transport = httpx.ASGITransport(app)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    async with httpx.AsyncClient(transport=transport, base_url="http://first-reader.test") as client:
        page = await client.get("/docs")
    counting.cancel()

    assert page.status_code == 200
    assert turns > 50


def test_it_is_made_once() -> None:
    """The page of an address is kept for the next readers."""
    page = DocsPage(document(OPERATIONS, "https://herdbook.test/errors/"))

    assert page.get("http://a.test") is page.get("http://a.test")
    assert page.get("http://a.test") is not page.get("http://b.test")


async def test_the_commands_go_to_the_public_address(database_url: str) -> None:
    """Commands use the public URL if one is set, with or without a slash at its end."""
    async with serving(Settings(public_url="https://crm.example/"), database_url) as client:
        page = Page((await client.get("/docs")).text)

    assert sum("https://crm.example/api/" in command for command in page.commands) == len(OPERATIONS)


@pytest.mark.parametrize("path", ["/docs/", "/healthz/", "/openapi.json/", "//evil.example/docs/"])
async def test_nobody_is_redirected(client: httpx.AsyncClient, path: str) -> None:
    """An unknown path is never redirected, least of all to the request's Host."""
    response = await client.get(path, headers={"Host": "evil.example"})

    assert response.status_code == 404
    assert "evil" not in response.text + str(response.headers)


async def test_a_command_works_as_it_stands(client: httpx.AsyncClient, alice: Person) -> None:
    """The page's command that creates a contact works as printed."""
    page = Page((await client.get("/docs")).text)
    command = next(each for each in page.commands if each.startswith("curl -X POST") and "/v2/contacts" in each)
    _, _, method, url, _, _, _, content_type, _, body = shlex.split(command.replace("\\\n", ""))

    response = await alice.request(method, httpx.URL(url).path, content=body, headers=dict([content_type.split(": ", 1)]))

    assert response.status_code == 201
    assert response.json()["first_name"] == json.loads(body)["first_name"]


@pytest.mark.parametrize("host", ['"><script>alert(1)</script>', "a'; rm -rf ~; '"])
async def test_a_host_that_is_none_harms_nobody(client: httpx.AsyncClient, host: str) -> None:
    """A malicious Host appears neither as HTML nor as shell."""
    page = Page((await client.get("/docs", headers={"Host": host})).text)

    assert page.loaded == []
    for command in page.commands[1:]:
        assert shlex.split(command)[0] == "curl"
        assert ";" not in shlex.split(command)
