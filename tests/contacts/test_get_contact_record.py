"""GET /herdbook/contacts/{contact_id}/record."""

import httpx

from tests.cast import Person, Thing
from tests.contacts.records import known_as, record_of
from tests.merging.merges import merge


async def test_anonymous_is_refused(client: httpx.AsyncClient, ada: Thing) -> None:
    """A request without a credential gets 401 with a challenge."""
    response = await client.get(record_of(ada))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_charlie_is_refused(charlie: Person, ada: Thing) -> None:
    """A contact of another workspace is not found."""
    assert (await charlie.get(record_of(ada))).status_code == 404


async def test_dave_is_refused(dave: Person, ada: Thing) -> None:
    """A write-only credential cannot read anything."""
    assert (await dave.get(record_of(ada))).status_code == 403


async def test_without_own_members_it_is_the_contact(bob: Person, ada: Thing) -> None:
    """The record of a contact without members of herdbook's own is the contact, byte for byte, with the same ETag."""
    contact, record = await bob.get(ada.url), await bob.get(record_of(ada))

    assert record.status_code == 200
    assert record.content == contact.content
    assert record.headers["ETag"] == contact.headers["ETag"]


async def test_it_has_own_members_that_the_contact_does_not_show(alice: Person, bob: Person) -> None:
    """The record has the external ids behind the members of the contact, which does not show them."""
    ada = await known_as(alice, "1", "zwei — 2", first_name="Ada")
    contact, record = await bob.get(ada.url), await bob.get(record_of(ada))

    assert contact.json() == ada.json
    assert "external_ids" not in contact.json()
    assert record.content == contact.content[:-1] + ',"external_ids":["1","zwei — 2"]}'.encode()
    assert record.headers["ETag"] == contact.headers["ETag"]


async def test_one_that_is_known_is_not_sent_again(bob: Person, ada: Thing) -> None:
    """If-None-Match with the current version is answered by 304."""
    assert (await bob.get(record_of(ada), headers={"If-None-Match": ada.etag})).status_code == 304


async def test_a_merged_contact_leads_to_its_survivor(alice: Person, bob: Person, ada: Thing, grace: Thing) -> None:
    """The record of a merged contact redirects to the record of the contact that replaces it."""
    await merge(alice, grace, ada)
    response = await bob.get(record_of(ada))

    assert (response.status_code, response.headers["Location"]) == (308, record_of(grace))
    assert response.json() == {"object": "contact", "id": ada.id, "merged_into": grace.id}


async def test_a_deleted_contact_has_no_record(alice: Person, ada: Thing) -> None:
    """The record of a deleted contact is not found."""
    await alice.delete(ada.url)

    assert (await alice.get(record_of(ada))).status_code == 404
