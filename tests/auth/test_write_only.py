"""A write-only credential gets back no more of an object than it sent."""

from collections.abc import Iterator
from typing import Final, cast

import asyncpg
import pytest

from herdbook.app import OPERATIONS
from herdbook.auth.store import create_key
from herdbook.http import openapi
from herdbook.http.operation import Operation
from herdbook.http.unread import shown_objects
from tests.auth.test_strangers import OwnedWorkspace, owned
from tests.cast import Json, Person, Thing
from tests.engagements.calls import URL as ENGAGEMENTS
from tests.engagements.calls import call

__all__ = ["owned"]

ALWAYS: Final = {"object", "id", "created_at", "updated_at"}
BULK: Final = "/api/herdbook/contacts/bulk"
WRITES: Final = [each for each in OPERATIONS if each.narrows(each.status) and shown_objects(each.answer)]


def objects(answer: Json) -> Iterator[Json]:
    """Return the objects in an answer at any depth: those with a `created_at`."""
    parts = cast("list[Json]", answer) if isinstance(answer, list) else []
    if isinstance(answer, dict):
        members = cast("dict[str, Json]", answer)
        parts = list(members.values())
        if "created_at" in members:
            yield members
    for part in parts:
        yield from objects(part)


def test_all_kinds_of_objects_are_walked() -> None:
    """The operations below cover all kinds of objects that can be written without being read."""
    assert {operation.tag for operation in WRITES} == {
        f"subpackage_{kind}" for kind in ("contacts", "companies", "tags", "engagements", "transcriptComments", "cards")
    }


@pytest.mark.parametrize("operation", WRITES, ids=lambda operation: operation.id)
async def test_no_write_reads(owned: OwnedWorkspace, pool: "asyncpg.Pool[asyncpg.Record]", operation: Operation) -> None:
    """An answer shows only an object's identity and the members that were sent."""
    owner, sent = owned.owner, getattr(operation.body, "example", {})
    if operation.id == "merge-contacts":
        other = await owner.post("/api/v2/contacts", json={"first_name": "Other"})
        sent = {"from": [other.json()["id"]]}
    if operation.id == "merge-companies":
        other = await owner.post("/api/v2/companies", json={"domains": []})
        sent = {"from": [other.json()["id"]]}
    key = await create_key(pool, owner.workspace_id, "Writer", operation.scopes or ())
    writer = Person(owner.client, owner.workspace_id, key)
    response = await writer.request(operation.method, "/api" + operation.path.format(**owned.ids), json=sent)
    found = list(objects(response.json()))

    assert response.status_code == 200
    assert found
    assert all(ALWAYS <= each.keys() <= ALWAYS | sent.keys() for each in found)


async def test_a_patch_of_nothing_tells_nothing(dave: Person, ada: Thing) -> None:
    """An empty patch shows nothing of a contact except its version."""
    response = await dave.patch(ada.url, json={})

    assert response.json() == {name: ada.json[name] for name in ALWAYS}
    assert response.headers["ETag"] == ada.etag


@pytest.mark.parametrize("atomic", [False, True])
async def test_an_upsert_tells_nothing(dave: Person, ada: Thing, atomic: bool) -> None:  # noqa: FBT001
    """A caller who knows an address does not learn whose it is."""
    upsert = {"action": "upsert", "contact": {"emails": [{"email": "ada@engine.test"}]}}
    response = await dave.post(BULK, json={"atomic": atomic, "operations": [upsert]})

    assert response.json()["results"] == [
        {"index": 0, "result": "unchanged", "version": 1, "contact": {name: ada.json[name] for name in ALWAYS}}
    ]


async def test_what_was_sent_comes_back(dave: Person, ada: Thing) -> None:
    """The answer shows texts that were sent, but not lists, because their items may have existed before."""
    sent = {"last_name": "King", "description": None, "time_zone": "Europe/London", "emails": [{"email": "king@engine.test"}]}
    first = await dave.patch(ada.url, json=sent, headers={"Idempotency-Key": "one"})
    again = await dave.patch(ada.url, json=sent, headers={"Idempotency-Key": "one"})

    assert first.json().keys() == {*ALWAYS, "last_name", "time_zone"}
    assert (first.json()["last_name"], first.json()["time_zone"]) == ("King", "Europe/London")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()


async def test_what_was_there_before_is_not_created(owned: OwnedWorkspace, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """An engagement that another one created with this external id is told no more of than was sent."""
    key = await create_key(pool, owned.owner.workspace_id, "Writer", ["engagements:write"])
    writer = Person(owned.owner.client, owned.owner.workspace_id, key)
    body = call("known")
    created = await owned.owner.post(ENGAGEMENTS, json=body)
    again = await writer.post(ENGAGEMENTS, json=body | {"title": "Other", "is_private": True})
    whole = await owned.owner.post(ENGAGEMENTS, json=body)
    new = await writer.post(ENGAGEMENTS, json=call("new"))

    assert (created.status_code, again.status_code, whole.status_code, new.status_code) == (201, 200, 200, 201)
    assert again.json() == {name: created.json()[name] for name in ALWAYS}
    assert again.headers["ETag"] == whole.headers["ETag"]
    assert whole.json() == created.json()
    assert new.json().keys() > ALWAYS | {"title"}


def test_the_document_tells_of_what_was_there_before() -> None:
    """An engagement that is created is answered whole; one that was there may be answered in part."""
    responses = openapi.document(OPERATIONS, "https://problems.test/")["paths"]["/v2/engagements"]["post"]["responses"]
    created, known = [responses[status]["content"]["application/json"]["schema"] for status in ("201", "200")]

    assert known == {"anyOf": [created, {"$ref": "#/components/schemas/written_object"}]}


async def test_what_is_created_comes_back_whole(dave: Person, alice: Person) -> None:
    """A new object is shown whole, because its creator sent all of it."""
    response = await dave.post("/api/v2/contacts", json={"first_name": "Ada"})

    assert response.json() == (await alice.get(f"/api/v2/contacts/{response.json()['id']}")).json()
