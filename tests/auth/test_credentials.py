"""From the Authorization header to the caller."""

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import asyncpg
import httpx
import pytest
import pytest_asyncio

from herdbook.auth.authenticate import Authenticator
from herdbook.auth.keys import ApiKey, new_key
from herdbook.auth.store import create_key, revoke_key
from herdbook.errors import Unauthenticated
from tests.cast import Person

URL = "/api/v2/contacts"
Connections: TypeAlias = "asyncpg.Pool[asyncpg.Record]"


async def ask(client: httpx.AsyncClient, authorization: str | bytes) -> httpx.Response:
    """Make a request with this Authorization header."""
    value = authorization.encode() if isinstance(authorization, str) else authorization
    return await client.get(URL, headers={b"Authorization": value})


@pytest.mark.parametrize("spelling", ["{0}", "Bearer {0}", "bearer {0}", "BEARER  {0}", " {0} ", "Bearer {0} "])
async def test_a_key_is_taken_raw_and_as_a_bearer_token(client: httpx.AsyncClient, alice: Person, spelling: str) -> None:
    """A key is the whole header, as documented, or a bearer token, as in the OpenAPI document. Schemes ignore case."""
    response = await ask(client, spelling.format(alice.key))

    assert response.status_code == 200


@pytest.mark.parametrize(
    "spelling",
    [
        *(
            "Basic {0}",
            "Token {0}",
            "ApiKey {0}",
            "Bearer Bearer {0}",
            "Bearer{0}",
            "Bearer,{0}",
            '"{0}"',
            "{0},{0}",
            "{0} {0}",
        ),
        *("Bearer", "Bearer ", "", "Bearer xyzzy", "Bearer eyJhbGciOiJub25lIn0.e30.", "sk-apik_", "sk-apik_.", "sk-apik_x.y"),
    ],
)
async def test_other_credentials_are_refused(client: httpx.AsyncClient, alice: Person, spelling: str) -> None:
    """Any other credential is refused with a challenge and is not echoed."""
    response = await ask(client, spelling.format(alice.key))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="herdbook", error="invalid_token"'
    assert response.json()["type"].endswith("/unauthorized")
    assert alice.key.secret not in response.text


async def test_a_header_that_is_no_text_is_refused(client: httpx.AsyncClient, alice: Person) -> None:
    """Bytes outside ASCII do not break the server."""
    responses = [await ask(client, value) for value in (b"\xff\xfe", str(alice.key).encode() + b"\xe9", b"sk-apik_\xe9.\xe9")]

    assert [response.status_code for response in responses] == [401, 401, 401]


def mistyped(key: ApiKey) -> dict[str, str]:
    """Return ways to mistype a key."""
    text, secret = str(key), key.secret
    other = "a" if secret[5] != "a" else "b"
    # The last two characters that differ.
    place = max(place for place in range(len(secret) - 1) if secret[place] != secret[place + 1])
    return {
        "one character": text.replace(secret, secret[:5] + other + secret[6:]),
        "two swapped": text.replace(secret, secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :]),
        "cut off": text[:-1],
        "cut in half": text[:-20],
        "without its checksum": text[:-6],
        "too long": text + "a",
        "in upper case": text.replace(secret, secret.upper() + "a"),
        "without its secret": text.replace(secret, ""),
    }


@pytest.mark.parametrize("how", mistyped(new_key()))
async def test_a_mistyped_key_is_told_from_an_unknown_one(client: httpx.AsyncClient, alice: Person, how: str) -> None:
    """The checksum at the end of a secret reveals a mistyped or truncated key."""
    response = await ask(client, mistyped(alice.key)[how])

    assert response.status_code == 401
    assert "mistyped or cut off" in response.json()["detail"]


async def test_an_unknown_key_is_refused(client: httpx.AsyncClient) -> None:
    """A well-formed key is refused if it is unknown."""
    response = await ask(client, str(new_key()))

    assert response.status_code == 401
    assert "This API key is unknown here." in response.json()["detail"]


async def test_a_wrong_secret_is_refused_as_unknown(client: httpx.AsyncClient, alice: Person, bob: Person) -> None:
    """The refusal does not say whether the id or the secret is wrong. Another key's secret does not help."""
    guessed = await ask(client, str(ApiKey(alice.key.id, new_key().secret)))
    borrowed = await ask(client, str(ApiKey(alice.key.id, bob.key.secret)))

    assert (guessed.status_code, borrowed.status_code) == (401, 401)
    assert guessed.json()["detail"] == borrowed.json()["detail"]
    assert guessed.json()["detail"].startswith("This API key is unknown here. Check that this server issued it")


async def test_an_id_has_one_spelling(client: httpx.AsyncClient, alice: Person) -> None:
    """A key with its id in lower case is invalid."""
    response = await ask(client, str(alice.key).replace("01", "0l", 1))

    assert response.status_code == 401


async def test_an_expired_key_is_refused(client: httpx.AsyncClient, pool: Connections, workspace_id: UUID) -> None:
    """A key works until it expires."""
    now = datetime.now(UTC)
    expired = await create_key(pool, workspace_id, "Past", ["contacts:read"], now - timedelta(seconds=1))
    lasting = await create_key(pool, workspace_id, "Future", ["contacts:read"], now + timedelta(days=1))
    responses = [await ask(client, str(key)) for key in (expired, lasting)]

    assert [response.status_code for response in responses] == [401, 200]
    assert "expired or was revoked" in responses[0].json()["detail"]


async def test_a_revoked_key_is_refused(client: httpx.AsyncClient, pool: Connections, alice: Person) -> None:
    """A revoked key is refused immediately, unless it was used in the last seconds."""
    revoked = await revoke_key(pool, alice.key.id)
    response = await ask(client, str(alice.key))

    assert revoked
    assert response.status_code == 401
    assert "expired or was revoked" in response.json()["detail"]


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    """A stopped clock."""
    return Clock()


@pytest_asyncio.fixture
async def authenticator(pool: Connections, clock: Clock) -> Authenticator:
    """An authenticator that uses the test's clock."""
    return Authenticator(pool, clock)


async def test_a_revoked_key_stops_within_five_seconds(
    authenticator: Authenticator, clock: Clock, pool: Connections, alice: Person
) -> None:
    """A key in use is refused five seconds after it was revoked, however often it is used in between."""
    header = str(alice.key).encode()
    await authenticator.caller(header)
    await revoke_key(pool, alice.key.id)
    refused_after: list[float] = []
    for _ in range(50):
        try:
            await authenticator.caller(header)
        except Unauthenticated:
            refused_after.append(clock.time - 1000)
        clock.time += 0.1

    assert refused_after[0] < 5
    assert len(refused_after) == 50 - round(refused_after[0] * 10)


@pytest.mark.parametrize("spelling", ["{0}", "Bearer {0}"])
async def test_a_key_is_looked_up_again_after_a_moment(
    authenticator: Authenticator, clock: Clock, pool: Connections, alice: Person, spelling: str
) -> None:
    """A scope that was removed is also gone after five seconds."""
    header = spelling.format(alice.key).encode()
    before = await authenticator.caller(header)
    await pool.execute("update credential set scopes = '{tags:read}' where id = $1", alice.key.id)
    clock.time += 5
    after = await authenticator.caller(header)

    assert before.may("contacts:write")
    assert after.scopes == {"tags:read"}


async def test_a_key_that_is_put_right_is_let_in(
    authenticator: Authenticator, clock: Clock, pool: Connections, alice: Person
) -> None:
    """That a key is over is remembered for a second, and no longer."""
    await pool.execute("update credential set expires_at = now() - interval '1 s' where id = $1", alice.key.id)
    with pytest.raises(Unauthenticated):
        await authenticator.caller(str(alice.key).encode())
    await pool.execute("update credential set expires_at = null where id = $1", alice.key.id)
    clock.time += 1
    caller = await authenticator.caller(str(alice.key).encode())

    assert caller.credential_id == alice.key.id


async def test_a_use_is_noted(authenticator: Authenticator, pool: Connections, alice: Person, bob: Person) -> None:
    """`last_used_at` is set for a key that was used, and only for that."""
    used = "select last_used_at from credential where id = $1"
    await authenticator.caller(str(alice.key).encode())
    before = await pool.fetchval(used, alice.key.id)
    await authenticator.note_uses()

    assert before is None
    assert datetime.now(UTC) - await pool.fetchval(used, alice.key.id) < timedelta(minutes=1)
    assert await pool.fetchval(used, bob.key.id) is None


async def test_a_use_is_noted_once_an_hour(pool: Connections, alice: Person, clock: Clock) -> None:
    """A key in constant use is noted once an hour, however many servers see it."""
    used = "select last_used_at from credential where id = $1"

    async def noted_by(authenticator: Authenticator) -> datetime:
        await authenticator.caller(str(alice.key).encode())
        await authenticator.note_uses()
        return await pool.fetchval(used, alice.key.id)

    one = Authenticator(pool, clock)
    first = await noted_by(one)
    by_another = await noted_by(Authenticator(pool, clock))
    await pool.execute("update credential set last_used_at = $2 where id = $1", alice.key.id, first - timedelta(hours=2))
    clock.time += 60
    within_the_hour = await noted_by(one)
    clock.time += 3600
    after_it = await noted_by(one)

    assert by_another == first
    assert within_the_hour == first - timedelta(hours=2)
    assert after_it > first


async def test_a_refused_use_is_not_noted(authenticator: Authenticator, pool: Connections, alice: Person) -> None:
    """A guess at a secret does not make its key look used."""
    with pytest.raises(Unauthenticated):
        await authenticator.caller(str(ApiKey(alice.key.id, new_key().secret)).encode())
    await authenticator.note_uses()

    assert await pool.fetchval("select last_used_at from credential where id = $1", alice.key.id) is None


async def test_secrets_are_not_stored(client: httpx.AsyncClient, pool: Connections, alice: Person) -> None:
    """No table of the database contains the secret of a key that was created and used, neither as text nor as bytes."""
    await alice.post(URL, json={"first_name": "Ada"}, headers={"Idempotency-Key": "one"})
    tables = [row[0] for row in await pool.fetch("select tablename from pg_tables where schemaname = 'public'")]
    needles = [f"%{text}%" for text in (alice.key.secret, alice.key.secret.encode().hex(), alice.key.secret[:32])]
    found = {
        table: await pool.fetchval(f'select count(*) from "{table}" as t where t::text like any($1)', needles)
        for table in tables
    }

    assert {"credential", "change", "idempotency_record"} <= found.keys()
    assert set(found.values()) == {0}
    assert (await ask(client, str(alice.key))).status_code == 200


async def test_two_keys_have_nothing_in_common() -> None:
    """Each key is new and shows its type."""
    keys = {str(new_key()) for _ in range(100)}

    assert len(keys) == 100
    assert all(len(key) == len("sk-apik_") + 26 + 1 + 38 for key in keys)


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "/api/v2/contacts?limit=0", {}),
        ("GET", "/api/v2/contacts/nobody", {}),
        ("PATCH", "/api/v2/contacts/nobody", {"content": b"{"}),
        ("POST", "/api/v2/contacts", {"content": b" " * 2_000_000}),
        ("POST", "/api/v2/contacts", {"headers": {"Idempotency-Key": ""}}),
        ("DELETE", "/api/v2/contacts/nobody", {"headers": {"If-Match": '"7"'}}),
    ],
)
async def test_credentials_come_before_everything(
    client: httpx.AsyncClient, method: str, path: str, options: dict[str, Any]
) -> None:
    """401 takes precedence over 400, 404, 412, 413 and 422, so strangers learn nothing."""
    response = await client.request(method, path, **options)

    assert response.status_code == 401
