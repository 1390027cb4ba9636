"""Problems, and the headers of every answer."""

import re

import httpx
import pytest

from herdbook.settings import Settings
from tests.cast import Json, Person, Thing
from tests.serving import serving

URL = "/api/v2/contacts"
UNKNOWN = "/api/v2/contacts/cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("application/json, application/problem+json;q=0.9", "application/problem+json"),
    ],
)
async def test_a_problem_has_the_media_type_that_is_asked_for(alice: Person, accept: str, media_type: str) -> None:
    """A problem is plain JSON unless `Accept` names the media type of problems."""
    response = await alice.get(UNKNOWN, headers={"Accept": accept})

    assert response.status_code == 404
    assert response.headers["Content-Type"] == media_type


async def test_success_is_json_whatever_is_accepted(alice: Person, ada: Thing) -> None:
    """A success is plain JSON whatever `Accept` says."""
    response = await alice.get(ada.url, headers={"Accept": "application/problem+json"})

    assert response.headers["Content-Type"] == "application/json"


async def test_settings_turn_media_type_and_type_round(alice: Person, database_url: str) -> None:
    """Settings choose the default media type of problems and the base URL of their types."""
    settings = Settings(problem_media_type="application/problem+json", problem_type_base="https://crm.test/problems/")
    async with serving(settings, database_url) as client:
        response = await client.get(UNKNOWN, headers={"Authorization": str(alice.key)})

    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["type"] == "https://crm.test/problems/not_found"


@pytest.mark.parametrize(
    ("method", "url", "options", "status"),
    [
        ("GET", URL, {}, 200),
        ("POST", URL, {"json": {}}, 201),
        ("GET", URL, {"params": {"limit": "0"}}, 400),
        ("GET", UNKNOWN, {}, 404),
        ("GET", "/nowhere", {}, 404),
        ("PUT", URL, {}, 405),
        ("POST", URL, {"json": {"emails": [{"email": "ada@engine.test"}]}}, 409),
        ("POST", URL, {"headers": {"If-Match": "*"}}, 412),
        ("POST", URL, {"content": b" " * 9_000_000}, 413),
        ("POST", URL, {"content": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
        ("POST", URL, {"json": []}, 422),
    ],
)
async def test_every_answer_has_an_id_and_a_version(
    alice: Person, ada: Thing, method: str, url: str, options: Json, status: int
) -> None:
    """Every answer has a request id and the API version."""
    response = await alice.request(method, url, **options)

    assert ada.etag
    assert response.status_code == status
    assert response.headers["X-Api-Version"] == "v2"
    assert re.fullmatch("rid_[0-9A-HJKMNP-TV-Z]{26}", response.headers["X-Request-Id"])
    if not response.is_success:
        assert response.json()["status"] == status
        assert response.json()["request_id"] == response.headers["X-Request-Id"]
        assert {"type", "title", "detail"} <= set(response.json())


async def test_anonymous_has_an_id_and_a_version_too(client: httpx.AsyncClient) -> None:
    """An anonymous refusal has a request id and the API version."""
    response = await client.get(URL)

    assert response.status_code == 401
    assert response.headers["X-Api-Version"] == "v2"
    assert response.json()["request_id"] == response.headers["X-Request-Id"]


async def test_an_id_is_given_once(alice: Person) -> None:
    """Each request gets a new id, whatever id the client sends."""
    first, second = [await alice.get(URL, headers={"X-Request-Id": "rid_mine"}) for _ in range(2)]

    assert len({first.headers["X-Request-Id"], second.headers["X-Request-Id"], "rid_mine"}) == 3


async def test_what_a_client_sent_is_not_markup(alice: Person) -> None:
    """A client's text in a refusal is escaped JSON, and never part of a header."""
    response = await alice.post(URL, json={'"\r\n<script>': 1})

    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == '"\r\n<script>'
    assert response.headers["Content-Type"] == "application/json"
