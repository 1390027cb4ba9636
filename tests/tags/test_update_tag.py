"""PATCH /v2/tags/{tag_id}."""

from asyncio import TaskGroup
from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults

URL = "/api/v2/tags"
UNKNOWN = f"{URL}/tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def create(alice: Person, name: str) -> Thing:
    """Create a tag."""
    return Thing(await alice.post(URL, json={"name": name}))


async def test_anonymous_is_refused(client: httpx.AsyncClient, renewal: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.patch(renewal.url, json={"name": "Eve's"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, renewal: Thing) -> None:
    """A tag of another workspace is not found."""
    response = await charlie.patch(renewal.url, json={"name": "Eve's"})

    assert response.status_code == 404
    assert (await alice.get(renewal.url)).json() == renewal.json


async def test_bob_is_refused(bob: Person, renewal: Thing, stored: Stored) -> None:
    """A read-only credential cannot change anything."""
    response = await bob.patch(renewal.url, json={"name": "Eve's"})

    assert response.status_code == 403
    assert "tags:write" in response.json()["detail"]
    assert len(await stored.changes()) == 1


@pytest.mark.parametrize(
    "patch",
    [
        {"name": "Churn"},
        {"description": "Other words."},
        {"hex_color": "#000000"},
        {"auto_tagging_enabled": True},
        {"description": None, "hex_color": None},
        {"name": "RENEWAL", "auto_tagging_enabled": True},
    ],
)
async def test_what_is_named_is_changed(alice: Person, renewal: Thing, stored: Stored, patch: Json) -> None:
    """Absent leaves a member alone and null clears it; the ledger has the old and new values."""
    response = await alice.patch(renewal.url, json=patch)
    change = (await stored.changes())[-1]

    tag = response.json()
    assert response.status_code == 200
    assert tag == {**renewal.json, **patch, "updated_at": tag["updated_at"]}
    assert tag["updated_at"] > renewal.json["updated_at"]
    assert (await alice.get(renewal.url)).json() == tag
    assert (change.kind, change.action, change.object) == ("t", "u", tag)
    assert change.previous == {name: renewal.json[name] for name in patch}
    assert response.headers["ETag"] == f'"{change.seq}"' == '"2"'


@pytest.mark.parametrize(
    "patch",
    [{}, {"name": "Renewal"}, {"hex_color": "#1F6FEB", "auto_tagging_enabled": False}],
)
async def test_what_changes_nothing_writes_nothing(alice: Person, renewal: Thing, stored: Stored, patch: Json) -> None:
    """A request that changes nothing keeps `updated_at` and the ETag, and adds no ledger entry."""
    response = await alice.patch(renewal.url, json=patch)

    assert (response.json(), response.headers["ETag"]) == (renewal.json, renewal.etag)
    assert len(await stored.changes()) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"name": None}, [("name", "invalid_type")]),
        ({"name": ""}, [("name", "too_short")]),
        ({"name": "x" * 256, "description": "\n"}, [("name", "too_long"), ("description", "blank")]),
        ({"hex_color": "#1f6feb "}, [("hex_color", "invalid_format")]),
        ({"hex_color": 0x1F6FEB}, [("hex_color", "invalid_type")]),
        ({"auto_tagging_enabled": None}, [("auto_tagging_enabled", "invalid_type")]),
        ({"autoTaggingEnabled": True}, [("autoTaggingEnabled", "unknown_field")]),
    ],
)
async def test_what_is_no_patch_is_refused(
    alice: Person, renewal: Thing, stored: Stored, body: Json, expected: list[tuple[str, str]]
) -> None:
    """A tag must have a name, and only optional members may be null."""
    response = await alice.patch(renewal.url, json=body)

    assert response.status_code == 422
    assert faults(response) == expected
    assert len(await stored.changes()) == 1


async def test_a_name_that_is_taken_is_refused(alice: Person, renewal: Thing, stored: Stored) -> None:
    """A name belongs to one active tag. The refusal names the tag, and no part of the patch is applied."""
    churn = await create(alice, "Churn")
    response = await alice.patch(churn.url, json={"hex_color": "#000000", "name": "RENEWAL "})

    assert response.status_code == 409
    assert faults(response) == [("name", "already_in_use")]
    assert response.json()["conflict"] == {"object": "tag", "id": renewal.id}
    assert (await alice.get(churn.url)).json() == churn.json
    assert len(await stored.changes()) == 2


async def test_the_holder_is_hidden_from_those_who_may_not_read(dave: Person, alice: Person, renewal: Thing) -> None:
    """A caller without the read scope learns that the name is taken, but not by which tag."""
    churn = await create(alice, "Churn")
    response = await dave.patch(churn.url, json={"name": "renewal"})

    assert response.status_code == 409
    assert "conflict" not in response.json()
    assert renewal.id not in response.text


async def test_a_name_that_was_given_up_is_free(alice: Person, renewal: Thing) -> None:
    """Two tags can swap names step by step, and each name is held again afterwards."""
    churn = await create(alice, "Churn")
    steps = [(renewal, "between"), (churn, "renewal"), (renewal, "CHURN")]
    statuses = [(await alice.patch(tag.url, json={"name": name})).status_code for tag, name in steps]
    refused = [(await alice.post(URL, json={"name": name})).status_code for name in ("Renewal", "Churn", "Between")]

    assert statuses == [200, 200, 200]
    assert refused == [409, 409, 201]


async def test_another_spelling_keeps_the_name(alice: Person, renewal: Thing) -> None:
    """A tag may respell its own name and keeps it."""
    await alice.patch(renewal.url, json={"name": "RENEWAL"})
    refused = await alice.post(URL, json={"name": "Renewal"})

    assert refused.status_code == 409


async def test_a_name_is_passed_on_within_a_batch(alice: Person, renewal: Thing) -> None:
    """A name that one write releases is free for the next in the batch, but not for the one after that."""
    churn, other = await create(alice, "Churn"), await create(alice, "Other")
    async with TaskGroup() as tasks:
        # The others wait while the first runs, so they share a batch.
        tasks.create_task(alice.post("/api/v2/contacts", json={}))
        steps = [(other, "renewal"), (renewal, "Gone"), (churn, "renewal"), (other, "churn"), (renewal, "Churn")]
        writes = [tasks.create_task(alice.patch(tag.url, json={"name": name})) for tag, name in steps]

    times = {write.result().json()["updated_at"] for write in writes if write.result().is_success}
    refused = [(await alice.post(URL, json={"name": name})).status_code for name in ("renewal", "gone", "churn", "other")]
    assert [write.result().status_code for write in writes] == [409, 200, 200, 200, 409]
    assert len(times) == 1, "they shared a batch"
    assert refused == [409, 409, 409, 201]


@pytest.mark.usefixtures("renewal")
async def test_if_match_stops_other_versions(alice: Person) -> None:
    """412 shows the current ETag and takes precedence over 409; the current version passes."""
    churn = await create(alice, "Churn")
    stopped = await alice.patch(churn.url, json={"name": "Renewal"}, headers={"If-Match": '"1"'})
    passed = await alice.patch(churn.url, json={"name": "Lost"}, headers={"If-Match": churn.etag})

    assert (stopped.status_code, passed.status_code) == (412, 200)
    assert stopped.headers["ETag"] == churn.etag


async def test_a_retry_gets_the_first_answer(alice: Person, renewal: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key gets the first answer, even if the tag has changed since."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.patch(renewal.url, json={"name": "Churn"}, headers=key)
    await alice.patch(renewal.url, json={"name": "Lost"})
    second = await alice.patch(renewal.url, json={"name": "Churn"}, headers=key)

    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 3


@pytest.mark.usefixtures("renewal")
async def test_object_comes_before_the_rest(alice: Person) -> None:
    """422 takes precedence over 404, which takes precedence over 412 and 409."""
    unknown = await alice.patch(UNKNOWN, json={"name": "Renewal"}, headers={"If-Match": '"7"'})
    invalid = await alice.patch(UNKNOWN, json={"name": ""})

    assert (unknown.status_code, invalid.status_code) == (404, 422)


async def test_a_deleted_tag_is_not_found(alice: Person, renewal: Thing) -> None:
    """A patch cannot revive a deleted tag."""
    await alice.delete(renewal.url)
    response = await alice.patch(renewal.url, json={"name": "Eve's"})

    assert response.status_code == 404
