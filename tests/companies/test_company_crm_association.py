"""PUT and DELETE /v2/companies/{company_id}/crm_association."""

from uuid import uuid4

import asyncpg
import httpx
import pytest
import pytest_asyncio

from tests.cast import Json, Person, Stored, Thing, faults

LINK = {"object_type": "company", "crm_object_id": "0015e00000A", "source": "salesforce"}


@pytest_asyncio.fixture
async def linked(alice: Person, engine: Thing) -> Thing:
    """A company linked to a CRM record."""
    response = await alice.put(f"{engine.url}/crm_association", json=LINK)
    engine.json, engine.etag = response.json(), response.headers["ETag"]
    return engine


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_anonymous_is_refused(client: httpx.AsyncClient, engine: Thing, method: str) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.request(method, f"{engine.url}/crm_association", json=LINK)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_charlie_is_refused(charlie: Person, alice: Person, linked: Thing, method: str) -> None:
    """A company of another workspace is not found, and its link stays."""
    response = await charlie.request(method, f"{linked.url}/crm_association", json={**LINK, "crm_object_id": "1"})

    assert response.status_code == 404
    assert (await alice.get(linked.url)).json() == linked.json


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_bob_is_refused(bob: Person, linked: Thing, stored: Stored, method: str) -> None:
    """A read-only credential can neither link nor unlink."""
    response = await bob.request(method, f"{linked.url}/crm_association", json=LINK)

    assert response.status_code == 403
    assert "companies:write" in response.json()["detail"]
    assert len(await stored.changes()) == 2


async def test_the_company_is_linked(alice: Person, engine: Thing, stored: Stored) -> None:
    """The response shows the company with its association, and the ledger says that there was none before."""
    response = await alice.put(f"{engine.url}/crm_association", json=LINK)
    company, change = response.json(), (await stored.changes())[-1]

    assert response.status_code == 200
    assert company == {**engine.json, "crm_association": LINK, "updated_at": company["updated_at"]}
    assert company["updated_at"] > engine.json["updated_at"]
    assert (await alice.get(engine.url)).json() == company
    assert (change.kind, change.action, change.previous, change.object) == ("o", "u", {"crm_association": None}, company)
    assert response.headers["ETag"] == f'"{change.seq}"' == '"2"'


async def test_there_is_one_association(alice: Person, linked: Thing, stored: Stored) -> None:
    """A second association replaces the first."""
    response = await alice.put(f"{linked.url}/crm_association", json={**LINK, "source": "hubspot"})

    assert response.json()["crm_association"] == {**LINK, "source": "hubspot"}
    assert (await stored.changes())[-1].previous == {"crm_association": LINK}


async def test_the_company_is_unlinked(
    alice: Person, linked: Thing, stored: Stored, pool: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """The response shows the company without an association. The ledger keeps the old one; the row does not."""
    response = await alice.delete(f"{linked.url}/crm_association")
    company, change = response.json(), (await stored.changes())[-1]

    expected = {name: value for name, value in linked.json.items() if name != "crm_association"}
    assert response.status_code == 200
    assert company == {**expected, "updated_at": company["updated_at"]}
    assert (change.kind, change.action, change.previous, change.object) == ("o", "u", {"crm_association": LINK}, company)
    assert response.headers["ETag"] == '"3"'
    assert await pool.fetchval("select crm_object_id from company where id = $1", linked.uuid) is None


async def test_the_same_again_writes_nothing(alice: Person, linked: Thing, stored: Stored) -> None:
    """Linking to the same record, or unlinking when unlinked, keeps `updated_at` and the ETag and adds no ledger entry."""
    again = await alice.put(f"{linked.url}/crm_association", json=LINK)
    cleared, clear = [await alice.delete(f"{linked.url}/crm_association") for _ in range(2)]

    assert (again.json(), again.headers["ETag"]) == (linked.json, linked.etag)
    assert (clear.content, clear.headers["ETag"]) == (cleared.content, cleared.headers["ETag"])
    assert len(await stored.changes()) == 3


async def test_two_companies_may_share_a_record(alice: Person, linked: Thing) -> None:
    """An association never conflicts."""
    other = Thing(await alice.post("/api/v2/companies", json={"domains": []}))
    response = await alice.put(f"{other.url}/crm_association", json=linked.json["crm_association"])

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("object_type", "required"), ("crm_object_id", "required"), ("source", "required")]),
        ({**LINK, "object_type": "contact"}, [("object_type", "invalid_choice")]),
        ({**LINK, "object_type": "deal"}, [("object_type", "invalid_choice")]),
        ({**LINK, "crm_object_id": ""}, [("crm_object_id", "too_short")]),
        ({**LINK, "crm_object_id": "x" * 256}, [("crm_object_id", "too_long")]),
        ({**LINK, "crm_object_id": None}, [("crm_object_id", "invalid_type")]),
        ({**LINK, "crm_object_id": "\t"}, [("crm_object_id", "blank")]),
        ({**LINK, "source": "a\u0000", "id": "1"}, [("source", "invalid_characters"), ("id", "unknown_field")]),
    ],
)
async def test_what_is_no_association_is_refused(
    alice: Person, linked: Thing, stored: Stored, body: Json, expected: list[tuple[str, str]]
) -> None:
    """An association needs all three members and takes no others."""
    response = await alice.put(f"{linked.url}/crm_association", json=body)

    assert response.status_code == 422
    assert faults(response) == expected
    assert len(await stored.changes()) == 2


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_if_match_stops_other_versions(alice: Person, linked: Thing, method: str) -> None:
    """Only the current version passes If-Match."""
    url, link = f"{linked.url}/crm_association", {**LINK, "source": "hubspot"}
    stopped = await alice.request(method, url, json=link, headers={"If-Match": '"1"'})
    passed = await alice.request(method, url, json=link, headers={"If-Match": linked.etag})

    assert (stopped.status_code, passed.status_code) == (412, 200)
    assert stopped.headers["ETag"] == linked.etag


async def test_a_retry_gets_the_first_answer(alice: Person, engine: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key links once and unlinks once."""
    url, link_key, clear_key = f"{engine.url}/crm_association", str(uuid4()), str(uuid4())
    linked = await alice.put(url, json=LINK, headers={"Idempotency-Key": link_key})
    cleared = await alice.delete(url, headers={"Idempotency-Key": clear_key})
    linked_again = await alice.put(url, json=LINK, headers={"Idempotency-Key": link_key})
    await alice.put(url, json=LINK)
    cleared_again = await alice.delete(url, headers={"Idempotency-Key": clear_key})

    assert (linked_again.content, cleared_again.content) == (linked.content, cleared.content)
    assert linked_again.headers["Idempotency-Replayed"] == cleared_again.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 4


async def test_a_patch_leaves_the_association_alone(alice: Person, linked: Thing) -> None:
    """A patch leaves the CRM association alone, because the association is not one of its fields."""
    patched = await alice.patch(linked.url, json={"name": "Difference Engine"})
    refused = await alice.patch(linked.url, json={"crm_association": None})

    assert patched.json()["crm_association"] == LINK
    assert faults(refused) == [("crm_association", "unknown_field")]


@pytest.mark.parametrize("company_id", ["nobody", "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, company_id: str) -> None:
    """404 comes after the body is validated and before If-Match is checked."""
    url, stale = f"/api/v2/companies/{company_id}/crm_association", {"If-Match": '"7"'}
    answers = [
        await alice.put(url, json=LINK, headers=stale),
        await alice.put(url, json={}),
        await alice.delete(url, headers=stale),
    ]

    assert [answer.status_code for answer in answers] == [404, 422, 404]


async def test_a_deleted_company_is_not_found(alice: Person, linked: Thing) -> None:
    """A deleted company can be neither linked nor unlinked."""
    await alice.delete(linked.url)
    answers = [
        await alice.put(f"{linked.url}/crm_association", json=LINK),
        await alice.delete(f"{linked.url}/crm_association"),
    ]

    assert [answer.status_code for answer in answers] == [404, 404]
