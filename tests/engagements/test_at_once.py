"""Data that is looked up before an engagement is created and has changed by then."""

from asyncio import gather
from typing import Any
from uuid import UUID

import msgspec
import pytest

from herdbook import ids
from herdbook.companies.model import CompanyCreate, CompanyDomainRequest
from herdbook.companies.store import COMPANY
from herdbook.contacts.commands import CreateContact, UpdateContact
from herdbook.contacts.model import (
    ContactCreate,
    ContactRecordUpdateEmail,
    ContactRecordUpdatePhoneNumber,
    ContactUpdate,
)
from herdbook.contacts.store import CONTACT
from herdbook.engagements.commands import CreateEngagement, RecordingNeeded
from herdbook.engagements.model import EngagementCreate, Participant
from herdbook.ledger.commands import Create, Delete, Update
from herdbook.ledger.index_entries import MIN_RANGE
from herdbook.ledger.ledger import Ledger, Written
from herdbook.ledger.unit_of_work import Command
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser, RoleUpdate, UserRole
from herdbook.users.store import USER
from tests.cast import Json, Person
from tests.engagements.calls import URL, Made, call, expanded
from tests.ledger.ledger_client import LedgerClient, id_of

NUMBER = "+44 20 7946 0958"


@pytest.fixture
def ledger_client(alice: Person, ledger: Ledger) -> LedgerClient:
    """A client that writes to the ledger of Alice's workspace."""
    return LedgerClient(ledger, alice.workspace_id)


def engaging(*participants: Participant, external_id: str = "call-1842", **members: Any) -> CreateEngagement:
    """Return the command that creates an engagement with these people."""
    fields: dict[str, Any] = {"type": "CALL", "title": "x", "source_system": "x", "transcript": "x", **members}
    asked = EngagementCreate(external_id=external_id, participants=participants, **fields)
    return CreateEngagement(engagement_id=ids.new_id(), fields=asked, created_by=ids.new_id(), owner_user_id=None)


async def shown(alice: Person, written: Written, name: str) -> Json:
    """Return a member of an engagement that a command has created."""
    return await expanded(alice, Made(await alice.get(f"{URL}/{msgspec.json.decode(written.body)['id']}")), name)


async def contacts_of(alice: Person, *written: Written) -> list[str]:
    """Return the contact ids of engagements that have one contact each."""
    return [each["id"] for one in written for each in await shown(alice, one, "contacts")]


@pytest.mark.parametrize("known_by", [{"phone": NUMBER}, {"email": "ada@engine.test"}])
async def test_one_person_becomes_one_contact(alice: Person, known_by: Json) -> None:
    """Simultaneous calls with the same unknown person create one contact."""
    bodies = [call(f"{number}", participants=[{"name": "Ada Lovelace", **known_by}]) for number in range(20)]
    made = [Made(each) for each in await gather(*(alice.post(URL, json=body) for body in bodies))]
    contacts = [await expanded(alice, each, "contacts") for each in made]

    assert len({each["id"] for some in contacts for each in some}) == 1
    assert len((await alice.get("/api/v2/contacts")).json()["data"]) == 1


async def test_a_contact_that_comes_first_is_taken_with_its_company(alice: Person, ledger_client: LedgerClient) -> None:
    """A contact created just before is found by address and number, with its company."""
    made = CompanyCreate(name="Engine", domains=(CompanyDomainRequest("engine.test"),))
    company = msgspec.json.decode((await ledger_client.write(Create(COMPANY, made))).body)
    new = ContactCreate(
        company_id=company["id"],
        emails=(ContactRecordUpdateEmail("ada@engine.test"),),
        phone_numbers=(ContactRecordUpdatePhoneNumber(NUMBER),),
    )
    contact, by_address, by_number = await gather(
        ledger_client.write(CreateContact(new)),
        ledger_client.write(engaging(Participant(email="ADA@engine.test"), external_id="1")),
        ledger_client.write(engaging(Participant(phone="+442079460958"), external_id="2")),
    )

    assert await contacts_of(alice, by_address, by_number) == [msgspec.json.decode(contact.body)["id"]] * 2
    for written in (by_address, by_number):
        assert [each["id"] for each in await shown(alice, written, "companies")] == [company["id"]]


@pytest.mark.parametrize("how", ["deleted", "renumbered"])
async def test_a_contact_that_goes_first_is_not_taken(alice: Person, ledger_client: LedgerClient, how: str) -> None:
    """A contact that just lost its number or was deleted is not found by it; the next oldest is, or a new one is created."""
    numbered = ContactCreate(phone_numbers=(ContactRecordUpdatePhoneNumber(NUMBER),))
    first, second = [id_of(await ledger_client.write(CreateContact(numbered))) for _ in range(2)]

    def leaving(contact_id: UUID) -> Command:
        return Delete(CONTACT, contact_id) if how == "deleted" else UpdateContact(contact_id, ContactUpdate(phone_numbers=()))

    _, still, _, none = await gather(
        ledger_client.write(leaving(first)),
        ledger_client.write(engaging(Participant(phone=NUMBER), external_id="1")),
        ledger_client.write(leaving(second)),
        ledger_client.write(engaging(Participant(phone=NUMBER), external_id="2")),
    )
    contacts = await contacts_of(alice, none)

    assert still.version < none.version
    assert len(contacts) == 1
    assert ids.decoded(ids.CONTACT, contacts[0]) not in (first, second)


async def test_a_number_of_very_many_is_looked_at_further(alice: Person, ledger_client: LedgerClient) -> None:
    """If all contacts that were found first lose the number in one batch, the command finds the next contact."""
    numbered = ContactCreate(phone_numbers=(ContactRecordUpdatePhoneNumber(NUMBER),))
    contacts = [id_of(await ledger_client.write(CreateContact(numbered))) for _ in range(MIN_RANGE + 1)]
    deletions = [ledger_client.write(Delete(CONTACT, contact_id)) for contact_id in contacts[:-1]]
    *_, engaged = await gather(*deletions, ledger_client.write(engaging(Participant(phone=NUMBER))))

    assert await contacts_of(alice, engaged) == [ids.encoded(ids.CONTACT, contacts[-1])]


async def test_somebody_who_joins_or_leaves_first_is_or_is_no_user(alice: Person, ledger_client: LedgerClient) -> None:
    """A new user becomes no contact and may be the owner; a user who has just left is an ordinary contact."""
    joined, owned, user = await gather(
        ledger_client.write(CreateUser(NewUser("Edith", "Clarke", ("edith@grid.test",)))),
        ledger_client.write(engaging(Participant(email="edith@grid.test", is_owner=True), external_id="1")),
        ledger_client.write(engaging(Participant(email="edith@grid.test"), external_id="2")),
    )
    user_id = msgspec.json.decode(joined.body)["id"]
    found = ids.decoded(ids.USER, user_id)
    assert found is not None
    _, left = await gather(
        ledger_client.write(Update(USER, found, RoleUpdate(UserRole.INACTIVE))),
        ledger_client.write(engaging(Participant(email="edith@grid.test"), external_id="3")),
    )

    assert msgspec.json.decode(owned.body)["owner_user_id"] == user_id
    assert await contacts_of(alice, owned, user) == []
    assert len(await contacts_of(alice, left)) == 1


async def test_a_recording_is_not_left_out(ledger_client: LedgerClient) -> None:
    """The command must be repeated with the recording if no engagement with the external id exists."""
    with pytest.raises(RecordingNeeded):
        await ledger_client.write(engaging(media_url="https://media.test/1"))
