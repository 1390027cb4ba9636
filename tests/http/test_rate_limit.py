"""The rate limit of a credential."""

import re
from collections.abc import AsyncGenerator

import httpx
import pytest_asyncio

from herdbook.settings import Settings
from tests.cast import Person, Stored
from tests.serving import serving

URL = "/api/v2/contacts"


@pytest_asyncio.fixture
async def limited(database_url: str) -> AsyncGenerator[httpx.AsyncClient]:
    """A server that allows a burst of three requests for each credential, and then one a second."""
    async with serving(Settings(rate_limit=1, rate_limit_burst=3), database_url) as client:
        yield client


async def until_refused(client: httpx.AsyncClient, person: Person) -> list[httpx.Response]:
    """Make requests until one is refused; return all responses."""
    answers = [await client.get(URL, headers={"Authorization": str(person.key)})]
    while answers[-1].is_success and len(answers) < 100:
        answers.append(await client.get(URL, headers={"Authorization": str(person.key)}))
    return answers


async def test_after_the_burst_a_credential_must_wait(limited: httpx.AsyncClient, alice: Person) -> None:
    """After the burst, 429 says in whole seconds when to retry."""
    *answered, refused = await until_refused(limited, alice)

    assert len(answered) >= 3
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "1"
    assert refused.json()["type"].endswith("/rate_limited")


async def test_both_dialects_tell_what_is_left(limited: httpx.AsyncClient, alice: Person) -> None:
    """The headers of the IETF draft and the older ones agree, on success and on refusal."""
    first, *_, refused = await until_refused(limited, alice)

    assert first.headers["RateLimit-Policy"] == '"credential";q=3;w=3'
    assert first.headers["RateLimit"] == '"credential";r=2;t=1'
    assert [first.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")] == ["3", "2", "1"]
    assert re.fullmatch('"credential";r=0;t=[23]', refused.headers["RateLimit"])
    assert refused.headers["X-RateLimit-Remaining"] == "0"


async def test_what_is_refused_is_not_done(limited: httpx.AsyncClient, alice: Person, stored: Stored) -> None:
    """A write over the limit writes nothing."""
    answers = [await limited.post(URL, json={}, headers={"Authorization": str(alice.key)}) for _ in range(6)]

    created = [answer for answer in answers if answer.status_code == 201]
    assert 3 <= len(created) < 6
    assert len(await stored.changes()) == len(created)


async def test_each_credential_has_its_own(limited: httpx.AsyncClient, alice: Person, bob: Person) -> None:
    """Each credential has its own limit, also within one workspace."""
    await until_refused(limited, alice)
    response = await limited.get(URL, headers={"Authorization": str(bob.key)})

    assert response.status_code == 200


async def test_the_limit_comes_before_scope_and_body(limited: httpx.AsyncClient, bob: Person) -> None:
    """429 precedes 403 and 422."""
    await until_refused(limited, bob)
    response = await limited.post(URL, json=[], headers={"Authorization": str(bob.key)})

    assert response.status_code == 429


async def test_credentials_come_before_the_limit(limited: httpx.AsyncClient, alice: Person) -> None:
    """401 precedes 429: an anonymous request has no limit, and uses up nobody's."""
    await until_refused(limited, alice)
    response = await limited.get(URL, headers={"Authorization": f"{alice.key}x"})

    assert response.status_code == 401
    assert "RateLimit" not in response.headers


async def test_without_a_limit_nothing_is_told_of_one(alice: Person) -> None:
    """A server without a limit sends no rate limit headers; the tests' common server has none."""
    response = await alice.get(URL)

    assert not [name for name in response.headers if "ratelimit" in name]
