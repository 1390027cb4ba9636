"""Sign-in with an OpenID provider."""

import time
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from joserfc.jwk import ECKey, OctKey

from herdbook.app import Herdbook
from herdbook.settings import SettingOutOfRange, Settings
from herdbook.users.model import UserRole
from tests.cast import Person
from tests.console.people import People, Visitor
from tests.console.provider import CLIENT_ID, SECRET, Provider

Visiting: TypeAlias = Callable[[], Visitor]


@pytest.fixture
def provider() -> Generator[Provider]:
    """The provider of a test."""
    provider = Provider()
    yield provider
    provider.close()


@pytest_asyncio.fixture
async def visiting(app: Herdbook, database_url: str, provider: Provider, tmp_path: Path) -> AsyncGenerator[Visiting]:
    """A server with the provider, and somebody with a browser."""
    assert app is not None
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n")
    settings = Settings(openid_issuer=provider.url, openid_client_id=CLIENT_ID, openid_client_secret_file=secret)
    server = Herdbook(settings, database_url)
    async with server.running():
        yield lambda: Visitor(httpx.ASGITransport(server))


async def _come_back(visitor: Visitor, provider: Provider, following: str = "/console/companies") -> httpx.Response:
    """Go to the provider and come back."""
    sent = await visitor.get("/sign-in/openid", params={"next": following})
    assert sent.status_code == 303, sent.text
    assert sent.headers["Location"].startswith(f"{provider.url}/authorize?")
    return await visitor.get(f"/sign-in/openid/callback?{provider.let_in(sent.headers['Location'])}")


async def test_user_with_a_verified_address_signs_in(
    visiting: Visiting, provider: Provider, people: People, workspace_id: UUID
) -> None:
    """A user who has never signed in comes in by the address, in any spelling, and so does the same person again."""
    await people.member(workspace_id, "Olivia", UserRole.MEMBER, "olivia@team.test")
    provider.claims = {"email": "OLIVIA@Team.test"}
    first, second = visiting(), visiting()

    assert (await _come_back(first, provider)).headers["Location"] == "/console/companies"
    assert (await _come_back(second, provider)).status_code == 303
    page = (await second.get("/account")).text
    assert "Olivia" in page
    assert "End all others" in page


async def test_account_that_has_signed_in_once_stays_the_persons(
    visiting: Visiting, provider: Provider, olga: Visitor, people: People, workspace_id: UUID
) -> None:
    """After the first sign-in the account counts, and not its address, which may become that of somebody else."""
    assert olga is not None
    await people.member(workspace_id, "Olivia", UserRole.MEMBER, "olivia@team.test")
    provider.claims = {"email": "olga@team.test"}
    await _come_back(visiting(), provider)

    for claims in ({"email": "olivia@team.test"}, {"email": "nobody@team.test"}, {"email_verified": False}, {}):
        provider.claims, visitor = claims, visiting()
        assert (await _come_back(visitor, provider)).status_code == 303
        assert "Olga" in (await visitor.get("/account")).text


async def test_address_that_was_given_to_somebody_else_opens_nothing(
    visiting: Visiting, provider: Provider, people: People, workspace_id: UUID
) -> None:
    """Another account with the address of a person is refused, until the person disconnects the former one by the password."""
    nora = await people.join(workspace_id, "Nora", UserRole.MEMBER, "given@team.test")
    await nora.post("/account/password", {"password": "correct horse battery"})
    provider.claims = {"email": "given@team.test"}
    first, other = visiting(), visiting()
    await _come_back(first, provider)
    provider.claims["sub"] = "another"

    refused = await _come_back(other, provider)
    still = await other.get("/contacts")
    provider.claims["sub"] = provider.subject
    again = await _come_back(visiting(), provider)
    shown = (await first.get("/account")).text
    refused_too = await first.post("/account/openid", {"current": "a guess"})
    await first.post("/account/openid", {"current": "correct horse battery"})
    provider.claims["sub"] = "another"

    assert (refused.status_code, still.status_code, again.status_code) == (403, 303, 303)
    assert "another account of the OpenID provider" in refused.text
    assert "not your present password" in refused_too.text
    assert "Disconnect" in shown
    assert "Disconnect" not in (await first.get("/account")).text
    assert (await _come_back(other, provider)).status_code == 303
    assert "Disconnect" not in (await nora.get("/account")).text


async def test_button_is_there_only_with_a_provider(visiting: Visiting, provider: Provider, people: People) -> None:
    """The sign-in names the provider; without one, its address says that there is none."""
    assert f"Sign in with {provider.url.removeprefix('http://')}" in (await visiting().get("/sign-in")).text
    assert "openid" not in (await people.visitor().get("/sign-in")).text
    assert (await people.visitor().get("/sign-in/openid")).status_code == 404


async def test_person_without_a_user_is_refused(visiting: Visiting, provider: Provider) -> None:
    """Nobody becomes a user by an address."""
    provider.claims = {"email": "stranger@team.test"}
    visitor = visiting()

    answer = await _come_back(visitor, provider)

    assert answer.status_code == 403
    assert "Nobody of this server has the address" in answer.text
    assert (await visitor.get("/contacts")).status_code == 303


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.test"},
        {"iss": None},
        {"aud": "another client"},
        {"aud": None},
        {"aud": ["another client", CLIENT_ID], "azp": "another client"},
        {"exp": 1},
        {"exp": None},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": None},
        {"email": "nonsense"},
        {"email": ["olga@team.test"]},
    ],
    ids=str,
)
async def test_token_that_proves_nothing_is_refused(
    visiting: Visiting, provider: Provider, olga: Visitor, claims: dict[str, Any]
) -> None:
    """A token of another issuer, for another client or sign-in, that is over, or without a verified address, lets nobody in."""
    assert olga is not None
    provider.claims = {"email": "olga@team.test"} | claims
    visitor = visiting()

    answer = await _come_back(visitor, provider)

    assert answer.status_code == 422
    assert "did not let you in" in answer.text
    assert (await visitor.get("/contacts")).status_code == 303


@pytest.mark.parametrize("signed", ["by another key", "by the secret", "not at all"])
async def test_token_that_the_provider_has_not_signed_is_refused(
    visiting: Visiting, provider: Provider, olga: Visitor, signed: str
) -> None:
    """Only the provider's own key counts."""
    assert olga is not None
    provider.claims = {"email": "olga@team.test"}
    if signed == "by another key":
        provider.key = ECKey.generate_key("P-256", {"kid": "first"})
    else:
        provider.key = OctKey.import_key(SECRET)
        provider.algorithm = "HS256" if signed == "by the secret" else "none"

    assert (await _come_back(visiting(), provider)).status_code == 422


async def test_new_key_of_the_provider_is_found(
    visiting: Visiting, provider: Provider, olga: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A provider that has changed its keys since they were read is asked for them again."""
    assert olga is not None
    provider.claims = {"email": "olga@team.test"}
    assert (await _come_back(visiting(), provider)).status_code == 303
    provider.key = provider.published = ECKey.generate_key("P-256", {"kid": "second"})
    later = time.monotonic() + 61
    monkeypatch.setattr("herdbook.console.openid.time.monotonic", lambda: later)

    assert (await _come_back(visiting(), provider)).status_code == 303


async def test_answer_counts_once_and_in_its_browser(visiting: Visiting, provider: Provider, olga: Visitor) -> None:
    """Somebody who sends the answer again, from another browser, or with another state, is not let in."""
    assert olga is not None
    provider.claims = {"email": "olga@team.test"}
    visitor, thief = visiting(), visiting()
    sent = await visitor.get("/sign-in/openid")
    query = provider.let_in(sent.headers["Location"])

    assert (await thief.get(f"/sign-in/openid/callback?{query}")).status_code == 422
    cookies = httpx.Cookies(visitor.client.cookies)
    assert (await visitor.get(f"/sign-in/openid/callback?{query}")).status_code == 303
    visitor.client.cookies = cookies
    assert (await visitor.get(f"/sign-in/openid/callback?{query}")).status_code == 422
    await visitor.get("/sign-in/openid")
    assert (await visitor.get("/sign-in/openid/callback?code=code-9&state=made-up")).status_code == 422
    await visitor.get("/sign-in/openid")
    assert (await visitor.get("/sign-in/openid/callback?error=access_denied")).status_code == 422


async def test_answer_of_another_issuer_is_refused(visiting: Visiting, provider: Provider, olga: Visitor) -> None:
    """An answer that names another issuer is not taken to this one (RFC 9207)."""
    assert olga is not None
    provider.claims = {"email": "olga@team.test"}
    visitor = visiting()
    sent = await visitor.get("/sign-in/openid")

    query = provider.let_in(sent.headers["Location"])
    assert (await visitor.get(f"/sign-in/openid/callback?{query}&iss=https%3A%2F%2Fevil.test")).status_code == 422


async def test_redirect_stays_in_the_console(visiting: Visiting, provider: Provider, olga: Visitor) -> None:
    """A link that somebody has prepared does not lead elsewhere after the sign-in."""
    assert olga is not None
    provider.claims = {"email": "olga@team.test"}

    assert (await _come_back(visiting(), provider, "https://evil.test/")).headers["Location"] == "/console"


async def test_session_that_the_browser_had_ends(
    visiting: Visiting, provider: Provider, olga: Visitor, people: People, workspace_id: UUID
) -> None:
    """A session that somebody has put into a browser does not become that of the person who signs in there."""
    assert olga is not None
    provider.claims = {"email": "olga@team.test"}
    mallory, visitor = await people.join(workspace_id, "Mallory"), visiting()
    visitor.client.cookies = httpx.Cookies(mallory.client.cookies)

    await _come_back(visitor, provider)

    assert "Olga" in (await visitor.get("/account")).text
    assert (await mallory.get("/account")).status_code == 303


async def test_account_that_only_an_invitation_made_is_taken_back(
    visiting: Visiting, provider: Provider, people: People, anna: Visitor, charlie: Person
) -> None:
    """The person of an address ends what somebody has set who came by an invitation of that address."""
    invited = {"first_name": "Chief", "email": "chief@team.test", "role": "MEMBER"}
    page = (await anna.post("/users/new", invited)).text
    puppet = people.visitor()
    await puppet.post("/link/" + page.split("/console/link/")[1].split('"')[0], token="")
    await puppet.post("/account/password", {"password": "correct horse battery"})
    provider.claims = {"email": "chief@team.test"}

    assert (await _come_back(visiting(), provider)).status_code == 303

    assert (await puppet.get("/account")).status_code == 303
    form = {"address": "chief@team.test", "password": "correct horse battery", "next": ""}
    assert (await people.visitor().post("/sign-in", form, token="")).status_code == 422
    assert charlie is not None


async def test_provider_that_is_not_what_it_says_is_not_asked(visiting: Visiting, provider: Provider) -> None:
    """A provider that calls itself otherwise, or cannot be reached, leads to a page that says so; later, it is asked again."""
    provider.metadata = {"issuer": "https://other.test"}
    refused = await visiting().get("/sign-in/openid")
    provider.metadata = {}

    assert refused.status_code == 502
    assert "cannot be asked" in refused.text
    assert (await visiting().get("/sign-in/openid")).status_code == 303


async def test_attempts_are_limited(visiting: Visiting, provider: Provider) -> None:
    """From one address, forty sign-ins are begun at once, and then none for a while."""
    visitor = visiting()

    statuses = [(await visitor.get("/sign-in/openid")).status_code for _ in range(60)]

    # One more is allowed every five seconds.
    assert statuses[:40] == [303] * 40
    assert 429 in statuses
    assert provider.codes == {}


@pytest.mark.parametrize(
    "settings",
    [
        {"openid_issuer": "https://accounts.example.com"},
        {"openid_client_id": "herdbook"},
        {"openid_issuer": "http://accounts.example.com", "openid_client_id": "herdbook"},
        {"openid_issuer": "accounts", "openid_client_id": "herdbook"},
        {"openid_client_secret_file": Path("/nowhere")},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    """The refusal names the option."""
    with pytest.raises(SettingOutOfRange, match="--openid-"):
        Settings(**settings)
