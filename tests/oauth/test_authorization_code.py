"""authorization_code: tokens for a user who has agreed (RFC 6749, section 4.1; RFC 7636; RFC 9700)."""

import asyncio
import re
from datetime import timedelta
from typing import Any

import httpx
import pytest

from herdbook.auth.authenticate import Authenticator
from herdbook.auth.scopes import ADMIN
from herdbook.errors import Invalid
from herdbook.oauth.store import revoke_client
from tests.cast import Person
from tests.oauth.conftest import (
    CALLBACK,
    OTHER_CALLBACK,
    SCOPES,
    VERIFIER,
    Connections,
    Program,
    challenge_of,
    new_user,
    refused,
    status_with,
)
from tests.oauth.locks import while_locked


async def test_a_code_is_exchanged_for_tokens(client: httpx.AsyncClient, pool: Connections, program: Program) -> None:
    """A code is exchanged for tokens with the granted scopes, for that user; the answer must not be cached."""
    response = await program.exchange(await program.code())
    tokens = response.json()

    assert response.status_code == 200
    assert re.fullmatch(r"oat_[0-9A-Z]{26}\.[0-9A-Za-z]{38}", tokens["access_token"])
    assert re.fullmatch(r"ort_[0-9A-Z]{26}\.[0-9A-Za-z]{38}", tokens["refresh_token"])
    assert (tokens["token_type"], tokens["expires_in"], tokens["scope"]) == ("Bearer", 3600, "contacts:read contacts:write")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"
    assert await status_with(client, tokens["access_token"]) == 200
    caller = await Authenticator(pool).caller(f"Bearer {tokens['access_token']}".encode())
    assert (caller.credential_id, caller.user_id) == (program.uuid, program.user_id)


@pytest.mark.parametrize("scope", [None, ""])
async def test_a_grant_without_a_scope_has_all(program: Program, scope: str | None) -> None:
    """A grant without a scope has all scopes of the client, and the server says so (RFC 6749, section 3.3)."""
    assert (await program.exchange(await program.code(scope))).json()["scope"] == " ".join(SCOPES)


async def test_the_scope_of_an_exchange_changes_nothing(program: Program) -> None:
    """The parameter `scope` has no effect on the exchange of a code: the user's grant counts."""
    response = await program.exchange(await program.code("contacts:read"), scope="contacts:write")

    assert response.json()["scope"] == "contacts:read"


async def test_a_code_has_the_redirect_uri_that_it_was_sent_to(program: Program) -> None:
    """A code is valid for the redirect URI that it was sent to, and not for another registered one."""
    code = await program.code(redirect_uri=OTHER_CALLBACK)

    assert refused(await program.exchange(code, redirect_uri=CALLBACK)) == (400, "invalid_grant")
    assert (await program.exchange(code, redirect_uri=OTHER_CALLBACK)).status_code == 200


@pytest.mark.parametrize(
    "redirect_uri",
    [CALLBACK + "&", CALLBACK + "#", CALLBACK.upper(), CALLBACK.replace("from", "%66rom"), CALLBACK.partition("?")[0], ""],
)
async def test_a_redirect_uri_is_the_same_to_the_letter(program: Program, redirect_uri: str) -> None:
    """A similar or missing redirect URI is refused (RFC 9700, section 4.1.3)."""
    code = await program.code()

    assert refused(await program.exchange(code, redirect_uri=redirect_uri)) == (400, "invalid_grant")
    with pytest.raises(Invalid) as refusal:
        await program.code(redirect_uri=redirect_uri)
    assert [error.field for error in refusal.value.errors] == ["redirect_uri"]


@pytest.mark.parametrize(
    ("verifier", "error"),
    [
        (VERIFIER[:-1] + "x", "invalid_grant"),
        (challenge_of(VERIFIER), "invalid_grant"),
        ("", "invalid_request"),
        ("short", "invalid_request"),
        (VERIFIER + "\n", "invalid_grant"),
        ("é" * 43, "invalid_request"),
    ],
    ids=["other", "the challenge itself, as in plain", "missing", "short", "with a line end", "no ASCII"],
)
async def test_a_wrong_verifier_is_refused(program: Program, verifier: str, error: str) -> None:
    """A wrong verifier is refused and does not use up the code, so that the client that began can still exchange it."""
    code = await program.code()

    assert refused(await program.exchange(code, code_verifier=verifier)) == (400, error)
    assert (await program.exchange(code)).status_code == 200


@pytest.mark.parametrize("wait", [55, 60])
async def test_a_code_lasts_a_minute(program: Program, wait: int) -> None:
    """A code expires after a minute."""
    code = await program.code()
    await program.let_pass(timedelta(seconds=wait))
    response = await program.exchange(code)

    if wait < 60:
        assert response.status_code == 200
    else:
        assert refused(response) == (400, "invalid_grant")


@pytest.mark.parametrize("how", ["as before", "with a wrong verifier", "with another redirect URI", "late"])
async def test_a_code_that_comes_back_revokes_its_tokens(client: httpx.AsyncClient, program: Program, how: str) -> None:
    """A code that is used again revokes its tokens, because the first user may have been a thief (RFC 6749, section 4.1.2)."""
    code = await program.code()
    tokens = (await program.exchange(code)).json()
    newer = (await program.refresh(tokens["refresh_token"])).json()
    if how == "late":
        await program.let_pass(timedelta(minutes=30))
    changes = {
        "with a wrong verifier": {"code_verifier": "x" * 43},
        "with another redirect URI": {"redirect_uri": OTHER_CALLBACK},
    }
    again = await program.exchange(code, **changes.get(how, {}))

    assert refused(again) == (400, "invalid_grant")
    assert [await status_with(client, each["access_token"]) for each in (tokens, newer)] == [401, 401]
    assert refused(await program.refresh(newer["refresh_token"])) == (400, "invalid_grant")


async def test_a_code_that_comes_back_revokes_nothing_else(client: httpx.AsyncClient, program: Program) -> None:
    """A reused code revokes neither another grant of the same user nor the client's own tokens."""
    code = await program.code()
    await program.exchange(code)
    other, own = await program.tokens(), (await program.ask("client_credentials")).json()
    await program.exchange(code)

    assert [await status_with(client, each["access_token"]) for each in (other, own)] == [200, 200]
    assert (await program.refresh(other["refresh_token"])).status_code == 200


async def test_of_two_exchanges_at_once_one_gets_tokens(client: httpx.AsyncClient, pool: Connections, program: Program) -> None:
    """Only one of two simultaneous exchanges gets tokens, and they are revoked, because the code was used twice."""
    code = await program.code()
    row = ("select from oauth_grant where client_id = $1 for update", program.uuid)
    responses = await while_locked(pool, row, "oauth_grant set used_at", lambda: program.exchange(code))
    granted = [response.json() for response in responses if response.status_code == 200]

    assert sorted(response.status_code for response in responses) == [200, 400]
    assert await status_with(client, granted[0]["access_token"]) == 401


async def test_a_grant_that_is_revoked_meanwhile_gives_nothing(pool: Connections, program: Program) -> None:
    """A grant that is revoked during the exchange gives no tokens, even if its code was valid when it was read."""
    code = await program.code()
    revoke = ("update oauth_grant set revoked_at = now() where client_id = $1", program.uuid)
    responses = await while_locked(pool, revoke, "oauth_grant set used_at", lambda: program.exchange(code))

    assert [refused(response) for response in responses] == [(400, "invalid_grant")] * 2


async def test_the_code_of_another_client_is_refused(program: Program, other_program: Program) -> None:
    """Another client's code is refused like an unknown one, and still works for its own client."""
    code = await program.code()

    assert refused(await other_program.exchange(code)) == (400, "invalid_grant")
    assert (await program.exchange(code)).status_code == 200


async def test_the_used_code_of_another_client_revokes_nothing(
    client: httpx.AsyncClient, program: Program, other_program: Program
) -> None:
    """A used code of another client revokes nothing."""
    code = await program.code()
    tokens = (await program.exchange(code)).json()

    assert refused(await other_program.exchange(code)) == (400, "invalid_grant")
    assert await status_with(client, tokens["access_token"]) == 200


@pytest.mark.parametrize("how", ["missing", "nonsense", "mistyped", "other secret", "refresh token"])
async def test_what_is_no_code_is_refused(program: Program, how: str) -> None:
    """Anything but a valid code is refused."""
    code, other = await program.code(), await program.code()
    sent = {
        "missing": "",
        "nonsense": "xyzzy\x00",
        "mistyped": code[:-1],
        "other secret": code.partition(".")[0] + "." + other.partition(".")[2],
        "refresh token": (await program.tokens())["refresh_token"],
    }[how]

    assert refused(await program.exchange(sent)) == (400, "invalid_request" if how == "missing" else "invalid_grant")
    assert (await program.exchange(code)).status_code == 200


@pytest.mark.parametrize("end", ["is_active = false", "deleted_at = now()"])
async def test_a_grant_ends_with_its_user(client: httpx.AsyncClient, pool: Connections, program: Program, end: str) -> None:
    """A grant ends when its user is deactivated or deleted."""
    code, tokens = await program.code(), await program.tokens()
    await pool.execute(f"update workspace_user set {end} where id = $1", program.user_id)

    assert refused(await program.exchange(code)) == (400, "invalid_grant")
    assert refused(await program.refresh(tokens["refresh_token"])) == (400, "invalid_grant")
    assert await status_with(client, tokens["access_token"]) == 401


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"}, ["client_id"]),
        ({"client_id": "nobody"}, ["client_id"]),
        ({"redirect_uri": "https://evil.example/"}, ["redirect_uri"]),
        ({"scope": "contacts:read tags:read"}, ["scope"]),
        ({"scope": ADMIN}, ["scope"]),
        ({"code_challenge_method": "plain", "code_challenge": VERIFIER}, ["code_challenge_method", "code_challenge"]),
        ({"code_challenge_method": ""}, ["code_challenge_method"]),
        ({"code_challenge": ""}, ["code_challenge"]),
        ({"code_challenge": "=" * 43}, ["code_challenge"]),
    ],
    ids=str,
)
async def test_no_code_is_issued_for_a_wrong_request(
    program: Program, pool: Connections, changes: dict[str, Any], fields: list[str]
) -> None:
    """A wrong request is refused with its fields, so that a page knows whether it may redirect; PKCE with S256 is required."""
    with pytest.raises(Invalid) as refusal:
        await program.code(**changes)

    assert [error.field for error in refusal.value.errors] == fields
    assert await pool.fetchval("select count(*) from oauth_grant where client_id = $1", program.uuid) == 0


async def test_a_program_on_this_machine_listens_at_any_port(program: Program) -> None:
    """A loopback redirect may have another port than the registered one (RFC 8252), which the exchange must repeat."""
    redirect_uri = OTHER_CALLBACK.replace(":4000", ":52345")
    code = await program.code(redirect_uri=redirect_uri)

    assert refused(await program.exchange(code, redirect_uri=OTHER_CALLBACK)) == (400, "invalid_grant")
    assert (await program.exchange(code, redirect_uri=redirect_uri)).status_code == 200


@pytest.mark.parametrize(
    "redirect_uri",
    [
        *("http://localhost:4000@evil.example/callback", "http://localhost.evil.example/callback"),
        *("http://127.0.0.1:4000/callback", "http://localhost:99999/callback", "http://localhost:/callback"),
        *("http://localhost:4000/callback/", "http://localhost:4000/callback?x", "https://localhost:4000/callback"),
        "https://app.example:444/callback?from=herdbook",
    ],
)
async def test_nothing_but_the_port_may_differ(program: Program, redirect_uri: str) -> None:
    """Only the port may differ, and only for loopback addresses."""
    with pytest.raises(Invalid) as refusal:
        await program.code(redirect_uri=redirect_uri)

    assert [error.field for error in refusal.value.errors] == ["redirect_uri"]


async def test_no_code_is_issued_for_a_revoked_client(program: Program, pool: Connections) -> None:
    """A revoked client gets no code."""
    await revoke_client(pool, program.uuid)
    with pytest.raises(Invalid) as refusal:
        await program.code()

    assert [error.field for error in refusal.value.errors] == ["client_id"]


async def test_nobody_grants_access_to_another_workspace(program: Program, pool: Connections, charlie: Person) -> None:
    """Charlie cannot grant access to a client of Alice's workspace."""
    stranger = await new_user(pool, charlie.workspace_id)
    with pytest.raises(Invalid) as refusal:
        await program.code(user_id=stranger)

    assert [error.field for error in refusal.value.errors] == ["user_id"]


async def test_no_two_codes_are_the_same(program: Program) -> None:
    """Every code is new, and recognisable by its prefix."""
    codes = await asyncio.gather(*(program.code() for _ in range(5)))

    assert len(set(codes)) == 5
    assert all(re.fullmatch(r"oac_[0-9A-Z]{26}\.[0-9A-Za-z]{38}", code) for code in codes)
