"""Forms that others send, and roles that change."""

import re
from typing import Any
from uuid import UUID

import pytest
from starlette.datastructures import Headers

from herdbook.console.protection import origin_of
from herdbook.users.model import NewUser, UserRole
from tests.cast import Person, Team, Thing
from tests.console.people import FORM_TOKEN_FIELD, ORIGIN, Member, People, Visitor

FROM_ELSEWHERE = pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"},
        # A page of the same site may be a neighbour's.
        {"Sec-Fetch-Site": "same-site", "Origin": "http://other.herdbook.test"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "", "Origin": "https://evil.test"},
        {"Sec-Fetch-Site": "", "Origin": "null"},
        {"Sec-Fetch-Site": "", "Origin": "https://herdbook.test"},
        {"Sec-Fetch-Site": "", "Origin": ""},
    ],
    ids=lambda headers: "/".join(headers.values()),
)


@FROM_ELSEWHERE
async def test_form_of_another_site_is_refused(olga: Visitor, ada: Thing, alice: Person, headers: dict[str, str]) -> None:
    """A page of another origin cannot send a form, even with a token that somebody has stolen."""
    answer = await olga.post(f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", "version": "1"}, headers)

    assert answer.status_code == 403
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


@FROM_ELSEWHERE
async def test_sign_in_by_another_site_is_refused(people: People, workspace_id: UUID, headers: dict[str, str]) -> None:
    """A page of another origin cannot sign somebody in, as whomever it likes."""
    link = await people.link(await people.member(workspace_id, "Mallory"))

    answer = await people.visitor().post(f"/link/{link}", headers=headers, token="")

    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers


async def test_browser_without_fetch_metadata_sends_forms(olga: Visitor, ada: Thing) -> None:
    """Browsers send no `Sec-Fetch-Site` without TLS, but the origin."""
    version = ada.etag.strip('"')

    answer = await olga.post(
        f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", "version": version}, {"Sec-Fetch-Site": ""}
    )

    assert answer.status_code == 303


@pytest.mark.parametrize("token", ["missing", "of another session", "changed"])
async def test_form_without_the_token_of_the_session_is_refused(
    people: People, workspace_id: UUID, olga: Visitor, ada: Thing, alice: Person, token: str
) -> None:
    """A form needs a token that was made in the same session."""
    other = await people.join(workspace_id, "Mallory")
    tokens = {"missing": "", "of another session": await other.token(), "changed": "x" + await olga.token()}

    answer = await olga.post(
        f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", "version": ada.etag.strip('"')}, token=tokens[token]
    )

    assert answer.status_code == 422
    assert "another session" in answer.text
    assert (await alice.get(ada.url)).headers["ETag"] == ada.etag


async def test_tokens_differ_from_page_to_page(olga: Visitor) -> None:
    """No two pages have the same token, so that nobody learns it from the size of compressed pages."""
    assert await olga.token() != await olga.token()


async def test_role_that_changes_counts_for_an_open_page(people: People, workspace_id: UUID, team: Team, ada: Thing) -> None:
    """A member who became a viewer can no longer send the form of a page that is open."""
    edith = await team.join(NewUser("Edith", role=UserRole.MEMBER))
    visitor = await people.visiting(Member(workspace_id, edith.uuid))
    token = await visitor.token()
    await team.set_role(edith, UserRole.VIEWER)

    answer = await visitor.post(
        f"/contacts/{ada.id}/edit/last_name", {"value": "Byron", "version": ada.etag.strip('"')}, token=token
    )

    assert answer.status_code == 403
    assert "Your role in this workspace does not allow this" in answer.text
    assert "Edit Last name" not in (await visitor.get(f"/contacts/{ada.id}")).text


async def test_notice_of_a_link_is_not_shown(olga: Visitor) -> None:
    """Nobody can make the console say something by a link."""
    page = await olga.get("/contacts?notice=rid_01HQXVB4Y9Y0Q6P0QH5GX2CT7T+Your+account+is+locked.0123456789abcdef")

    assert "Your account is locked" not in page.text.split("<main")[1].split('id="list"')[0].split("</form>")[0]


async def test_cookie_that_is_there_twice_counts_for_nothing(people: People, workspace_id: UUID) -> None:
    """If a neighbour of the host has set another cookie of the name, neither is taken."""
    olga = await people.join(workspace_id, "Olga")
    cookie = f"herdbook={olga.client.cookies['herdbook']}"
    olga.client.cookies.clear()

    assert (await olga.get("/account", headers={"Cookie": cookie})).status_code == 200
    assert (await olga.get("/account", headers={"Cookie": f"herdbook=x; {cookie}"})).status_code == 303


async def test_key_of_the_api_opens_no_page(alice: Person) -> None:
    """The console takes sessions alone, and the API no sessions."""
    assert (await alice.get("/console/contacts")).status_code == 303


async def test_session_calls_no_operation(olga: Visitor) -> None:
    """A cookie is no credential of the API, so that no form of another site can use it there."""
    assert (await olga.client.get("/api/v2/contacts")).status_code == 401


@pytest.mark.parametrize(
    ("scope", "public_url", "origin"),
    [
        ({"scheme": "http", "server": ("10.0.0.1", 8080)}, None, "http://herdbook.example:8080"),
        # A trusted proxy has set the scheme and the server, which then has no port of its own.
        ({"scheme": "https", "server": ("crm.example", None)}, None, "https://crm.example"),
        # The proxy is not trusted, but the address is known.
        ({"scheme": "http", "server": ("10.0.0.1", 8080)}, "https://herdbook.example:8080", "https://herdbook.example:8080"),
        ({"scheme": "http", "server": ("10.0.0.1", 8080)}, "https://crm.example", "http://herdbook.example:8080"),
    ],
    ids=["direct", "trusted proxy", "public address", "another address"],
)
def test_origin_is_that_of_the_browser(scope: dict[str, Any], public_url: str | None, origin: str) -> None:
    """Forms are compared with, and the cookie is named for, the origin under which the browser sees the console."""
    assert origin_of(scope, Headers({"host": "herdbook.example:8080"}), public_url) == origin


@pytest.mark.parametrize(
    ("referer", "following"),
    [
        (f"{ORIGIN}/console/contacts/new?notice=x", "%2Fconsole%2Fcontacts%2Fnew%3Fnotice%3Dx"),
        ("https://evil.test/console/contacts", "%2Fconsole"),
        (f"{ORIGIN}//evil.test/console", "%2Fconsole"),
        ("", "%2Fconsole"),
    ],
)
async def test_form_of_a_session_that_is_over_leads_back_to_its_page(people: People, referer: str, following: str) -> None:
    """The refusal links to the sign-in, which leads back to the page of the form if that is one of the console."""
    answer = await people.visitor().post("/contacts/new", {"first_name": "Ada"}, {"Referer": referer}, token="")

    assert answer.status_code == 401
    assert f'href="/console/sign-in?next={following}"' in answer.text


async def test_form_of_another_workspace_writes_nothing(people: People, olga: Visitor, charlie: Person, alice: Person) -> None:
    """A form that was opened in one workspace writes nothing into the one chosen in another tab, and says how to go back."""
    there = await people.join(charlie.workspace_id, "Olga", UserRole.MEMBER, "olga@team.test")
    assert olga is not there
    form = await there.get("/contacts/new")
    token = FORM_TOKEN_FIELD.search(form.text)
    assert token is not None
    other = (await there.get("/account")).text.split('name="workspace" value="')[1].split('"')[0]
    await there.post("/workspace", {"workspace": other})

    sent = {"Referer": f"{ORIGIN}/console/contacts/new"}
    refused = await there.post("/contacts/new", {"first_name": "Confidential"}, headers=sent, token=token[1])

    assert refused.status_code == 409
    assert "You are in another workspace now" in refused.text
    assert (await alice.get("/api/v2/contacts")).json()["data"] == []
    back = dict(re.findall(r'name="(workspace|here)" value="([^"]*)"', refused.text))
    assert back["here"] == "/console/contacts/new"
    assert (await there.post("/workspace", back)).headers["Location"] == back["here"]
    assert (await there.post("/contacts/new", {"first_name": "Confidential"}, token=token[1])).status_code == 303
    assert (await alice.get("/api/v2/contacts")).json()["data"] == []


async def test_key_of_another_workspace_is_not_made(people: People, workspace_id: UUID, charlie: Person) -> None:
    """An administrator of two workspaces makes no key of the one by the open form of the other."""
    await people.join(workspace_id, "Ruth", UserRole.ADMIN, "ruth@team.test")
    ruth = await people.join(charlie.workspace_id, "Ruth", UserRole.ADMIN, "ruth@team.test")
    token = await ruth.token()
    other = (await ruth.get("/account")).text.split('name="workspace" value="')[1].split('"')[0]
    await ruth.post("/workspace", {"workspace": other})

    assert (await ruth.post("/keys/new", {"name": "For Charlie", "scope": ["contacts:read"]}, token=token)).status_code == 409
    assert "For Charlie" not in (await ruth.get("/keys")).text


async def test_form_about_the_person_works_in_each_workspace(people: People, olga: Visitor, charlie: Person) -> None:
    """An open page of the other workspace still signs its person out."""
    there = await people.join(charlie.workspace_id, "Olga", UserRole.MEMBER, "olga@team.test")
    assert olga is not there
    page = (await there.get("/account")).text
    token = FORM_TOKEN_FIELD.search(page)
    assert token is not None
    await there.post("/workspace", {"workspace": page.split('name="workspace" value="')[1].split('"')[0]})

    assert (await there.post("/sign-out", token=token[1])).status_code == 303
    assert (await there.get("/account")).status_code == 303


@pytest.mark.parametrize("path", ["//[", "http://[", "//[evil"])
async def test_path_that_cannot_be_read_leads_to_the_first_page(people: People, olga: Visitor, path: str) -> None:
    """A crafted address, or a referrer, is no fault of the server."""
    asked = await people.visitor().get("/sign-in", params={"next": path})
    refused = await people.visitor().post("/contacts/new", {}, headers={"Referer": path}, token="")

    assert asked.status_code == 200
    assert (await olga.post("/theme", {"here": path})).headers["Location"] == "/console"
    assert refused.status_code == 401
