"""OAuth clients of the lab's workspaces: made by a test, with tokens that end by the clock or by a fault."""

import base64
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
import pytest_asyncio

from tests.lab.conftest import NEW_YEAR, Bench, Desk
from tests.oauth.conftest import challenge_of

CONTACTS = "/api/v2/contacts"
TOKEN_URL = "/api/v1/oauth/token"  # noqa: S105  # a path
HOUR = 3600
CALLBACK = "https://app.example/callback"
VERIFIER = "a-verifier-that-has-at-least-43-characters-in-it"


class Program:
    """An OAuth client of a workspace."""

    def __init__(self, desk: Desk, made: dict[str, str]) -> None:
        self.desk = desk
        self.form = {"client_id": made["client_id"], "client_secret": made["client_secret"]}

    async def post(self, path: str, **form: str) -> httpx.Response:
        """Send a form with the credentials of the client."""
        return await self.desk.lab.client.post(path, data={**self.form, **form})

    async def token(self, **form: str) -> dict[str, Any]:
        """Return tokens."""
        response = await self.post(TOKEN_URL, **({"grant_type": "client_credentials"} | form))
        assert response.status_code == 200, response.text
        return response.json()

    async def status(self, token: str) -> int:
        """Return the status of a request with an access token."""
        headers = {"Authorization": f"Bearer {token}"}
        return (await self.desk.lab.client.get(CONTACTS, headers=headers)).status_code

    async def approved(self, **members: str) -> dict[str, str]:
        """Return the parameters with which a user is sent back."""
        asked = {
            "response_type": "code",
            "client_id": self.form["client_id"],
            "redirect_uri": CALLBACK,
            "state": "s1",
            "code_challenge": challenge_of(VERIFIER),
            "code_challenge_method": "S256",
        }
        url = f"http://herdbook.test/oauth/authorize?{urlencode(asked | members)}"
        location: str = (await self.desk.command("POST", "/approvals", json={"url": url}))["location"]
        return dict(parse_qsl(urlsplit(location).query))

    async def let_in(self) -> dict[str, Any]:
        """Return tokens that act for a user."""
        code = (await self.approved())["code"]
        return await self.token(grant_type="authorization_code", code=code, redirect_uri=CALLBACK, code_verifier=VERIFIER)


async def program_of(desk: Desk, **members: Any) -> Program:
    """Create a client that may read contacts."""
    body = {"scopes": ["contacts:read"], "redirect_uris": [CALLBACK], **members}
    return Program(desk, await desk.command("POST", "/clients", json=body))


@pytest_asyncio.fixture
async def program(bench: Bench) -> Program:
    """A client of a workspace whose clock stands still."""
    return await program_of(await bench.workspace("crm-small", clock=NEW_YEAR, random_seed=11))


async def test_a_client_gets_a_token_for_its_workspace(program: Program) -> None:
    """The token reads the contacts of the workspace, and has the scopes of the client alone."""
    token = (await program.token())["access_token"]
    headers = {"Authorization": f"Bearer {token}"}

    read = await program.desk.lab.client.get(f"{CONTACTS}/{program.desk.made['objects']['ada']}", headers=headers)
    written = await program.desk.lab.client.post(CONTACTS, json={"first_name": "New"}, headers=headers)

    assert (read.status_code, written.status_code) == (200, 403)


async def test_a_client_may_name_itself_in_a_header(program: Program) -> None:
    """HTTP Basic leads to the workspace, too, and neither form of the secret is the name of a key in the journal."""
    pair = base64.b64encode("{client_id}:{client_secret}".format_map(program.form).encode()).decode()
    answer = await program.desk.lab.client.post(
        TOKEN_URL, data={"grant_type": "client_credentials"}, headers={"Authorization": f"Basic {pair}"}
    )

    (entry,) = (await program.desk.command("GET", "/journal", params={"operation": "oauth-token"}))["entries"]

    assert answer.status_code == 200
    assert entry["api_key"] == ""


async def test_a_token_expires_by_the_clock(program: Program) -> None:
    """An access token is good for an hour of the workspace's clock."""
    token = (await program.token())["access_token"]

    await program.desk.command("PATCH", "/clock", json={"advance_seconds": HOUR - 1})
    before = await program.status(token)
    await program.desk.command("PATCH", "/clock", json={"advance_seconds": 1})

    assert (before, await program.status(token)) == (200, 401)


async def test_a_token_expires_by_a_fault(program: Program) -> None:
    """The token of the request is over from then on; another one of the same client is not."""
    token, other = (await program.token())["access_token"], (await program.token())["access_token"]
    await program.desk.command("POST", "/faults", json={"fault": "expire_credential", "operation": "list-contacts", "times": 1})

    statuses = [await program.status(each) for each in (token, token, other)]

    assert statuses == [401, 401, 200]


async def test_after_the_fault_a_refresh_gives_the_next_token(program: Program) -> None:
    """A client that acts for a user goes on by its refresh token."""
    tokens = await program.let_in()
    await program.desk.command("POST", "/faults", json={"fault": "expire_credential", "operation": "list-contacts", "times": 1})
    statuses = [await program.status(tokens["access_token"])]

    again = await program.token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    statuses.append(await program.status(again["access_token"]))

    assert statuses == [401, 200]


async def test_a_refresh_token_expires_by_the_clock(program: Program) -> None:
    """After 30 days without a refresh the user must let the client in again."""
    tokens = await program.let_in()

    await program.desk.command("PATCH", "/clock", json={"advance_seconds": 31 * 24 * HOUR})
    refused = await program.post(TOKEN_URL, grant_type="refresh_token", refresh_token=tokens["refresh_token"])

    assert refused.json()["error"] == "invalid_grant"


async def test_tokens_can_be_looked_at_and_revoked(program: Program) -> None:
    """The two other requests of clients reach the workspace, too."""
    token = (await program.token())["access_token"]

    before = (await program.post("/api/herdbook/oauth/introspect", token=token)).json()
    await program.post("/api/herdbook/oauth/revoke", token=token)
    after = (await program.post("/api/herdbook/oauth/introspect", token=token)).json()

    assert before["active"]
    assert before["exp"] == 1_767_225_600 + HOUR
    assert after == {"active": False}


async def test_a_user_refuses_what_the_client_may_not_have(program: Program) -> None:
    """The client is told of a fault of its own at its redirect URI."""
    answer = await program.approved(scope="contacts:write")

    assert answer["error"] == "invalid_scope"
    assert answer["state"] == "s1"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/clients", {"scopes": ["workspace:admin"]}, "scope"),
        ("/clients", {"scopes": ["contacts:read"], "is_public": True}, "redirect_uri"),
        ("/approvals", {"url": "http://herdbook.test/oauth/authorize?client_id=x"}, "client_id"),
        ("/approvals", {"url": "http://herdbook.test/oauth/authorize", "user": "nobody"}, "user"),
        ("/sign-ins", {"user": "nobody"}, "user"),
        ("/sign-ins", {"user": "usr_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"}, "user"),
    ],
    ids=str,
)
async def test_what_cannot_be_made_is_refused(program: Program, path: str, body: dict[str, Any], field: str) -> None:
    """The refusal names the field."""
    response = await program.desk.lab.ask("POST", f"{program.desk.path}{path}", json=body)

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


async def test_workspaces_with_one_random_seed_have_tokens_of_their_own(program: Program, bench: Bench) -> None:
    """Both are there at once, and so are their tokens, and a reset does not make the same token again."""
    other = await program_of(await bench.workspace("crm-small", clock=NEW_YEAR, random_seed=11))
    tokens = [(await each.let_in())["access_token"] for each in (program, other)]
    await other.desk.command("POST", "/reset")
    tokens.append((await other.let_in())["access_token"])

    assert len(set(tokens)) == 3
    assert [await each.status(token) for each, token in zip((program, other, other), tokens, strict=True)] == [200] * 3


async def test_a_client_of_a_deleted_workspace_is_unknown(program: Program) -> None:
    """Neither it nor its tokens let anybody in."""
    token = (await program.token())["access_token"]

    await program.desk.command("DELETE")

    assert await program.status(token) == 401
    assert (await program.post(TOKEN_URL, grant_type="client_credentials")).json()["error"] == "invalid_client"
