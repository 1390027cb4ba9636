"""The participants and engagements that are the person's, and those of others, which stay."""

from typing import Any, Final

import asyncpg
import pytest

from herdbook.addresses import comparable_address
from herdbook.db.pool import Pool
from herdbook.erasure.store import contacts_known_by
from tests.cast import Json, Person
from tests.engagements.calls import URL, Made, call
from tests.erasure.test_erase_contact import ADDRESS, MARKER, PHONE, erase, everything, marked
from tests.merging.merges import contact


async def linked(person: Person, participant: Json, *contact_ids: str, **members: Any) -> Made:
    """Create an engagement with a participant, and link it to contacts."""
    engagement = Made(await person.post(URL, json=call(participants=[participant], **members)))
    response = await person.put(f"{engagement.url}/contacts", json={"contact_ids": [*contact_ids]})
    assert response.status_code == 200, response.text
    return engagement


@pytest.mark.parametrize(
    "participant",
    [
        {"email": "zyxomma@private.test", "phone": PHONE},
        {"phone": "030 1234567", "name": MARKER},
        {"phone": "0049 30 1234567"},
        {"phone": "+49 (0)30 123-4567", "name": MARKER},
        {"name": "ZYXOMMA THE SECOND,  Zyxomma"},
        {"email": ADDRESS.upper(), "phone": "+15550100"},
    ],
)
async def test_one_thing_is_enough_in_a_linked_engagement(
    alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]", participant: Json
) -> None:
    """In a linked engagement a participant is the person by address or number, or by the name if there is no address."""
    ada = await marked(alice)
    await linked(alice, participant, ada.id)

    assert (await erase(admin, ada)).status_code == 200
    found = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    assert "participants" not in found
    entries = await pool.fetch("select object::text from change where workspace_id = $1 and kind = 'e'", alice.workspace_id)
    assert not [entry for (entry,) in entries if '"participants":[{' in entry]


@pytest.mark.parametrize(
    ("stored", "spelled"),
    [
        ("zyxomma@xn--mnchen-3ya.example", "zyxomma@münchen.example"),
        ("zyxomma@münchen.example", "Zyxomma@XN--MNCHEN-3YA.example"),
        ("zyxomma@xn--mnchen-3ya.example", "zyxomma@mu\u0308nchen.example"),
        ("zyxomma@münchen.example", "zyxomma@MÜNCHEN.example"),
    ],
)
async def test_domains_in_each_spelling(
    alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]", stored: str, spelled: str
) -> None:
    """A participant is found by any spelling of the address's domain, in an engagement that is not linked, too."""
    await linked(alice, {"email": spelled})
    await pool.execute("delete from contact_email where workspace_id = $1", alice.workspace_id)
    await pool.execute("delete from contact where workspace_id = $1", alice.workspace_id)
    ada = await contact(alice, stored, first_name="Ada")

    assert (await erase(admin, ada)).status_code == 200
    found = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    assert "participants" not in found


_LOCAL_PARTS: Final = [
    ('"zyx omma"', '"Zyx Omma"'),
    (r'"zyx\\omma"', r'"zyx\\omma"'),
    ("ΟΔΟΣ", "οδος"),
    ("οδοσ", "ΟΔΟΣ"),
    ("i\u0307da", "İda"),
]


@pytest.mark.parametrize(("asked_for", "spelled"), _LOCAL_PARTS)
async def test_local_parts_in_each_spelling(
    alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]", asked_for: str, spelled: str
) -> None:
    """A participant is found by a local part that JSON writes otherwise, or in other small letters."""
    ada = await contact(alice, f"{asked_for}@x.test", first_name="Ada")
    await alice.patch(ada.url, json={"emails": []})
    await linked(alice, {"email": f"{spelled}@x.test"})
    await pool.execute("delete from contact where workspace_id = $1 and id <> $2", alice.workspace_id, ada.uuid)
    await pool.execute("delete from contact_email where workspace_id = $1", alice.workspace_id)

    assert (await erase(admin, ada)).status_code == 200
    found = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    assert "participants" not in found


@pytest.mark.parametrize("number", [f"{PHONE} ext. 12", f"{PHONE};ext=12", "+４９ ３０ １２３４５６７", "+1-800-FLOWERS"])
async def test_numbers_in_each_spelling(
    alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]", number: str
) -> None:
    """A participant without an address is found by a number, however the contact has it, in an unlinked engagement."""
    plain = "+1 800 356 9377" if "FLOWERS" in number else "+49 30 1234567"
    engagement = await linked(alice, {"phone": plain})
    await alice.put(f"{engagement.url}/contacts", json={"contact_ids": []})
    await pool.execute("delete from contact_word where workspace_id = $1", alice.workspace_id)
    await pool.execute("delete from contact where workspace_id = $1", alice.workspace_id)
    ada = await contact(alice, first_name="Ada", phone_numbers=[{"phone_number": number}])

    assert (await erase(admin, ada)).status_code == 200
    found = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    assert "participants" not in found


async def test_an_address_that_passed_on_is_anothers(alice: Person, admin: Person) -> None:
    """The engagement of a contact who now has the person's former address stays, with that contact among the participants."""
    ada = await contact(alice, "info@x.test", first_name="Ada")
    await alice.patch(ada.url, json={"emails": [{"email": "ada@x.test"}]})
    await contact(alice, "info@x.test", first_name="Ben")
    engagement = Made(await alice.post(URL, json=call(participants=[{"email": "info@x.test", "name": "Ben"}])))
    before = (await alice.get(engagement.url)).json()

    certificate = (await erase(admin, ada, engagements="true")).json()

    assert certificate["engagement_ids"] == []
    assert "engagement" not in certificate["rows"]
    assert (await alice.get(engagement.url)).json() == before


async def test_a_namesake_with_another_address_stays(alice: Person, admin: Person, pool: Any) -> None:
    """A participant with the name of an erased person, but another address, stays, in the history, too."""
    ada = await marked(alice)
    name = f"{MARKER} {MARKER} the Second"
    namesake = {"email": "junior@x.test", "name": name}
    engagement = Made(await alice.post(URL, json=call(participants=[{"email": ADDRESS, "name": name}, namesake])))
    junior = (await alice.get("/api/v2/contacts", params={"filter[email][eq]": "junior@x.test"})).json()["data"][0]["id"]

    assert (await erase(admin, ada)).status_code == 200
    details = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    first = "select object::text from change where workspace_id = $1 and kind = 'e' order by seq limit 1"
    for said in (details, await pool.fetchval(first, alice.workspace_id)):
        assert ADDRESS not in said
        assert "junior@x.test" in said
    shown = (await alice.get(engagement.url, params={"expand": "contacts"})).json()
    assert [each["id"] for each in shown["contacts"]] == [junior]


async def test_a_shared_number_is_nobodys(alice: Person, admin: Person) -> None:
    """The engagement of a contact with the same number stays, in whatever spelling that contact has the number."""
    ada = await contact(alice, "ada@x.test", first_name="Ada", phone_numbers=[{"phone_number": PHONE}])
    ben = await contact(alice, "ben@x.test", first_name="Ben", phone_numbers=[{"phone_number": "0049 30 1234567"}])
    engagement = await linked(alice, {"phone": PHONE, "name": "Ben"}, ben.id)
    before = (await alice.get(engagement.url)).json()

    assert (await erase(admin, ada, engagements="true")).json()["engagement_ids"] == []
    assert (await alice.get(engagement.url)).json() == before


async def test_only_linked_engagements_go(alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
    """With `engagements` the linked ones go, and the certificate lists them; others with the person only lose the person."""
    ada = await marked(alice)
    going = await linked(alice, {"email": ADDRESS}, ada.id)
    staying = await linked(alice, {"email": ADDRESS}, external_id="call-2")

    expected, done = [(await erase(admin, ada, engagements="true", dry_run=each)).json() for each in ("true", "false")]

    assert expected["engagement_ids"] == done["engagement_ids"] == [going.id]
    assert (done["rows"]["transcript"], done["kept"]["transcript"]) == (1, 1)
    assert (await alice.get(going.url)).status_code == 404
    assert (await alice.get(staying.url)).status_code == 200
    assert await everything(pool, alice.workspace_id) == {}


@pytest.mark.parametrize("spelled", ["Bea@münchen.example", "bea@mu\u0308nchen.example", "bea@XN--mnchen-3ya.example"])
async def test_former_addresses_in_each_spelling(alice: Person, own_pool: Pool, spelled: str) -> None:
    """A contact is known by an address that it had, in whatever spelling it had it."""
    bea = await contact(alice, spelled, first_name="Bea")
    await alice.patch(bea.url, json={"emails": [{"email": "bea@new.example"}]})

    assert await contacts_known_by(own_pool, alice.workspace_id, "bea@xn--mnchen-3ya.example") == {bea.uuid}


@pytest.mark.parametrize(("asked_for", "spelled"), _LOCAL_PARTS)
async def test_former_local_parts_in_each_spelling(alice: Person, own_pool: Pool, asked_for: str, spelled: str) -> None:
    """A contact is known by such a local part that it had, too."""
    bea = await contact(alice, f"{spelled}@x.test", first_name="Bea")
    await alice.patch(bea.url, json={"emails": [{"email": "bea@new.example"}]})

    address = comparable_address(f"{asked_for}@x.test")
    assert await contacts_known_by(own_pool, alice.workspace_id, address) == {bea.uuid}
