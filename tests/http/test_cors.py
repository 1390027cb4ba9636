"""Requests of web pages from other origins (the Fetch standard, CORS protocol)."""

from pathlib import Path

import httpx
import pytest

from herdbook.settings import SettingOutOfRange, Settings
from tests.cast import Person
from tests.cli import programs
from tests.serving import serving

CONTACTS = "/api/v2/contacts"
PREFLIGHT = {
    "Origin": "https://app.example",
    "Access-Control-Request-Method": "PATCH",
    "Access-Control-Request-Headers": "authorization,content-type,if-match,idempotency-key",
}


async def test_no_origin_is_allowed_by_default(alice: Person) -> None:
    """Without the setting there are no headers for web pages, and no preflight."""
    read = await alice.get(CONTACTS, headers={"Origin": "https://app.example"})
    preflight = await alice.request("OPTIONS", CONTACTS, headers=PREFLIGHT)

    assert preflight.status_code == 405
    assert not [name for answer in (read, preflight) for name in answer.headers if name.startswith("access-control")]


async def _allowed(client: httpx.AsyncClient, origin: str) -> str | None:
    response = await client.get(CONTACTS, headers={"Origin": origin})
    assert response.status_code == 401
    return response.headers.get("Access-Control-Allow-Origin")


@pytest.mark.parametrize(
    "origins", ["https://app.example, http://localhost:3000,chrome-extension://abcdef", "HTTPS://App.Example/"]
)
async def test_the_named_origins_are_allowed(database_url: str, origins: str) -> None:
    """Named origins may send every header and read every answer, refusals included; others may not. No cookies are allowed."""
    async with serving(Settings(cors_origins=origins), database_url) as client:
        preflight = await client.options(CONTACTS, headers=PREFLIGHT)
        other = await client.options(CONTACTS, headers={**PREFLIGHT, "Origin": "https://other.example"})
        answer = await client.get(CONTACTS, headers={"Origin": "https://app.example"})
        allowed = [await _allowed(client, origin) for origin in ("https://other.example", "null", "https://app.example:444")]

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "PATCH" in preflight.headers["Access-Control-Allow-Methods"]
    assert set(PREFLIGHT["Access-Control-Request-Headers"].split(",")) <= set(
        preflight.headers["Access-Control-Allow-Headers"].replace(" ", "").split(",")
    )
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "etag" in answer.headers["Access-Control-Expose-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in preflight.headers
    assert other.status_code == 405
    assert "Access-Control-Allow-Origin" not in other.headers
    assert allowed == [None] * 3


@pytest.mark.parametrize("path", ["/.well-known/oauth-authorization-server", "/api/openapi.json", "/nowhere"])
async def test_pages_beside_the_operations_allow_them_too(database_url: str, path: str) -> None:
    """A program in a browser begins with the metadata and the document."""
    headers = {**PREFLIGHT, "Access-Control-Request-Method": "GET", "Access-Control-Request-Private-Network": "true"}
    async with serving(Settings(cors_origins="https://app.example"), database_url) as client:
        answers = [
            await client.options(path, headers=headers),
            await client.get(path, headers={"Origin": "https://app.example"}),
        ]

    assert [answer.headers["Access-Control-Allow-Origin"] for answer in answers] == ["https://app.example"] * 2
    assert answers[0].status_code == 200
    assert answers[0].headers["Access-Control-Allow-Private-Network"] == "true"


async def test_all_origins_may_be_allowed(database_url: str) -> None:
    """`*` allows every page."""
    async with serving(Settings(cors_origins="*"), database_url) as client:
        assert await _allowed(client, "https://any.example") == "*"


@pytest.mark.parametrize(
    "origin",
    [
        "app.example",
        "https://app.example/path",
        "https://app.example?x",
        "null",
        "https://",
        "ftp://x",
        "https://*.app.example",
    ],
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """A page's address, or a name without a scheme, is no origin."""
    with pytest.raises(SettingOutOfRange, match="--cors-origins"):
        Settings(cors_origins=f"https://app.example,{origin}")


def test_every_answer_of_a_running_server_has_them(tmp_path: Path) -> None:
    """Answers that the server sends in one step have the headers, too, also later ones of a connection."""
    with (
        programs.serving(tmp_path, "--cors-origins=https://app.example") as server,
        httpx.Client(base_url=server.url) as client,
    ):
        answers = [
            client.get(CONTACTS, headers={"Origin": "https://app.example", "Authorization": key})
            for key in (server.key, "", "x")
        ]

    assert [answer.status_code for answer in answers] == [200, 401, 401]
    assert [answer.headers["Access-Control-Allow-Origin"] for answer in answers] == ["https://app.example"] * 3
