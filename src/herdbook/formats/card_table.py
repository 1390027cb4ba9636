"""The people of vCards as CSV, so that an import reads, shows and maps them like any other file."""

import csv
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from herdbook.formats.card_content import CardContent, content_of, shown_name
from herdbook.formats.cards import CardFault, Property, fitting, kept_line, read_cards
from herdbook.formats.guards import as_it_is, kept
from herdbook.formats.lists import USUAL_LABELS, joined, labelled, quoted
from herdbook.formats.model import MAX_COLUMNS, Layout, Pace, Unreadable

LAYOUT: Final = Layout(format="csv", is_of_cards=True)
"""The layout of the table. A guess may take it for another, because cards have so many delimiters of their own."""
_STEP: Final = 200
_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_ADDRESS: Final = ("street", "city", "region", "postal_code", "country")
_NAMES: Final = ("first_name", "last_name", "company_name", "department", "job_title", "birthday", "website", "time_zone")
# A longer cell is refused, so that a card takes several.
_MAX_CELL: Final = 100_000
# The lines around the properties of a card, which are none themselves.
AROUND: Final = frozenset({"BEGIN", "VERSION", "END"})
# In place of the properties that are too large to be kept, a card has their names.
LEFT_OUT: Final = "X-HERDBOOK-LEFT-OUT"
# Fields that a card of herdbook's own has. Members of other names are kept with the card.
_FIELD: Final = re.compile(r"fields\.[a-z][a-z0-9_]{0,49}").fullmatch


def is_card(head: bytes) -> bool:
    """Whether a file with these first bytes is one of vCards, in any encoding that has the letters of ASCII."""
    for mark in _MARKS:
        head = head.removeprefix(mark)
    return head.replace(b"\0", b"").lstrip()[:11].upper() == b"BEGIN:VCARD"


class _Person(NamedTuple):
    """The content of a card, with the members that only herdbook's own cards have, and the whole card in cells.

    `size` is that of all its values, also of those that are too large to be kept.
    """

    content: CardContent
    external_ids: tuple[str, ...]
    crm_object_id: str
    fields: Mapping[str, str]
    card: tuple[str, ...]
    size: int


class _Link(msgspec.Struct):
    """The member of a card that has the link to a CRM."""

    crm_object_id: str


# The values that fields of one's own have.
_Value = str | bool | int | float | list[str] | dict[str, str]


class _Widths:
    """How many columns there are for lists, and which fields of one's own there are."""

    def __init__(self) -> None:
        self.emails = self.phone_numbers = self.notes = self.external_ids = self.card = 0
        self.has_link = False
        self.fields: dict[str, None] = {}

    def take(self, person: _Person) -> None:
        """Make room for one more card."""
        content = person.content
        self.emails = max(self.emails, len(content.emails))
        self.phone_numbers = max(self.phone_numbers, len(content.phone_numbers))
        self.notes = max(self.notes, len(content.notes))
        self.external_ids = max(self.external_ids, len(person.external_ids))
        self.card = max(self.card, len(person.card))
        self.has_link = self.has_link or bool(person.crm_object_id)
        self.fields |= dict.fromkeys(person.fields)

    @property
    def columns(self) -> int:
        """The number of all columns."""
        return len(_header(self))


def write_table(source: Path, target: Path) -> Generator[None, None, None]:
    """Write the cards of a file as CSV, in steps. Refusal: Unreadable, which names the line of what is no card."""
    widths = _Widths()
    pace = Pace(_STEP)
    for person in _people(source):
        widths.take(person)
        if widths.columns > MAX_COLUMNS:
            raise Unreadable("A card has more addresses, numbers and notes than a file may have columns. Split it.")
        if pace.is_over(person.size):
            yield
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_header(widths))
        for person in _people(source):
            # The signs that an import takes away are none of exports here.
            writer.writerow(as_it_is(kept(cell)) for cell in _row(person, widths))
            if pace.is_over(person.size):
                yield


def _people(source: Path) -> Iterator[_Person]:
    with source.open("rb") as file:
        for each in read_cards(file):
            if isinstance(each, CardFault):
                raise Unreadable(f"Line {each.line}: {each.message}")
            yield _person(each.properties)


def _person(properties: Sequence[Property]) -> _Person:
    content = content_of(properties)
    if not (content.first_name or content.last_name or content.emails or content.phone_numbers):
        # Nobody else would find the person again.
        content = msgspec.structs.replace(content, first_name=shown_name(properties) or content.company)
    others = {name: value for name, text in content.others.items() if (value := _decoded(text, _Value)) is not None}
    link = _decoded(content.others.get("crm_association", ""), _Link)
    fields = {place: text for name, value in others.items() if _FIELD(name) for place, text in _cells_of(name, value)}
    # Without a company, a card has no other place for it. A table has one column for both.
    if department := fields.pop("fields.department", ""):
        content = msgspec.structs.replace(content, department=content.department or department)
    return _Person(
        content=content,
        external_ids=_decoded(content.others.get("external_ids", ""), tuple[str, ...]) or (),
        crm_object_id="" if link is None else link.crm_object_id,
        fields=fields,
        card=tuple(_cells(properties)),
        size=sum(len(each.value) for each in properties),
    )


def _decoded(text: str, type_: Any) -> Any:
    """Return what a member of a card says, or None if it is of another type."""
    try:
        return msgspec.json.decode(text, type=type_)
    except msgspec.DecodeError:
        return None


def _cells_of(name: str, value: "_Value") -> Iterator[tuple[str, str]]:
    """Yield the columns of a field and their texts. An address and an amount of money have one for each part."""
    match value:
        case dict():
            for part, text in value.items():
                yield f"{name}.{part}", str(text)
        case list():
            yield name, "; ".join(map(str, value))
        case bool():
            yield name, "true" if value else "false"
        case _:
            yield name, str(value)


def _cells(properties: Sequence[Property]) -> Iterator[str]:
    """Yield a card in cells."""
    fitted = fitting(properties)
    gone = [Property(LEFT_OUT, each.name) for each in properties if each not in fitted]
    text = "\n".join(map(kept_line, (*fitted, *gone)))
    for start in range(0, len(text), _MAX_CELL):
        yield text[start : start + _MAX_CELL]


def _header(widths: _Widths) -> list[str]:
    names = [*_NAMES, "description"]
    names += [f"address_{part}" for part in _ADDRESS]
    for number in range(1, widths.emails + 1):
        names += [f"email_{number}_label", f"email_{number}"]
    for number in range(1, widths.phone_numbers + 1):
        names += [f"phone_number_{number}_label", f"phone_number_{number}"]
    names += [f"note_{number}" for number in range(1, widths.notes + 1)]
    names += ["profile_links", "tags"]
    names += [f"external_id_{number}" for number in range(1, widths.external_ids + 1)]
    names += ["crm_object_id"] if widths.has_link else []
    return [*names, *widths.fields, *(f"card_{number}" for number in range(1, widths.card + 1))]


def _row(person: _Person, widths: _Widths) -> list[str]:
    content = person.content
    cells = [content.first_name, content.last_name, content.company, content.department, content.job_title, content.birthday]
    cells += [content.website, content.time_zone, content.description]
    cells += [content.address.get(part, "") for part in _ADDRESS]
    for items, width in ((content.emails, widths.emails), (content.phone_numbers, widths.phone_numbers)):
        # The first one is primary without a mark.
        marked = next((item for item in items[1:] if item.is_primary), None)
        cells += [cell for item in items for cell in (_label(item.label, is_primary=item is marked), quoted(item.value))]
        cells += [""] * (2 * (width - len(items)))
    cells += _filled(content.notes, widths.notes)
    cells += ["\n".join(content.links), joined(content.tags)]
    cells += _filled(person.external_ids, widths.external_ids)
    cells += [person.crm_object_id] if widths.has_link else []
    cells += [*(person.fields.get(name, "") for name in widths.fields)]
    # Spaces around a value say nothing, and those of a card are kept.
    return [*map(str.strip, cells), *_filled(person.card, widths.card)]


def _label(label: str, *, is_primary: bool) -> str:
    if label.lower() in USUAL_LABELS:
        return f"* {label}" if is_primary else label
    return labelled(label, is_primary=is_primary)


def _filled(cells: Sequence[str], width: int) -> list[str]:
    return [*cells, *[""] * (width - len(cells))]
