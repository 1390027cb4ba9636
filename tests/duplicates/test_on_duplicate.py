"""The parameter `on_duplicate=report` of the operations that create contacts and companies."""

import json
from uuid import UUID

import asyncpg
import pytest

from herdbook.app import OPERATIONS
from tests.cast import Json, Person
from tests.duplicates.listed import company, contact, phone

CONTACTS = "/api/v2/contacts"
NUMBER = phone("+44 20 7946 0000")
BODY: Json = {"first_name": "Ada", "last_name": "Lovelace", "phone_numbers": NUMBER}


async def test_it_reports_who_may_be_the_same(alice: Person) -> None:
    """The contact is created, and the answer has the others that may be the same, with reasons."""
    first = await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    await contact(alice, "Grace", "Hopper", phone_numbers=phone("+1 202 555 0143"))

    response = await alice.post(CONTACTS, json=BODY, params={"on_duplicate": "report"})

    assert response.status_code == 201, response.text
    created = response.json()
    report = created.pop("duplicates")
    assert created == (await alice.get(f"{CONTACTS}/{created['id']}")).json()
    assert [each["id"] for each in report["data"]] == [first.id]
    assert report["data"][0]["name"] == "Ada Lovelace"
    assert report["data"][0]["score"] > 0.9
    assert report["data"][0]["reasons"] == ["same name", "same phone +44 20 7946 0000"]
    assert report["complete"]


async def test_nobody_is_like_a_new_one(alice: Person) -> None:
    """A contact like no other one is created with an empty report."""
    response = await alice.post(CONTACTS, json=BODY, params={"on_duplicate": "report"})

    assert response.json()["duplicates"] == {"data": [], "complete": True}


async def test_companies(alice: Person) -> None:
    """A company is reported on in the same way."""
    first = await company(alice, "Acme, Inc.", "acme.test")

    body = {"name": "ACME", "domains": [{"domain": "acme.example"}]}
    response = await alice.post("/api/v2/companies", json=body, params={"on_duplicate": "report"})

    assert [each["id"] for each in response.json()["duplicates"]["data"]] == [first.id]


async def test_it_is_off_by_default(alice: Person, pool: "asyncpg.Pool[asyncpg.Record]", workspace_id: UUID) -> None:
    """Without the parameter, nothing is compared, and the answer has nothing more."""
    await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)

    assert "duplicates" not in (await alice.post(CONTACTS, json=BODY)).json()
    assert "duplicates" not in (await alice.post(CONTACTS, json=BODY, params={"utm": "x"})).json()
    assert await pool.fetchval("select count(*) from duplicate_search where workspace_id = $1", workspace_id) == 0


async def test_the_document_does_not_name_it(alice: Person) -> None:
    """The vendor's operations have no such parameter."""
    document = (await alice.get("/openapi.json")).json()

    assert "on_duplicate" not in json.dumps(document["paths"]["/v2/contacts"])
    assert all(each.query is None for each in OPERATIONS if each.id in ("create-contact", "create-company"))


async def test_other_values_are_refused_before_anything_is_created(alice: Person) -> None:
    """A value that is not known, or sent twice, is refused by name."""
    unknown = await alice.post(CONTACTS, json=BODY, params={"on_duplicate": "merge"})
    twice = await alice.post(f"{CONTACTS}?on_duplicate=report&on_duplicate=report", json=BODY)

    assert [each.status_code for each in (unknown, twice)] == [400, 400]
    assert [each.json()["errors"][0]["field"] for each in (unknown, twice)] == ["on_duplicate", "on_duplicate"]
    assert (await alice.get(CONTACTS)).json()["data"] == []


async def test_who_may_only_write_gets_no_report(dave: Person, alice: Person) -> None:
    """A report shows others, so it needs the scope to read them, and nothing is created without it."""
    response = await dave.post(CONTACTS, json=BODY, params={"on_duplicate": "report"})

    assert response.status_code == 403
    assert (await alice.get(CONTACTS)).json()["data"] == []


@pytest.mark.parametrize("times", [2])
async def test_a_repeated_request_is_answered_again(alice: Person, times: int) -> None:
    """A request with an Idempotency-Key creates one contact, and each answer has a report."""
    await contact(alice, "Ada", "Lovelace", phone_numbers=NUMBER)
    headers = {"Idempotency-Key": "once"}

    answers = [await alice.post(CONTACTS, json=BODY, params={"on_duplicate": "report"}, headers=headers) for _ in range(times)]

    assert len({each.json()["id"] for each in answers}) == 1
    assert [len(each.json()["duplicates"]["data"]) for each in answers] == [1] * times
