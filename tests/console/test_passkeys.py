"""Passkeys: made, named and removed on the account's page, and signed in with."""

import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, Page

from herdbook.app import Herdbook
from herdbook.console import sign_in_store
from tests.console.conftest import Demo
from tests.console.people import FORM_TOKEN_FIELD, ORIGIN, People, Visitor


class Device:
    """A tab whose device keeps passkeys."""

    def __init__(self, tab: Page, session: Any, authenticator: str) -> None:
        self.tab = tab
        self.session = session
        self.authenticator = authenticator

    async def add(self, name: str) -> None:
        """Add a passkey on the account's page."""
        await self.tab.goto("/console/account")
        await self.tab.get_by_label("Name of the passkey").fill(name)
        await self.tab.get_by_role("button", name="Add a passkey").click()
        await self.tab.locator("#notice").get_by_text("The passkey was added.").wait_for()

    async def sign_out(self) -> None:
        """Sign out by forgetting the cookie, so that the session of other tests goes on."""
        await self.tab.context.clear_cookies()

    async def verifies(self, *, is_right: bool) -> None:
        """Let the device recognise its user from now on, or not."""
        sent = {"authenticatorId": self.authenticator, "isUserVerified": is_right}
        await self.session.send("WebAuthn.setUserVerified", sent)


@pytest.fixture
def stranger(app: Herdbook) -> Visitor:
    """Somebody at another address, whose failures are not counted for the other tests."""
    return Visitor(httpx.ASGITransport(app, client=("192.0.2.7", 40_000)))


@pytest_asyncio.fixture
async def device(browser: Browser, demo: Demo, cookies: list[SetCookieParam]) -> AsyncGenerator[Device]:
    """A tab in which Ada Okonkwo has signed in, on a device that keeps passkeys. The demo has printed its address."""
    context = await browser.new_context(base_url=demo.url)
    await context.add_cookies(cookies)
    tab = await context.new_page()
    tab.set_default_timeout(60_000)
    session: Any = await context.new_cdp_session(tab)
    await session.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    added = await session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield Device(tab, session, added["authenticatorId"])
    await context.close()


async def test_passkey_signs_in(device: Device) -> None:
    """A passkey is added, signs its person in without a name or a password, and leads back to the page that was asked for."""
    await device.add("My laptop")
    await device.sign_out()
    await device.tab.goto("/console/companies")
    await device.tab.get_by_role("button", name="Sign in with a passkey").focus()
    await device.tab.keyboard.press("Enter")

    await device.tab.wait_for_url("**/console/companies")
    await device.tab.goto("/console/account")
    assert "used" in await device.tab.get_by_role("listitem").filter(has_text="My laptop").inner_text()


async def test_device_that_does_not_know_its_user_is_refused(device: Device) -> None:
    """A passkey without a fingerprint, a face or a PIN signs nobody in."""
    await device.add("My phone")
    await device.sign_out()
    await device.verifies(is_right=False)
    await device.tab.goto("/console/sign-in")
    await device.tab.get_by_role("button", name="Sign in with a passkey").click()

    await device.tab.get_by_text("No passkey was chosen").wait_for()
    assert await device.tab.context.cookies() == []


async def test_removed_passkey_signs_nobody_in(device: Device) -> None:
    """A passkey that was removed is refused, and the form to sign in says so."""
    await device.add("My key")
    await device.tab.get_by_role("button", name="Remove My key").click()
    await device.tab.locator("#notice").get_by_text("The passkey was removed.").wait_for()
    await device.sign_out()
    await device.tab.goto("/console/sign-in")
    await device.tab.get_by_role("button", name="Sign in with a passkey").click()

    await device.tab.get_by_text("The passkey was not accepted").wait_for()


async def test_answer_counts_once(device: Device) -> None:
    """The answer of a passkey that somebody has copied signs nobody in a second time."""
    await device.add("My tablet")
    await device.sign_out()
    await device.tab.goto("/console/sign-in")
    sent: list[str] = []
    device.tab.on("request", lambda request: sent.append(request.post_data or "") if request.url.endswith("/passkey") else None)
    await device.tab.get_by_role("button", name="Sign in with a passkey").click()
    await device.tab.wait_for_url("**/console/contacts")
    await device.sign_out()

    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": device.tab.url.partition("/console")[0]}
    again = await device.tab.context.request.post("/console/sign-in/passkey", data=sent[0], headers=headers)

    assert again.status == 422
    assert "The passkey was not accepted" in await again.text()


async def test_options_of_a_new_passkey_need_the_present_password(people: People, olga: Visitor) -> None:
    """Somebody at an open browser cannot add a passkey; a person who knows the password can."""
    await olga.post("/account/password", {"password": "correct horse battery"})
    visitor = people.visitor()
    await visitor.post("/sign-in", {"address": "olga@team.test", "password": "correct horse battery"}, token="")

    refused = await visitor.post("/account/passkeys/options", {"current": "a guess"})
    asked = await visitor.post("/account/passkeys/options", {"current": "correct horse battery"})

    assert refused.status_code == 422
    assert "not your present password" in refused.text
    options = asked.json()["options"]
    assert options["rp"]["id"] == ORIGIN.removeprefix("http://")
    assert options["authenticatorSelection"]["userVerification"] == "required"


@pytest.mark.parametrize("credential", ["", "{}", "[]", '{"id": 7}', '{"id": "AAAA"}', '{"id": "\u0000"}', "x" * 100_000])
async def test_nonsense_is_refused(stranger: Visitor, olga: Visitor, credential: str) -> None:
    """An answer that no passkey has made is refused without a fault."""
    challenge = (await stranger.post("/sign-in/passkey/options", token="")).json()["challenge"]

    form = {"credential": credential, "challenge": challenge, "next": "https://evil.test/"}
    answer = await stranger.post("/sign-in/passkey", form, token="")
    added = await olga.post("/account/passkeys", {"credential": credential, "challenge": challenge, "name": "x"})

    assert answer.status_code == 422
    assert 'name="next" value="/console"' in answer.text
    assert "The passkey could not be added" in added.text


async def test_challenge_of_another_person_is_refused(stranger: Visitor, olga: Visitor, anna: Visitor) -> None:
    """The challenge that one person was given is of no use to another, nor to sign in."""
    challenge = (await anna.post("/account/passkeys/options")).json()["challenge"]

    assert "could not be added" in (await olga.post("/account/passkeys", {"credential": "{}", "challenge": challenge})).text
    answer = await stranger.post("/sign-in/passkey", {"credential": '{"id": "AAAA"}', "challenge": challenge}, token="")
    assert answer.status_code == 422


async def test_challenge_counts_once_and_not_for_long(pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A challenge is there for the first answer, with its secret, within ten minutes."""
    statements: Any = pool
    content = {"challenge": "x"}
    first, second, third = [await sign_in_store.create_challenge(statements, content) for _ in range(3)]
    await pool.execute("update sign_in_challenge set expires_at = now() where id = $1", second.id)

    assert await sign_in_store.take_challenge(statements, str(third._replace(secret=first.secret))) is None
    assert await sign_in_store.take_challenge(statements, str(first)) == content
    assert await sign_in_store.take_challenge(statements, str(first)) is None
    assert await sign_in_store.take_challenge(statements, str(second)) is None
    await sign_in_store.forget_old_challenges(statements)
    assert await pool.fetch("select id from sign_in_challenge where id = any($1)", [second.id, third.id]) == [(third.id,)]


def _loaded_by(module: str) -> set[str]:
    return {*subprocess.check_output([sys.executable, "-c", f"import sys, {module}; print(*sys.modules)"], text=True).split()}


def test_libraries_are_loaded_for_people_alone() -> None:
    """A start loads neither the pages nor the library of templates, and the pages load no library of sign-ins."""
    start, pages = _loaded_by("herdbook.app"), _loaded_by("herdbook.console_pages")

    assert {"herdbook.console.console_app", "herdbook.console.visit", "jinja2"}.isdisjoint(start)
    assert not [each for each in start if each.startswith("herdbook.") and each.endswith(".pages") and each != "herdbook.pages"]
    assert "herdbook.console.passkey_pages" in pages
    assert {"webauthn", "joserfc", "jinja2", "herdbook.console.passkeys", "herdbook.console.openid"}.isdisjoint(pages)


async def test_attempts_are_limited(stranger: Visitor) -> None:
    """A passkey takes twenty wrong answers at once, and then none for a while."""
    form = {"credential": '{"id": "BBBB"}', "challenge": "", "next": ""}

    answers = [await stranger.post("/sign-in/passkey", form, token="") for _ in range(21)]

    assert [answer.status_code for answer in answers] == [422] * 20 + [429]
    assert "Too many failed sign-ins" in answers[-1].text
    assert FORM_TOKEN_FIELD.search(answers[-1].text) is None
