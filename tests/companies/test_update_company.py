"""PATCH /v2/companies/{company_id}."""

from asyncio import TaskGroup
from collections.abc import Sequence
from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.cast import Json, Person, Stored, Thing, faults

URL = "/api/v2/companies"
UNKNOWN = f"{URL}/cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


@pytest_asyncio.fixture
async def mill(alice: Person) -> Thing:
    """Another company in Alice's workspace."""
    return Thing(await alice.post(URL, json={"name": "The Mill", "domains": [{"domain": "mill.test"}]}))


async def held(pool: "asyncpg.Pool[asyncpg.Record]", company: Thing) -> set[str]:
    """Return the domains that a company claims."""
    records = await pool.fetch("select domain from company_domain where company_id = $1", company.uuid)
    return {record["domain"] for record in records}


async def test_anonymous_is_refused(client: httpx.AsyncClient, engine: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.patch(engine.url, json={"name": "Eve's"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, engine: Thing) -> None:
    """A company of another workspace is not found."""
    response = await charlie.patch(engine.url, json={"name": "Eve's"})

    assert response.status_code == 404
    assert (await alice.get(engine.url)).json() == engine.json


async def test_bob_is_refused(bob: Person, engine: Thing, stored: Stored) -> None:
    """A read-only credential cannot change anything."""
    response = await bob.patch(engine.url, json={"name": "Eve's"})

    assert response.status_code == 403
    assert "companies:write" in response.json()["detail"]
    assert len(await stored.changes()) == 1


async def test_absent_leaves_alone(alice: Person, engine: Thing) -> None:
    """A patch leaves absent fields alone and advances `updated_at`."""
    response = await alice.patch(engine.url, json={"description": "Mills and stores."})

    company = response.json()
    assert response.status_code == 200
    assert company == {**engine.json, "description": "Mills and stores.", "updated_at": company["updated_at"]}
    assert company["updated_at"] > engine.json["updated_at"]
    assert (await alice.get(engine.url)).json() == company


async def test_null_clears(alice: Person, engine: Thing) -> None:
    """Null clears the name to null, removes the description and empties the domains."""
    await alice.patch(engine.url, json={"description": "Mills and stores."})
    response = await alice.patch(engine.url, json={"name": None, "description": None, "domains": None})

    company = response.json()
    assert set(company) == {"object", "id", "name", "domains", "created_at", "updated_at"}
    assert (company["name"], company["domains"]) == (None, [])


async def test_an_array_replaces_the_array(
    alice: Person, engine: Thing, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A patch's domains replace all domains of the company, and the ledger keeps the old ones."""
    domains = [{"domain": "https://New.test/about"}, {"domain": "ENGINE.test"}]
    response = await alice.patch(engine.url, json={"domains": domains})
    emptied = await alice.patch(engine.url, json={"domains": []})

    assert [item["domain"] for item in response.json()["domains"]] == ["new.test", "engine.test"]
    assert emptied.json()["domains"] == []
    assert await held(pool, engine) == set()
    assert [change.previous for change in (await stored.changes())[1:]] == [
        {"domains": engine.json["domains"]},
        {"domains": response.json()["domains"]},
    ]


async def test_the_change_is_entered(alice: Person, engine: Thing, stored: Stored) -> None:
    """The ledger entry has the company, and the old values of the members that changed, null for none."""
    response = await alice.patch(engine.url, json={"name": "Difference Engine", "description": "Mills.", "domains": None})
    change = (await stored.changes())[-1]

    assert (change.seq, change.kind, change.action) == (2, "o", "u")
    assert change.previous == {"name": "Analytical Engine", "description": None, "domains": engine.json["domains"]}
    assert change.object == response.json()
    assert response.headers["ETag"] == '"2"'


async def test_the_words_follow_the_name(alice: Person, engine: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A word is removed when the name no longer has it, and kept while the name does."""
    await alice.patch(engine.url, json={"name": "Engine & Mill"})
    words = await pool.fetch("select word from company_word where company_id = $1", engine.uuid)

    assert {record["word"] for record in words} == {"engine", "mill"}


@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"name": "Analytical Engine"},
        {"description": None},
        {"domains": [{"domain": "engine.test"}]},
        {"domains": [{"domain": "https://ENGINE.test./about", "is_primary": False}], "name": "Analytical Engine"},
    ],
)
async def test_what_changes_nothing_writes_nothing(alice: Person, engine: Thing, stored: Stored, patch: Json) -> None:
    """A patch that changes nothing writes nothing, even with another spelling of a domain: only one form is kept."""
    response = await alice.patch(engine.url, json=patch)

    assert response.status_code == 200
    assert response.json() == engine.json
    assert response.headers["ETag"] == engine.etag
    assert len(await stored.changes()) == 1


DOMAINS = [{"domain": "a.test", "is_primary": False}, {"domain": "b.test", "is_primary": True}]


@pytest.mark.parametrize(
    ("domains", "primary"),
    [
        ([{"domain": "a.test"}, {"domain": "B.test"}], "b.test"),
        ([{"domain": "a.test"}, {"domain": "b.test", "is_primary": False}], "b.test"),
        ([{"domain": "a.test", "is_primary": True}, {"domain": "b.test"}], "a.test"),
        ([{"domain": "c.test"}, {"domain": "a.test"}], "c.test"),
    ],
)
async def test_the_primary_domain(alice: Person, engine: Thing, domains: Json, primary: str) -> None:
    """The primary domain is the marked one, else the previous one if it is still listed, else the first."""
    await alice.patch(engine.url, json={"domains": DOMAINS})
    response = await alice.patch(engine.url, json={"domains": domains})

    assert [item["domain"] for item in response.json()["domains"] if item["is_primary"]] == [primary]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": ""}, [("name", "too_short")]),
        ({"name": "\u3000"}, [("name", "blank")]),
        ({"name": "\u200b"}, [("name", "blank")]),
        ({"name": "x" * 256, "description": "x" * 2001}, [("name", "too_long"), ("description", "too_long")]),
        ({"description": 1}, [("description", "invalid_type")]),
        ({"domains": {"domain": "a.test"}}, [("domains", "invalid_type")]),
        ({"domains": [None, {"domain": None}]}, [("domains[0]", "invalid_type"), ("domains[1].domain", "invalid_type")]),
        ({"domains": [{"domain": "a.test"}, {"domain": "http://A.test"}]}, [("domains[1].domain", "duplicate")]),
        ({"domains": [{"domain": "a", "primary": True}]}, [("domains[0].primary", "unknown_field")]),
        ({"domains": [{"domain": f"{index}.test"} for index in range(101)]}, [("domains", "too_long")]),
        ({"website": "https://engine.test"}, [("website", "unknown_field")]),
        ({"id": "cmp_1", "created_at": None}, [("id", "unknown_field"), ("created_at", "unknown_field")]),
    ],
)
async def test_what_is_no_patch_is_refused(
    alice: Person, engine: Thing, stored: Stored, body: Json, expected: list[tuple[str, str]]
) -> None:
    """All faults are reported, and nothing is changed."""
    response = await alice.patch(engine.url, json={"name": "Difference Engine", **body})

    assert response.status_code == 422
    assert set(expected) <= set(faults(response))
    assert len(await stored.changes()) == 1


async def test_a_domain_that_is_taken_is_refused(
    alice: Person, engine: Thing, mill: Thing, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A domain belongs to one active company. The refusal names the holder, and no part of the patch is applied."""
    domains = [{"domain": "new.test"}, {"domain": "https://ENGINE.test"}]
    response = await alice.patch(mill.url, json={"name": "Renamed", "domains": domains})

    assert response.status_code == 409
    assert faults(response) == [("domains[1].domain", "already_in_use")]
    assert response.json()["conflict"] == {"object": "company", "id": engine.id}
    assert (await alice.get(mill.url)).json() == mill.json
    assert (await held(pool, mill), await held(pool, engine)) == ({"mill.test"}, {"engine.test"})
    assert len(await stored.changes()) == 2


async def test_the_holder_is_hidden_from_those_who_may_not_read(dave: Person, engine: Thing, mill: Thing) -> None:
    """A caller without the read scope learns that the domain is taken, but not by whom."""
    response = await dave.patch(mill.url, json={"domains": engine.json["domains"]})

    assert response.status_code == 409
    assert "conflict" not in response.json()
    assert engine.id not in response.text


async def test_domains_can_be_swapped(alice: Person, engine: Thing, mill: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A replaced domain is free for another company, so two companies can swap domains step by step."""
    await alice.patch(engine.url, json={"domains": [{"domain": "between.test"}]})
    await alice.patch(mill.url, json={"domains": engine.json["domains"]})
    response = await alice.patch(engine.url, json={"domains": mill.json["domains"]})

    assert response.status_code == 200
    assert (await held(pool, mill), await held(pool, engine)) == ({"engine.test"}, {"mill.test"})


async def at_once(alice: Person, patches: Sequence[tuple[Thing, Json]]) -> list[int]:
    """Send patches that run in one batch, in order; return their statuses."""
    async with TaskGroup() as tasks:
        # The others wait while the first runs, so they share a batch.
        tasks.create_task(alice.post("/api/v2/contacts", json={}))
        writes = [tasks.create_task(alice.patch(thing.url, json=patch)) for thing, patch in patches]
    assert len({write.result().json()["updated_at"] for write in writes if write.result().is_success}) == 1
    return [write.result().status_code for write in writes]


async def test_a_domain_is_passed_on_within_a_batch(
    alice: Person, engine: Thing, mill: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A domain that one write releases is free for the next, and in the end each domain belongs to its last holder."""
    a, b = engine.json["domains"], mill.json["domains"]
    statuses = await at_once(
        alice, [(engine, {"domains": b}), (engine, {"domains": []}), (mill, {"domains": a}), (engine, {"domains": b})]
    )

    assert statuses == [409, 200, 200, 200]
    assert (await held(pool, mill), await held(pool, engine)) == ({"engine.test"}, {"mill.test"})
    assert [(await alice.get(thing.url)).json()["domains"] for thing in (mill, engine)] == [a, b]


async def test_a_domain_that_comes_back_within_a_batch_is_kept(
    alice: Person, engine: Thing, mill: Thing, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """A domain that its company releases and claims again is kept; one that nobody claims again is free."""
    statuses = await at_once(
        alice,
        [
            (engine, {"domains": []}),
            (mill, {"domains": [{"domain": "engine.test"}, {"domain": "mill.test"}]}),
            (mill, {"domains": []}),
            (engine, {"domains": engine.json["domains"]}),
        ],
    )
    freed = await alice.post(URL, json={"domains": mill.json["domains"]})

    assert statuses == [200] * 4
    assert freed.status_code == 201
    assert (await held(pool, mill), await held(pool, engine)) == (set(), {"engine.test"})


async def test_one_of_many_gets_the_domain(
    alice: Person, engine: Thing, mill: Thing, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """Only one of several simultaneous claims on a domain succeeds; the others get a conflict."""
    both = {"domains": [{"domain": "both.test"}]}
    async with TaskGroup() as tasks:
        writes = [
            tasks.create_task(alice.patch(engine.url, json=both)),
            tasks.create_task(alice.patch(mill.url, json=both)),
            tasks.create_task(alice.post(URL, json=both)),
        ]

    assert sorted(write.result().status_code // 100 for write in writes) == [2, 4, 4]
    assert len(await stored.changes()) == 3
    assert await pool.fetchval("select count(*) from company_domain where domain = 'both.test'") == 1


async def test_if_match_lets_the_current_version_through(alice: Person, engine: Thing) -> None:
    """A patch with the current ETag is applied."""
    response = await alice.patch(engine.url, json={"name": "Difference Engine"}, headers={"If-Match": engine.etag})

    assert response.status_code == 200
    assert response.headers["ETag"] != engine.etag


@pytest.mark.parametrize("patch", [{"name": "Difference Engine"}, {"domains": [{"domain": "mill.test"}]}, {}])
@pytest.mark.usefixtures("mill")
async def test_if_match_stops_other_versions(alice: Person, engine: Thing, patch: Json) -> None:
    """412 shows the current ETag. It takes precedence over 409 and applies even if nothing would change."""
    changed = await alice.patch(engine.url, json={"description": "changed"})
    response = await alice.patch(engine.url, json=patch, headers={"If-Match": engine.etag})

    assert response.status_code == 412
    assert response.headers["ETag"] == changed.headers["ETag"]
    assert (await alice.get(engine.url)).json() == changed.json()


async def test_a_retry_gets_the_first_answer(alice: Person, engine: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key gets the first answer, even if the company has changed since."""
    headers = {"Idempotency-Key": str(uuid4()), "If-Match": engine.etag}
    first = await alice.patch(engine.url, json={"domains": [{"domain": "new.test"}]}, headers=headers)
    await alice.patch(engine.url, json={"domains": []})
    second = await alice.patch(engine.url, json={"domains": [{"domain": "new.test"}]}, headers=headers)

    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["ETag"] == first.headers["ETag"]
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 3


async def test_a_key_with_another_request_is_refused(alice: Person, engine: Thing, mill: Thing) -> None:
    """A key belongs to one company and one body."""
    key = {"Idempotency-Key": str(uuid4())}
    await alice.patch(engine.url, json={"description": "changed"}, headers=key)
    answers = [
        await alice.patch(mill.url, json={"description": "changed"}, headers=key),
        await alice.patch(engine.url, json={"description": None}, headers=key),
    ]

    assert [faults(answer) for answer in answers] == [[("Idempotency-Key", "idempotency_key_reused")]] * 2


@pytest.mark.usefixtures("engine")
async def test_object_comes_before_the_rest(alice: Person) -> None:
    """422 takes precedence over 404, which takes precedence over 412 and 409."""
    taken = {"domains": [{"domain": "engine.test"}]}
    unknown = await alice.patch(UNKNOWN, json=taken, headers={"If-Match": '"7"'})
    invalid = await alice.patch(UNKNOWN, json={"name": ""})

    assert (unknown.status_code, invalid.status_code) == (404, 422)


@pytest.mark.parametrize("company_id", ["nobody", "cmp_", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, stored: Stored, company_id: str) -> None:
    """Malformed ids get the same answer as unknown ids."""
    response = await alice.patch(f"{URL}/{company_id}", json={"name": "Eve's"})

    assert response.status_code == 404
    assert await stored.changes() == []


async def test_a_deleted_company_is_not_found(alice: Person, engine: Thing) -> None:
    """A patch cannot revive a deleted company."""
    await alice.delete(engine.url)
    response = await alice.patch(engine.url, json={"name": "Eve's"})

    assert response.status_code == 404
