"""DELETE /v2/contacts/{contact_id}."""

from asyncio import TaskGroup
from uuid import uuid4

import httpx
import pytest

from tests.cast import Person, Stored, Thing

UNKNOWN = "/api/v2/contacts/cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.delete(ada.url)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, ada: Thing) -> None:
    """A contact of another workspace is not found, and it stays."""
    response = await charlie.delete(ada.url)

    assert response.status_code == 404
    assert (await alice.get(ada.url)).json() == ada.json


async def test_bob_is_refused(bob: Person, alice: Person, ada: Thing) -> None:
    """A read-only credential cannot delete anything."""
    response = await bob.delete(ada.url)

    assert response.status_code == 403
    assert (await alice.get(ada.url)).status_code == 200


async def test_it_tells_what_was_deleted(alice: Person, ada: Thing) -> None:
    """The response names the contact and has no ETag, because nothing is left that has a version."""
    response = await alice.delete(ada.url)

    assert response.status_code == 200
    assert response.json() == {"id": ada.id, "object": "contact", "deleted": True}
    assert "ETag" not in response.headers


async def test_it_is_gone_from_everywhere(alice: Person, ada: Thing) -> None:
    """A deleted contact is not read, listed or found."""
    await alice.delete(ada.url)

    assert (await alice.get(ada.url)).status_code == 404
    assert (await alice.get("/api/v2/contacts")).json()["data"] == []
    assert (await alice.get("/api/v2/contacts?search=ada")).json()["data"] == []


async def test_a_second_time_there_is_nothing(alice: Person, ada: Thing, stored: Stored) -> None:
    """A second deletion is refused and writes nothing."""
    await alice.delete(ada.url)
    response = await alice.delete(ada.url)

    assert response.status_code == 404
    assert len(await stored.changes()) == 2


async def test_what_waits_behind_a_deletion_finds_nothing(alice: Person, ada: Thing, stored: Stored) -> None:
    """Writes in one batch see each other: after the deletion there is nothing to change or delete."""
    async with TaskGroup() as tasks:
        # The others wait while the first runs, so they share a batch.
        tasks.create_task(alice.post("/api/v2/contacts", json={}))
        writes = [
            tasks.create_task(alice.delete(ada.url)),
            tasks.create_task(alice.patch(ada.url, json={"last_name": "King"})),
            tasks.create_task(alice.delete(ada.url)),
        ]

    assert [write.result().status_code for write in writes] == [200, 404, 404]
    assert [change.action for change in await stored.changes()] == ["c", "c", "d"]


async def test_the_change_is_entered(alice: Person, ada: Thing, stored: Stored) -> None:
    """The ledger keeps the contact's last state."""
    await alice.delete(ada.url)
    change = (await stored.changes())[-1]

    assert (change.seq, change.kind, change.action) == (2, "c", "d")
    assert change.previous is None
    assert change.object == ada.json


async def test_deletion_is_a_mark(alice: Person, ada: Thing, stored: Stored) -> None:
    """The row stays, with the time of its deletion."""
    await alice.delete(ada.url)
    row = await stored.row(ada)

    assert row["deleted_at"] == row["updated_at"]
    assert row["version"] == 2


async def test_addresses_and_words_are_forgotten(alice: Person, ada: Thing, stored: Stored) -> None:
    """A deleted contact holds no addresses and no indexed words."""
    await alice.delete(ada.url)

    assert await stored.addresses(ada) == set()
    assert await stored.words(ada) == set()


async def test_the_address_goes_to_the_next(alice: Person, ada: Thing, stored: Stored) -> None:
    """The address always belongs to the newest contact when contacts are created and deleted in turn, and ends free."""
    for _ in range(3):
        await alice.delete(ada.url)
        ada = Thing(await alice.post("/api/v2/contacts", json={"emails": [{"email": "ada@engine.test"}]}))

    assert await stored.addresses(ada) == {"ada@engine.test"}
    assert len(await stored.changes()) == 7


async def test_if_match_lets_the_current_version_through(alice: Person, ada: Thing) -> None:
    """A deletion with the current ETag succeeds."""
    response = await alice.delete(ada.url, headers={"If-Match": ada.etag})

    assert response.status_code == 200


async def test_if_match_stops_other_versions(alice: Person, ada: Thing, stored: Stored) -> None:
    """A stale If-Match prevents the deletion."""
    changed = await alice.patch(ada.url, json={"last_name": "King"})
    response = await alice.delete(ada.url, headers={"If-Match": ada.etag})

    assert response.status_code == 412
    assert response.headers["ETag"] == changed.headers["ETag"]
    assert len(await stored.changes()) == 2


async def test_a_retry_gets_the_first_answer(alice: Person, ada: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key gets the first answer, not 404."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.delete(ada.url, headers=key) for _ in range(2)]

    assert second.status_code == 200
    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert "ETag" not in second.headers
    assert len(await stored.changes()) == 2


async def test_a_body_is_no_matter(alice: Person, ada: Thing) -> None:
    """The operation takes no body and ignores one."""
    response = await alice.delete(ada.url, content=b"{", headers={"Content-Type": "text/plain"})

    assert response.status_code == 200


async def test_object_comes_before_if_match(alice: Person) -> None:
    """404 takes precedence over 412."""
    response = await alice.delete(UNKNOWN, headers={"If-Match": '"7"'})

    assert response.status_code == 404


async def test_scope_comes_before_object(bob: Person) -> None:
    """403 takes precedence over 404."""
    response = await bob.delete(UNKNOWN)

    assert response.status_code == 403


@pytest.mark.parametrize("contact_id", ["nobody", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, stored: Stored, contact_id: str) -> None:
    """Unknown ids and malformed ids get the same answer."""
    response = await alice.delete(f"/api/v2/contacts/{contact_id}")

    assert response.status_code == 404
    assert await stored.changes() == []
