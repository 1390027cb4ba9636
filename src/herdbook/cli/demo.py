"""The sample data of `herdbook demo`: people and companies that nobody will meet."""

import asyncio
import json
import random
from pathlib import Path
from typing import Annotated, Final
from urllib.request import Request, urlopen
from uuid import UUID

import msgspec
from cyclopts import Parameter
from msgspec import UNSET

from herdbook import ids
from herdbook.auth.scopes import ADMIN
from herdbook.auth.store import create_key, list_keys, revoke_key
from herdbook.cli.environment import environment
from herdbook.cli.serve import serve
from herdbook.companies.actions import CreateCompany
from herdbook.companies.model import Company, CompanyCreate, CompanyCreateDomain
from herdbook.contacts.actions import CreateContact
from herdbook.contacts.model import ContactCreate, ContactUpdateEmail, ContactUpdatePhoneNumber
from herdbook.db.pool import connect, open_pool
from herdbook.first_start import Prepared, prepare
from herdbook.ledger.book import Origin
from herdbook.ledger.ledger import Ledger, Written
from herdbook.search_text import folded
from herdbook.settings import Settings

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


def demo(*, settings: Annotated[Settings, Parameter(name="*")] = Settings(data_dir=Path("herdbook-demo"))) -> None:
    """Serve with sample data: some 200 contacts and companies, and a key to try things with."""
    serve(settings, _prepare_demo, _announce_demo)


async def _prepare_demo(database_url: str) -> Prepared:
    """Make the database ready for `herdbook demo`: sample data the first time, and a new key each time."""
    ready = await prepare(database_url)
    connection = await connect(database_url)
    try:
        for key in await list_keys(connection, ready.workspace_id):
            if key.name == _KEY_NAME:
                await revoke_key(connection, key.id)
        api_key = await create_key(connection, ready.workspace_id, _KEY_NAME, [ADMIN])
        is_empty = await connection.fetchval("select seq = 0 from workspace where id = $1", ready.workspace_id)
    finally:
        await connection.close()
    if is_empty:
        await _fill(database_url, ready.workspace_id, api_key.id)
    return Prepared(ready.workspace_id, api_key)


async def _fill(database_url: str, workspace_id: UUID, credential_id: UUID) -> None:
    pool = await open_pool(database_url, size=2)
    ledger = Ledger(pool, queue_limit=_CONTACTS)
    ledger.open()
    origin = Origin(request_id=ids.new_id(), credential_id=credential_id)
    try:
        companies = await asyncio.gather(
            *(ledger.write(workspace_id, CreateCompany(company), origin) for company in _companies())
        )
        contacts = _contacts([_id_of(company) for company in companies])
        await asyncio.gather(*(ledger.write(workspace_id, CreateContact(contact), origin) for contact in contacts))
    finally:
        await ledger.close()
        await pool.close()


def _id_of(written: Written) -> str:
    company = msgspec.json.decode(written.body, type=Company)
    return company.id


def _companies() -> list[CompanyCreate]:
    return [
        CompanyCreate(domains=(CompanyCreateDomain(_domain(name)),), name=name, description=description)
        for name, description in _COMPANIES
    ]


def _contacts(company_ids: list[str]) -> list[ContactCreate]:
    # The same people each time, so that a page of documentation stays true.
    dice = random.Random(1842)  # noqa: S311
    names = [(first, last) for first in _FIRST_NAMES for last in _LAST_NAMES]
    contacts: list[ContactCreate] = []
    for number, (first, last) in enumerate(dice.sample(names, _CONTACTS)):
        company = dice.randrange(len(_COMPANIES))
        local_part = f"{_plain(first)}.{_plain(last)}"
        emails = [ContactUpdateEmail(f"{local_part}@{_domain(_COMPANIES[company][0])}")]
        if dice.random() < 0.2:
            emails.append(ContactUpdateEmail(f"{local_part}@mail.example"))
        phone = dice.choice(_PHONES).format(number % 100)
        contacts.append(
            ContactCreate(
                first_name=first,
                last_name=last,
                description=dice.choice(_ROLES) if dice.random() < 0.5 else UNSET,
                company_id=company_ids[company],
                emails=tuple(emails),
                phone_numbers=(ContactUpdatePhoneNumber(phone),) if dice.random() < 0.7 else (),
                time_zone=dice.choice(_ZONES) if dice.random() < 0.6 else UNSET,
            )
        )
    return contacts


def _domain(company: str) -> str:
    # `.example` is nobody's, for ever (RFC 2606), so no mail to these people arrives anywhere.
    return f"{_plain(company)}.example"


def _plain(text: str) -> str:
    return "".join(char for char in folded(text) if char.isascii() and char.isalnum())


def _announce_demo(url: str, ready: Prepared) -> None:
    """Tell a person where the demo is, its key, and a first thing to try."""
    key = str(ready.api_key)
    with urlopen(Request(f"{url}/api/v2/contacts?limit=1", headers={"Authorization": key})) as answer:  # noqa: S310
        contact = json.load(answer)["data"][0]
    environment.say(f"""
herdbook answers at {url}
Documentation: {url}/docs
API key:       {key}

Try it: change {contact["first_name"]} {contact["last_name"]}.

curl -X PATCH {url}/api/v2/contacts/{contact["id"]} \\
  -H 'Authorization: Bearer {key}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"first_name": "Ada", "description": "Wrote the first program."}}'

Ctrl-C stops it; the data stay in this folder.
""")
