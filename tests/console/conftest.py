"""The console in the same process for most tests, and a server with a real browser for journeys."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio
import requests
from playwright._impl._api_structures import SetCookieParam
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from herdbook.app import Herdbook
from herdbook.cli.workers import console_url
from herdbook.ledger.ledger import Ledger
from herdbook.users.model import UserRole
from tests.cli.programs import serving, until
from tests.console.listener import Listener, listening
from tests.console.people import People, Visitor
from tests.repeats import DEEP

FOLDER = Path(__file__).parent / "browser"

# No test is timed: another program may need the processor just then.
expect.set_options(timeout=60_000)


@pytest.fixture
def people(app: Herdbook, ledger: Ledger, pool: "asyncpg.Pool[asyncpg.Record]") -> People:
    """The people who use the console."""
    return People(ledger, pool, httpx.ASGITransport(app))


@pytest_asyncio.fixture
async def olga(people: People, workspace_id: UUID) -> Visitor:
    """Olga, who may read and write in Alice's workspace, and has signed in to the console."""
    return await people.join(workspace_id, "Olga", UserRole.MEMBER, "olga@team.test")


@pytest_asyncio.fixture
async def anna(people: People, workspace_id: UUID) -> Visitor:
    """Anna, who administers Alice's workspace, and has signed in to the console."""
    return await people.join(workspace_id, "Anna", UserRole.ADMIN)


@pytest_asyncio.fixture
async def victor(people: People, workspace_id: UUID) -> Visitor:
    """Victor, who may only read in Alice's workspace, and has signed in to the console."""
    return await people.join(workspace_id, "Victor", UserRole.VIEWER)


@pytest_asyncio.fixture
async def carla(people: People, charlie: Any) -> Visitor:
    """Carla, who administers Charlie's workspace, and has signed in to the console."""
    return await people.join(charlie.workspace_id, "Carla", UserRole.ADMIN)


def browser_path() -> str | None:
    """Return the path of a browser: one of the machine, or that of the package."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules").exists():
        return None
    # The package takes a browser that another process is just unpacking for one that is there.
    with (FOLDER / "path.js").open() as program:
        fcntl.flock(program, fcntl.LOCK_EX)
        return subprocess.run([node, program.name], cwd=FOLDER, capture_output=True, text=True, check=True).stdout.strip()


@pytest_asyncio.fixture(scope="session")
async def browser() -> AsyncGenerator[Browser]:
    """A real browser. Without one, the tests in browsers are skipped, but not in CI."""
    async with _launched() as browser:
        yield browser


@pytest_asyncio.fixture(scope="module")
async def still_browser() -> AsyncGenerator[Browser]:
    """A real browser that lays pages out and draws none, which takes less than half of the time. A mouse does nothing in it."""
    async with _launched("--disable-threaded-compositing") as browser:
        yield browser


@asynccontextmanager
async def _launched(*arguments: str) -> AsyncGenerator[Browser]:
    path = browser_path()
    if path is None:
        assert not os.environ.get("CI"), "there is no browser, and no npm that brings one: the tests in browsers cannot run"
        pytest.skip("the tests in browsers do not run: there is no chromium, and no npm that brings one")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *arguments])
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that checks accessibility."""
    return (FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text()


async def axe_faults(page: Page, **options: Any) -> list[Any]:
    """Return what axe objects to on a page. The list of what it finds right is long, and stays in the browser.

    It would load all styles once more for a rule about screens that are turned, which no style of ours knows. One template
    makes the rows of a list, so that it looks at the first twelve, and at all of them in `make deep`.
    """
    sent = {"resultTypes": ["violations"], "preload": False, **options}
    rows = {"exclude": [] if DEEP else [["main tbody tr:nth-child(n+13)"], ["main li:nth-child(n+13)"]]}
    return await page.evaluate("async ([rows, options]) => (await axe.run(rows, options)).violations", [rows, sent])


class Demo(NamedTuple):
    """A running demo: the address of its console, and the link and the key that it has printed."""

    url: str
    link: str
    key: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Generator[Demo]:
    """A demo for the tests of a module. The first of them uses the link up."""
    folder = tmp_path_factory.mktemp("demo")
    with serving(folder, "--log-level=debug", command="demo") as server:
        until(lambda: "Ctrl-C" in (folder / "out.txt").read_text())
        found = re.search(r"http\S+/console/link/\S+", (folder / "out.txt").read_text())
        assert found is not None, "the demo prints a link"
        yield Demo(console_url(server.url), found[0], server.key)


@pytest.fixture(scope="module")
def cookies(demo: Demo) -> list[SetCookieParam]:
    """The cookies of Ada Okonkwo, who has opened the demo's link."""
    with requests.Session() as session:
        answer = session.post(demo.link, headers={"Origin": demo.url}, timeout=90)
        assert answer.status_code == 200, answer.text
        return [{"name": each.name, "value": each.value or "", "url": demo.url} for each in session.cookies]


@pytest_asyncio.fixture(scope="module")
async def profile(browser: Browser, demo: Demo) -> AsyncGenerator[BrowserContext]:
    """The profile of a browser for the tests of a module: it loads and compiles each script once."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, base_url=demo.url)
    yield context
    await context.close()


@pytest_asyncio.fixture
async def tab(profile: BrowserContext, demo: Demo, cookies: list[SetCookieParam]) -> AsyncGenerator[Page]:
    """A tab in which Ada Okonkwo has signed in. No page may log an error of a script or break the policy."""
    await profile.clear_cookies()
    await profile.add_cookies(cookies)
    page = await profile.new_page()
    page.set_default_timeout(60_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if "Security Policy" in line.text else None)
    yield page
    # The next test finds nothing that this one has left in the browser.
    forgetting: Any = await profile.new_cdp_session(page)
    await forgetting.send("Storage.clearDataForOrigin", {"origin": demo.url, "storageTypes": "local_storage"})
    await profile.clear_permissions()
    await profile.set_offline(False)
    for each in profile.pages:
        await each.close()
    assert faults == []


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Generator[Listener]:
    """A program on this computer, which waits for its answer."""
    # The library refuses addresses without TLS, even on this computer.
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    with listening() as listener:
        yield listener
