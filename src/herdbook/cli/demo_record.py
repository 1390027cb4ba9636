"""The part of the demo that the vendor does not have: fields of a team's own, their values, labels, tags and notes."""

import random
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final

from msgspec import UNSET, UnsetType

from herdbook.companies.model import CompanyRecordUpdate
from herdbook.custom_fields.model import FieldCreate, FieldKind, FieldObjectType, FieldOption
from herdbook.notes.model import NoteCreate


def _options(**labels: str) -> tuple[FieldOption, ...]:
    return tuple(FieldOption(id=option, label=label) for option, label in labels.items())


# A new workspace has the usual fields of contacts, too.
FIELDS: Final = (
    FieldCreate(
        object_type=FieldObjectType.CONTACT,
        key="role",
        label="Role in the purchase",
        kind=FieldKind.ONE_OF,
        options=_options(decides="Decides", advises="Advises", uses="Uses it", pays="Pays"),
        help="Ask before the second call.",
        order=5,
    ),
    FieldCreate(
        object_type=FieldObjectType.CONTACT,
        key="customer_number",
        label="Customer number",
        kind=FieldKind.TEXT,
        unique=True,
        help="As on the invoices.",
        order=90,
    ),
    FieldCreate(
        object_type=FieldObjectType.CONTACT,
        key="last_visit",
        label="Last visit",
        kind=FieldKind.DATE,
        order=100,
    ),
    FieldCreate(
        object_type=FieldObjectType.CONTACT,
        key="newsletter",
        label="Newsletter",
        kind=FieldKind.YES_NO,
        default=False,
        help="Whether they asked for it in writing.",
        order=110,
    ),
    FieldCreate(
        object_type=FieldObjectType.COMPANY,
        key="tier",
        label="Tier",
        kind=FieldKind.ONE_OF,
        options=_options(gold="Gold", silver="Silver", bronze="Bronze"),
        order=10,
    ),
    FieldCreate(
        object_type=FieldObjectType.COMPANY,
        key="products",
        label="Products",
        kind=FieldKind.SEVERAL_OF,
        options=_options(orders="Orders", routes="Routes", invoices="Invoices", reports="Reports"),
        order=20,
    ),
    FieldCreate(
        object_type=FieldObjectType.COMPANY,
        key="contract_value",
        label="Contract value",
        kind=FieldKind.MONEY,
        help="For one year.",
        order=30,
    ),
    FieldCreate(
        object_type=FieldObjectType.COMPANY,
        key="renews_on",
        label="Renews on",
        kind=FieldKind.DATE,
        order=40,
    ),
    FieldCreate(
        object_type=FieldObjectType.COMPANY,
        key="account_manager",
        label="Account manager",
        kind=FieldKind.USER,
        order=50,
    ),
)
_JOBS: Final = (
    *(("Head of purchasing", "Purchasing"), ("Managing director", "Board"), ("Operations manager", "Operations")),
    *(("IT lead", "IT"), ("Accountant", "Finance"), ("Dispatcher", "Operations"), ("Office manager", "Board")),
)
_SOURCES: Final = ("website", "referral", "event", "import")
_CITIES: Final = (("Quay Street 4", "Bristol", "GB"), ("Storgata 12", "Bergen", "NO"), ("Lange Reihe 70", "Hamburg", "DE"))
_NOTES: Final = (
    "Wants **one invoice a month**, not one for each order.",
    "Met at the fair in Bergen. Asked for:\n\n- prices for 50 seats\n- a trial in March",
    "Out until the 15th; her deputy may sign.",
    "Uses a screen reader: send documents as text, not as pictures.",
    "Compared us with two others. *Price was not the reason* to stay.",
)
_COMPANY_NOTES: Final = (
    "The contract ends with the year. Talk to the board in **September**, before they plan the budget.",
    "Moved the depot; deliveries now go to the new address.",
)
_FIRST_DAY: Final = date(2026, 1, 5)
_CONTACT_NOTES: Final = 20


def contact_members(number: int, tag_ids: Sequence[str], user_ids: Sequence[str]) -> dict[str, Any]:
    """Return the values and tags of a contact, the same for each number."""
    dice = random.Random(f"contact {number}")  # noqa: S311
    job_title, department = dice.choice(_JOBS)
    street, city, country = dice.choice(_CITIES)
    values: dict[str, Any] = {
        "job_title": job_title,
        "department": department,
        "role": dice.choice(("decides", "advises", "uses", "pays")),
        "owner": dice.choice(user_ids),
        "source": dice.choice(_SOURCES),
    }
    if dice.random() < 0.3:
        values["birthday"] = str(date(1955, 1, 1) + timedelta(days=dice.randrange(18_000)))
    if dice.random() < 0.4:
        values["last_visit"] = str(_FIRST_DAY + timedelta(days=dice.randrange(300)))
    if dice.random() < 0.3:
        values["address"] = {"street": street, "city": city, "country": country}
    if dice.random() < 0.5:
        values["customer_number"] = f"C-{10_000 + number}"
    if dice.random() < 0.4:
        values["newsletter"] = True
    tagged: tuple[str, ...] | UnsetType = (dice.choice(tag_ids),) if dice.random() < 0.2 else UNSET
    return {"fields": values, "tag_ids": tagged}


def company_members(number: int, renewal_id: str, user_ids: Sequence[str]) -> CompanyRecordUpdate:
    """Return the values and tags of a company, the same for each number."""
    dice = random.Random(f"company {number}")  # noqa: S311
    renews_on = _FIRST_DAY + timedelta(days=dice.randrange(720))
    values: Mapping[str, Any] = {
        "tier": dice.choice(("gold", "silver", "silver", "bronze")),
        "products": dice.sample(("orders", "routes", "invoices", "reports"), dice.randint(1, 3)),
        "contract_value": {"amount": f"{dice.randrange(12, 240) * 100}.00", "currency": dice.choice(("EUR", "GBP", "NOK"))},
        "renews_on": str(renews_on),
        "account_manager": dice.choice(user_ids),
    }
    return CompanyRecordUpdate(fields={**values}, tag_ids=(renewal_id,) if renews_on.year == _FIRST_DAY.year else UNSET)


def contact_notes() -> Iterator[tuple[int, NoteCreate]]:
    """Yield notes, each with the number of its contact. The first one is pinned."""
    for number in range(_CONTACT_NOTES):
        yield number // 2, NoteCreate(text=_NOTES[number % len(_NOTES)], is_pinned=number == 0)


def company_notes() -> Iterator[tuple[int, NoteCreate]]:
    """Yield notes, each with the number of its company."""
    yield from ((number, NoteCreate(text=text)) for number, text in enumerate(_COMPANY_NOTES))
