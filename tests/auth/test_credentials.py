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
    """The key is the whole header, as documented, or a bearer token, as the OpenAPI document has it; schemes have no case."""
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
    """What is neither a key nor a token is refused, with a challenge and without an echo."""
    response = await ask(client, spelling.format(alice.key))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="herdbook", error="invalid_token"'
    assert response.json()["type"].endswith("/unauthorized")
    assert alice.key.secret not in response.text


async def test_a_header_that_is_no_text_is_refused(client: httpx.AsyncClient, alice: Person) -> None:
    """Bytes that are no ASCII do not fail the server."""
    responses = [await ask(client, value) for value in (b"\xff\xfe", str(alice.key).encode() + b"\xe9", b"sk-apik_\xe9.\xe9")]

    assert [response.status_code for response in responses] == [401, 401, 401]


def mistyped(key: ApiKey) -> dict[str, str]:
    """Return ways to get a key wrong."""
    text, secret = str(key), key.secret
    other = "a" if secret[5] != "a" else "b"
    # The last two that are not the same.
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
    """The checksum at the end of a secret shows what is mistyped or cut off."""
    response = await ask(client, mistyped(alice.key)[how])

    assert response.status_code == 401
    assert "mistyped or cut off" in response.json()["detail"]


async def test_an_unknown_key_is_refused(client: httpx.AsyncClient) -> None:
    """A key that looks right is not known for that."""
    response = await ask(client, str(new_key()))

    assert response.status_code == 401
    assert "No such API key is known here." in response.json()["detail"]


async def test_a_wrong_secret_is_refused_as_unknown(client: httpx.AsyncClient, alice: Person, bob: Person) -> None:
    """Whether the id or the secret is wrong is not told; another key's secret does not help."""
    guessed = await ask(client, str(ApiKey(alice.key.id, new_key().secret)))
    borrowed = await ask(client, str(ApiKey(alice.key.id, bob.key.secret)))

    assert (guessed.status_code, borrowed.status_code) == (401, 401)
    assert guessed.json()["detail"] == borrowed.json()["detail"] == "No such API key is known here."


async def test_an_id_has_one_spelling(client: httpx.AsyncClient, alice: Person) -> None:
    """A key whose id is in lower case is no key."""
    response = await ask(client, str(alice.key).replace("01", "0l", 1))

    assert response.status_code == 401


async def test_an_expired_key_is_refused(client: httpx.AsyncClient, pool: Connections, workspace_id: UUID) -> None:
    """A key lasts until it expires."""
    now = datetime.now(UTC)
    expired = await create_key(pool, workspace_id, "Past", ["contacts:read"], now - timedelta(seconds=1))
    lasting = await create_key(pool, workspace_id, "Future", ["contacts:read"], now + timedelta(days=1))
    responses = [await ask(client, str(key)) for key in (expired, lasting)]

    assert [response.status_code for response in responses] == [401, 200]
    assert "expired or was revoked" in responses[0].json()["detail"]


async def test_a_revoked_key_is_refused(client: httpx.AsyncClient, pool: Connections, alice: Person) -> None:
    """A key that was not used in the last seconds is refused from the moment on in which it is revoked."""
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
    """A clock that stands still."""
    return Clock()


@pytest_asyncio.fixture
async def authenticator(pool: Connections, clock: Clock) -> Authenticator:
    """An authenticator that goes by the test's clock."""
    return Authenticator(pool, clock)


async def test_a_revoked_key_stops_within_five_seconds(
    authenticator: Authenticator, clock: Clock, pool: Connections, alice: Person
) -> None:
    """A key that is in use when it is revoked is refused five seconds later, however often it was used in between."""
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
    """Scopes that were taken away are gone after five seconds, too."""
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
    """`last_used_at` tells when a key was used, and of keys that were not, nothing."""
    used = "select last_used_at from credential where id = $1"
    await authenticator.caller(str(alice.key).encode())
    before = await pool.fetchval(used, alice.key.id)
    await authenticator.note_uses()

    assert before is None
    assert datetime.now(UTC) - await pool.fetchval(used, alice.key.id) < timedelta(minutes=1)
    assert await pool.fetchval(used, bob.key.id) is None


async def test_a_refused_use_is_not_noted(authenticator: Authenticator, pool: Connections, alice: Person) -> None:
    """Whoever guesses at a secret does not make its key look alive."""
    with pytest.raises(Unauthenticated):
        await authenticator.caller(str(ApiKey(alice.key.id, new_key().secret)).encode())
    await authenticator.note_uses()

    assert await pool.fetchval("select last_used_at from credential where id = $1", alice.key.id) is None


async def test_secrets_are_not_stored(client: httpx.AsyncClient, pool: Connections, alice: Person) -> None:
    """Nothing in the database has the secret of a key that was created and used, in whatever table, in text or in bytes."""
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
    """Each key is new, and says itself what it is."""
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
    """401 goes before 400, 404, 412, 413 and 422: strangers learn nothing."""
    response = await client.request(method, path, **options)

    assert response.status_code == 401
