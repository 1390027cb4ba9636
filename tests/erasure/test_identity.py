"""The participants and engagements that are the person's, and those of others, which stay."""

from typing import Any, Final

import asyncpg
import msgspec
import pytest

from herdbook import ids
from herdbook.addresses import comparable_address
from herdbook.db.pool import Pool
from herdbook.erasure.commands import AddressErased, EraseSlice
from herdbook.erasure.erasing import command_for, command_for_address
from herdbook.erasure.store import ERASE, contacts_known_by
from herdbook.ledger.ledger import Ledger
from herdbook.ledger.unfinished import finish
from herdbook.ledger.unit_of_work import Origin
from tests.cast import Json, Person
from tests.engagements.calls import URL, Made, call
from tests.erasure.test_erase_contact import ADDRESS, MARKER, PHONE, erase, everything, marked
from tests.erasure.test_taken_back import undo
from tests.erasure.test_values_of_others import defined, fields_of, written
from tests.merging.merges import contact, merge


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


@pytest.mark.parametrize(
    ("stored", "spelled"),
    [
        ("+49301234567", "\uff0b\uff14\uff19 \uff13\uff10 \uff11\uff12\uff13\uff14\uff15\uff16\uff17"),
        ("+49301234567", "+\u0664\u0669 \u0663\u0660 \u0661\u0662\u0663\u0664\u0665\u0666\u0667"),
        ("\uff0b\uff14\uff19\uff13\uff10\uff11\uff12\uff13\uff14\uff15\uff16\uff17", "+49 30 1234567"),
        ("+18003569377", "+1-800-FLOWERS"),
        ("+1-800-flowers", "+1 (800) 356-9377"),
        ("+18006927753", "+1-800-MY-APPLE"),
        ("+18006927753", "+1 800 \uff2d\uff39 APPLE"),
    ],
)
async def test_numbers_in_other_digits_and_in_letters(
    alice: Person, admin: Person, pool: "asyncpg.Pool[asyncpg.Record]", stored: str, spelled: str
) -> None:
    """A participant of an engagement that is not linked is found by a number in digits of any script, or in letters."""
    ada = await contact(alice, ADDRESS, phone_numbers=[{"phone_number": stored}])
    await linked(alice, {"phone": spelled, "name": "Somebody"})

    assert (await erase(admin, ada)).json()["rows"]["engagement"] == 1
    found = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    assert "Somebody" not in found


@pytest.mark.parametrize("participant", [{"email": ADDRESS, "name": "Bob"}, {"phone": PHONE, "name": "Bob"}])
async def test_a_contact_that_comes_meanwhile_stays(
    alice: Person, admin: Person, ledger: Ledger, pool: Any, own_pool: Pool, participant: Json
) -> None:
    """A contact that gets an address or a number while the erasure is under way keeps its participation, and its values."""
    await defined(admin)
    ada = await marked(alice)
    origin = Origin(ids.new_id(), ids.NIL)
    command = await command_for(own_pool, alice.workspace_id, ada.uuid, with_engagements=False)
    await ledger.write(alice.workspace_id, command, origin)
    await ledger.write(alice.workspace_id, EraseSlice(ada.uuid), origin)
    bob = await contact(alice, ADDRESS, first_name="Bob", phone_numbers=[{"phone_number": PHONE}])
    assert Made(await alice.post(URL, json=call(participants=[participant])))
    await written(admin, bob, mail=ADDRESS, line=PHONE)
    await finish(own_pool, ledger, ERASE, EraseSlice, (alice.workspace_id, [ada.uuid]))

    details = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    assert all(each in details for each in participant.values())
    assert await fields_of(admin, bob) == {"mail": ADDRESS, "line": PHONE}


async def test_a_contact_that_comes_while_an_address_is_erased_stays(
    alice: Person, ledger: Ledger, pool: Any, own_pool: Pool
) -> None:
    """A contact that gets the address while participants with it are erased keeps its participation."""
    command = await command_for_address(own_pool, alice.workspace_id, ADDRESS)
    origin = Origin(ids.new_id(), ids.NIL)
    begun = await ledger.write(alice.workspace_id, command, origin)
    task_id = msgspec.json.decode(begun.body, type=AddressErased).task_id
    bob = await contact(alice, ADDRESS, first_name="Bob")
    assert Made(await alice.post(URL, json=call(participants=[{"email": ADDRESS, "name": "Bob"}])))
    await finish(own_pool, ledger, ERASE, EraseSlice, (alice.workspace_id, [task_id]))

    details = await pool.fetchval("select details::text from engagement where workspace_id = $1", alice.workspace_id)
    assert bob.id in details
    assert ADDRESS in details


async def test_a_merge_that_stands(alice: Person, own_pool: Pool) -> None:
    """A contact that was merged stands for the one that replaces it, even if that one has lost the address since."""
    ada, olga = await contact(alice, "ada@x.test"), await contact(alice, "olga@x.test")
    await merge(alice, olga, ada)
    await alice.patch(olga.url, json={"emails": [{"email": "olga@x.test"}]})

    assert await contacts_known_by(own_pool, alice.workspace_id, "ada@x.test") == {olga.uuid}


@pytest.mark.parametrize("way", ["undone", "by hand", "by hand, and the merge is kept no longer"])
async def test_a_merge_that_was_taken_back(alice: Person, admin: Person, own_pool: Pool, way: str) -> None:
    """It makes nobody the person, nor those into whom the other one was merged meanwhile; the address itself does."""
    ada, olga, zoe = [await contact(alice, f"{each}@x.test") for each in ("ada", "olga", "zoe")]
    await merge(alice, olga, ada)
    second = await merge(alice, zoe, olga)
    head = await own_pool.fetchval("select seq from workspace where id = $1", alice.workspace_id)
    if way == "undone":
        assert (await undo(admin, second.headers["X-Request-Id"]))["kept"] == []
    for into, source, own in ((zoe, olga, "zoe"), (olga, ada, "olga")):
        await alice.patch(into.url, json={"first_name": "Edited"})
        await alice.patch(into.url, json={"emails": [{"email": f"{own}@x.test"}]})
        assert (await alice.post(f"/api/herdbook/contacts/{source.id}/restore")).status_code == 200
    if "no longer" in way:
        await own_pool.execute("delete from change where workspace_id = $1 and seq <= $2", alice.workspace_id, head)

    assert await contacts_known_by(own_pool, alice.workspace_id, "ada@x.test") == {ada.uuid}
    await alice.patch(ada.url, json={"emails": [{"email": "ada@new.test"}]})
    await alice.patch(zoe.url, json={"emails": [{"email": "ada@x.test"}]})
    assert await contacts_known_by(own_pool, alice.workspace_id, "ada@x.test") == {ada.uuid, zoe.uuid}
    await alice.patch(zoe.url, json={"emails": []})
    assert await contacts_known_by(own_pool, alice.workspace_id, "ada@x.test") == {ada.uuid, zoe.uuid}
