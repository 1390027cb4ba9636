"""PUT /v2/contacts/{contact_id}/crm_association."""

from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults

LINK = {"object_type": "contact", "crm_object_id": "0035e00000A", "source": "salesforce"}


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.put(f"{ada.url}/crm_association", json=LINK)

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, ada: Thing) -> None:
    """A contact of another workspace is not found."""
    response = await charlie.put(f"{ada.url}/crm_association", json=LINK)

    assert response.status_code == 404


async def test_bob_is_refused(bob: Person, ada: Thing, stored: Stored) -> None:
    """A read-only credential cannot link anything."""
    response = await bob.put(f"{ada.url}/crm_association", json=LINK)

    assert response.status_code == 403
    assert len(await stored.changes()) == 1


async def test_the_contact_is_linked(alice: Person, ada: Thing) -> None:
    """The response shows the contact with its association."""
    response = await alice.put(f"{ada.url}/crm_association", json=LINK)

    contact = response.json()
    assert response.status_code == 200
    assert contact == {**ada.json, "crm_association": LINK, "updated_at": contact["updated_at"]}
    assert contact["updated_at"] > ada.json["updated_at"]
    assert (await alice.get(ada.url)).json() == contact


async def test_the_change_is_entered(alice: Person, ada: Thing, stored: Stored) -> None:
    """The ledger shows the association and none before it, and the CRM's id finds the row."""
    response = await alice.put(f"{ada.url}/crm_association", json=LINK)
    change = (await stored.changes())[-1]

    assert (change.action, change.previous, change.object) == ("u", {"crm_association": None}, response.json())
    assert (await stored.row(ada))["crm_object_id"] == "0035e00000A"


async def test_there_is_one_association(alice: Person, ada: Thing, stored: Stored) -> None:
    """A second association replaces the first."""
    await alice.put(f"{ada.url}/crm_association", json=LINK)
    response = await alice.put(f"{ada.url}/crm_association", json={**LINK, "source": "hubspot"})

    assert response.json()["crm_association"] == {**LINK, "source": "hubspot"}
    assert (await stored.changes())[-1].previous == {"crm_association": LINK}


async def test_the_same_again_writes_nothing(alice: Person, ada: Thing, stored: Stored) -> None:
    """A request that changes nothing keeps `updated_at` and the ETag, and adds no ledger entry."""
    first = await alice.put(f"{ada.url}/crm_association", json=LINK)
    second = await alice.put(f"{ada.url}/crm_association", json=LINK)

    assert second.content == first.content
    assert second.headers["ETag"] == first.headers["ETag"]
    assert len(await stored.changes()) == 2


async def test_two_contacts_may_share_a_record(alice: Person, ada: Thing, grace: Thing) -> None:
    """An association never conflicts."""
    await alice.put(f"{ada.url}/crm_association", json=LINK)
    response = await alice.put(f"{grace.url}/crm_association", json=LINK)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [("object_type", "required"), ("crm_object_id", "required"), ("source", "required")]),
        ({**LINK, "object_type": "company"}, [("object_type", "invalid_choice")]),
        ({**LINK, "object_type": None}, [("object_type", "invalid_choice")]),
        ({**LINK, "object_type": ["contact"]}, [("object_type", "invalid_choice")]),
        ({**LINK, "crm_object_id": ""}, [("crm_object_id", "too_short")]),
        ({**LINK, "crm_object_id": "x" * 256}, [("crm_object_id", "too_long")]),
        ({**LINK, "crm_object_id": 12345}, [("crm_object_id", "invalid_type")]),
        ({**LINK, "crm_object_id": "1\u0000"}, [("crm_object_id", "invalid_characters")]),
        ({**LINK, "source": " "}, [("source", "blank")]),
        ({**LINK, "source": None}, [("source", "invalid_type")]),
        ({**LINK, "sources": "x", "source": ""}, [("source", "too_short"), ("sources", "unknown_field")]),
    ],
)
async def test_what_is_no_association_is_refused(
    alice: Person, ada: Thing, body: Json, expected: list[tuple[str, str]]
) -> None:
    """An association needs all three members and takes no others."""
    response = await alice.put(f"{ada.url}/crm_association", json=body)

    assert response.status_code == 422
    assert faults(response) == expected


async def test_no_body_is_refused(alice: Person, ada: Thing) -> None:
    """An empty body means `{}`, which lacks all three members."""
    response = await alice.put(f"{ada.url}/crm_association")

    assert [field for field, _ in faults(response)] == ["object_type", "crm_object_id", "source"]


async def test_if_match_stops_other_versions(alice: Person, ada: Thing) -> None:
    """Only the current version passes If-Match."""
    stopped = await alice.put(f"{ada.url}/crm_association", json=LINK, headers={"If-Match": '"7"'})
    passed = await alice.put(f"{ada.url}/crm_association", json=LINK, headers={"If-Match": ada.etag})

    assert (stopped.status_code, passed.status_code) == (412, 200)
    assert stopped.headers["ETag"] == ada.etag


async def test_a_retry_gets_the_first_answer(alice: Person, ada: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key links only once."""
    key = {"Idempotency-Key": str(uuid4())}
    first = await alice.put(f"{ada.url}/crm_association", json=LINK, headers=key)
    await alice.delete(f"{ada.url}/crm_association")
    second = await alice.put(f"{ada.url}/crm_association", json=LINK, headers=key)

    assert second.content == first.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 3


async def test_a_patch_leaves_the_association_alone(alice: Person, ada: Thing) -> None:
    """A patch leaves the CRM association alone, because the association is not one of its fields."""
    await alice.put(f"{ada.url}/crm_association", json=LINK)
    patched = await alice.patch(ada.url, json={"last_name": "King"})
    refused = await alice.patch(ada.url, json={"crm_association": None})

    assert patched.json()["crm_association"] == LINK
    assert faults(refused) == [("crm_association", "unknown_field")]


@pytest.mark.parametrize("contact_id", ["nobody", "cnt_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"])
async def test_what_is_not_there_is_not_found(alice: Person, contact_id: str) -> None:
    """An unknown contact gets 404, but only after the body is validated."""
    url = f"/api/v2/contacts/{contact_id}/crm_association"
    unknown, invalid = await alice.put(url, json=LINK), await alice.put(url, json={})

    assert (unknown.status_code, invalid.status_code) == (404, 422)


async def test_a_deleted_contact_is_not_found(alice: Person, ada: Thing) -> None:
    """A deleted contact cannot be linked."""
    await alice.delete(ada.url)
    response = await alice.put(f"{ada.url}/crm_association", json=LINK)

    assert response.status_code == 404
