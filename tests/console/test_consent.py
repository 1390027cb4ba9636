"""The page on which a person lets a program in: the request, the offer, the decision, and each refusal."""

import re
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import httpx
import pytest
import pytest_asyncio

from herdbook.oauth.store import create_client, revoke_client
from herdbook.users.model import UserRole
from tests.cast import Person
from tests.console.people import ORIGIN, People, Visitor
from tests.oauth.conftest import CALLBACK, OTHER_CALLBACK, VERIFIER, Connections, Program, challenge_of

PAGE: Final = "/oauth/authorize"
SCOPES: Final = ["contacts:read", "contacts:write", "engagements:private:read", "engagements:read"]


@pytest_asyncio.fixture
async def program(client: httpx.AsyncClient, pool: Connections, workspace_id: UUID) -> Program:
    """A program of Alice's workspace."""
    new = await create_client(pool, workspace_id, "Calendar <b>sync</b>", SCOPES, [CALLBACK, OTHER_CALLBACK])
    return Program(client, pool, new, UUID(int=0))


def request_of(program: Program, **changes: str | None) -> dict[str, str]:
    """Return the parameters of a request of a program, with changes; None leaves one out."""
    asked: dict[str, str | None] = {
        "response_type": "code",
        "client_id": program.id,
        "redirect_uri": CALLBACK,
        "scope": "contacts:read contacts:write",
        "state": "xyz &#123;",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    return {name: value for name, value in (asked | changes).items() if value is not None}


async def shown(visitor: Visitor, program: Program, **changes: str | None) -> httpx.Response:
    """Open the page as a program asks for it."""
    return await visitor.client.get(PAGE, params=request_of(program, **changes))


async def decided(
    visitor: Visitor, page: httpx.Response, decision: str = "allow", headers: dict[str, str] | None = None, **form: str
) -> httpx.Response:
    """Send the form of a page."""
    fields = dict(re.findall(r'type="hidden" name="(form_token|scope)" value="([^"]*)"', page.text))
    sent = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", **(headers or {})}
    body = {**fields, "decision": decision, **form}
    return await visitor.client.post(
        str(page.request.url), data=body, headers={name: text for name, text in sent.items() if text}
    )


def answer_in(page: httpx.Response) -> dict[str, str]:
    """Return the parameters that the program gets by the address to which a page leads."""
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', page.text) or re.search(
        r'<a class="button wide" href="([^"]+)">Back to app.example</a>', page.text
    )
    assert found is not None, page.text
    address = found[1].replace("&amp;", "&")
    assert address.startswith(CALLBACK + "&")
    answer = dict(parse_qsl(urlsplit(address).query, strict_parsing=True))
    assert answer.pop("from") == "herdbook"
    assert answer.pop("iss") == "http://herdbook.test"
    return answer


async def test_person_lets_a_program_in(olga: Visitor, program: Program, alice: Person) -> None:
    """The page says who asks, for what and where; the code that it gives is exchanged for a token with these scopes."""
    page = await shown(olga, program)

    assert page.status_code == 200
    assert "Calendar &lt;b&gt;sync&lt;/b&gt;" in page.text
    assert "Alice&#39;s workspace" in page.text
    assert "List and read contacts." in page.text
    assert "app.example" in page.text
    answer = answer_in(await decided(olga, page))
    assert answer.pop("state") == "xyz &#123;"
    tokens = (await program.exchange(answer.pop("code"))).json()
    assert answer == {}
    assert tokens["scope"] == "contacts:read contacts:write"
    sent = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await alice.client.get("/api/v2/contacts", headers=sent)).status_code == 200


async def test_denial_is_told(olga: Visitor, program: Program) -> None:
    """A program that is not let in learns it, and gets no code."""
    answer = answer_in(await decided(olga, await shown(olga, program), "deny"))

    assert answer.pop("error_description")
    assert answer == {"error": "access_denied", "state": "xyz &#123;"}


async def test_one_without_a_session_signs_in_first(people: People, program: Program) -> None:
    """The sign-in leads back to the same request."""
    page = await shown(people.visitor(), program)
    asked = await people.visitor().client.get(page.headers["Location"])

    assert page.status_code == 303
    assert page.headers["Location"].startswith("/console/sign-in?next=%2Foauth%2Fauthorize%3F")
    following = re.search(r'name="next" value="([^"]+)"', asked.text)
    assert following is not None
    assert dict(parse_qsl(urlsplit(following[1].replace("&amp;", "&")).query)) == request_of(program)


async def test_another_person_may_go_on(olga: Visitor, program: Program) -> None:
    """The form to sign out leads to a sign-in that comes back, and never to another site."""
    address = f"{PAGE}?{urlencode(request_of(program))}"

    assert (await olga.post("/sign-out", {"next": address})).headers["Location"] == "/console/sign-in?" + urlencode(
        {"next": address}
    )


@pytest.mark.parametrize("following", ["https://evil.test/oauth/authorize", "//evil.test/oauth/authorize", "/oauthx", "/docs"])
async def test_sign_in_leads_to_no_other_site(olga: Visitor, following: str) -> None:
    """Only the console and the page of a program are gone back to."""
    assert (await olga.get(f"/sign-in?{urlencode({'next': following})}")).headers["Location"] == "/console"


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": None},
        {"client_id": "ocl_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"},
        {"client_id": "x\x00"},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.test/callback?from=herdbook"},
        {"redirect_uri": CALLBACK + "&x=1"},
        {"redirect_uri": CALLBACK + "#x"},
        {"redirect_uri": CALLBACK.replace("from", "%66rom")},
        {"redirect_uri": "javascript:alert(1)"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_nobody_is_sent_to_an_address_that_is_not_the_programs(
    olga: Visitor, program: Program, changes: dict[str, str | None], method: str
) -> None:
    """A fault in the client or in the redirect URI is shown to the person, and nothing leads away."""
    page = await shown(olga, program, **changes)
    if method == "POST":
        good = await shown(olga, program)
        good.request.url = httpx.URL(ORIGIN + PAGE, params=request_of(program, **changes))
        page = await decided(olga, good)

    assert page.status_code == 400
    assert "Location" not in page.headers
    assert "http-equiv" not in page.text
    assert "evil.test" not in page.text
    assert "This program cannot be let in" in page.text


async def test_repeated_redirect_uri_is_followed_nowhere(olga: Visitor, program: Program) -> None:
    """A redirect URI or a client that is there twice counts for nothing."""
    for name in ("redirect_uri", "client_id"):
        pairs = [*request_of(program).items(), (name, request_of(program)[name])]

        assert (await olga.client.get(f"{PAGE}?{urlencode(pairs)}")).status_code == 400


OTHER_FAULTS: Final = pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": ""}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "contacts:read tags:read"}, "invalid_scope"),
        ({"scope": "workspace:admin"}, "invalid_scope"),
        ({"scope": "contacts:read\tcontacts:write"}, "invalid_scope"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
    ],
    ids=str,
)


@OTHER_FAULTS
async def test_nobody_is_led_away_before_signing_in(
    people: People, program: Program, changes: dict[str, str | None], error: str
) -> None:
    """The server is no open redirector: whatever the fault, people sign in first (RFC 9700, section 4.11.2)."""
    page = await shown(people.visitor(), program, **changes)

    assert page.headers["Location"].startswith("/console/sign-in?"), error


@OTHER_FAULTS
async def test_program_is_told_of_its_other_faults(
    olga: Visitor, program: Program, changes: dict[str, str | None], error: str
) -> None:
    """All other faults are shown to the person, who chooses to go back; that tells the program, with `state` and `iss`."""
    page = await shown(olga, program, **changes)

    assert page.status_code == 400
    assert "cannot be let in" in page.text
    assert "http-equiv" not in page.text
    answer = answer_in(page)
    # RFC 6749, section 4.1.2.1, allows these characters.
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+", answer.pop("error_description"))
    assert answer == {"error": error, "state": "xyz &#123;"}


async def test_repeated_parameter_is_told(olga: Visitor, program: Program) -> None:
    """A parameter that is there twice is refused, and a repeated `state` is not sent back."""
    pairs = [*request_of(program).items(), ("state", "other")]

    answer = answer_in(await olga.client.get(f"{PAGE}?{urlencode(pairs)}"))

    assert answer["error"] == "invalid_request"
    assert "state" not in answer


async def test_unknown_parameters_do_not_matter(olga: Visitor, program: Program) -> None:
    """Parameters that this server does not know are ignored, even twice (RFC 6749, section 3.1)."""
    pairs = [*request_of(program).items(), ("resource", "a"), ("resource", "b"), ("prompt", "consent")]

    assert (await olga.client.get(f"{PAGE}?{urlencode(pairs)}")).status_code == 200


async def test_program_on_this_computer_has_any_port(olga: Visitor, program: Program) -> None:
    """A loopback address may have another port (RFC 8252, section 7.3), and the page says that the program is here."""
    address = OTHER_CALLBACK.replace(":4000", ":51789")
    page = await shown(olga, program, redirect_uri=address)
    gone = await decided(olga, page)

    assert "The program is on this computer." in page.text
    assert f"url={address}?code=oac_" in gone.text


async def test_role_limits_what_is_offered(people: People, workspace_id: UUID, program: Program) -> None:
    """A viewer can let a program read, and the page says what the role withholds; a forged form gives no more."""
    victor = await people.join(workspace_id, "Victor", UserRole.VIEWER)
    page = await shown(victor, program, scope=" ".join(SCOPES))
    forged = await decided(victor, page, scope=" ".join(SCOPES))

    assert "Your role does not allow the rest" in page.text
    assert forged.status_code == 409
    assert "oac_" not in forged.text
    tokens = (await program.exchange(answer_in(await decided(victor, page))["code"])).json()
    assert tokens["scope"] == "contacts:read engagements:read"


async def test_role_that_allows_nothing_offers_nothing(people: People, workspace_id: UUID, program: Program) -> None:
    """A viewer whom a program asks for writing alone can only go back."""
    victor = await people.join(workspace_id, "Victor", UserRole.VIEWER)
    page = await shown(victor, program, scope="contacts:write")

    assert "your role allows nothing" in page.text
    assert 'value="allow"' not in page.text
    assert "error=access_denied" in page.text
    assert (await decided(victor, page, form_token=await victor.token(), scope="")).status_code == 409


@pytest.mark.parametrize(("before", "after"), [(UserRole.MEMBER, UserRole.VIEWER), (UserRole.VIEWER, UserRole.MEMBER)])
async def test_role_that_changes_under_the_page_gives_no_code(
    people: People, workspace_id: UUID, program: Program, before: UserRole, after: UserRole
) -> None:
    """If the offer is another one now, the page is shown again, and the person decides on that."""
    member = await people.member(workspace_id, "Edith", before)
    edith = await people.visiting(member)
    page = await shown(edith, program)
    await people.set_role(member, after)

    again = await decided(edith, page)

    assert again.status_code == 409
    assert "Something has changed" in again.text
    assert "oac_" not in again.text
    assert answer_in(await decided(edith, again))["code"].startswith("oac_")


async def test_person_who_left_gives_nothing(people: People, workspace_id: UUID, program: Program) -> None:
    """A session of somebody who has left ends, and its open page gives no code."""
    member = await people.member(workspace_id, "Edith")
    edith = await people.visiting(member)
    page = await shown(edith, program)
    await people.set_role(member, UserRole.INACTIVE)

    answer = await decided(edith, page)

    assert answer.status_code == 401
    assert "oac_" not in answer.text


async def test_program_that_is_revoked_under_the_page_gets_nothing(olga: Visitor, program: Program, pool: Connections) -> None:
    """A revoked program is unknown."""
    page = await shown(olga, program)
    await revoke_client(pool, program.uuid)

    answer = await decided(olga, page)

    assert answer.status_code == 400
    assert "oac_" not in answer.text


async def test_program_of_another_workspace_is_not_let_in(carla: Visitor, program: Program) -> None:
    """Carla, who does not belong to the workspace, learns that, not its name, and can give nothing."""
    page = await shown(carla, program)
    forged = await decided(carla, page, form_token=await carla.token(), scope="contacts:read contacts:write")

    assert "a workspace that you do not belong to" in page.text
    assert "Alice" not in page.text
    assert forged.status_code == 409
    assert "oac_" not in forged.text


async def test_person_of_several_workspaces_acts_in_the_programs_one(
    people: People, workspace_id: UUID, charlie: Person, program: Program, pool: Connections
) -> None:
    """The page names the program's workspace, not that of the session, and the user there lets the program in."""
    here = await people.member(workspace_id, "Olga", UserRole.VIEWER, "olga@both.test")
    there = await people.member(charlie.workspace_id, "Olga", UserRole.ADMIN, "olga@both.test")
    await people.visiting(here)
    olga = await people.visiting(there)
    page = await shown(olga, program, scope="contacts:read")

    assert "Alice&#39;s workspace" in page.text
    code = answer_in(await decided(olga, page))["code"]
    assert (await program.exchange(code)).json()["scope"] == "contacts:read"
    assert await pool.fetchval("select user_id from oauth_grant where client_id = $1", program.uuid) == here.user_id


@pytest.mark.parametrize(
    ("headers", "form", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"}, {}, 403),
        ({"Sec-Fetch-Site": "", "Origin": ""}, {}, 403),
        ({}, {"form_token": ""}, 422),
        ({}, {"form_token": "x.y"}, 422),
    ],
    ids=["of another site", "without an origin", "without a token", "with a wrong token"],
)
async def test_forged_form_gives_no_code(
    olga: Visitor, program: Program, headers: dict[str, str], form: dict[str, str], status: int
) -> None:
    """A form that the page has not sent gives nothing."""
    answer = await decided(olga, await shown(olga, program), headers=headers, **form)

    assert answer.status_code == status
    assert "oac_" not in answer.text


async def test_form_of_another_session_gives_no_code(olga: Visitor, anna: Visitor, program: Program) -> None:
    """A stolen form is of no use in another session."""
    answer = await decided(anna, await shown(olga, program))

    assert answer.status_code == 422
    assert "oac_" not in answer.text


async def test_page_cannot_be_framed(olga: Visitor, program: Program) -> None:
    """No site can put the page into a frame and have it clicked, and the code goes into no referrer."""
    page = await shown(olga, program)
    gone = await decided(olga, page)

    for answer in (page, gone):
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("role", "scope"), [(UserRole.VIEWER, "contacts:read"), (UserRole.ADMIN, "contacts:read contacts:write")]
)
async def test_tokens_follow_the_role(
    people: People, workspace_id: UUID, program: Program, client: httpx.AsyncClient, role: UserRole, scope: str
) -> None:
    """A token may do what the role allows now; the next one, and what is said of either, has no more."""
    member = await people.member(workspace_id, "Edith")
    edith = await people.visiting(member)
    code = answer_in(await decided(edith, await shown(edith, program)))["code"]
    tokens = (await program.exchange(code)).json()
    await people.set_role(member, role)

    sent = {"Authorization": f"Bearer {tokens['access_token']}"}
    written = await client.post("/api/v2/contacts", headers=sent, json={"first_name": "Ada"})
    said = await client.post(
        "/api/herdbook/oauth/introspect",
        data={"token": tokens["access_token"], "client_id": program.id, "client_secret": program.secret},
    )
    assert written.status_code == (403 if role is UserRole.VIEWER else 201)
    assert (await client.get("/api/v2/contacts", headers=sent)).status_code == 200
    assert said.json()["scope"] == scope
    assert (await program.refresh(tokens["refresh_token"])).json()["scope"] == scope


async def test_token_of_a_role_that_has_none_of_its_scopes_does_nothing(
    people: People, workspace_id: UUID, program: Program, client: httpx.AsyncClient
) -> None:
    """A program that may only write gets no tokens from a viewer, and those that it has do nothing."""
    member = await people.member(workspace_id, "Edith")
    edith = await people.visiting(member)
    page = await shown(edith, program, scope="contacts:write")
    tokens = (await program.exchange(answer_in(await decided(edith, page))["code"])).json()
    open_code = answer_in(await decided(edith, page))["code"]
    await people.set_role(member, UserRole.VIEWER)

    sent = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await client.post("/api/v2/contacts", headers=sent, json={"first_name": "Ada"})).status_code == 403
    assert (await program.refresh(tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert (await program.exchange(open_code)).json()["error"] == "invalid_grant"


async def test_code_that_is_used_again_ends_the_access(olga: Visitor, program: Program, client: httpx.AsyncClient) -> None:
    """A code works once; a second use ends the token of the first."""
    code = answer_in(await decided(olga, await shown(olga, program)))["code"]
    tokens = (await program.exchange(code)).json()

    assert (await program.exchange(code)).json()["error"] == "invalid_grant"
    sent = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert (await client.get("/api/v2/contacts", headers=sent)).status_code == 401


async def test_client_of_another_workspace_is_not_revoked(
    program: Program, pool: Connections, workspace_id: UUID, charlie: Person
) -> None:
    """A workspace revokes its own clients alone."""
    assert not await revoke_client(pool, program.uuid, charlie.workspace_id)
    assert (await program.ask("client_credentials")).status_code == 200
    assert await revoke_client(pool, program.uuid, workspace_id)
