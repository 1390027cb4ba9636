"""PUT /v2/engagements/{engagement_id}/contacts."""

from asyncio import gather
from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.bulks import create, results
from tests.engagements.calls import LISTING, URL, Made, call, expanded

UNKNOWN = f"{URL}/ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T/contacts"
NOBODY = "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"


async def contacts_of(person: Person, engagement: Made) -> list[str]:
    """Return the ids of an engagement's contacts."""
    return [contact["id"] for contact in await expanded(person, engagement, "contacts")]


async def test_anonymous_is_refused(client: httpx.AsyncClient, step: Made) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.put(f"{step.url}/contacts", json={"contact_ids": []})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, alice: Person, step: Made, ada: Thing) -> None:
    """An engagement of another workspace is not found, nor are its contacts."""
    eve = Thing(await charlie.post("/api/v2/contacts", json={}))
    theirs = await charlie.put(f"{step.url}/contacts", json={"contact_ids": [eve.id]})
    both = await charlie.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})
    mine = await alice.put(f"{step.url}/contacts", json={"contact_ids": [eve.id]})

    assert (theirs.status_code, both.status_code, mine.status_code) == (404, 422, 422)
    assert faults(both) == faults(mine) == [("contact_ids[0]", "not_found")]
    assert await contacts_of(alice, step) == []


async def test_bob_is_refused(bob: Person, step: Made, stored: Stored) -> None:
    """A read-only credential cannot replace anything."""
    response = await bob.put(f"{step.url}/contacts", json={"contact_ids": []})

    assert response.status_code == 403
    assert "engagements:write" in response.json()["detail"]
    assert len(await stored.changes()) == 3


async def test_the_contacts_are_those_that_are_sent(alice: Person, erin: Person, step: Made, ada: Thing, grace: Thing) -> None:
    """The sent contacts replace the old ones, in the order sent, and the response is the engagement."""
    first = await erin.put(f"{step.url}/contacts", json={"contact_ids": [grace.id, ada.id]})
    both = await contacts_of(alice, step)
    await erin.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})

    assert first.status_code == 200
    assert first.json() == {**step.json, "updated_at": first.json()["updated_at"]}
    assert first.json()["updated_at"] > step.json["updated_at"]
    assert both == [grace.id, ada.id]
    assert await contacts_of(alice, step) == [ada.id]
    assert [await LISTING.listed(alice, {"filter[contact_ids][eq]": thing.id}) for thing in (ada, grace)] == [
        ["The next step"],
        [],
    ]


async def test_none_is_a_number_too(alice: Person, ada: Thing) -> None:
    """An empty list removes all contacts, including those created with the engagement."""
    created = Made(await alice.post(URL, json=call(participants=[{"email": "ada@engine.test"}])))
    assert await contacts_of(alice, created) == [ada.id]
    await alice.put(f"{created.url}/contacts", json={"contact_ids": []})

    assert await contacts_of(alice, created) == []
    assert await LISTING.listed(alice, {"filter[contact_ids][eq]": ada.id}) == []


async def test_the_companies_follow(alice: Person, step: Made, engine: Thing, ada: Thing, grace: Thing) -> None:
    """The companies become the current ones of the contacts."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    await alice.put(f"{step.url}/contacts", json={"contact_ids": [grace.id, ada.id]})
    found = await LISTING.listed(alice, {"filter[company_ids][eq]": engine.id})
    await alice.put(f"{step.url}/contacts", json={"contact_ids": [grace.id]})

    assert found == ["The next step"]
    assert await LISTING.listed(alice, {"filter[company_ids][eq]": engine.id}) == []


async def test_the_change_is_entered(alice: Person, step: Made, engine: Thing, ada: Thing, stored: Stored) -> None:
    """The ledger has the old contacts and companies as well as the new ones."""
    await alice.patch(ada.url, json={"company_id": engine.id})
    response = await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})
    change = (await stored.changes())[-1]

    details = change.object.pop("details")
    assert (change.kind, change.action, change.object) == ("e", "u", response.json())
    assert (details["contact_ids"], details["company_ids"]) == ([ada.id], [engine.id])
    before = {name: value for name, value in details.items() if name not in ("contact_ids", "company_ids")}
    assert change.previous == {"details": before}
    assert response.headers["ETag"] == f'"{change.seq}"'


async def test_the_same_again_writes_nothing(alice: Person, step: Made, ada: Thing, stored: Stored) -> None:
    """The same contacts keep `updated_at` and the ETag and add no ledger entry. A repeated contact counts once."""
    first = await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]})
    second = await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id, ada.id]})

    assert second.content == first.content
    assert second.headers["ETag"] == first.headers["ETag"]
    assert len(await stored.changes()) == 5
    assert await contacts_of(alice, step) == [ada.id]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, ("contact_ids", "required")),
        ({"contact_ids": None}, ("contact_ids", "invalid_type")),
        ({"contact_ids": NOBODY}, ("contact_ids", "invalid_type")),
        ({"contact_ids": [1]}, ("contact_ids[0]", "invalid_type")),
        ({"contact_ids": [""]}, ("contact_ids[0]", "invalid_format")),
        ({"contact_ids": ["tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"]}, ("contact_ids[0]", "invalid_format")),
        ({"contact_ids": [NOBODY]}, ("contact_ids[0]", "not_found")),
        ({"contact_ids": ["cnt_1"]}, ("contact_ids[0]", "not_found")),
        ({"contact_ids": [NOBODY] * 1001}, ("contact_ids", "too_long")),
        ({"contact_ids": [], "contacts": []}, ("contacts", "unknown_field")),
    ],
)
async def test_what_is_no_list_of_contacts_is_refused(
    alice: Person, step: Made, stored: Stored, body: Json, fault: tuple[str, str]
) -> None:
    """Each fault is reported with its index in the list, and nothing is changed."""
    response = await alice.put(f"{step.url}/contacts", json=body)

    assert response.status_code == 422
    assert faults(response) == [fault]
    assert len(await stored.changes()) == 3


async def test_all_who_are_not_there_are_told(alice: Person, step: Made, ada: Thing, grace: Thing) -> None:
    """All unknown contacts are reported, deleted ones included, and the known ones do not save the request."""
    await alice.put(f"{step.url}/contacts", json={"contact_ids": [grace.id]})
    await alice.delete(ada.url)
    response = await alice.put(f"{step.url}/contacts", json={"contact_ids": [NOBODY, grace.id, ada.id]})

    assert faults(response) == [("contact_ids[0]", "not_found"), ("contact_ids[2]", "not_found")]
    assert await contacts_of(alice, step) == [grace.id]


async def test_a_private_one_takes_a_scope_of_its_own(
    alice: Person, dave: Person, erin: Person, secret: Made, ada: Thing
) -> None:
    """A caller who may only read it learns which scope is missing. A caller who may not read it gets 404."""
    body = {"contact_ids": [ada.id]}
    hidden, readable = [await person.put(f"{secret.url}/contacts", json=body) for person in (dave, erin)]
    assert await contacts_of(alice, secret) == []
    replaced = await alice.put(f"{secret.url}/contacts", json=body)

    assert (hidden.status_code, readable.status_code, replaced.status_code) == (404, 403, 200)
    assert "engagements:private:write" in readable.json()["detail"]
    assert hidden.json()["detail"] == (await dave.put(UNKNOWN, json=body)).json()["detail"]
    assert await contacts_of(alice, secret) == [ada.id]


async def test_a_stale_version_of_what_is_private_tells_nothing(dave: Person, erin: Person, secret: Made) -> None:
    """404 and 403 take precedence over 412, which would reveal the version."""
    headers = {"If-Match": '"999"'}
    answers = [await person.put(f"{secret.url}/contacts", json={"contact_ids": []}, headers=headers) for person in (dave, erin)]

    assert [answer.status_code for answer in answers] == [404, 403]
    assert all("ETag" not in answer.headers for answer in answers)


async def test_if_match_stops_other_versions(alice: Person, step: Made, ada: Thing, grace: Thing) -> None:
    """Only one of two callers with the same version replaces the contacts; the other gets 412."""
    answers = await gather(
        *(
            alice.put(f"{step.url}/contacts", json={"contact_ids": [thing.id]}, headers={"If-Match": step.etag})
            for thing in (ada, grace)
        )
    )

    done, stale = sorted(answers, key=lambda answer: answer.status_code)
    assert (done.status_code, stale.status_code) == (200, 412)
    assert stale.headers["ETag"] == done.headers["ETag"]
    assert len(await contacts_of(alice, step)) == 1


async def test_a_retry_gets_the_first_answer(alice: Person, step: Made, ada: Thing) -> None:
    """A retry with the same Idempotency-Key does not undo later changes."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]}, headers=key)
    await alice.put(f"{step.url}/contacts", json={"contact_ids": []})
    second = await alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]}, headers=key)

    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert await contacts_of(alice, step) == []


@pytest.mark.parametrize("engagement_id", ["nobody", "ngmt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", NOBODY])
async def test_what_is_not_there_is_not_found(alice: Person, engagement_id: str) -> None:
    """404 comes after the body and its contacts are checked, and before the version is."""
    url = f"{URL}/{engagement_id}/contacts"
    unknown = await alice.put(url, json={"contact_ids": []}, headers={"If-Match": '"1"'})
    nobody = await alice.put(url, json={"contact_ids": [NOBODY]})

    assert (unknown.status_code, nobody.status_code) == (404, 422)


async def test_a_contact_deleted_meanwhile_is_refused(alice: Person, step: Made, ada: Thing) -> None:
    """Writes in one batch see each other: a contact that was just deleted cannot take part."""
    _, deleted, replaced = await gather(
        alice.post("/api/v2/contacts", json={}),
        alice.delete(ada.url),
        alice.put(f"{step.url}/contacts", json={"contact_ids": [ada.id]}),
    )

    assert (deleted.status_code, replaced.status_code) == (200, 422)


async def test_a_deleted_contact_stays_on_the_engagement(alice: Person, step: Made, ada: Thing, grace: Thing) -> None:
    """No answer shows a deleted contact, so a request leaves it alone; it is there again once it is restored."""
    url = f"{step.url}/contacts"
    await alice.put(url, json={"contact_ids": [ada.id, grace.id]})
    deleted = await alice.delete(ada.url)
    as_shown, again = [await alice.put(url, json={"contact_ids": [grace.id]}) for _ in range(2)]
    await alice.put(url, json={"contact_ids": []})
    shown = await contacts_of(alice, step)
    await alice.post("/api/herdbook/undo", json={"request_id": deleted.headers["X-Request-Id"]})

    assert (as_shown.status_code, again.headers["ETag"]) == (200, as_shown.headers["ETag"])
    assert shown == []
    assert await contacts_of(alice, step) == [ada.id]


async def test_deleted_contacts_count_towards_the_limit(alice: Person, step: Made, ada: Thing) -> None:
    """An engagement gets no more links than the limit by means of deleted contacts; the refusal says so."""
    made: list[str] = []
    for _ in range(10):
        made += [each["contact"]["id"] for each in await results(alice, *[create()] * 100)]
    url = f"{step.url}/contacts"
    await alice.put(url, json={"contact_ids": [ada.id]})
    await alice.delete(ada.url)
    refused = await alice.put(url, json={"contact_ids": made})
    taken = await alice.put(url, json={"contact_ids": made[1:]})

    assert (refused.status_code, taken.status_code) == (422, 200)
    assert faults(refused) == [("contact_ids", "too_long")]
    assert "deleted contacts" in refused.text
