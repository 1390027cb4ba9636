"""refresh_token: new tokens for old ones (RFC 6749, section 6; RFC 9700, section 4.14.2)."""

from datetime import timedelta

import httpx
import pytest

from herdbook.oauth.store import forget_old_tokens
from tests.oauth.conftest import SCOPES, Connections, Program, refused, status_with
from tests.oauth.locks import while_locked


async def test_a_refresh_token_is_exchanged_for_new_tokens(client: httpx.AsyncClient, program: Program) -> None:
    """Each exchange gives a new access token and refresh token; the old access token stays valid until it expires."""
    old = await program.tokens()
    response = await program.refresh(old["refresh_token"])
    new = response.json()

    assert response.status_code == 200
    assert (new["token_type"], new["expires_in"], new["scope"]) == ("Bearer", 3600, "contacts:read contacts:write")
    assert new["access_token"] != old["access_token"]
    assert new["refresh_token"] != old["refresh_token"]
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Pragma"] == "no-cache"
    assert [await status_with(client, each["access_token"]) for each in (old, new)] == [200, 200]


@pytest.mark.parametrize("generations", [1, 3])
@pytest.mark.parametrize("scope", ["", "contacts:read", "tags:read"])
async def test_one_that_comes_back_revokes_the_whole_family(
    client: httpx.AsyncClient, program: Program, generations: int, scope: str
) -> None:
    """Reuse of any refresh token revokes the whole family, because one of its holders is a thief."""
    family = [await program.tokens()]
    for _ in range(generations):
        family.append((await program.refresh(family[-1]["refresh_token"])).json())

    assert refused(await program.reuse(family[0]["refresh_token"], scope=scope)) == (400, "invalid_grant")
    assert {await status_with(client, each["access_token"]) for each in family} == {401}
    assert refused(await program.refresh(family[-1]["refresh_token"])) == (400, "invalid_grant")


async def test_one_that_comes_back_revokes_no_other_family(client: httpx.AsyncClient, program: Program) -> None:
    """Reuse of a refresh token leaves the user's other grants to the client alone."""
    family, other = await program.tokens(), await program.tokens()
    await program.refresh(family["refresh_token"])
    await program.reuse(family["refresh_token"])

    assert await status_with(client, other["access_token"]) == 200
    assert (await program.refresh(other["refresh_token"])).status_code == 200


async def test_two_refreshes_at_once_get_the_same_successor(
    client: httpx.AsyncClient, pool: Connections, program: Program
) -> None:
    """Two processes of a program may refresh at once: both get the same next refresh token, and an access token each."""
    tokens = await program.tokens()
    row = (
        "select from oauth_refresh_token where grant_id in (select id from oauth_grant where client_id = $1) for update",
        program.uuid,
    )
    responses = await while_locked(
        pool, row, "set used_at = now(), received_at", lambda: program.refresh(tokens["refresh_token"])
    )
    first, second = (response.json() for response in responses)

    assert first["refresh_token"] == second["refresh_token"]
    assert [await status_with(client, each["access_token"]) for each in (first, second)] == [200, 200]
    assert (await program.refresh(first["refresh_token"])).status_code == 200


async def test_within_ten_seconds_it_may_come_again(client: httpx.AsyncClient, program: Program) -> None:
    """A second refresh within ten seconds gets the same successor, even if that is already in use; its scope may differ."""
    old = await program.tokens()
    new = (await program.refresh(old["refresh_token"])).json()
    assert await status_with(client, new["access_token"]) == 200
    await program.let_pass(timedelta(seconds=8))
    again = (await program.refresh(old["refresh_token"], scope="contacts:write")).json()

    assert (again["refresh_token"], again["scope"]) == (new["refresh_token"], "contacts:write")
    assert await status_with(client, again["access_token"]) == 403
    assert (await program.refresh(new["refresh_token"])).status_code == 200


@pytest.mark.parametrize("time", [timedelta(seconds=11), timedelta(hours=3)])
async def test_a_lost_answer_may_be_asked_for_again(client: httpx.AsyncClient, program: Program, time: timedelta) -> None:
    """As long as nobody has used what an answer gave, it may have been lost: the same successor comes again."""
    old = await program.tokens()
    lost = (await program.refresh(old["refresh_token"])).json()
    await program.let_pass(time)
    again = (await program.refresh(old["refresh_token"])).json()

    assert again["refresh_token"] == lost["refresh_token"]
    assert await status_with(client, again["access_token"]) == 200
    assert (await program.refresh(again["refresh_token"])).status_code == 200


async def test_an_answer_that_was_used_was_not_lost(client: httpx.AsyncClient, program: Program) -> None:
    """After ten seconds, an access token that was used shows that its client has the successor: reuse."""
    old = await program.tokens()
    new = (await program.refresh(old["refresh_token"])).json()
    assert await status_with(client, new["access_token"]) == 200
    await program.let_pass(timedelta(seconds=11))

    assert refused(await program.refresh(old["refresh_token"])) == (400, "invalid_grant")
    assert refused(await program.refresh(new["refresh_token"])) == (400, "invalid_grant")


async def test_a_revoked_grant_repeats_nothing(pool: Connections, program: Program) -> None:
    """A refresh that is sent again after its grant was revoked gets nothing."""
    old = await program.tokens()
    await program.refresh(old["refresh_token"])
    await pool.execute("update oauth_grant set revoked_at = now() where client_id = $1", program.uuid)

    assert refused(await program.refresh(old["refresh_token"])) == (400, "invalid_grant")


async def test_a_grant_that_is_revoked_meanwhile_gives_nothing(pool: Connections, program: Program) -> None:
    """A grant that is revoked during the refresh gives no tokens, even if the refresh token was valid when it was read."""
    tokens = await program.tokens()
    revoke = ("update oauth_grant set revoked_at = now() where client_id = $1", program.uuid)
    responses = await while_locked(
        pool, revoke, "set used_at = now(), received_at", lambda: program.refresh(tokens["refresh_token"])
    )

    assert [refused(response) for response in responses] == [(400, "invalid_grant")] * 2


async def test_a_scope_can_be_narrowed(client: httpx.AsyncClient, program: Program) -> None:
    """A narrower scope applies to this access token only; the grant stays as it was (RFC 6749, section 6)."""
    tokens = await program.tokens()
    narrow = (await program.refresh(tokens["refresh_token"], scope="contacts:write")).json()
    whole = (await program.refresh(narrow["refresh_token"])).json()

    assert narrow["scope"] == "contacts:write"
    assert await status_with(client, narrow["access_token"]) == 403
    assert whole["scope"] == "contacts:read contacts:write"


@pytest.mark.parametrize("scope", [" ".join(SCOPES), "companies:read", "workspace:admin", "contacts:read tags:read", " ", "x"])
async def test_a_scope_cannot_be_widened(program: Program, scope: str) -> None:
    """A wider scope is refused, even one that the client has, and does not use up the refresh token."""
    tokens = await program.tokens()

    assert refused(await program.refresh(tokens["refresh_token"], scope=scope)) == (400, "invalid_scope")
    assert (await program.refresh(tokens["refresh_token"])).status_code == 200


@pytest.mark.parametrize("days", [29, 30])
async def test_a_refresh_token_lasts_thirty_days(program: Program, days: int) -> None:
    """A refresh token expires after thirty days."""
    tokens = await program.tokens()
    await program.let_pass(timedelta(days=days))
    response = await program.refresh(tokens["refresh_token"])

    if days < 30:
        assert response.status_code == 200
    else:
        assert refused(response) == (400, "invalid_grant")


async def test_an_answer_that_was_lost_may_be_asked_for_within_thirty_days(program: Program) -> None:
    """A token that was used on its last day gives nothing after it, although nobody has used the next one."""
    tokens = await program.tokens()
    await program.let_pass(timedelta(days=29))
    await program.refresh(tokens["refresh_token"])
    await program.let_pass(timedelta(days=2))

    assert refused(await program.refresh(tokens["refresh_token"])) == (400, "invalid_grant")


async def test_thirty_days_begin_anew_with_each(pool: Connections, program: Program) -> None:
    """Each refresh starts thirty new days."""
    tokens = await program.tokens()
    for _ in range(3):
        await program.let_pass(timedelta(days=29))
        await forget_old_tokens(pool)
        tokens = (await program.refresh(tokens["refresh_token"])).json()

    assert tokens["scope"] == "contacts:read contacts:write"


async def test_that_of_another_client_is_refused(client: httpx.AsyncClient, program: Program, other_program: Program) -> None:
    """Another client's refresh token, new or used, is refused like an unknown one, and nothing is revoked."""
    old = await program.tokens()
    new = (await program.refresh(old["refresh_token"])).json()
    responses = [await other_program.refresh(each["refresh_token"]) for each in (old, new)]

    assert {refused(response) for response in responses} == {(400, "invalid_grant")}
    assert await status_with(client, new["access_token"]) == 200
    assert (await program.refresh(new["refresh_token"])).status_code == 200


@pytest.mark.parametrize("how", ["missing", "nonsense", "mistyped", "other secret", "access token"])
async def test_what_is_no_refresh_token_is_refused(program: Program, how: str) -> None:
    """Anything but a valid refresh token is refused."""
    tokens, others = await program.tokens(), await program.tokens()
    token = tokens["refresh_token"]
    sent = {
        "missing": "",
        "nonsense": "xyzzy",
        "mistyped": token[:-1],
        "other secret": token.partition(".")[0] + "." + others["refresh_token"].partition(".")[2],
        "access token": tokens["access_token"],
    }[how]

    assert refused(await program.refresh(sent)) == (400, "invalid_request" if how == "missing" else "invalid_grant")
    assert (await program.refresh(token)).status_code == 200
