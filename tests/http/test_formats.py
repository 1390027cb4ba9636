"""Answers match their schemas by a validator that is strict about formats, with the strangest values that the server takes."""

from collections.abc import Iterator
from typing import Any, Final, cast
from uuid import UUID

import asyncpg
import httpx
import jsonschema_rs
import pytest
import pytest_asyncio

from herdbook.app import OPERATIONS
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key
from herdbook.http.openapi import document
from herdbook.settings import SettingOutOfRange, Settings
from herdbook.users.model import NewUser
from tests.cast import Person, Team
from tests.engagements.calls import URL as ENGAGEMENTS
from tests.engagements.calls import call, timed

DOCUMENT: Final = document(OPERATIONS, Settings().problem_type_base)
ADDRESSES: Final = (
    "root@localhost",
    "x@[192.0.2.1]",
    "x@[IPv6:2001:db8::1]",
    '"a b@c"@example.test',
    "дмитрий@пример.test",
    "a@xn--mnchen-3ya.test",
    "!#$%&'*+/=?^_`{|}~-@example.test",
    "  spaces@around.test  ",
)
TIMES: Final = ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2026-03-01T12:00:00-23:59", "2026-03-01T12:00:00")
LINKS: Final = ("https://bücher.example/a|b", "wavv://call/{1}", "tel:+1", "https://example.com/%zz", "x:[")
ENDPOINTS: Final = ("http://127.0.0.1:2/{a}|<b>%zz", "http://127.0.0.1:2/?q=\\^`")


@pytest_asyncio.fixture
async def alice(client: httpx.AsyncClient, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> Person:
    """Alice, the administrator of her workspace."""
    return Person(client, workspace_id, await create_key(pool, workspace_id, "Alice", [ADMIN]))


def assert_fits(response: httpx.Response, path: str) -> None:
    """The answer of an operation matches its schema, formats included."""
    assert response.is_success, response.text
    answers = DOCUMENT["paths"][path][response.request.method.lower()]["responses"]
    schema = answers[str(response.status_code)]["content"]["application/json"]["schema"]
    strict = jsonschema_rs.Draft202012Validator(schema | {"components": DOCUMENT["components"]}, validate_formats=True)

    assert [f"{error.instance_path} {error.message}" for error in strict.iter_errors(response.json())] == []


def parts(schema: Any) -> Iterator[dict[str, Any]]:
    """Return all objects in a part of the document."""
    if isinstance(schema, dict):
        here = cast("dict[str, Any]", schema)
        yield here
        schema = list(here.values())
    if isinstance(schema, list):
        for part in cast("list[Any]", schema):
            yield from parts(part)


def formats(schema: Any) -> set[str]:
    """Return the formats in a schema."""
    return {part["format"] for part in parts(schema) if isinstance(part.get("format"), str)}


def reached(schema: Any) -> Iterator[str]:
    """Return the names of the schemas that a part of the document refers to, and those that these refer to."""
    for reference in (part.get("$ref", "") for part in parts(schema)):
        if "/schemas/" in reference:
            name = reference.rpartition("/")[2]
            yield name
            yield from reached(DOCUMENT["components"]["schemas"][name])


def test_an_answer_promises_only_formats_of_the_servers_own_values() -> None:
    """Answers have formats only where the server writes the value itself: times, and the type of a problem."""
    answers = [operation["responses"] for methods in DOCUMENT["paths"].values() for operation in methods.values()]
    schemas = DOCUMENT["components"]["schemas"]
    found = {name: formats(schemas[name]) - {"date-time"} for name in reached(answers)}

    assert {name: others for name, others in found.items() if others} == {"error": {"uri"}}


@pytest.mark.parametrize("address", ADDRESSES)
async def test_any_address_fits(alice: Person, team: Team, address: str) -> None:
    """A contact, a user and a speaker may have any e-mail address that the server takes."""
    user = await team.join(NewUser("Ada", "Lovelace", (address,)))
    timeline = {"speakers": [{"email": address}], "entries": []}
    engagement = await alice.post(ENGAGEMENTS, json=timed(transcript_timeline=timeline))

    assert_fits(await alice.post("/api/v2/contacts", json={"emails": [{"email": address}]}), "/v2/contacts")
    assert_fits(await alice.get(f"/api/v2/users/{user.id}"), "/v2/users/{user_id}")
    timeline_url = f"/api/v2/engagements/{engagement.json()['id']}/transcript_timeline"
    assert_fits(await alice.get(timeline_url), "/v2/engagements/{engagement_id}/transcript_timeline")


@pytest.mark.parametrize("time", TIMES)
async def test_any_time_fits(alice: Person, time: str) -> None:
    """An engagement may start at any time that the server takes."""
    assert_fits(await alice.post(ENGAGEMENTS, json=call(start_at=time)), "/v2/engagements")


@pytest.mark.parametrize("link", LINKS)
async def test_any_link_fits(alice: Person, link: str) -> None:
    """An engagement may have any link that the server takes."""
    assert_fits(await alice.post(ENGAGEMENTS, json=call(external_url=link)), "/v2/engagements")


@pytest.mark.parametrize("url", ENDPOINTS)
async def test_any_address_of_an_endpoint_fits(alice: Person, url: str) -> None:
    """A webhook endpoint may have any address that the server takes."""
    assert_fits(await alice.post("/api/herdbook/webhooks", json={"url": url}), "/herdbook/webhooks")


@pytest.mark.parametrize("base", ["", "errors/", "https://example.com/a b/", "https://bücher.example/", "urn:x:%zz"])
def test_the_type_of_a_problem_is_a_uri(base: str) -> None:
    """A setting that would make the type of problems something other than a URI is refused."""
    with pytest.raises(SettingOutOfRange, match="--problem-type-base"):
        Settings(problem_type_base=base)
