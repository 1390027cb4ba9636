"""What strangers send: sign-ins that fail cost a bounded number of queries, and stand in nobody's way."""

from typing import Any, Final

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook import ids
from herdbook.auth.authenticate import Authenticator
from herdbook.auth.keys import ACCESS_TOKEN_PREFIX, CLIENT_PREFIX, ApiKey, Token, new_key, new_secret, new_token
from herdbook.auth.store import create_key
from herdbook.errors import RateLimited, Unauthenticated
from herdbook.oauth.model import CLIENT_SECRET_PREFIX
from herdbook.oauth.store import create_client
from tests.cast import Person

URL: Final = "/api/v1/oauth/token"


class Counted:
    """Connections that count the queries that pass."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self.queries = 0

    async def fetchrow(self, query: str, *values: Any) -> asyncpg.Record | None:
        """Return a row."""
        self.queries += 1
        return await self._pool.fetchrow(query, *values)


class Door:
    """An authenticator that goes by the test's clock, and counts its queries."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.counted = Counted(pool)
        self.now = 1000.0
        self._authenticator = Authenticator(self.counted, lambda: self.now)  # type: ignore[arg-type]  # of all statements, it needs one  # pyright: ignore[reportArgumentType]

    async def knock(self, key: ApiKey | Token, address: str = "192.0.2.1") -> str:
        """Try a credential; return what came of it."""
        try:
            await self._authenticator.caller(str(key).encode(), address)
        except Unauthenticated:
            return "refused"
        except RateLimited:
            return "limited"
        return "in"


@pytest_asyncio.fixture
async def door(pool: "asyncpg.Pool[asyncpg.Record]") -> Door:
    """A door of the test's own."""
    return Door(pool)


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_unknown_ones_are_limited_by_address(door: Door, alice: Person, kind: str) -> None:
    """From one address, so many are looked up and no more; another address, and who was in before, are let in."""
    before = await door.knock(alice.key)
    door.now += 4
    tried = [await door.knock(new_key() if kind == "key" else new_token(ACCESS_TOKEN_PREFIX)) for _ in range(1000)]
    queries = door.counted.queries
    same = await door.knock(alice.key)
    elsewhere = await door.knock(new_key(), "192.0.2.2")

    assert tried == ["refused"] * 500 + ["limited"] * 500
    assert queries == 501
    assert (before, same, elsewhere) == ("in", "in", "refused")


async def test_an_ipv6_network_is_one_address(door: Door) -> None:
    """Whoever has 64 bits of addresses has no more tries for that."""
    tried = [await door.knock(new_key(), f"2001:db8::{n:x}") for n in range(1, 601)]

    assert tried.count("limited") == 100


async def test_ipv4_addresses_written_as_ipv6_are_several(door: Door) -> None:
    """Their first 64 bits are the same, and their senders are not."""
    tried = [await door.knock(new_key(), f"::ffff:192.0.2.{n % 6}") for n in range(600)]

    assert tried.count("limited") == 0


async def test_more_are_let_in_with_time(door: Door) -> None:
    """Whoever waits as long as is said is looked up again."""
    for _ in range(600):
        await door.knock(new_key())
    before = await door.knock(new_key())
    door.now += 1

    assert (before, await door.knock(new_key())) == ("limited", "refused")


async def test_wrong_secrets_are_limited_by_credential(door: Door, alice: Person) -> None:
    """Tries of one key cost one query, wherever they come from, and after some they are told to wait."""
    tried = [await door.knock(ApiKey(alice.key.id, new_secret()), f"192.0.2.{n}") for n in range(200)]

    assert tried == ["refused"] * 50 + ["limited"] * 150
    assert door.counted.queries == 1


async def test_nobody_is_locked_out(door: Door, alice: Person) -> None:
    """The right secret is let in, though others have tried the same key from everywhere, be it the first time."""
    for n in range(200):
        await door.knock(ApiKey(alice.key.id, new_secret()), f"192.0.2.{n}")

    assert await door.knock(alice.key) == "in"


async def test_the_same_unknown_one_is_looked_up_once(door: Door) -> None:
    """A program that goes on with a key that is unknown costs no query each time."""
    key = new_key()
    for _ in range(40):
        await door.knock(key)

    assert door.counted.queries == 1


async def test_a_new_key_works_at_once(
    client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, door: Door
) -> None:
    """What failed before does not stand in the way of a key that is new."""
    for _ in range(100):
        await door.knock(new_key())
    key = await create_key(pool, alice.workspace_id, "New", ["contacts:read"])

    assert await door.knock(key) == "in"
    assert (await Person(client, alice.workspace_id, key).get("/api/v2/contacts")).status_code == 200


async def test_client_secrets_are_limited(
    client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person
) -> None:
    """Wrong secrets of a client are told to wait after some, as a problem; the right one is not."""
    new = await create_client(pool, alice.workspace_id, "Calendar", ["contacts:read"], [])
    form = {"grant_type": "client_credentials", "client_id": new.client_id}
    tried = [await client.post(URL, data=form | {"client_secret": CLIENT_SECRET_PREFIX + new_secret()}) for _ in range(100)]
    right = await client.post(URL, data=form | {"client_secret": new.client_secret})

    assert {response.status_code for response in tried[:50]} == {401}
    assert tried[-1].status_code == 429
    assert int(tried[-1].headers["Retry-After"]) > 0
    assert right.status_code == 200


async def test_an_unknown_client_is_as_a_known_one(client: httpx.AsyncClient) -> None:
    """A client that there is not is limited as if there were one."""
    form = {"grant_type": "client_credentials", "client_id": ids.encoded(CLIENT_PREFIX, ids.new_id()), "client_secret": "x"}
    tried = [(await client.post(URL, data=form)).status_code for _ in range(60)]

    assert tried == [401] * 50 + [429] * 10


async def test_codes_are_not_looked_for_without_a_secret(
    client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person
) -> None:
    """Whoever has no secret of a client learns nothing of its codes and refresh tokens, and after some tries of one waits."""
    new = await create_client(pool, alice.workspace_id, "Calendar", ["contacts:read"], [])
    token = str(new_token("ort_"))
    form = {"grant_type": "refresh_token", "client_id": new.client_id, "refresh_token": token}
    tried = [(await client.post(URL, data=form | {"client_secret": new.client_secret})).status_code for _ in range(60)]
    without = await client.post(URL, data=form | {"client_secret": "ocs_wrong"})

    assert tried == [400] * 50 + [429] * 10
    assert without.status_code == 401
