"""`herdbook demo` and its sample data: invented people and companies."""

import asyncio
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import msgspec
from cyclopts import Parameter
from msgspec import UNSET

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, list_keys, revoke_key
from herdbook.cli.demo_record import FIELDS, company_members, company_notes, contact_members, contact_notes
from herdbook.cli.demo_recording import write_recording
from herdbook.cli.environment import CommandFailed, environment
from herdbook.cli.places import opened
from herdbook.cli.workers import console_url, preparing, run
from herdbook.companies.commands import UpdateCompanyRecord
from herdbook.companies.model import CompanyCreate, CompanyDomainRequest
from herdbook.companies.store import COMPANY
from herdbook.console.model import LINK_MINUTES, link_address
from herdbook.console.store import create_link
from herdbook.contacts.commands import CreateContact
from herdbook.contacts.model import Contact, ContactCreate, ContactRecordUpdateEmail, ContactRecordUpdatePhoneNumber
from herdbook.contacts.store import CONTACT, page
from herdbook.custom_fields.commands import CreateField
from herdbook.db.paging import PageQuery
from herdbook.db.pool import Pool, open_pool
from herdbook.engagements.commands import PRIVATE_WRITE, CreateEngagement, ReplaceTags
from herdbook.engagements.model import EngagementCreate, Participant, TimelineEntry, TimelineRequest, TimelineSpeaker
from herdbook.first_start import FIRST_KEY_NAME, Prepared
from herdbook.ledger.commands import Create
from herdbook.ledger.ledger import Ledger, Written
from herdbook.ledger.unit_of_work import Command, Origin
from herdbook.media import path_of_recording
from herdbook.notes.commands import CreateNote
from herdbook.search_text import folded
from herdbook.settings import Settings
from herdbook.tags.model import TagCreate
from herdbook.tags.store import TAG
from herdbook.users.commands import CreateUser
from herdbook.users.model import NewUser, UserRole
from herdbook.users.store import all_users

_KEY_NAME: Final = "Demo"

_COMPANIES: Final = (
    ("Aldermoor Logistics", "Regional freight and cold storage."),
    ("Bluefinch Analytics", "Dashboards for water utilities."),
    ("Cartwright & Osei", "Employment law."),
    ("Delphine Ceramics", "Tiles for restoration work."),
    ("Eastgate Veterinary Group", "Nine practices, one laboratory."),
    ("Fjordlys Energi", "Small hydro, run remotely."),
    ("Granary Row Hotels", "Four hotels in converted warehouses."),
    ("Halvorsen Marine", "Survey vessels and crews."),
    ("Ivory Coast Cocoa Partners", "Traceable cocoa for confectioners."),
    ("Juniper Lane Schools", "A group of six primary schools."),
    ("Kestrel Avionics", "Flight recorders for gliders."),
    ("Lindqvist Papper", "Archive-grade paper."),
    ("Monteverde Coffee", "Green coffee, contracts and tastings."),
    ("Northbridge Dental", "Appointments by text message."),
    ("Okafor Structural", "Engineers for timber buildings."),
    ("Pembroke Opticians", "Eye tests at home."),
    ("Quillon Press", "Textbooks for apprentices."),
    ("Rosslare Ferries", "Freight and foot passengers."),
    ("Sakura Robotics", "Grippers for soft fruit."),
    ("Tamarind Foods", "Spice blends for canteens."),
    ("Umbra Lighting", "Stage lighting for rent."),
    ("Vireo Health", "Sleep studies."),
    ("Westray Textiles", "Wool from one island."),
    ("Yarrow Accountants", "Books for farms."),
)
_FIRST_NAMES: Final = (
    *("Amara", "Bastian", "Chiara", "Dmitri", "Elif", "Femi", "Greta", "Hiroshi", "Ines", "Jomo", "Katarína", "Léonie"),
    *("Mateo", "Ngozi", "Oisín", "Priya", "Quentin", "Rosa", "Søren", "Thandiwe", "Ulrike", "Vikram", "Wanjiru", "Xiomara"),
    *("Yusuf", "Zofia", "Anders", "Beatriz", "Callum", "Devika"),
)
_LAST_NAMES: Final = (
    *("Abara", "Bergström", "Castellanos", "Dufour", "Eriksen", "Fairweather", "Grzelak", "Haddad", "Ivanov", "Jiménez"),
    *("Kowalczyk", "Lindholm", "Mbeki", "Nakamura", "O'Sullivan", "Petrov", "Quaye", "Rahman", "Sandoval", "Tanaka"),
    *("Urquhart", "Van Dijk", "Whitfield", "Öztürk", "Zimmermann", "Achterberg", "Boateng", "Clarke"),
)
_ROLES: Final = (
    *("Signs the contracts.", "Prefers a call to an e-mail.", "Met at the spring fair.", "Runs the purchasing team."),
    *("Technical contact.", "Out of the office on Fridays.", "Asked for a second quote.", "Decides together with the board."),
)
_ZONES: Final = ("Europe/London", "Europe/Oslo", "Africa/Lagos", "America/Bogota", "Asia/Tokyo", "Europe/Berlin")
_PHONES: Final = ("+44 20 7946 0{:03d}", "+1 202 555 01{:02d}")
_CONTACTS: Final = 180
_ENGAGEMENTS: Final = 60
_USERS: Final = (
    NewUser("Ada", "Okonkwo", ("ada@team.example",), UserRole.ADMIN, "Head of sales", "Europe/London", "+442079460018"),
    NewUser("Bjarne", "Solheim", ("bjarne@team.example",), UserRole.MEMBER, "Account manager", "Europe/Oslo"),
    NewUser("Camila", "Duarte", ("camila@team.example",), UserRole.MEMBER, "Customer success", "America/Bogota"),
    NewUser("Dinesh", "Rao", ("dinesh@team.example",), UserRole.INACTIVE),
)
_TAGS: Final = (
    TagCreate(name="Renewal", hex_color="#1F6FEB", description="The contract ends this year."),
    TagCreate(name="Pricing", hex_color="#BF8700"),
    TagCreate(name="Complaint", hex_color="#CF222E"),
    TagCreate(name="Follow up"),
)
_TALKS: Final = (
    ("Renewal", ("Shall we go through the contract?", "Yes, and I have two questions about the price.", "Go ahead.")),
    ("Demo", ("Can you see my screen?", "I can.", "This is where your orders arrive.", "That would save us a day a week.")),
    ("Check-in", ("How has the first month been?", "Better than we feared.", "What did you fear?", "The import, mostly.")),
    ("Complaint", ("I am sorry to hear that.", "It is the third time.", "I will call you back today with an answer.")),
)


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Settings):
    """The settings, with a separate data folder: whatever else is set, the demo must not write into real data."""

    data_dir: Path = Path("herdbook-demo")
    """The folder of the embedded database."""


def demo(*, settings: Annotated[DemoSettings, Parameter(name="*")] = DemoSettings()) -> None:
    """Serve sample data: contacts, companies, engagements and related objects, and a key to try the API with."""
    demonstration = _Demonstration(settings)
    with opened(settings) as places:
        run(settings, places, demonstration.prepare, demonstration.announce)


class _Demonstration:
    """One start of the demo."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data_dir
        self._is_embedded = settings.database_url is None
        self._prepare = preparing(settings)
        self._somebody: Contact | None = None

    async def prepare(self, database_url: str) -> Prepared:
        """Prepare the database: add sample data the first time, and a new key each time."""
        ready = await self._prepare(database_url)
        pool = await open_pool(database_url, size=2)
        try:
            earlier = [key for key in await list_keys(pool, ready.workspace_id) if key.name in (FIRST_KEY_NAME, _KEY_NAME)]
            if ready.api_key is None and _KEY_NAME not in (key.name for key in earlier):
                raise CommandFailed(
                    "This database is not the demo's. Choose another folder with --data-dir; "
                    "unset HERDBOOK_DATA_DIR and HERDBOOK_DATABASE_URL if they are set."
                )
            api_key = await create_key(pool, ready.workspace_id, _KEY_NAME, [ADMIN])
            # The demo shows its own key instead of the first one, so nobody knows that one.
            for key in earlier:
                await revoke_key(pool, key.id)
            if await pool.fetchval("select not exists (select from contact where workspace_id = $1)", ready.workspace_id):
                await _fill(pool, ready.workspace_id, api_key.id, self._folder / "media")
            somebody = next(
                user for user in await all_users(pool, ready.workspace_id) if user.first_name == _USERS[0].first_name
            )
            link = await create_link(pool, ready.workspace_id, _uuid(ids.USER, somebody.id))
            for listed in (await page(pool, ready.workspace_id, PageQuery(limit=1, descending=False)))[:1]:
                self._somebody = msgspec.json.decode(listed.body, type=Contact)
        finally:
            await pool.close()
        return Prepared(ready.workspace_id, api_key, link=link)

    def announce(self, url: str, ready: Prepared) -> None:
        """Print the demo's address, its key, and a first command to try."""
        assert ready.link is not None, "the demo has made one"
        environment.say(f"""
herdbook answers at {url}
Console:       {link_address(console_url(url), ready.link)}
               (signs you in as {_called(_USERS[0])}, once, within {LINK_MINUTES} minutes)
Documentation: {url}/docs
API key:       {ready.api_key}
""")
        if self._somebody is not None:
            environment.say(f"""\
Try it: change {_called(self._somebody)}.

curl -X PATCH {url}/api/v2/contacts/{self._somebody.id} \\
  -H 'Authorization: Bearer {ready.api_key}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"first_name": "Ada", "description": "Wrote the first program."}}'
""")
        stay = "The data stay in" if self._is_embedded else "The data stay in the database, and recordings in"
        environment.say(f"Press Ctrl-C to stop. {stay} `{self._folder}`; pass it to other commands as --data-dir.\n")


def _called(contact: Contact | NewUser) -> str:
    return " ".join(name for name in (contact.first_name, contact.last_name) if name) or "somebody"


async def _fill(pool: Pool, workspace_id: UUID, credential_id: UUID, media: Path) -> None:
    ledger = Ledger(pool, queue_limit=_CONTACTS)
    ledger.open()
    origin = Origin(request_id=ids.new_id(), credential_id=credential_id)

    async def written(commands: Iterable[Command]) -> list[Written]:
        return await asyncio.gather(*(ledger.write(workspace_id, command, origin) for command in commands))

    try:
        companies = await written(Create(COMPANY, company) for company in _companies())
        await written(CreateField(field) for field in FIELDS)
        users = await written(CreateUser(user) for user in _USERS)
        tags = await written(Create(TAG, tag) for tag in _TAGS)
        company_ids, tag_ids, user_ids = ([_id_of(each) for each in made] for made in (companies, tags, users))
        contacts = await written(map(CreateContact, _contacts(company_ids, tag_ids, user_ids)))
        await written(
            UpdateCompanyRecord(_uuid(ids.COMPANY, company_id), company_members(number, tag_ids[0], user_ids))
            for number, company_id in enumerate(company_ids)
        )
        await written(_notes([_id_of(each) for each in contacts], company_ids, user_ids))
        calls = list(_calls([msgspec.json.decode(contact.body, type=Contact) for contact in contacts], users, credential_id))
        _record_latest(calls, media, workspace_id)
        await written(calls)
        for number, call in enumerate(calls):
            one = (tag_ids[number % len(tag_ids)],)
            tagged = ReplaceTags(engagement_id=call.engagement_id, tag_ids=one, private_scopes=frozenset({PRIVATE_WRITE}))
            await ledger.write(workspace_id, tagged, origin)
    finally:
        await ledger.close()


class _Identified(msgspec.Struct):
    id: str


def _id_of(written: Written) -> str:
    return msgspec.json.decode(written.body, type=_Identified).id


def _companies() -> list[CompanyCreate]:
    return [
        CompanyCreate(domains=(CompanyDomainRequest(_domain(name)),), name=name, description=description)
        for name, description in _COMPANIES
    ]


def _contacts(company_ids: Sequence[str], tag_ids: Sequence[str], user_ids: Sequence[str]) -> list[ContactCreate]:
    # Generate the same people each time, so that the documentation stays accurate.
    dice = random.Random(1842)  # noqa: S311
    names = [(first, last) for first in _FIRST_NAMES for last in _LAST_NAMES]
    contacts: list[ContactCreate] = []
    for number, (first, last) in enumerate(dice.sample(names, _CONTACTS)):
        company = dice.randrange(len(_COMPANIES))
        local_part = f"{_plain(first)}.{_plain(last)}"
        emails = [ContactRecordUpdateEmail(f"{local_part}@{_domain(_COMPANIES[company][0])}", label="work")]
        if dice.random() < 0.2:
            emails.append(ContactRecordUpdateEmail(f"{local_part}@mail.example", label="home"))
        phone = dice.choice(_PHONES).format(number % 100)
        contacts.append(
            ContactCreate(
                first_name=first,
                last_name=last,
                description=dice.choice(_ROLES) if dice.random() < 0.5 else UNSET,
                company_id=company_ids[company],
                emails=tuple(emails),
                phone_numbers=(ContactRecordUpdatePhoneNumber(phone, label="mobile"),) if dice.random() < 0.7 else (),
                time_zone=dice.choice(_ZONES) if dice.random() < 0.6 else UNSET,
                **contact_members(number, tag_ids, user_ids),
            )
        )
    return contacts


def _notes(contact_ids: Sequence[str], company_ids: Sequence[str], user_ids: Sequence[str]) -> Iterator[CreateNote]:
    users = [_uuid(ids.USER, user_id) for user_id in user_ids]
    for number, note in contact_notes():
        contact_id = _uuid(ids.CONTACT, contact_ids[number])
        yield CreateNote(object_type=CONTACT, object_id=contact_id, fields=note, user_id=users[number % len(users)])
    for number, note in company_notes():
        company_id = _uuid(ids.COMPANY, company_ids[number])
        yield CreateNote(object_type=COMPANY, object_id=company_id, fields=note, user_id=users[0])


def _calls(contacts: Sequence[Contact], users: Sequence[Written], created_by: UUID) -> Iterator[CreateEngagement]:
    dice = random.Random(1815)  # noqa: S311
    for number in range(_ENGAGEMENTS):
        contact = dice.choice(contacts)
        name = f"{contact.first_name} {contact.last_name}"
        title, said = dice.choice(_TALKS)
        speakers = (TimelineSpeaker(name="Team"), TimelineSpeaker(name=name))
        entries = tuple(
            TimelineEntry(speaker_index=place % 2, start_seconds=place * 4.0, end_seconds=place * 4.0 + 3.5, text=text)
            for place, text in enumerate(said)
        )
        participant = Participant(name=name, email=contact.emails[0].email)
        day = datetime(2026, 1, 1, 9, tzinfo=UTC) + timedelta(days=dice.randrange(300), minutes=dice.randrange(480))
        yield CreateEngagement(
            engagement_id=ids.new_id(),
            fields=EngagementCreate(
                type="CALL" if dice.random() < 0.6 else "MEETING",
                title=f"{title} with {name}",
                source_system="demo",
                external_id=f"demo-{number}",
                transcript_timeline=TimelineRequest(speakers=speakers, entries=entries),
                is_private=dice.random() < 0.1,
                start_at=day.isoformat(),
                participants=(participant,),
            ),
            created_by=created_by,
            owner_user_id=_uuid(ids.USER, _id_of(dice.choice(users))),
        )


def _record_latest(calls: list[CreateEngagement], folder: Path, workspace_id: UUID) -> None:
    """Give the latest call, which lists show first, a recording."""
    recorded = max((each for each in calls if each.fields.type == "CALL"), key=lambda each: str(each.fields.start_at))
    timeline = recorded.fields.transcript_timeline
    assert timeline is not UNSET, "each call of the demo has a transcript"
    lines = [(entry.start_seconds, entry.end_seconds) for entry in timeline.entries]
    media = write_recording(path_of_recording(folder, workspace_id, recorded.engagement_id), lines)
    calls[calls.index(recorded)] = msgspec.structs.replace(recorded, media=media, duration_seconds=lines[-1][1])


def _uuid(prefix: str, text: str) -> UUID:
    found = ids.decoded(prefix, text)
    assert found is not None, "the ledger gave it"
    return found


def _domain(company: str) -> str:
    # `.example` belongs to nobody (RFC 2606), so mail to these people never arrives.
    return f"{_plain(company)}.example"


def _plain(text: str) -> str:
    return "".join(char for char in folded(text) if char.isascii() and char.isalnum())
