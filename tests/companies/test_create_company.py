"""POST /v2/companies."""

import re
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults

URL = "/api/v2/companies"


async def test_anonymous_is_refused(client: httpx.AsyncClient) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.post(URL, json={"domains": []})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_has_his_own_domains(charlie: Person, engine: Thing) -> None:
    """A domain of one workspace is free in another and reveals nothing there."""
    response = await charlie.post(URL, json={"domains": engine.json["domains"]})

    assert response.status_code == 201
    assert engine.id not in response.text


async def test_bob_is_refused(bob: Person, stored: Stored) -> None:
    """A read-only credential cannot create anything."""
    response = await bob.post(URL, json={"domains": []})

    assert response.status_code == 403
    assert "companies:write" in response.json()["detail"]
    assert await stored.changes() == []


async def test_everything_that_is_sent_comes_back(alice: Person) -> None:
    """The response shows the company as stored, with domains in their comparable form."""
    domains = [{"domain": "Engine.test."}, {"domain": "münchen.test", "is_primary": True}]
    response = await alice.post(URL, json={"name": "Engine", "description": "Mills and stores.", "domains": domains})

    company = response.json()
    assert response.status_code == 201
    assert re.fullmatch("cmp_[0-9A-HJKMNP-TV-Z]{26}", company.pop("id"))
    assert company.pop("created_at") == company.pop("updated_at")
    assert company == {
        "object": "company",
        "name": "Engine",
        "description": "Mills and stores.",
        "domains": [
            {"domain": "engine.test", "is_primary": False},
            {"domain": "xn--mnchen-3ya.test", "is_primary": True},
        ],
    }


async def test_what_is_empty_is_null_or_left_out(alice: Person) -> None:
    """An empty company has a null name, no domains and no other members."""
    response = await alice.post(URL, json={"domains": []})

    company = response.json()
    assert set(company) == {"object", "id", "name", "domains", "created_at", "updated_at"}
    assert (company["name"], company["domains"]) == (None, [])


async def test_the_change_is_entered(engine: Thing, stored: Stored) -> None:
    """The ledger has one entry: the new company, with no previous state."""
    (change,) = await stored.changes()

    assert (change.seq, change.kind, change.action) == (1, "o", "c")
    assert (change.previous, change.object) == (None, engine.json)
    assert engine.etag == '"1"'


async def test_the_domain_is_claimed(engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A domain is stored beside the company, under a unique key."""
    domains = await pool.fetch("select domain from company_domain where company_id = $1", engine.uuid)

    assert [record["domain"] for record in domains] == ["engine.test"]


async def test_a_domain_that_is_taken_is_refused(alice: Person, engine: Thing, stored: Stored) -> None:
    """A domain belongs to one active company of a workspace, in any spelling."""
    response = await alice.post(URL, json={"domains": [{"domain": "other.test"}, {"domain": "ENGINE.test"}]})

    assert response.status_code == 409
    assert faults(response) == [("domains[1].domain", "already_in_use")]
    assert response.json()["conflict"] == {"object": "company", "id": engine.id}
    assert len(await stored.changes()) == 1


@pytest.mark.parametrize(("known", "asked"), [("acme.example", "www.acme.example"), ("www.acme.example", "acme.example")])
async def test_www_makes_no_difference(alice: Person, known: str, asked: str) -> None:
    """A domain with `www.` is the same domain as without: whichever comes first has it."""
    first = Thing(await alice.post(URL, json={"domains": [{"domain": known}]}))
    response = await alice.post(URL, json={"domains": [{"domain": asked}]})
    found = [(await alice.get(URL, params={"filter[domain][eq]": each})).json()["data"] for each in (known, asked)]

    assert response.status_code == 409
    assert response.json()["conflict"]["id"] == first.id
    assert found == [[first.json], [first.json]]


async def test_the_holder_is_hidden_from_those_who_may_not_read(dave: Person, engine: Thing) -> None:
    """A caller without the read scope learns that the domain is taken, but not by whom."""
    response = await dave.post(URL, json={"domains": engine.json["domains"]})

    assert response.status_code == 409
    assert "conflict" not in response.json()
    assert engine.id not in response.text


MISTAKES: list[tuple[Json, list[tuple[str, str]]]] = [
    ({}, [("domains", "required")]),
    ({"domains": None}, [("domains", "invalid_type")]),
    ({"domains": "engine.test"}, [("domains", "invalid_type")]),
    ({"domains": [{}]}, [("domains[0].domain", "required")]),
    ({"domains": [{"domain": ""}]}, [("domains[0].domain", "too_short")]),
    ({"domains": [{"domain": "x" * 256}]}, [("domains[0].domain", "too_long")]),
    (
        {"domains": [{"domain": 1}, {"domain": "-"}]},
        [("domains[0].domain", "invalid_type"), ("domains[1].domain", "invalid_format")],
    ),
    ({"domains": [{"domain": "a.test"}, {"domain": "A.test"}]}, [("domains[1].domain", "duplicate")]),
    ({"domains": [{"domain": "a.test"}, {"domain": "www.a.test"}]}, [("domains[1].domain", "duplicate")]),
    (
        {"domains": [{"domain": "a.test", "is_primary": True}, {"domain": "b.test", "is_primary": True}]},
        [("domains[1].is_primary", "multiple_primary")],
    ),
    ({"domains": [{"domain": f"{index}.test"} for index in range(101)]}, [("domains", "too_long")]),
    ({"domains": [], "name": None}, [("name", "invalid_type")]),
    ({"domains": [], "name": " "}, [("name", "blank")]),
    ({"domains": [], "name": "x" * 256, "description": "x" * 2001}, [("name", "too_long"), ("description", "too_long")]),
    ({"domains": [], "description": "a\u0000"}, [("description", "invalid_characters")]),
    ({"domain": []}, [("domain", "unknown_field"), ("domains", "required")]),
]


@pytest.mark.parametrize(("body", "expected"), MISTAKES)
async def test_what_is_no_company_is_refused(alice: Person, body: Json, expected: list[tuple[str, str]]) -> None:
    """All faults are reported at once, each with its path."""
    response = await alice.post(URL, json=body)

    assert response.status_code == 422
    assert faults(response) == expected


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("https://engine.test", "engine.test"),
        ("HTTPS://www.Engine.test:8443/about?x=1#y", "engine.test"),
        ("WWW.engine.test", "engine.test"),
        ("www.www.engine.test.", "engine.test"),
        ("www.bücher.example", "xn--bcher-kva.example"),
        ("www.com", "www.com"),
        ("wwww.engine.test", "wwww.engine.test"),
        ("www2.engine.test", "www2.engine.test"),
        ("engine.test/", "engine.test"),
        ("engine.test:443", "engine.test"),
        ("engine.test./about", "engine.test"),
        ("http://bücher.example/ä", "xn--bcher-kva.example"),
    ],
)
async def test_of_an_address_of_a_page_the_domain_is_kept(alice: Person, sent: str, kept: str) -> None:
    """A URL is reduced to its domain, without scheme, port and path."""
    company = Thing(await alice.post(URL, json={"domains": [{"domain": sent}]}))

    assert company.json["domains"] == [{"domain": kept, "is_primary": True}]


@pytest.mark.parametrize(
    "domain",
    [
        "https://",
        "https://engine/about.test",
        "engine.test@",
        "engine.test:https",
        "engine",
        "en gine.test",
        "-a.test",
        "a..test",
        ".test",
        "a.test\u0000",
    ],
)
async def test_what_is_no_domain_is_refused(alice: Person, domain: str) -> None:
    """A malformed domain is refused, and nothing is guessed from it."""
    response = await alice.post(URL, json={"domains": [{"domain": domain}]})

    assert response.status_code == 422
    assert faults(response) == [("domains[0].domain", "invalid_format")]


async def test_the_first_domain_is_primary_where_none_is_marked(alice: Person) -> None:
    """The first of several domains is primary if none is marked."""
    response = await alice.post(URL, json={"domains": [{"domain": "a.test", "is_primary": False}, {"domain": "b.test"}]})

    assert [item["is_primary"] for item in response.json()["domains"]] == [True, False]


async def test_a_retry_gets_the_first_answer(alice: Person, stored: Stored) -> None:
    """A retry with the same Idempotency-Key creates no second company."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.post(URL, json={"domains": []}, headers=key) for _ in range(2)]

    assert (second.status_code, second.content) == (201, first.content)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 1


async def test_if_match_is_refused(alice: Person, engine: Thing) -> None:
    """A new object has no version that If-Match could match, and the 412 takes precedence over 409."""
    response = await alice.post(URL, json={"domains": engine.json["domains"]}, headers={"If-Match": "*"})

    assert response.status_code == 412


async def test_a_name_of_symbols_is_stored(alice: Person) -> None:
    """A name needs no letter."""
    response = await alice.post(URL, json={"name": "🚀", "domains": []})

    assert (response.status_code, response.json()["name"]) == (201, "🚀")
