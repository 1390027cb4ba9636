"""GET /herdbook/contacts/{contact_id}/record."""

import httpx
import pytest

from tests.cast import Person, Thing
from tests.contacts.records import change, known_as, record_of
from tests.custom_fields.definitions import define
from tests.history.requests import restore
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


@pytest.mark.parametrize("kind", ["contacts", "companies"])
async def test_what_is_hidden_is_in_the_validator(  # the fixtures of one test
    alice: Person, frank: Person, ada: Thing, engine: Thing, renewal: Thing, kind: str
) -> None:
    """Hiding a field or a tag changes the ETag though not the version, and a write takes the former ETag, too."""
    thing = ada if kind == "contacts" else engine
    url = f"/api/herdbook/{kind}/{thing.id}/record"
    field = await define(frank, "own", object_type="contact" if kind == "contacts" else "company")
    written = await alice.patch(url, json={"fields": {"own": "x"}, "tag_ids": [renewal.id]})
    hidings = [
        lambda: frank.patch(field.url, json={"archived": True}),
        lambda: alice.delete(renewal.url),
        lambda: restore(alice, renewal),
        lambda: frank.patch(field.url, json={"archived": False}),
    ]
    tags = [written.headers["ETag"]]
    same = [await alice.get(url, headers={"If-None-Match": tags[-1]})]
    for hide in hidings:
        assert (await hide()).status_code == 200
        read = await alice.get(url, headers={"If-None-Match": tags[-1]})
        assert read.status_code == 200
        tags.append(read.headers["ETag"])
        same.append(await alice.get(url, headers={"If-None-Match": tags[-1]}))

    assert [each.status_code for each in same] == [304] * len(same)
    assert tags[0] == tags[-1], "the same content has the same validator"
    assert {tag.strip('"').partition(".")[0] for tag in tags} == {written.headers["ETag"].strip('"').partition(".")[0]}
    assert (await alice.patch(url, json={"description": "y"}, headers={"If-Match": tags[1]})).status_code == 200
    assert (await alice.patch(url, json={"description": "z"}, headers={"If-Match": tags[1]})).status_code == 412


async def test_the_validator_of_a_restored_record_is_that_of_the_record(
    alice: Person, frank: Person, ada: Thing, renewal: Thing
) -> None:
    """A restore answers without deleted tags, under the ETag that the record then has."""
    await define(frank, "own")
    await change(alice, ada, fields={"own": "x"}, tag_ids=[renewal.id])
    await alice.delete(ada.url)
    await alice.delete(renewal.url)
    back = await restore(alice, ada)
    read = await alice.get(record_of(ada))

    assert "tag_ids" not in back.json()
    assert (back.content, back.headers["ETag"]) == (read.content, read.headers["ETag"])
