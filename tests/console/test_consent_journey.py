"""A program on this computer without a secret, a denied one, and a site that frames the page, in a browser."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.async_api import Page
from requests_oauthlib import OAuth2Session

from tests.console.conftest import Demo
from tests.console.listener import Listener, token_of


async def _create_client(tab: Page, name: str, kind: str) -> str:
    """Create a client by the form, and return its id."""
    await tab.goto("/console/clients")
    await tab.get_by_role("link", name="New client").first.click()
    await tab.get_by_label("Name").fill(name)
    await tab.get_by_label("Redirect addresses").fill("http://127.0.0.1/callback")
    await tab.get_by_role("radio", name=kind).check()
    await tab.get_by_role("checkbox", name="List and read contacts.").check()
    await tab.get_by_role("button", name="Create client").click()
    return await tab.get_by_label("Client id").input_value()


def _session(client_id: str, listener: Listener) -> Any:
    return OAuth2Session(client_id, redirect_uri=f"{listener.address}/callback", scope=["contacts:read"], pkce="S256")


async def _status(tab: Page, demo: Demo, token: dict[str, Any]) -> int:
    sent = {"Authorization": f"Bearer {token['access_token']}"}
    return (await tab.request.get(f"{demo.url}/api/v2/contacts", headers=sent)).status


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110  # another process knows it
            await asyncio.sleep(0.1)


async def test_program_without_a_secret_is_let_in_by_keyboard_and_shut_out(tab: Page, demo: Demo, listener: Listener) -> None:
    """By keyboard alone: allow a program on this computer, go to the programs that were let in, and shut it out."""
    client_id = await _create_client(tab, "Diary", "On people’s computers")
    session = _session(client_id, listener)
    address, _ = session.authorization_url(f"{demo.url}/oauth/authorize")

    await tab.goto(address)
    for _ in range(2):
        await tab.keyboard.press("Tab")
    assert await tab.evaluate("document.activeElement.textContent") == "Allow"
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Done").wait_for()
    token = await token_of(session, demo.url, listener, "")
    assert await _status(tab, demo, token) == 200

    await tab.goto("/console/programs")
    await tab.get_by_role("button", name="Shut out Diary").focus()
    await tab.keyboard.press("Enter")
    await tab.locator("#notice").get_by_text("The program is shut out.").wait_for()

    async def is_refused() -> bool:
        return await _status(tab, demo, token) == 401

    await _until(is_refused)


async def test_denied_program_learns_it(tab: Page, demo: Demo, listener: Listener) -> None:
    """The browser goes back to the program, which gets no code."""
    client_id = await _create_client(tab, "Nosy", "On a server")
    address, state = _session(client_id, listener).authorization_url(f"{demo.url}/oauth/authorize")

    await tab.goto(address)
    await tab.get_by_role("button", name="Deny").click()
    await tab.get_by_role("heading", name="Done").wait_for()

    answer = parse_qs(urlsplit(listener.answers.get(timeout=90)).query)
    assert (answer["error"], answer["state"]) == (["access_denied"], [state])
    assert "code" not in answer


async def test_browser_shows_the_page_in_no_frame(tab: Page, demo: Demo, listener: Listener) -> None:
    """Another site that puts the page into a frame gets an empty one."""
    client_id = await _create_client(tab, "Framer", "On a server")
    address, _ = _session(client_id, listener).authorization_url(f"{demo.url}/oauth/authorize")
    other = await tab.context.new_page()

    await other.goto(f"{listener.address}/frame?{address}")

    frame = other.frames[1]
    await frame.wait_for_load_state()
    assert frame.url.startswith("chrome-error:")
    assert await frame.get_by_role("button", name="Allow").count() == 0
    await other.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_metadata_name_the_address_by_which_a_program_asks(demo: Demo, host: str) -> None:
    """A program that compares the issuer with the address that it knows accepts each name of this computer; no other counts."""
    port = urlsplit(demo.url).port
    url = f"http://{host}:{port}"
    path = "/.well-known/oauth-authorization-server"

    assert requests.get(url + path, timeout=90).json()["issuer"] == url
    for other in (f"localhost.evil.test:{port}", f"localhost:{port}0"):
        told = requests.get(f"http://127.0.0.1:{port}{path}", headers={"Host": other}, timeout=90).json()
        assert told["issuer"] == f"http://127.0.0.1:{port}"
