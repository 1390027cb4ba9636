"""Access tokens on the operations: who may use them, how long they last, and what is stored of them."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from herdbook.auth.authenticate import Authenticator
from herdbook.auth.keys import new_token
from herdbook.errors import Unauthenticated
from herdbook.oauth.store import create_client, forget_old_tokens, revoke_client
from tests.cast import Person, Thing
from tests.oauth.conftest import CONTACTS_URL, Connections, Program, challenge_of, new_user, status_with


async def token_for(program: Program, scope: str) -> str:
    """Return an access token for the client itself."""
    token: str = (await program.ask("client_credentials", scope=scope)).json()["access_token"]
    return token


def bearer(token: str) -> dict[str, str]:
    """Return the header with a token."""
    return {"Authorization": f"Bearer {token}"}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


async def test_a_token_does_what_its_scopes_say(client: httpx.AsyncClient, program: Program) -> None:
    """A token permits its own scopes only, whatever else its client may have."""
    reads = await token_for(program, "contacts:read")
    writes = await token_for(program, "contacts:write")
    ada = {"first_name": "Ada"}

    assert (await client.get(CONTACTS_URL, headers=bearer(reads))).status_code == 200
    assert (await client.post(CONTACTS_URL, json=ada, headers=bearer(writes))).status_code == 201
    assert (await client.get(CONTACTS_URL, headers=bearer(writes))).status_code == 403
    assert (await client.post(CONTACTS_URL, json=ada, headers=bearer(reads))).status_code == 403


async def test_a_token_works_for_a_user_as_for_a_client(client: httpx.AsyncClient, program: Program) -> None:
    """A token granted by a user reads and writes, too."""
    headers = bearer((await program.tokens())["access_token"])
    written = await client.post(CONTACTS_URL, json={"first_name": "Ada"}, headers=headers)

    assert written.status_code == 201
    assert (await client.get(Thing(written).url, headers=headers)).json() == written.json()


async def test_the_data_of_other_workspaces_cannot_be_reached(
    client: httpx.AsyncClient, program: Program, charlie: Person
) -> None:
    """A client of Alice's workspace finds and changes nothing in Charlie's."""
    theirs = Thing(await charlie.post(CONTACTS_URL, json={"first_name": "Charlie"}))
    headers = bearer((await program.tokens())["access_token"])
    found = await client.get(CONTACTS_URL, headers=headers)
    answers = [
        await client.get(theirs.url, headers=headers),
        await client.patch(theirs.url, json={"first_name": "Eve"}, headers=headers),
        await client.delete(theirs.url, headers=headers),
    ]

    assert found.json()["data"] == []
    assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert (await charlie.get(theirs.url)).json() == theirs.json


async def test_clients_share_no_idempotency_keys(client: httpx.AsyncClient, program: Program, other_program: Program) -> None:
    """An idempotency key belongs to the client, whichever of its tokens comes with it."""

    async def write(token: str) -> str:
        headers = {**bearer(token), "Idempotency-Key": "one"}
        answer: str = (await client.post(CONTACTS_URL, json={"first_name": "Ada"}, headers=headers)).json()["id"]
        return answer

    first = await write(await token_for(program, "contacts:write"))

    assert await write((await program.tokens())["access_token"]) == first
    assert await write(await token_for(other_program, "contacts:write")) != first


@pytest.mark.parametrize("how", ["unknown", "other secret", "mistyped", "refresh token", "code", "client", "client secret"])
async def test_what_is_no_access_token_is_refused(client: httpx.AsyncClient, program: Program, how: str) -> None:
    """A wrong token gets the usual challenge, and is not echoed."""
    tokens = await program.tokens()
    token = tokens["access_token"]
    sent = {
        "unknown": str(new_token("oat_")),
        "other secret": token.partition(".")[0] + "." + (await token_for(program, "contacts:read")).partition(".")[2],
        "mistyped": token[:-1],
        "refresh token": tokens["refresh_token"],
        "code": await program.code(),
        "client": program.id,
        "client secret": program.secret,
    }[how]
    response = await client.get(CONTACTS_URL, headers=bearer(sent))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert sent not in response.text


@pytest.mark.parametrize("minutes", [59, 60])
async def test_a_token_lasts_an_hour(client: httpx.AsyncClient, program: Program, minutes: int) -> None:
    """A token expires after an hour."""
    token = await token_for(program, "contacts:read")
    await program.let_pass(timedelta(minutes=minutes))

    assert await status_with(client, token) == (200 if minutes < 60 else 401)


async def test_a_token_in_use_is_not_trusted_past_its_expiry(pool: Connections, program: Program) -> None:
    """A cached token that expires in a second is looked up again after that second."""
    header = f"Bearer {await token_for(program, 'contacts:read')}".encode()
    clock = Clock()
    authenticator = Authenticator(pool, clock)
    await program.let_pass(timedelta(hours=1) - timedelta(seconds=1))
    await authenticator.caller(header)
    await program.let_pass(timedelta(seconds=1))
    clock.time += 1

    with pytest.raises(Unauthenticated, match="expired or was revoked"):
        await authenticator.caller(header)


@pytest.mark.parametrize("how", ["client", "grant"])
async def test_a_revoked_token_stops_within_five_seconds(pool: Connections, program: Program, how: str) -> None:
    """A revoked client or grant stops its tokens within 5 seconds, even cached ones."""
    tokens = await program.tokens()
    header = f"Bearer {tokens['access_token']}".encode()
    clock = Clock()
    authenticator = Authenticator(pool, clock)
    await authenticator.caller(header)
    if how == "client":
        await revoke_client(pool, program.uuid)
    else:
        await program.refresh(tokens["refresh_token"])
        await program.reuse(tokens["refresh_token"])
    clock.time += 5

    with pytest.raises(Unauthenticated, match="expired or was revoked"):
        await authenticator.caller(header)


async def test_a_token_in_use_is_not_looked_up_each_time(pool: Connections, program: Program) -> None:
    """A token in use is cached for a moment, as a key is."""
    header = f"Bearer {await token_for(program, 'contacts:read')}".encode()
    clock = Clock()
    authenticator = Authenticator(pool, clock)
    before = await authenticator.caller(header)
    await revoke_client(pool, program.uuid)
    clock.time += 1

    assert await authenticator.caller(header) is before


async def test_a_use_is_noted(pool: Connections, program: Program, other_program: Program) -> None:
    """The last use of a client is recorded, as it is for keys."""
    authenticator = Authenticator(pool)
    await authenticator.caller(f"Bearer {await token_for(program, 'contacts:read')}".encode())
    await authenticator.note_uses()
    used = "select last_used_at from oauth_client where id = $1"

    assert datetime.now(UTC) - await pool.fetchval(used, program.uuid) < timedelta(minutes=1)
    assert await pool.fetchval(used, other_program.uuid) is None


async def test_no_secret_is_stored(client: httpx.AsyncClient, pool: Connections, program: Program) -> None:
    """No table contains the secret of a client, a code or a token, as text or as bytes."""
    unused, code = await program.code(), await program.code()
    old = (await program.exchange(code)).json()
    new = (await program.refresh(old["refresh_token"])).json()
    await client.post(CONTACTS_URL, json={}, headers={**bearer(new["access_token"]), "Idempotency-Key": "one"})
    given = [program.secret, unused, code, *(each[name] for each in (old, new) for name in ("access_token", "refresh_token"))]
    secrets = [text.rpartition(".")[2].removeprefix("ocs_") for text in given]
    forms = [form for secret in secrets for form in (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode())]
    tables = [row[0] for row in await pool.fetch("select tablename from pg_tables where schemaname = 'public'")]
    needles = [f"%{form}%" for form in forms]
    found = {
        table: await pool.fetchval(f'select count(*) from "{table}" as t where t::text like any($1)', needles)
        for table in tables
    }

    assert {"oauth_client", "oauth_grant", "oauth_refresh_token", "oauth_access_token", "change"} <= found.keys()
    assert set(found.values()) == {0}
    assert len(set(secrets)) == 7


async def counted(pool: Connections, program: Program) -> list[int]:
    """Return how many grants, refresh tokens and access tokens a client has stored."""
    row: Any = await pool.fetchrow(
        """
        select (select count(*) from oauth_grant where client_id = $1),
            (select count(*) from oauth_refresh_token
                where grant_id in (select id from oauth_grant where client_id = $1)),
            (select count(*) from oauth_access_token where client_id = $1)
        """,
        program.uuid,
    )
    return list(row)


async def test_what_is_over_is_forgotten(client: httpx.AsyncClient, pool: Connections, program: Program) -> None:
    """Expired rows are deleted: a code after a minute, an access token after an hour, a grant with its last refresh token."""
    await program.code()
    tokens = await program.tokens()
    steps = [await counted(pool, program)]
    for time in (timedelta(seconds=0), timedelta(minutes=2), timedelta(hours=1), timedelta(days=30)):
        await program.let_pass(time)
        await forget_old_tokens(pool)
        steps.append(await counted(pool, program))

    assert steps == [[2, 1, 1], [2, 1, 1], [1, 1, 1], [1, 1, 0], [0, 0, 0]]
    assert await status_with(client, tokens["access_token"]) == 401


async def test_a_used_refresh_token_is_kept(client: httpx.AsyncClient, pool: Connections, program: Program) -> None:
    """A used refresh token is kept until it would have expired, so that its reuse is detected."""
    old = await program.tokens()
    new = (await program.refresh(old["refresh_token"])).json()
    await program.let_pass(timedelta(minutes=10))
    await forget_old_tokens(pool)
    await program.reuse(old["refresh_token"])

    assert await status_with(client, new["access_token"]) == 401


async def test_the_clients_of_two_workspaces(
    client: httpx.AsyncClient, pool: Connections, program: Program, charlie: Person
) -> None:
    """Clients of two workspaces each see their own workspace."""
    new_client = await create_client(pool, charlie.workspace_id, "Charlie's program", ["contacts:read"], [])
    theirs = Program(client, pool, new_client, program.user_id)
    await charlie.post(CONTACTS_URL, json={"first_name": "Charlie"})
    lists = [
        (await client.get(CONTACTS_URL, headers=bearer(await token_for(each, "contacts:read")))).json()["data"]
        for each in (program, theirs)
    ]

    assert [[contact["first_name"] for contact in contacts] for contacts in lists] == [[], ["Charlie"]]


def test_a_challenge_is_as_the_rfc_has_it() -> None:
    """The tests compute challenges as the RFC does (RFC 7636, appendix B)."""
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_users_of_a_client_do_not_see_the_files_of_each_other(
    client: httpx.AsyncClient, pool: Connections, program: Program, workspace_id: UUID
) -> None:
    """A token sees the import that was sent for its user with no further scopes than its own, and others by its scopes."""
    narrow = "contacts:read contacts:write"

    async def token(scope: str, user_id: UUID) -> str:
        answer = await program.exchange(await program.code(scope=scope, user_id=user_id))
        found: str = answer.json()["access_token"]
        return found

    async def sent(token: str) -> str:
        file = b"First name,Company\nAda,Secret Engines\n"
        answer = await client.post("/api/herdbook/imports", params={"name": "a.csv"}, content=file, headers=bearer(token))
        assert "Secret Engines" in answer.text
        return f"/api/herdbook/imports/{answer.json()['id']}"

    bob = await new_user(pool, workspace_id)
    whole, fewer, others = (
        await token(f"companies:read {narrow}", program.user_id),
        await token(narrow, program.user_id),
        await token(narrow, bob),
    )
    of_whole, of_fewer = await sent(whole), await sent(fewer)
    found = [
        ((shown := await client.get(url, headers=bearer(each))).status_code, "Secret Engines" in shown.text)
        for url, each in ((of_whole, whole), (of_whole, fewer), (of_whole, others), (of_fewer, fewer), (of_fewer, others))
    ]
    refused = [
        (await client.get(f"{url}/problems", headers=bearer(each))).status_code
        for url, each in ((of_whole, fewer), (of_whole, others), (of_fewer, others), (of_fewer, fewer), (of_fewer, whole))
    ]

    assert found == [(200, True), (200, False), (200, False), (200, True), (200, False)]
    assert refused == [403, 403, 403, 200, 200]
