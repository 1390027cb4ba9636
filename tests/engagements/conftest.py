"""Alice's workspace with engagements, a user, and people with different scopes.

Alice may do everything, and her key acts for the first user of the workspace. Bob may only read and Dave may only write,
neither of them private engagements. Erin may read private ones, but change only others.
"""

from collections.abc import AsyncGenerator, Generator
from typing import Final
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio
import trustme

from herdbook import ids
from herdbook.auth.scopes import ADMIN, SCOPES
from herdbook.auth.store import create_key, create_workspace
from herdbook.engagements.commands import CreateEngagement
from herdbook.engagements.model import EngagementCreate
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unit_of_work import Origin
from herdbook.media import Media
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser, UserRole
from tests.cast import Person, Thing
from tests.engagements.calls import URL, Made, call
from tests.engagements.labs import Lab, certificate, lab
from tests.engagements.media_server import MediaServer, media_server

NOT_PRIVATE: Final = [scope for scope in SCOPES if scope != ADMIN and ":private:" not in scope]
_FIRST: Final = NewUser("Workspace", "Owner", ("owner@herd.test",), role=UserRole.OWNER)


class Keys:
    """The keys of Alice's workspace."""

    def __init__(self, client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
        self._client = client
        self._pool = pool
        self._workspace_id = workspace_id

    async def holder(self, *scopes: str, user: Thing | None = None) -> Person:
        """Return a person with a key of these scopes that acts for a user, or for the first."""
        user_id = None if user is None else user.uuid
        key = await create_key(self._pool, self._workspace_id, "Somebody", scopes, user_id=user_id)
        return Person(self._client, self._workspace_id, key)


@pytest_asyncio.fixture
async def workspace_id(pool: "asyncpg.Pool[asyncpg.Record]", ledger: Ledger) -> UUID:
    """A workspace for the test, with a first user like every new one."""
    workspace_id = await create_workspace(pool, "Alice's workspace")
    origin = Origin(request_id=ids.new_id(), credential_id=ids.NIL)
    await ledger.write(workspace_id, CreateUser(_FIRST), origin)
    return workspace_id


@pytest.fixture
def keys(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Keys:
    """The keys of Alice's workspace."""
    return Keys(client, pool, workspace_id)


@pytest_asyncio.fixture
async def charlie_keys(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]") -> Keys:
    """The keys of another workspace."""
    return Keys(client, pool, await create_workspace(pool, "Charlie's workspace"))


@pytest_asyncio.fixture
async def alice(keys: Keys) -> Person:
    """Alice, who has every scope."""
    return await keys.holder(*SCOPES.keys() - {ADMIN})


@pytest_asyncio.fixture
async def bob(keys: Keys) -> Person:
    """Bob, who may read engagements that are not private."""
    return await keys.holder(*(scope for scope in NOT_PRIVATE if scope.endswith(":read")))


@pytest_asyncio.fixture
async def dave(keys: Keys) -> Person:
    """Dave, who may write engagements that are not private."""
    return await keys.holder(*(scope for scope in NOT_PRIVATE if scope.endswith(":write")))


@pytest_asyncio.fixture
async def erin(keys: Keys) -> Person:
    """Erin, who may read all engagements, and write those that are not private."""
    return await keys.holder(*NOT_PRIVATE, "engagements:private:read")


@pytest_asyncio.fixture
async def owner(alice: Person) -> Thing:
    """The first user of the workspace."""
    (user,) = (await alice.get("/api/v2/users", params={"search": "owner@herd.test"})).json()["data"]
    return Thing(await alice.get(f"/api/v2/users/{user['id']}"))


@pytest_asyncio.fixture
async def step(alice: Person) -> Made:
    """An engagement in Alice's workspace with a text transcript."""
    return Made(await alice.post(URL, json=call()))


@pytest_asyncio.fixture
async def secret(alice: Person) -> Made:
    """A private engagement in Alice's workspace."""
    return Made(await alice.post(URL, json=call("secret", title="A secret", is_private=True)))


@pytest_asyncio.fixture
async def waiting(alice: Person, ledger: Ledger) -> Made:
    """An engagement in Alice's workspace with only a recording, so its transcript is unknown."""
    new = EngagementCreate(
        type="MEETING", title="Waiting", source_system="rooms", external_id="waiting", media_url="https://media.test/1"
    )
    engagement_id = ids.new_id()
    command = CreateEngagement(
        engagement_id=engagement_id,
        fields=new,
        created_by=alice.key.id,
        owner_user_id=None,
        media=Media("audio/wav", 44),
    )
    origin = Origin(request_id=ids.new_id(), credential_id=alice.key.id)
    await ledger.write(alice.workspace_id, command, origin)
    return Made(await alice.get(f"{URL}/{ids.encoded(ids.ENGAGEMENT, engagement_id)}"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Generator[trustme.CA]:
    """The only certificate authority that the applications of these tests trust."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield authority


@pytest_asyncio.fixture(scope="module")
async def media(authority: trustme.CA) -> AsyncGenerator[MediaServer]:
    """A server of recordings."""
    async with media_server(certificate(authority)) as served:
        yield served


@pytest_asyncio.fixture(scope="module")
async def near(database_url: str, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Lab]:
    """An application that may fetch from 127.0.0.1 as well as from public addresses."""
    assert authority, "it is trusted"
    async with lab(database_url, tmp_path_factory.mktemp("near"), allowed_targets="127.0.0.1") as made:
        yield made
