"""Failed sign-ins cost a bounded number of queries and hinder nobody else."""

from asyncio import gather
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
    """Connections that count their look-ups of credentials. The user of a credential that is there is another query."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool
        self.queries = self.at_once = self.most_at_once = 0
        self.is_away = False

    async def fetchrow(self, query: str, *values: Any) -> asyncpg.Record | None:
        """Return a row."""
        self.queries += "workspace_user" not in query
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await self._row(query, *values)
        finally:
            self.at_once -= 1

    async def _row(self, query: str, *values: Any) -> asyncpg.Record | None:
        if self.is_away:
            raise ConnectionError
        return await self._pool.fetchrow(query, *values)


class Door:
    """An authenticator with the test's clock and a query counter."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self.counted = Counted(pool)
        self.now = 1000.0
        self._authenticator = Authenticator(self.counted, lambda: self.now)  # type: ignore[arg-type]  # of all statements, it needs one  # pyright: ignore[reportArgumentType]

    async def knock(self, key: ApiKey | Token, address: str = "192.0.2.1", spelling: str = "{0}") -> str:
        """Try a credential; return what came of it."""
        try:
            await self._authenticator.caller(spelling.format(key).encode(), address)
        except Unauthenticated:
            return "refused"
        except RateLimited:
            return "limited"
        except ConnectionError:
            return "away"
        return "in"


@pytest_asyncio.fixture
async def door(pool: "asyncpg.Pool[asyncpg.Record]") -> Door:
    """A door for the test."""
    return Door(pool)


@pytest.mark.parametrize("kind", ["key", "token"])
async def test_unknown_ones_are_limited_by_address(door: Door, alice: Person, kind: str) -> None:
    """Unknown keys from one address are limited. Other addresses, and a key that was in use before, still get in."""
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
    """A /64 network of IPv6 counts as one address."""
    tried = [await door.knock(new_key(), f"2001:db8::{n:x}") for n in range(1, 601)]

    assert tried.count("limited") == 100


async def test_ipv4_addresses_written_as_ipv6_are_several(door: Door) -> None:
    """Their first 64 bits are the same, and their senders are not."""
    tried = [await door.knock(new_key(), f"::ffff:192.0.2.{n % 6}") for n in range(600)]

    assert tried.count("limited") == 0


async def test_more_are_let_in_with_time(door: Door) -> None:
    """A caller who waits as long as told is looked up again."""
    for _ in range(600):
        await door.knock(new_key())
    before = await door.knock(new_key())
    door.now += 1

    assert (before, await door.knock(new_key())) == ("limited", "refused")


async def test_wrong_secrets_are_limited_by_credential(door: Door, alice: Person) -> None:
    """Wrong secrets for one key cost one query in all and are limited, whatever addresses they come from."""
    tried = [await door.knock(ApiKey(alice.key.id, new_secret()), f"192.0.2.{n}") for n in range(200)]

    assert tried == ["refused"] * 50 + ["limited"] * 150
    assert door.counted.queries == 1


async def test_nobody_is_locked_out(door: Door, alice: Person) -> None:
    """The right secret works at its first use, even after wrong secrets for the same key from everywhere."""
    for n in range(200):
        await door.knock(ApiKey(alice.key.id, new_secret()), f"192.0.2.{n}")

    assert await door.knock(alice.key) == "in"


async def test_the_same_unknown_one_is_looked_up_once(door: Door) -> None:
    """An unknown key that is sent again and again costs only one query."""
    key = new_key()
    for _ in range(40):
        await door.knock(key)

    assert door.counted.queries == 1


async def test_a_new_key_works_at_once(
    client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, door: Door
) -> None:
    """Earlier failures do not block a new key."""
    for _ in range(100):
        await door.knock(new_key())
    key = await create_key(pool, alice.workspace_id, "New", ["contacts:read"])

    assert await door.knock(key) == "in"
    assert (await Person(client, alice.workspace_id, key).get("/api/v2/contacts")).status_code == 200


ENDED: Final = pytest.mark.parametrize("end", ["revoked_at = now()", "expires_at = now()"])


async def change(pool: "asyncpg.Pool[asyncpg.Record]", key: ApiKey, what: str) -> None:
    """Change what is stored of a key."""
    await pool.execute(f"update credential set {what} where id = $1", key.id)


@ENDED
@pytest.mark.parametrize("was_in", [True, False])
async def test_one_that_is_over_is_a_failure(
    door: Door, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, end: str, *, was_in: bool
) -> None:
    """A key that is over costs one query in a second, though its secret is right, and after some tries is told to wait."""
    if was_in:
        await door.knock(alice.key)
    door.now += 4
    await change(pool, alice.key, end)
    door.counted.queries = 0
    tried = [await door.knock(alice.key) for _ in range(200)]
    queries = door.counted.queries
    door.now += 1
    await door.knock(alice.key)

    assert tried == ["refused"] * 50 + ["limited"] * 150
    assert (queries, door.counted.queries) == (1, 2)


async def test_one_that_is_over_has_no_way_around_the_address(
    door: Door, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person
) -> None:
    """A key that was right before and is over by now is not looked up for an address from which too much fails."""
    await door.knock(alice.key)
    await change(pool, alice.key, "revoked_at = now()")
    door.now += 4
    await door.knock(alice.key)
    door.now += 1
    for _ in range(600):
        await door.knock(new_key())
    queries = door.counted.queries

    assert await door.knock(alice.key) == "limited"
    assert door.counted.queries == queries


async def test_one_that_was_over_is_let_in_again(door: Door, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person) -> None:
    """A key that is made valid again works within five seconds, though its program has gone on trying all the time."""
    await change(pool, alice.key, "revoked_at = now()")
    for _ in range(2000):
        await door.knock(alice.key)
        door.now += 0.001
    await change(pool, alice.key, "revoked_at = null")
    tried: list[str] = []
    for _ in range(5000):
        tried.append(await door.knock(alice.key))
        door.now += 0.001

    assert tried[-1] == "in"


@pytest.mark.parametrize("spelling", ["Bearer {1}{0}", "{1}{0}", "{0}{1}", "bearer {0}{1}"])
async def test_spaces_make_no_other_credential(
    door: Door, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person, spelling: str
) -> None:
    """A key is looked up once, however it is spelled by those who send it at the same time."""
    await door.knock(alice.key)
    await change(pool, alice.key, "revoked_at = now()")
    door.now += 4
    door.counted.queries = 0
    spellings = [spelling.format("{0}", " " * n) for n in range(300)]
    tried = await gather(*(door.knock(alice.key, spelling=each) for each in spellings))

    assert set(tried) == {"refused"}
    assert door.counted.queries == 1


async def test_unknown_ones_at_once_pay_before_they_wait(door: Door) -> None:
    """From one address, no more wait for a look-up than may fail, and two are looked up at a time."""
    tried = await gather(*(door.knock(new_key()) for _ in range(1000)))

    assert (tried.count("refused"), tried.count("limited")) == (500, 500)
    assert door.counted.queries == 500
    assert door.counted.most_at_once == 2


async def test_one_is_looked_up_once_at_a_time(door: Door, alice: Person) -> None:
    """Wrong secrets of a key that was right before cost one query, though they come at the same time."""
    await door.knock(alice.key)
    door.now += 4
    door.counted.queries = 0
    await gather(*(door.knock(ApiKey(alice.key.id, new_secret())) for _ in range(300)))

    assert door.counted.queries == 1
    assert await door.knock(alice.key) == "in"


async def test_what_is_right_pays_nothing(door: Door, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person) -> None:
    """Any number of keys that are right are let in from one address, and none is held to have failed in an outage."""
    keys = [await create_key(pool, alice.workspace_id, "New", ["contacts:read"]) for _ in range(600)]
    door.counted.is_away = True
    away = {await door.knock(key) for key in keys}
    door.counted.is_away = False
    tried = {await door.knock(key) for key in keys}

    assert (away, tried) == ({"away"}, {"in"})


async def test_the_id_of_a_key_is_none_of_a_token(door: Door, alice: Person) -> None:
    """A key cannot be locked out by somebody who tries its id as a token."""
    await door.knock(Token(ACCESS_TOKEN_PREFIX, alice.key.id, new_secret()))

    assert await door.knock(alice.key) == "in"


async def test_ipv4_is_told_apart_within_ipv6(door: Door) -> None:
    """A server that listens on `::` tells IPv4 addresses from each other, and knows each in both spellings."""
    for _ in range(600):
        await door.knock(new_key(), "::ffff:192.0.2.1")

    assert await door.knock(new_key(), "::ffff:192.0.2.2") == "refused"
    assert await door.knock(new_key(), "192.0.2.1") == "limited"


async def test_client_secrets_are_limited(
    client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person
) -> None:
    """Wrong client secrets get 429 after some attempts; the right one still works."""
    new = await create_client(pool, alice.workspace_id, "Calendar", ["contacts:read"], [])
    form = {"grant_type": "client_credentials", "client_id": new.client_id}
    tried = [await client.post(URL, data=form | {"client_secret": CLIENT_SECRET_PREFIX + new_secret()}) for _ in range(100)]
    right = await client.post(URL, data=form | {"client_secret": new.client_secret})

    assert {response.status_code for response in tried[:50]} == {401}
    assert tried[-1].status_code == 429
    assert int(tried[-1].headers["Retry-After"]) > 0
    assert right.status_code == 200


async def test_an_unknown_client_is_as_a_known_one(client: httpx.AsyncClient) -> None:
    """Attempts for an unknown client are limited like those for a known one."""
    form = {"grant_type": "client_credentials", "client_id": ids.encoded(CLIENT_PREFIX, ids.new_id()), "client_secret": "x"}
    tried = [(await client.post(URL, data=form)).status_code for _ in range(60)]

    assert tried == [401] * 50 + [429] * 10


async def test_codes_are_not_looked_for_without_a_secret(
    client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", alice: Person
) -> None:
    """Codes and refresh tokens stay unknown to a caller without the client's secret, and guesses at one are limited."""
    new = await create_client(pool, alice.workspace_id, "Calendar", ["contacts:read"], [])
    token = str(new_token("ort_"))
    form = {"grant_type": "refresh_token", "client_id": new.client_id, "refresh_token": token}
    tried = [(await client.post(URL, data=form | {"client_secret": new.client_secret})).status_code for _ in range(60)]
    without = await client.post(URL, data=form | {"client_secret": "ocs_wrong"})

    assert tried == [400] * 50 + [429] * 10
    assert without.status_code == 401
