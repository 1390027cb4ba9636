"""DELETE /v2/tags/{tag_id}."""

from asyncio import TaskGroup
from uuid import uuid4

import asyncpg
import httpx
import pytest

from tests.cast import Person, Stored, Thing

URL = "/api/v2/tags"


async def test_anonymous_is_refused(client: httpx.AsyncClient, renewal: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.delete(renewal.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, renewal: Thing) -> None:
    """A tag of another workspace is not found, and it stays."""
    response = await charlie.delete(renewal.url)

    assert response.status_code == 404
    assert (await alice.get(renewal.url)).json() == renewal.json


async def test_bob_is_refused(bob: Person, renewal: Thing, stored: Stored) -> None:
    """A read-only credential cannot delete anything."""
    response = await bob.delete(renewal.url)

    assert response.status_code == 403
    assert "tags:write" in response.json()["detail"]
    assert len(await stored.changes()) == 1


async def test_it_tells_what_was_deleted(alice: Person, renewal: Thing) -> None:
    """The response names the tag and has no ETag, because nothing is left that has a version."""
    response = await alice.delete(renewal.url)

    assert response.status_code == 200
    assert response.json() == {"id": renewal.id, "object": "tag", "deleted": True}
    assert "ETag" not in response.headers


async def test_it_is_gone(alice: Person, renewal: Thing, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """A deleted tag is neither read nor listed; its row stays, with a mark."""
    await alice.delete(renewal.url)
    row = await pool.fetchrow("select version, updated_at, deleted_at from tag where id = $1", renewal.uuid)

    assert (await alice.get(renewal.url)).status_code == 404
    assert (await alice.get(URL)).json()["data"] == []
    assert row is not None
    assert (row["version"], row["deleted_at"]) == (2, row["updated_at"])


async def test_the_change_is_entered(alice: Person, renewal: Thing, stored: Stored) -> None:
    """The ledger keeps the tag's last state."""
    await alice.delete(renewal.url)
    change = (await stored.changes())[-1]

    assert (change.seq, change.kind, change.action) == (2, "t", "d")
    assert (change.previous, change.object) == (None, renewal.json)


async def test_a_second_time_there_is_nothing(alice: Person, renewal: Thing, stored: Stored) -> None:
    """A second deletion is refused and writes nothing."""
    await alice.delete(renewal.url)
    response = await alice.delete(renewal.url)

    assert response.status_code == 404
    assert len(await stored.changes()) == 2


async def test_the_name_goes_to_the_next(alice: Person, renewal: Thing) -> None:
    """The name always belongs only to the newest tag when tags are created and deleted in turn."""
    for name in ("RENEWAL", "renewal", " Renewal"):
        await alice.delete(renewal.url)
        renewal = Thing(await alice.post(URL, json={"name": name}))
    refused = await alice.post(URL, json={"name": "Renewal"})

    assert refused.json()["conflict"]["id"] == renewal.id


async def test_the_name_goes_on_within_a_batch(alice: Person, renewal: Thing) -> None:
    """Within a batch, a tag after the deletion gets the name, and one before it does not."""
    async with TaskGroup() as tasks:
        # The others wait while the first runs, so they share a batch.
        tasks.create_task(alice.post("/api/v2/contacts", json={}))
        writes = [
            tasks.create_task(alice.post(URL, json={"name": "RENEWAL"})),
            tasks.create_task(alice.delete(renewal.url)),
            tasks.create_task(alice.post(URL, json={"name": "renewal"})),
            tasks.create_task(alice.patch(renewal.url, json={"name": "Eve's"})),
            tasks.create_task(alice.delete(renewal.url)),
        ]

    assert [write.result().status_code for write in writes] == [409, 200, 201, 404, 404]


async def test_if_match_stops_other_versions(alice: Person, renewal: Thing) -> None:
    """A stale If-Match prevents the deletion, and the tag keeps its name; the current version passes."""
    changed = await alice.patch(renewal.url, json={"hex_color": None})
    stopped = await alice.delete(renewal.url, headers={"If-Match": renewal.etag})
    taken = await alice.post(URL, json={"name": "Renewal"})
    passed = await alice.delete(renewal.url, headers={"If-Match": changed.headers["ETag"]})

    assert [answer.status_code for answer in (stopped, taken, passed)] == [412, 409, 200]
    assert stopped.headers["ETag"] == changed.headers["ETag"]


async def test_a_retry_gets_the_first_answer(alice: Person, renewal: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key gets the first answer, even if another tag has the name now."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.delete(renewal.url, headers=key)
    await alice.post(URL, json={"name": "Renewal"})
    second = await alice.delete(renewal.url, headers=key)

    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "ETag" not in second.headers
    assert len(await stored.changes()) == 3


@pytest.mark.parametrize("tag_id", ["nobody", "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, stored: Stored, tag_id: str) -> None:
    """Unknown ids and malformed ids get the same 404, which takes precedence over 412."""
    response = await alice.delete(f"{URL}/{tag_id}", headers={"If-Match": '"7"'})

    assert response.status_code == 404
    assert await stored.changes() == []
