"""PATCH /herdbook/contacts/{contact_id}/record."""

from typing import Final
from uuid import uuid4

import httpx
import pytest

from tests.cast import Json, Person, Stored, Thing, faults
from tests.contacts.records import change, ids_of, known_as, read, record_of
from tests.custom_fields.definitions import define

LINK: Final = {"object_type": "contact", "crm_object_id": "17", "source": "hubspot"}


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.patch(record_of(ada), json={"external_ids": ["1"]})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, ada: Thing) -> None:
    """A contact of another workspace is not found."""
    assert (await charlie.patch(record_of(ada), json={"external_ids": ["1"]})).status_code == 404


async def test_bob_is_refused(bob: Person, ada: Thing, stored: Stored) -> None:
    """A read-only credential cannot change anything."""
    assert (await bob.patch(record_of(ada), json={"external_ids": ["1"]})).status_code == 403
    assert len(await stored.changes()) == 1


async def test_all_of_it_changes_at_once(alice: Person, ada: Thing, engine: Thing, stored: Stored) -> None:
    """One change sets members of the vendor's, the link, and members of herdbook's own; the answer is the whole."""
    response = await change(
        alice, ada, first_name="Augusta", company_id=engine.id, crm_association=LINK, external_ids=["1", "2"]
    )
    record = response.json()
    last = (await stored.changes())[-1]

    assert record == await read(alice, ada) == last.object
    links = {"company": {"id": engine.id, "object": "company"}, "crm_association": LINK}
    changed = {"first_name": "Augusta", "external_ids": ["1", "2"], "updated_at": record["updated_at"]}
    assert record == ada.json | links | changed
    assert response.headers["ETag"] == f'"{last.seq}"'
    assert last.previous == {"first_name": "Ada", "company": None, "crm_association": None, "external_ids": None}


@pytest.mark.parametrize("nothing", [None, []])
async def test_null_and_no_ids_clear_them(alice: Person, ada: Thing, nothing: Json, stored: Stored) -> None:
    """Null clears the external ids, and so does an empty list; the contact then is what it was before."""
    before = (await alice.get(ada.url)).json()
    await change(alice, ada, external_ids=["1"], crm_association=LINK)
    record = (await change(alice, ada, external_ids=nothing, crm_association=None)).json()

    assert record == {**before, "updated_at": record["updated_at"]}
    assert (await stored.row(ada))["own"] is None
    assert (await known_as(alice, "1")).id != ada.id


async def test_absent_members_stay(alice: Person, ada: Thing) -> None:
    """A change of one member leaves all others alone, and a change to the same values writes nothing."""
    etag = (await change(alice, ada, external_ids=["1", "2"])).headers["ETag"]

    assert (await change(alice, ada, external_ids=["1", "2"])).headers["ETag"] == etag
    assert (await change(alice, ada, last_name="King")).json()["external_ids"] == ["1", "2"]
    assert (await read(alice, ada))["emails"] == ada.json["emails"]


async def test_the_list_is_replaced_whole(alice: Person, ada: Thing) -> None:
    """The sent ids replace those that were there, which others may have then."""
    await change(alice, ada, external_ids=["1", "2"])
    await change(alice, ada, external_ids=["3", "2"])

    assert await ids_of(alice, ada) == ["3", "2"]
    assert (await known_as(alice, "1")).id != ada.id


async def test_an_id_of_somebody_else_is_refused(alice: Person, ada: Thing, grace: Thing, stored: Stored) -> None:
    """An external id of another active contact is refused by name, together with an address of another one."""
    await change(alice, grace, external_ids=["1"])
    emails = [{"email": grace.json["emails"][0]["email"]}] if grace.json["emails"] else []
    response = await alice.patch(record_of(ada), json={"external_ids": ["2", "1"], "emails": emails, "last_name": "King"})

    assert response.status_code == 409
    expected = [("external_ids[1]", "already_in_use")]
    assert faults(response) == [("emails[0].email", "already_in_use")] * len(emails) + expected
    assert response.json()["conflict"] == {"object": "contact", "id": grace.id}
    assert len(await stored.changes()) == 3


async def test_who_may_not_read_is_not_told(alice: Person, dave: Person, ada: Thing, grace: Thing) -> None:
    """A write-only credential neither learns who has an id, nor sees lists in the answer."""
    await change(alice, grace, external_ids=["1"])
    refused = await dave.patch(record_of(ada), json={"external_ids": ["1"]})
    done = await dave.patch(record_of(ada), json={"external_ids": ["2"], "last_name": "King"})

    assert refused.status_code == 409
    assert "conflict" not in refused.json()
    assert grace.id not in refused.text
    assert {*done.json()} == {"object", "id", "created_at", "updated_at", "last_name"}


async def test_a_stale_version_is_refused(alice: Person, ada: Thing) -> None:
    """If-Match with another version gets 412 with the current ETag, and changes nothing; with the current one it changes."""
    etag = (await change(alice, ada, external_ids=["1"])).headers["ETag"]
    stale = await alice.patch(record_of(ada), json={"external_ids": ["2"]}, headers={"If-Match": ada.etag})
    current = await alice.patch(record_of(ada), json={"external_ids": ["3"]}, headers={"If-Match": etag})

    assert (stale.status_code, stale.headers["ETag"]) == (412, etag)
    assert (current.status_code, current.json()["external_ids"]) == (200, ["3"])


async def test_a_retry_gets_the_first_answer(alice: Person, ada: Thing, stored: Stored) -> None:
    """A retry with the same Idempotency-Key gets the same record, and writes nothing."""
    key = {"Idempotency-Key": str(uuid4())}
    first, second = [await alice.patch(record_of(ada), json={"external_ids": ["1"]}, headers=key) for _ in range(2)]

    assert first.content == second.content
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(await stored.changes()) == 2


async def test_a_company_must_be_there(alice: Person, ada: Thing) -> None:
    """A company that does not exist is refused, as in an update of the contact."""
    response = await alice.patch(record_of(ada), json={"company_id": "cmp_01HQXVB4Y9Y0Q6P0QH5GX2CT7T", "external_ids": ["1"]})

    assert (response.status_code, faults(response)) == (422, [("company_id", "not_found")])
    assert await ids_of(alice, ada) == []


BAD: Final = {
    "no list": ("1", "external_ids", "invalid_type"),
    "no text": ([1], "external_ids[0]", "invalid_type"),
    "null within": ([None], "external_ids[0]", "invalid_type"),
    "empty": (["1", ""], "external_ids[1]", "too_short"),
    "blank": ([" \u200b"], "external_ids[0]", "blank"),
    "NUL": (["a\x00b"], "external_ids[0]", "invalid_characters"),
    "too long": (["x" * 256], "external_ids[0]", "too_long"),
    "twice": (["1", "2", "1"], "external_ids[2]", "duplicate"),
    "too many": ([str(number) for number in range(101)], "external_ids", "too_long"),
}


@pytest.mark.parametrize(("value", "field", "code"), BAD.values(), ids=BAD.keys())
async def test_bad_ids_are_named(alice: Person, ada: Thing, value: Json, field: str, code: str, stored: Stored) -> None:
    """Ids that are no texts of 1 to 255 characters, blank, sent twice or too many are refused, here and at a creation."""
    changed = await alice.patch(record_of(ada), json={"external_ids": value})
    created = await alice.post("/api/v2/contacts", json={"external_ids": value})

    assert (changed.status_code, faults(changed)) == (422, [(field, code)])
    assert (created.status_code, faults(created)) == (422, [(field, code)])
    assert len(await stored.changes()) == 1


async def test_the_largest_ids_are_stored(alice: Person, ada: Thing) -> None:
    """A hundred ids of 255 characters, of four bytes each, are stored."""
    external_ids = [chr(0x20000 + number) * 255 for number in range(100)]
    await change(alice, ada, external_ids=external_ids)

    assert await ids_of(alice, ada) == external_ids


async def test_the_vendors_update_takes_none(alice: Person, ada: Thing) -> None:
    """The vendor's update of a contact refuses external ids, as before."""
    response = await alice.patch(ada.url, json={"external_ids": ["1"]})

    assert (response.status_code, faults(response)) == (422, [("external_ids", "unknown_field")])


async def test_faults_of_tags_are_told_together(alice: Person, ada: Thing) -> None:
    """A malformed id of a tag is told beside an item that is no text."""
    response = await alice.patch(record_of(ada), json={"tag_ids": ["tag_!", 5, "tag_01HQXVB4Y9Y0Q6P0QH5GX2CT7T"]})

    assert sorted(faults(response)) == [("tag_ids[0]", "invalid_format"), ("tag_ids[1]", "invalid_type")]


# Members that an answer shows and no request takes.
_READ_ONLY: Final = ("object", "id", "company", "created_at", "updated_at", "unique_values")


async def test_a_record_can_be_sent_as_it_was_read(
    alice: Person, frank: Person, ada: Thing, engine: Thing, renewal: Thing, stored: Stored
) -> None:
    """All members of a record but those that only answers have may be sent back, and change nothing."""
    await define(frank, "badge", unique=True)
    link = {"object_type": "contact", "crm_object_id": "17", "source": "hubspot"}
    await change(
        alice, ada, company_id=engine.id, fields={"badge": "7"}, tag_ids=[renewal.id], external_ids=["7"], crm_association=link
    )
    record = await read(alice, ada)
    before = await stored.changes()
    refused = await alice.patch(record_of(ada), json=record)
    answer = await alice.patch(record_of(ada), json={name: each for name, each in record.items() if name not in _READ_ONLY})

    assert sorted(faults(refused)) == sorted((name, "unknown_field") for name in _READ_ONLY)
    assert answer.json() == record
    assert await stored.changes() == before
