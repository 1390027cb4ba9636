"""PUT /v2/engagements/{engagement_id}/tags."""

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults
from tests.engagements.calls import URL, Made, expanded

NOTHING = "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def tags_of(person: Person, engagement: Made) -> list[str]:
    """Return the names of the tags."""
    return [tag["name"] for tag in await expanded(person, engagement, "tags")]


async def test_anonymous_is_refused(client: httpx.AsyncClient, step: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.put(f"{step.url}/tags", json={"tag_ids": []})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, step: Made, renewal: Thing) -> None:
    """An engagement of another workspace is not found, nor are its tags."""
    other = Thing(await charlie.post("/api/v2/tags", json={"name": "Other"}))
    theirs = await charlie.put(f"{step.url}/tags", json={"tag_ids": [other.id]})
    both = await charlie.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]})
    mine = await alice.put(f"{step.url}/tags", json={"tag_ids": [other.id]})

    assert (theirs.status_code, both.status_code, mine.status_code) == (404, 422, 422)
    assert await tags_of(alice, step) == []


async def test_bob_is_refused(bob: Person, step: Made, stored: Stored) -> None:
    """A read-only credential cannot replace anything."""
    response = await bob.put(f"{step.url}/tags", json={"tag_ids": []})

    assert response.status_code == 403
    assert "engagements:write" in response.json()["detail"]
    assert len(await stored.changes()) == 3


async def test_the_tags_are_those_that_are_sent(alice: Person, erin: Person, step: Made, renewal: Thing) -> None:
    """The sent tags replace the old ones, in order and each once; an empty list removes all."""
    won = Thing(await alice.post("/api/v2/tags", json={"name": "Won"}))
    met: list[list[str]] = []
    for tag_ids in ([won.id, renewal.id, won.id], [renewal.id], []):
        response = await erin.put(f"{step.url}/tags", json={"tag_ids": tag_ids})
        assert response.status_code == 200
        assert response.json() == {**step.json, "updated_at": response.json()["updated_at"]}
        met.append(await tags_of(alice, step))

    assert met == [["Won", "Renewal"], ["Renewal"], []]


async def test_the_change_is_entered(alice: Person, step: Made, renewal: Thing, stored: Stored) -> None:
    """The ledger has the old tags and the new ones."""
    await alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]})
    response = await alice.put(f"{step.url}/tags", json={"tag_ids": []})
    change = (await stored.changes())[-1]

    details = change.object.pop("details")
    assert (change.kind, change.action, change.object) == ("e", "u", response.json())
    assert change.previous == {"details": {**details, "tag_ids": [renewal.id]}}
    assert "tag_ids" not in details


async def test_the_same_again_writes_nothing(alice: Person, step: Made, renewal: Thing, stored: Stored) -> None:
    """A request that changes nothing keeps `updated_at` and the ETag, and adds no ledger entry."""
    first, second = [await alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]}) for _ in range(2)]

    assert second.content == first.content
    assert second.headers["ETag"] == first.headers["ETag"]
    assert len(await stored.changes()) == 5


async def test_contacts_and_tags_leave_each_other_alone(
    alice: Person, step: Made, engine: Thing, ada: Thing, renewal: Thing
) -> None:
    """Replacing contacts keeps the tags, and the reverse."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})
    await alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]})
    await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})
    shown = (await alice.get(step.url, params={"expand": "companies,contacts,tags,transcript"})).json()

    assert [shown[name][0]["id"] for name in ("companies", "contacts", "tags")] == [engine.id, ada.id, renewal.id]
    assert shown["transcript"] == "Shall we begin?"


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, ("tag_ids", "required")),
        ({"tag_ids": None}, ("tag_ids", "invalid_type")),
        ({"tag_ids": [None]}, ("tag_ids[0]", "invalid_type")),
        ({"tag_ids": ["Renewal"]}, ("tag_ids[0]", "invalid_format")),
        ({"tag_ids": [NOTHING]}, ("tag_ids[0]", "not_found")),
        ({"tag_ids": [NOTHING] * 1001}, ("tag_ids", "too_long")),
    ],
)
async def test_what_is_no_list_of_tags_is_refused(
    alice: Person, step: Made, stored: Stored, body: Json, fault: tuple[str, str]
) -> None:
    """Each fault is reported with its index in the list, and nothing is changed."""
    response = await alice.put(f"{step.url}/tags", json=body)

    assert response.status_code == 422
    assert faults(response) == [fault]
    assert len(await stored.changes()) == 3


async def test_a_deleted_tag_is_not_there(alice: Person, step: Made, renewal: Thing) -> None:
    """A deleted tag is refused, even for an engagement that had it."""
    await alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]})
    await alice.delete(renewal.url)
    response = await alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]})

    assert faults(response) == [("tag_ids[0]", "not_found")]


async def test_a_private_one_takes_a_scope_of_its_own(
    alice: Person, dave: Person, erin: Person, secret: Made, renewal: Thing
) -> None:
    """A caller who may only read it learns which scope is missing. A caller who may not read it gets 404."""
    body = {"tag_ids": [renewal.id]}
    hidden, readable = [await person.put(f"{secret.url}/tags", json=body) for person in (dave, erin)]
    assert await tags_of(alice, secret) == []
    replaced = await alice.put(f"{secret.url}/tags", json=body)

    assert (hidden.status_code, readable.status_code, replaced.status_code) == (404, 403, 200)
    assert "engagements:private:write" in readable.json()["detail"]
    assert await tags_of(alice, secret) == ["Renewal"]


async def test_if_match_stops_other_versions(alice: Person, step: Made, renewal: Thing) -> None:
    """A stale If-Match prevents the replacement."""
    changed = await alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id]}, headers={"If-Match": step.etag})
    response = await alice.put(f"{step.url}/tags", json={"tag_ids": []}, headers={"If-Match": step.etag})

    assert (changed.status_code, response.status_code) == (200, 412)
    assert response.headers["ETag"] == changed.headers["ETag"]
    assert await tags_of(alice, step) == ["Renewal"]


@pytest.mark.parametrize("engagement_id", ["nobody", "ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, engagement_id: str) -> None:
    """An unknown object gets 404, but only after the body is validated."""
    url = f"{URL}/{engagement_id}/tags"
    unknown, invalid = await alice.put(url, json={"tag_ids": []}), await alice.put(url, json={})

    assert (unknown.status_code, invalid.status_code) == (404, 422)


async def test_a_deleted_tag_stays_on_the_engagement(alice: Person, step: Made, renewal: Thing) -> None:
    """No answer shows a deleted tag, so a request that sends the others leaves it; it is there again once it is restored."""
    won = Thing(await alice.post("/api/v2/tags", json={"name": "Won"}))
    await alice.put(f"{step.url}/tags", json={"tag_ids": [renewal.id, won.id]})
    deleted = await alice.delete(renewal.url)
    as_shown = await alice.put(f"{step.url}/tags", json={"tag_ids": [won.id]})
    emptied = await alice.put(f"{step.url}/tags", json={"tag_ids": []})
    shown = await tags_of(alice, step)
    await alice.post("/api/herdbook/undo", json={"request_id": deleted.headers["X-Request-Id"]})

    assert (as_shown.status_code, emptied.status_code) == (200, 200)
    assert shown == []
    assert await tags_of(alice, step) == ["Renewal"]
